"""Rules given to the kernel, compared with it, and taken back: by `nft`, or by iptables where there is no nft.

Called by `host` and `network`. The kernel's own words for the planned rules are had by loading them
into an empty network namespace: so live rules are compared with what these very programs make of the plan, and not with
a guess about their spelling. Must not know: why the rules are wanted.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lateen.agent.errors import StartError
from lateen.agent.interception import iptables, nft
from lateen.agent.interception.capture import TPROXY, Capture

_SECONDS = 30.0
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
PACKAGES = {"nft": "nftables", "iptables-restore": "iptables", "ip": "iproute2", "unshare": "util-linux"}
_CGROUPS = Path("/sys/fs/cgroup")


class InterceptionError(StartError):
    """The rules cannot be set up; the message says why, and what to do."""


def program(name: str) -> str:
    """Return the path of a program, empty when it is missing. Folders of root's programs count for everybody.

    Not by `shutil`, which loads three compression libraries in each of a host's many agents.
    """
    folders = (*os.environ.get("PATH", os.defpath).split(os.pathsep), *_SYSTEM_FOLDERS)
    found = (Path(folder) / name for folder in folders if folder)
    return next((str(path) for path in found if path.is_file() and os.access(path, os.X_OK)), "")


def needed_program(name: str) -> str:
    """Return the path of a program; InterceptionError with the package that has it."""
    if not (path := program(name)):
        raise InterceptionError(f"{name} is not installed: `apt-get install {PACKAGES.get(name, name)}` or the like")
    return path


def need_root(what: str) -> None:
    """Raise InterceptionError unless this is root's."""
    if os.geteuid() != 0:
        # A flag of an agent's has another; `lateen intercept` has none.
        instead = ", or use --intercept proxy, which needs no rights" if what.startswith("--") else ""
        raise InterceptionError(f"{what} needs root: start it with sudo{instead}")


def run_program(
    words: Sequence[str], text: str = "", *, inside: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with this standard input; `inside` is called in the child first."""
    try:
        return subprocess.run(
            (needed_program(words[0]), *words[1:]),
            input=text,
            capture_output=True,
            # What others have called their rules need not be text.
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_SECONDS,
            preexec_fn=inside,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InterceptionError(f"{' '.join(words)}: {error}") from error


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return why a program failed: its first line."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[0].strip() if lines else f"it ended with {done.returncode} and said nothing"


class Backend(Protocol):
    """One way to the kernel's rules."""

    name: str

    def plan(self, capture: Capture) -> str:
        """Return exactly what will be given to the program(s), for people."""

    def apply(self, capture: Capture, *, inside: Callable[[], None] | None = None) -> None:
        """Put the rules in force, replacing those of the same name; all or none of one IP version."""

    def revert(self, capture: Capture, *, inside: Callable[[], None] | None = None) -> None:
        """Take the rules away. Nothing happens when there are none."""

    def live(self, capture: Capture) -> str:
        """Return this capture's rules as they are in force; empty when they are not."""

    def expected(self, capture: Capture) -> str:
        """Return what `live` would be if all were well."""


class Nft:
    """One table, replaced or deleted in one transaction."""

    name = "nft"

    def plan(self, capture: Capture) -> str:
        """Return the input of `nft -f -`."""
        return nft.ruleset(capture)

    def apply(self, capture: Capture, *, inside: Callable[[], None] | None = None) -> None:
        """Give the rules to the kernel."""
        _give("nft", ("nft", "-f", "-"), nft.ruleset(capture), inside)

    def revert(self, capture: Capture, *, inside: Callable[[], None] | None = None) -> None:
        """Delete the table."""
        _give("nft", ("nft", "-f", "-"), nft.removal(capture), inside)

    def live(self, capture: Capture) -> str:
        """Return the table as nft lists it."""
        done = run_program(("nft", "list", "table", "inet", nft.table_name(capture)))
        if done.returncode and "No such file" not in done.stderr:
            raise InterceptionError(f"nft does not list its rules: {said(done)}")
        return "" if done.returncode else done.stdout

    def expected(self, capture: Capture) -> str:
        """Return the table as nft lists it in a namespace where there is nothing else."""
        script = f"{needed_program('nft')} -f - && {needed_program('nft')} list table inet {nft.table_name(capture)}"
        return _in_empty_namespace(script, nft.ruleset(capture))


class Iptables:
    """Chains of our own, for both IP versions."""

    name = "iptables"

    def plan(self, capture: Capture) -> str:
        """Return the input of `iptables-restore --noflush`, then that of `ip6tables-restore --noflush`."""
        return "\n".join(
            f"# {_restore(version)} --noflush\n{iptables.restore_text(capture, version)}"
            for version in _versions(capture)
        )

    def apply(self, capture: Capture, *, inside: Callable[[], None] | None = None) -> None:
        """Give the rules to the kernel, one IP version after the other; when the second fails, the first goes again."""
        try:
            for version in _versions(capture):
                words = (_restore(version), "--noflush", "--wait")
                text = iptables.restore_text(capture, version, replaces=bool(_ours(capture, version, inside)))
                _give(_restore(version), words, text, inside)
            for version in set(iptables.VERSIONS).difference(_versions(capture)):
                _remove(capture, version, inside)
        except InterceptionError:
            self.revert(capture, inside=inside)
            raise

    def revert(self, capture: Capture, *, inside: Callable[[], None] | None = None) -> None:
        """Delete our jumps and chains."""
        for version in iptables.VERSIONS:
            _remove(capture, version, inside)

    def live(self, capture: Capture) -> str:
        """Return our lines of both `iptables-save`."""
        return "\n".join(_ours(capture, version, None) for version in _versions(capture)).strip()

    def expected(self, capture: Capture) -> str:
        """Return our lines as they are listed in a namespace where there is nothing else."""
        listed = []
        for version in _versions(capture):
            script = f"{needed_program(_restore(version))} --noflush && {needed_program(_save(version))} -t nat"
            saved = _in_empty_namespace(script, iptables.restore_text(capture, version))
            listed.append("\n".join(iptables.ours(capture, saved)))
        return "\n".join(listed).strip()


BACKENDS: dict[str, type[Nft | Iptables]] = {"nft": Nft, "iptables": Iptables}


def backend(wanted: str = "", capture: Capture | None = None) -> Backend:
    """Return the wanted way, or the better of those that are installed."""
    if wanted:
        needed_program("nft" if wanted == "nft" else "iptables-restore")
        return BACKENDS[wanted]()
    if program("nft"):
        return Nft()
    if program("iptables-restore") and not (capture and capture.inbound_mode == TPROXY):
        return Iptables()
    raise InterceptionError("neither nft nor iptables is installed: `apt-get install nftables` or the like")


def cgroup_root() -> str:
    """Return where below /sys/fs/cgroup the version 2 hierarchy is. InterceptionError when there is none."""
    for name in ("", "unified"):
        if (_CGROUPS / name / "cgroup.procs").is_file() and (_CGROUPS / name / "cgroup.controllers").is_file():
            return name
    raise InterceptionError("this machine has no cgroup v2 hierarchy below /sys/fs/cgroup: intercept a user instead")


def cgroup_folder(path: str) -> Path:
    """Return the folder of a cgroup."""
    return _CGROUPS / cgroup_root() / path


def _give(name: str, words: Sequence[str], text: str, inside: Callable[[], None] | None) -> None:
    done = run_program(words, text, inside=inside)
    if not done.returncode:
        return
    why = said(done)
    hint = ""
    if "cgroup" in done.stderr:
        hint = (
            "; the cgroup must exist first, and the kernel must know them (CONFIG_NFT_SOCKET, CONFIG_SOCK_CGROUP_DATA)"
        )
    elif "Operation not supported" in done.stderr or "No such file or directory" in done.stderr:
        hint = (
            "; this kernel lacks a part (nf_tables, nft_redir, nft_fib or nft_tproxy): `modprobe` it, or try --backend"
        )
    elif "Operation not permitted" in done.stderr:
        hint = "; that takes root with CAP_NET_ADMIN: a container needs --cap-add NET_ADMIN"
    raise InterceptionError(f"{name} does not take the rules, and nothing was changed: {why}{hint}")


def _in_empty_namespace(script: str, text: str) -> str:
    done = run_program(("unshare", "--net", "--", "/bin/sh", "-c", script), text)
    if done.returncode:
        raise InterceptionError(f"the rules cannot be tried in a network namespace of their own: {said(done)}")
    return done.stdout


def _versions(capture: Capture) -> tuple[int, ...]:
    return iptables.VERSIONS if capture.ipv6 else iptables.VERSIONS[:1]


def _restore(version: int) -> str:
    return "iptables-restore" if version == 4 else "ip6tables-restore"


def _save(version: int) -> str:
    return "iptables-save" if version == 4 else "ip6tables-save"


def _remove(capture: Capture, version: int, inside: Callable[[], None] | None) -> None:
    if program(_restore(version)) and _ours(capture, version, inside):
        text = iptables.removal_text(capture)
        _give(_restore(version), (_restore(version), "--noflush", "--wait"), text, inside)


def _ours(capture: Capture, version: int, inside: Callable[[], None] | None) -> str:
    done = run_program((_save(version), "-t", "nat"), inside=inside)
    return "\n".join(iptables.ours(capture, done.stdout))
