"""The systemd unit of one agent: a description in, the unit's text out. Pure.

Called by `joining.plan`, and by whoever else installs an agent as a service. What a directive is for is said beside
it; the names are those of systemd.service(5), systemd.exec(5) and systemd.unit(5). Must not know: files, or whether
there is a systemd here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

UNITS_FOLDER = PurePosixPath("/etc/systemd/system")
WANTED_BY = "multi-user.target"
_STOP_SECONDS = 45
"""Leave (6), drain (5), the app (10), Envoy (5), and as much again for a machine that is shutting down."""
_CONFINED = (
    "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
    "RestrictNamespaces=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectControlGroups=yes",
    "PrivateDevices=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
)
"""What an agent that changes nothing of the kernel's can do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnit:
    """One agent as a service."""

    name: str
    """`lateen-web` for `lateen-web.service`; also its folder below /run."""
    description: str
    command: tuple[str, ...]
    writes: tuple[str, ...] = ()
    """Folders that it writes to, besides the one below /run; all else is read-only."""
    user: str = ""
    """Empty is root."""
    environment: Mapping[str, str] = field(default_factory=dict)
    changes_kernel: bool = False
    """It makes rules, namespaces or cgroups, and so keeps root's rights."""
    notify: bool = False
    """It tells systemd when it is ready (sd_notify)."""
    watchdog_seconds: float = 0.0
    """With `notify`: it says so often, at least twice in this time, that it lives; 0 for not at all."""
    reload_command: tuple[str, ...] = ()
    """A new Envoy takes over without a lost request; empty when `systemctl reload` is not offered."""


def unit_name(name: str) -> str:
    """Return the unit's name for a workload's or gateway's name."""
    return f"lateen-{name}.service"


def unit_text(unit: ServiceUnit) -> str:
    """Return the unit file."""
    sections = (("Unit", _unit(unit)), ("Service", _service(unit)), ("Install", [f"WantedBy={WANTED_BY}"]))
    return "\n".join(f"[{title}]\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections)


def _unit(unit: ServiceUnit) -> list[str]:
    return [
        f"Description={unit.description.replace('%', '%%')}",
        "Documentation=man:systemd.service(5)",
        "Wants=network-online.target",
        "After=network-online.target nss-lookup.target",
        # However often it ends: a workload without its agent is out of the mesh.
        "StartLimitIntervalSec=0",
    ]


def _service(unit: ServiceUnit) -> list[str]:
    return [
        *_kind(unit),
        *([f"User={unit.user}"] if unit.user else []),
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(unit.environment.items())),
        # Certificates' keys lie there while it runs: in memory, for its user only, gone with it.
        f"RuntimeDirectory={unit.name}",
        "RuntimeDirectoryMode=0700",
        f"Environment=TMPDIR=%t/{unit.name}",
        f"ExecStart={_words(unit.command)}",
        *([f"ExecReload={_words(unit.reload_command)}"] if unit.reload_command else []),
        "Restart=always",
        "RestartSec=1",
        # Wrong usage, which no further try makes right.
        "RestartPreventExitStatus=2",
        # The agent alone gets the signal: it drains, and ends Envoy last. What is left in the end is killed.
        "KillMode=mixed",
        f"TimeoutStopSec={_STOP_SECONDS}",
        # An Envoy that ran out of memory is started again by the agent.
        "OOMPolicy=continue",
        "LimitNOFILE=1048576",
        "UMask=0077",
        *_hardening(unit),
    ]


def _kind(unit: ServiceUnit) -> list[str]:
    if not unit.notify:
        return ["Type=exec"]
    # Ready only with the control plane there, which may take as long as it takes.
    lines = ["Type=notify", "NotifyAccess=main", "TimeoutStartSec=infinity"]
    return [*lines, f"WatchdogSec={unit.watchdog_seconds:g}"] if unit.watchdog_seconds else lines


def _hardening(unit: ServiceUnit) -> list[str]:
    # No MemoryDenyWriteExecute: Envoy compiles WebAssembly and Lua. No SystemCallFilter: it differs by kernel.
    lines = [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        *(f"ReadWritePaths={quoted(folder)}" for folder in unit.writes),
        # Not hidden: Python or Envoy may be installed there.
        "ProtectHome=read-only",
        "PrivateTmp=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "RestrictSUIDSGID=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
    ]
    if unit.changes_kernel:
        return lines
    # Ports below 1024, for whoever is not root.
    ambient = ["AmbientCapabilities=CAP_NET_BIND_SERVICE"] if unit.user else []
    return [*lines, *ambient, *_CONFINED]


def _words(command: Sequence[str]) -> str:
    return " ".join(quoted(word, command=True) for word in command)


def quoted(word: str, *, command: bool = False) -> str:
    """Quote as systemd.syntax(7) has it; `%`, and in a command `$`, would be replaced."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    if command:
        escaped = escaped.replace("$", "$$")
    return f'"{escaped}"' if not escaped or any(sign in escaped for sign in " \t'\"\\;#") else escaped
