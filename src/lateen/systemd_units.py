"""Every unit of systemd that Lateen writes: a description in, the file's text out. Pure; standard library only.

Three kinds of callers: `lateen join` and `lateen proxy install` (an agent as a service), `lateen intercept` (rules that
come back after a reboot). They share one quoter, because a unit has three languages: words of a command are unquoted,
then `%` and `$` are replaced (systemd.service(5)); variables are unquoted, then `%` is replaced, and `$` means nothing
(systemd.exec(5)); paths and descriptions are taken as they are, but for `%`. What a directive is for is said beside
it. Must not know: files, or whether there is a systemd here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath

UNITS_FOLDER = PurePosixPath("/etc/systemd/system")
WANTED_BY = "multi-user.target"
USER_WANTED_BY = "default.target"
UNIT_MODE = 0o644
"""Anybody may ask systemd what is in a unit, so there is nothing to hide; systemd complains of a narrower mode."""
STOP_SECONDS = 60
"""Leave (6), drain (5), the app (10), Envoy (5), and as much again for a machine that is shutting down. An agent that
was told to drain for longer asks systemd for more when it begins to."""
WATCHDOG_SECONDS = 30
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Rights(Enum):
    """What a service may do to the machine."""

    CONFINED = "serve, and write to its own folders"
    RULES = "also change the kernel's rules and cgroups, for which it is root"
    APP = "whatever the app that it runs may do"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUnit:
    """One agent as a service."""

    name: str
    """`lateen-web` for `lateen-web.service`; also its folder below /run."""
    description: str
    command: tuple[str, ...]
    """A Python that has this package, and what it is to run."""
    rights: Rights = Rights.CONFINED
    writes: tuple[str, ...] = ()
    """Folders that it writes to, besides the one below /run; all else is read-only, unless it runs an app."""
    user: str = ""
    """Empty is root, or in a user's own systemd that user."""
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    """Where it is started; empty is the root."""
    state_folder: str = ""
    """Below /var/lib, made by systemd, for its user only; empty for none."""
    reload_command: tuple[str, ...] = ()
    """Has a new Envoy take over without a lost request; the agent's process id is added as its last word."""
    notify: bool = True
    """It says when it is ready (sd_notify), and then often that it lives; a job does not."""
    restart: str = "always"
    wanted_by: str = WANTED_BY


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesUnit:
    """Rules of the kernel that are there from boot on."""

    description: str
    start: tuple[str, ...]
    stop: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """Folders that must be mounted before."""


def agent_unit(unit: AgentUnit) -> str:
    """Return the unit file. ValueError for a folder or program that no unit can name."""
    about = [
        f"Description={description(unit.description)}",
        "Wants=network-online.target",
        "After=network-online.target nss-lookup.target",
        # However often it ends: a workload without its agent is out of the mesh.
        "StartLimitIntervalSec=0",
    ]
    service = [
        *_kind(unit),
        *([f"User={unit.user}"] if unit.user else []),
        *([f"WorkingDirectory={path(unit.folder)}"] if unit.folder else []),
        *_variables(unit.environment),
        *_folders(unit),
        f"ExecStart={command_line(unit.command)}",
        *([f"ExecReload={command_line(unit.reload_command)} $MAINPID"] if unit.reload_command else []),
        # What the guard of a killed agent would do, had it not been killed too.
        f"ExecStopPost=-{command_line((unit.command[0], '-m', 'lateen.agent.aftermath'))}",
        *_ends(unit),
        # An Envoy that ran out of memory is started again by the agent.
        "OOMPolicy=continue",
        # One connection is two: the usual 1024 would be 500 callers.
        "LimitNOFILE=1048576",
        *_RIGHTS[unit.rights],
        *(f"ReadWritePaths={path_in_list(folder)}" for folder in unit.writes),
        # Ports below 1024, for whoever is not root.
        *(["AmbientCapabilities=CAP_NET_BIND_SERVICE"] if unit.user and unit.rights is Rights.CONFINED else []),
    ]
    return _text(("Unit", about), ("Service", service), ("Install", [f"WantedBy={unit.wanted_by}"]))


def rules_unit(unit: RulesUnit) -> str:
    """Return the unit file. ValueError for a folder or program that no unit can name."""
    about = [
        f"Description={description(unit.description)}",
        # Before the network is up nothing can slip by. So it must not wait for what waits for the network, as the
        # usual dependencies would have it: where cloud-init runs, that is a cycle, and systemd leaves something out.
        "DefaultDependencies=no",
        "Wants=network-pre.target",
        "Before=network-pre.target shutdown.target",
        "Conflicts=shutdown.target",
        # After those who flush everything at start.
        "After=local-fs.target",
        "After=nftables.service iptables.service ip6tables.service netfilter-persistent.service ufw.service",
        *(f"RequiresMountsFor={path_in_list(folder)}" for folder in unit.needs),
    ]
    service = [
        "Type=oneshot",
        "RemainAfterExit=yes",
        *_variables(unit.environment),
        f"ExecStart={command_line(unit.start)}",
        f"ExecStop={command_line(unit.stop)}",
        "NoNewPrivileges=yes",
        # Not strict: iptables has a lock below /run.
        "ProtectSystem=full",
        "ProtectHome=read-only",
        "ProtectKernelModules=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_OVERRIDE",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictSUIDSGID=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
    ]
    return _text(("Unit", about), ("Service", service), ("Install", [f"WantedBy={WANTED_BY}"]))


def _text(*sections: tuple[str, list[str]]) -> str:
    return "\n".join(f"[{title}]\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections)


def _kind(unit: AgentUnit) -> list[str]:
    if not unit.notify:
        return ["Type=exec"]
    # Ready only with the control plane there, which may take as long as it takes.
    return ["Type=notify", "NotifyAccess=main", "TimeoutStartSec=infinity", f"WatchdogSec={WATCHDOG_SECONDS}"]


def _folders(unit: AgentUnit) -> list[str]:
    """Where it keeps its state, and a private one for certificates' keys while it runs."""
    lines = []
    if unit.state_folder:
        # This folder only: those above may be of others, and are left as they are.
        lines += [f"StateDirectory={unit.state_folder}", "StateDirectoryMode=0700"]
    # In memory, gone with it.
    lines += [f"RuntimeDirectory={unit.name}", "RuntimeDirectoryMode=0700"]
    # An app has a TMPDIR and a mask of its own.
    return lines if unit.rights is Rights.APP else [*lines, f"Environment=TMPDIR=%t/{unit.name}", "UMask=0077"]


def _ends(unit: AgentUnit) -> list[str]:
    return [
        f"Restart={unit.restart}",
        "RestartSec=1",
        # An app that SIGTERM has ended; else wrong usage, which no further try makes right.
        "SuccessExitStatus=143" if unit.rights is Rights.APP else "RestartPreventExitStatus=2",
        # The agent alone gets the signal: it drains, and ends Envoy last. What is left in the end is killed.
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_SECONDS}",
    ]


# No MemoryDenyWriteExecute: Envoy compiles WebAssembly and Lua. No SystemCallFilter: it differs by kernel.
_HARDENED = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    # Not hidden: Python or Envoy may be installed there.
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "RestrictSUIDSGID=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    # What the kernel needs for a rule it loads itself.
    "ProtectKernelModules=yes",
    "PrivateDevices=yes",
    "SystemCallArchitectures=native",
)
_RIGHTS: Mapping[Rights, tuple[str, ...]] = {
    Rights.CONFINED: (
        *_HARDENED,
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "RestrictNamespaces=yes",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ),
    # The lock of iptables is below /run.
    Rights.RULES: (*_HARDENED, "ReadWritePaths=/run"),
    Rights.APP: (),
}


# --- the three languages -------------------------------------------------------------------------------------


def command_line(words: Sequence[str]) -> str:
    """Return the words of a command so that systemd calls exactly these. ValueError for a program it cannot call."""
    program, *arguments = words
    if not program.startswith("/") or re.search(r"[\"'\\\x00-\x1f\x7f]", program):
        raise ValueError(f"systemd cannot call {program!r}: its path is not absolute, or has quotes or backslashes")
    if "$" in program:
        # Replaced in what the program is told of its own name, and nowhere else: then nothing is to be replaced.
        return " ".join((f":{_quoted(program)}", *map(_quoted, arguments)))
    return " ".join((_quoted(program), *(_quoted(word).replace("$", "$$") for word in arguments)))


def _variables(environment: Mapping[str, str]) -> list[str]:
    return [f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(environment.items())]


def _quoted(word: str) -> str:
    """Return one word as systemd.syntax(7) has it, with specifiers escaped."""
    if _PLAIN.fullmatch(word):
        return word
    escaped = "".join(_ESCAPES.get(sign) or _escaped(sign) for sign in word)
    return f'"{escaped.replace("%", "%%")}"'


def _escaped(sign: str) -> str:
    if sign.isprintable():
        return sign
    # Also what is no UTF-8 (surrogateescape): a unit must be, its words need not.
    return "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogateescape"))


def path(text: str) -> str:
    """Return a path as a directive of its own takes it. ValueError for one that would be read as another."""
    if not text.startswith("/") or not text.isprintable() or text != text.strip() or re.search(r"[\"'\\]", text):
        raise ValueError(f"no unit can name {text!r}: not absolute, or with quotes, backslashes or control characters")
    return text.replace("%", "%%")


def path_in_list(text: str) -> str:
    """Return a path as a directive takes it that knows several. ValueError as for `path`."""
    return f'"{path(text)}"' if " " in text else path(text)


def description(text: str) -> str:
    """Return text for people on one line."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)[:120]
    # A backslash at the end would take the next line along.
    return line.rstrip("\\ ").replace("%", "%%")
