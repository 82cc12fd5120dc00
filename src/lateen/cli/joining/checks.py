"""What stands in the way of joining: what was observed of a machine in, one line for each check out. Pure.

A check that cannot be made because another one failed says so and does not count as a problem of its own. Called by
`cli/join.py` with what `observing` saw. Must not know: how anything was observed, or what will be written.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from lateen.agent.addresses import host_port
from lateen.agent.joining import shown
from lateen.model.loopback import is_loopback

LEEWAY_SECONDS = 60.0
"""Clocks may differ by this much."""
LEAST_FREE_BYTES = 64 << 20


class State(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line."""

    name: str
    state: State
    message: str
    todo: str = ""
    network: bool = False
    """A problem that the network, or the other side, may end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortInUse:
    """One port that the agent or its Envoy will listen on, and why it cannot now."""

    address: str
    port: int
    problem: int
    """errno; 0 when it is free."""
    declared: bool = False
    """One of the workload's own, not of its sidecar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSeen:
    """One folder that is written to, or the nearest above it that is there."""

    path: str
    writable: bool
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """One port of the control plane's."""

    what: str
    """`secure` or `join`."""
    port: int
    reached: bool
    trusted: bool = False
    reason: str = ""
    """Why it was not reached, or not trusted."""
    begins: float = 0.0
    ends: float = 0.0
    """Of its certificate, seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was seen of the machine and of the control plane."""

    now: float
    root: bool
    """Whether this process is root's."""
    elsewhere: bool
    """Written below another root: an image, or a test."""
    offline: bool
    """The network is not looked at."""
    user: str
    user_known: bool
    python: str
    python_problem: str
    envoy: str
    """Version; empty when there is a problem."""
    envoy_problem: str
    systemd: bool
    starts: bool
    """Whether the service is to be started."""
    folders: tuple[FolderSeen, ...]
    strangers: tuple[str, ...]
    """Files that would be overwritten and are not of an earlier join."""
    token_problem: str
    token_todo: str
    token_file: str
    token_subject: str
    token_issued: float
    token_expires: float
    control_plane: tuple[str, int]
    addresses: tuple[str, ...]
    """Of the control plane."""
    dns_problem: str
    own_address: str
    """Where others will reach this workload; empty lets the agent say."""
    address_problem: int
    """errno of binding it; 0 when it is this machine's."""
    rules: str = ""
    """What will put the agent's rules in force (`nft`); empty where it needs none, or where there is a problem."""
    rules_problem: str = ""
    rules_todo: str = ""
    ports: tuple[PortInUse, ...]
    servers: tuple[ServerSeen, ...]
    others_away: tuple[str, ...] = ()
    """Further control planes that cannot be joined by now, and why."""


def check(seen: Observations) -> tuple[Check, ...]:
    """Return all checks, in the order in which one would mend them."""
    made = [
        _user(seen),
        _python(seen),
        _envoy(seen),
        _systemd(seen),
        *_disk(seen),
        _files(seen),
        _token(seen),
        _address(seen),
        _ports(seen),
        *_rules(seen),
    ]
    if seen.offline:
        skipped = "not looked at: --offline"
        return (*made, *(Check(name=name, state=State.SKIPPED, message=skipped) for name in ("control plane", "clock")))
    return (*made, _dns(seen), *_reached(seen), *_others(seen), *_roots(seen), _clock(seen))


def problems(checks: Sequence[Check]) -> list[Check]:
    """Return those that keep this machine from joining."""
    return [each for each in checks if each.state is State.PROBLEM]


def _ok(name: str, message: str) -> Check:
    return Check(name=name, state=State.OK, message=message)


def _problem(name: str, message: str, todo: str, *, network: bool = False) -> Check:
    return Check(name=name, state=State.PROBLEM, message=message, todo=todo, network=network)


def _warning(name: str, message: str, todo: str) -> Check:
    return Check(name=name, state=State.WARNING, message=message, todo=todo)


def _user(seen: Observations) -> Check:
    if not seen.user_known:
        return _problem("user", f"there is no user {seen.user!r}", "`useradd --system NAME`, or another --user")
    if not seen.root and not seen.elsewhere:
        return _problem("user", "writing to /etc and /var/lib needs root", "`sudo lateen join ...`")
    if not seen.root and seen.user:
        return _problem("user", f"giving files to {seen.user} needs root", "`sudo lateen join ...`")
    return _ok("user", f"the agent will run as {seen.user or 'root'}")


def _python(seen: Observations) -> Check:
    if seen.python_problem:
        return _problem(
            "python",
            f"{seen.python} does not run as {seen.user or 'root'}: {seen.python_problem}",
            "install Lateen where that user may read it, as in /opt/lateen, and call it from there",
        )
    return _ok("python", seen.python)


def _envoy(seen: Observations) -> Check:
    if seen.envoy_problem:
        return _problem("envoy", seen.envoy_problem, "install it, and where the agent's user may read it")
    return _ok("envoy", seen.envoy)


def _systemd(seen: Observations) -> Check:
    if seen.systemd or seen.elsewhere:
        return _ok("systemd", "runs here" if seen.systemd else "not needed: another root")
    said = "this machine was not started by systemd"
    if seen.starts:
        return _problem("systemd", said, "--no-start, and start what ExecStart says by what there is instead")
    return _warning("systemd", said, "start what ExecStart of the unit says by what there is instead")


def _disk(seen: Observations) -> Iterator[Check]:
    bad = [folder for folder in seen.folders if not folder.writable]
    if bad and (seen.root or seen.elsewhere):
        yield _problem("disk", f"{bad[0].path} cannot be written to", "is it mounted read-only? remount it")
    elif full := [folder for folder in seen.folders if folder.free_bytes < LEAST_FREE_BYTES]:
        mib = full[0].free_bytes >> 20
        yield _problem("disk", f"{full[0].path} has {mib} MiB left", f"free {LEAST_FREE_BYTES >> 20} MiB at least")
    elif not bad:
        yield _ok("disk", "writable")


def _files(seen: Observations) -> Check:
    if seen.strangers:
        return _problem(
            "files",
            f"{seen.strangers[0]} is there, and no join made it",
            "move it away, or choose another name with --name",
        )
    return _ok("files", "nothing of others is in the way")


def _token(seen: Observations) -> Check:
    if seen.token_problem:
        return _problem("token", seen.token_problem, seen.token_todo)
    until = f", until {shown(seen.token_expires)}" if seen.token_expires else ""
    return _ok("token", f"for {seen.token_subject or 'this control plane to judge'}{until}")


def _address(seen: Observations) -> Check:
    own = seen.own_address
    if not own:
        if seen.dns_problem or seen.offline:
            return Check(name="address", state=State.SKIPPED, message="the agent will find out")
        return _problem("address", "no address of this machine leads to the control plane", "say it with --address IP")
    if seen.address_problem and not seen.elsewhere:
        reason = errno.errorcode.get(seen.address_problem, str(seen.address_problem))
        return _problem("address", f"{own} is not this machine's ({reason})", "say another with --address IP")
    if is_loopback(own):
        return _warning("address", f"{own} is loopback: no other machine reaches it", "--address IP, unless so wanted")
    return _ok("address", f"others reach this machine at {own}")


def _ports(seen: Observations) -> Check:
    taken = [port for port in seen.ports if port.problem]
    if not taken:
        return _ok("ports", ", ".join(str(port.port) for port in seen.ports) or "none to look at")
    first = taken[0]
    place = host_port(first.address, first.port)
    if first.problem in (errno.EACCES, errno.EPERM):
        return _problem("ports", f"{place} may not be bound by this user", "`sudo`, or a port above 1023")
    todo = f"`ss -ltnp 'sport = :{first.port}'` shows whose it is"
    if first.declared:
        todo += "; an app of the mesh listens on 127.0.0.1, and its sidecar on the address"
    return _problem("ports", f"{place} is taken by another process", todo)


def _rules(seen: Observations) -> Iterator[Check]:
    """Interception of the machine: what its agent would fail for at each of its starts."""
    if seen.rules_problem:
        yield _problem("rules", seen.rules_problem, seen.rules_todo)
    elif seen.rules:
        yield _ok("rules", f"by {seen.rules}")


def _dns(seen: Observations) -> Check:
    host = seen.control_plane[0]
    if seen.dns_problem:
        return _problem(
            "dns", f"{host} does not resolve: {seen.dns_problem}", "correct --control-plane, or DNS", network=True
        )
    if seen.addresses == (host,):
        return _ok("dns", "not needed")
    return _ok("dns", f"{host} is {', '.join(seen.addresses)}")


def _reached(seen: Observations) -> Iterator[Check]:
    for server in seen.servers:
        name, place = f"{server.what} port", host_port(seen.control_plane[0], server.port)
        if server.reached:
            yield _ok(name, f"{place} answers")
            continue
        if seen.dns_problem:
            yield Check(name=name, state=State.SKIPPED, message="the control plane's name does not resolve")
            continue
        todo = "is the control plane up, and the port open in firewalls between?"
        if is_loopback(seen.control_plane[0]):
            todo = "is the control plane up?"
        elif server.what == "join":
            todo += " `lateen serve --join ADDR` says where it listens for first certificates"
        yield _problem(name, f"{place} cannot be reached: {server.reason}", todo, network=True)


def _others(seen: Observations) -> Iterator[Check]:
    """One is enough to join by; the agent goes on looking for the others."""
    for away in seen.others_away:
        yield _warning("others", away, "nothing, if it is down for now: the agent looks for it as long as it runs")


def _roots(seen: Observations) -> Iterator[Check]:
    reached = [server for server in seen.servers if server.reached]
    bad = [server for server in reached if not server.trusted]
    if seen.token_problem or not reached:
        yield Check(name="roots", state=State.SKIPPED, message="nobody to be known by them yet")
    elif bad:
        place = host_port(seen.control_plane[0], bad[0].port)
        yield _problem(
            "roots",
            f"{place} is not the control plane that the roots name: {bad[0].reason}",
            "a new token holds the roots of now; `--ca-file` must be those of this control plane",
        )
    else:
        yield _ok("roots", "the control plane is who it should be")


def _clock(seen: Observations) -> Check:
    """Everybody's certificate is new every day: a clock that is wrong by more than a little trusts nobody."""
    trusted = [server for server in seen.servers if server.trusted]
    earliest = max((seen.token_issued, *(server.begins for server in trusted)))
    latest = min((server.ends for server in trusted), default=0.0)
    todo = "set it: `timedatectl set-ntp true`, or `chronyd -q`"
    if seen.now + LEEWAY_SECONDS < earliest:
        what = "the token was made" if earliest == seen.token_issued else "the control plane's certificate begins"
        late = _length(earliest - seen.now)
        return _problem(
            "clock", f"it says {shown(seen.now)}, at least {late} too early: {what} {shown(earliest)}", todo
        )
    if trusted and seen.now > latest:
        return _problem(
            "clock",
            f"it says {shown(seen.now)}, and the control plane's certificate ended {shown(latest)}",
            f"if this clock is wrong, {todo}; else the control plane's is",
        )
    if not trusted:
        return Check(name="clock", state=State.SKIPPED, message="nobody to compare it with yet")
    return _ok("clock", "fits the control plane's")


def _length(seconds: float) -> str:
    for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} seconds"
