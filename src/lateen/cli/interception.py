"""`lateen intercept plan|apply|confirm|verify|revert`: rules on this machine for one user or cgroup.

Registered by `cli/commands.py`. Reads flags and tells what happened; the work is `lateen.agent.interception`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lateen.cli.exits import ExitCode, Failure, usage
from lateen.cli.workload_options import Hops

if TYPE_CHECKING:
    from lateen.agent.interception.capture import Capture
    from lateen.agent.interception.programs import Backend

_STATE = "/var/lib/lateen/interception"
_MOST_TRIAL_SECONDS = 3600.0
_LISTS = (
    "include_network", "exclude_network", "include_port", "exclude_port", "inbound_port", "exclude_interface",
)  # fmt: skip
"""Flags that may be repeated and are taken as they are: fields of Capture in the plural."""
_OF_INBOUND = ("inbound_port", "exclude_inbound_port")
_OF_OUTBOUND = ("user", "cgroup", "everybody", "exclude_port", "include_port", "exclude_network", "include_network")


class BackendName(StrEnum):
    """Programs that give rules to the kernel."""

    NFT = "nft"
    IPTABLES = "iptables"


NameOption = Annotated[
    str,
    typer.Option("--name", metavar="NAME", help="One of several interceptions of this machine: at most 12 of a-z0-9_."),
]
StateOption = Annotated[Path, typer.Option("--state", metavar="DIR", help="Where it is remembered what was applied.")]
UserOption = Annotated[
    list[str] | None, typer.Option("--user", metavar="USER", help="Whose connections; name or uid; repeatable.")
]
CgroupOption = Annotated[
    list[str] | None,
    typer.Option("--cgroup", metavar="PATH", help="Whose connections: a cgroup v2 path; made if need be; repeatable."),
]
EverybodyOption = Annotated[
    bool, typer.Option("--everybody", help="Intercept every user but the proxy: for a machine of one workload.")
]
HopsOption = Annotated[Hops, typer.Option("--hops", help="Which side goes through the sidecar.")]
ProxyUserOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-user", metavar="USER", help="Whose connections are left alone; default: 1337; repeatable."),
]
ExcludeGroupOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-group", metavar="GROUP", help="Whose, by group; default: 1337; repeatable."),
]
IncludeNetworkOption = Annotated[
    list[str] | None,
    typer.Option("--include-network", metavar="CIDR", help="Intercept connections to these only; repeatable."),
]
ExcludeNetworkOption = Annotated[
    list[str] | None, typer.Option("--exclude-network", metavar="CIDR", help="Leave these alone; repeatable.")
]
IncludePortOption = Annotated[
    list[int] | None,
    typer.Option("--include-port", metavar="PORT", help="Intercept outbound connections to these only; repeatable."),
]
ExcludePortOption = Annotated[
    list[int] | None,
    typer.Option("--exclude-port", metavar="PORT", help="Leave outbound connections to it alone; repeatable."),
]
InboundPortOption = Annotated[
    list[int] | None,
    typer.Option("--inbound-port", metavar="PORT", help="Port of the workload, for its inbound side; repeatable."),
]
ExcludeInboundPortOption = Annotated[
    list[int] | None,
    typer.Option(
        "--exclude-inbound-port", metavar="PORT", help="Never intercepted, besides 22 and the agent's own; repeatable."
    ),
]
ExcludeInterfaceOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-interface", metavar="NAME", help="Leave it alone, as docker0; repeatable."),
]
OutboundListenOption = Annotated[int, typer.Option("--outbound-listen", metavar="PORT", help="The proxy's port.")]
InboundListenOption = Annotated[int, typer.Option("--inbound-listen", metavar="PORT", help="The proxy's port.")]
DnsListenOption = Annotated[
    int, typer.Option("--dns-listen", metavar="PORT", help="Where DNS is answered; 0 leaves DNS alone.")
]
Ipv6Option = Annotated[bool, typer.Option("--ipv6/--no-ipv6", help="Intercept IPv6 as well.")]
BackendOption = Annotated[
    BackendName | None, typer.Option("--backend", help="Program to use; default: nft, else iptables.")
]


def plan(
    user: UserOption = None,
    cgroup: CgroupOption = None,
    everybody: EverybodyOption = False,
    hops: HopsOption = Hops.OUTBOUND,
    inbound_port: InboundPortOption = None,
    exclude_port: ExcludePortOption = None,
    include_port: IncludePortOption = None,
    exclude_network: ExcludeNetworkOption = None,
    include_network: IncludeNetworkOption = None,
    exclude_inbound_port: ExcludeInboundPortOption = None,
    exclude_interface: ExcludeInterfaceOption = None,
    exclude_user: ProxyUserOption = None,
    exclude_group: ExcludeGroupOption = None,
    outbound_listen: OutboundListenOption = 15001,
    inbound_listen: InboundListenOption = 15006,
    dns_listen: DnsListenOption = 15053,
    ipv6: Ipv6Option = True,
    name: NameOption = "",
    backend: BackendOption = None,
    state: StateOption = Path(_STATE),
    install_unit: Annotated[bool, typer.Option("--install-unit", help="Show the unit for systemd as well.")] = False,
) -> int:
    """Print the exact rules that `apply` with the same flags would put in force, and change nothing."""
    given = dict(locals())
    from lateen.agent.interception import host

    capture = _capture(given)
    typer.echo(
        f"# what `{_reads(_way(backend, capture))}` would read:\n{_way(backend, capture).plan(capture)}", nl=False
    )
    if install_unit:
        typer.echo(f"\n# {host.unit_path(name)}, once the rules are confirmed:\n{host.unit(state, name)}", nl=False)
    return ExitCode.DONE


def apply(
    user: UserOption = None,
    cgroup: CgroupOption = None,
    everybody: EverybodyOption = False,
    hops: HopsOption = Hops.OUTBOUND,
    inbound_port: InboundPortOption = None,
    exclude_port: ExcludePortOption = None,
    include_port: IncludePortOption = None,
    exclude_network: ExcludeNetworkOption = None,
    include_network: IncludeNetworkOption = None,
    exclude_inbound_port: ExcludeInboundPortOption = None,
    exclude_interface: ExcludeInterfaceOption = None,
    exclude_user: ProxyUserOption = None,
    exclude_group: ExcludeGroupOption = None,
    outbound_listen: OutboundListenOption = 15001,
    inbound_listen: InboundListenOption = 15006,
    dns_listen: DnsListenOption = 15053,
    ipv6: Ipv6Option = True,
    name: NameOption = "",
    backend: BackendOption = None,
    state: StateOption = Path(_STATE),
    install_unit: Annotated[
        bool, typer.Option("--install-unit", help="Once confirmed, bring the rules back after a reboot, by systemd.")
    ] = False,
    confirmed: Annotated[bool, typer.Option("--confirm", help="No trial: keep the rules at once.")] = False,
    trial_seconds: Annotated[float, typer.Option("--trial", metavar="SECONDS", help="Length of the trial.")] = 60.0,
) -> int:
    """Print the rules and put them in force, on trial: they go again after 60 s unless they are confirmed."""
    given = dict(locals())
    from lateen.agent.interception import host
    from lateen.agent.interception.programs import InterceptionError, cgroup_folder, need_root
    from lateen.agent.interception.records import Record

    if not 1 <= trial_seconds <= _MOST_TRIAL_SECONDS:
        raise Failure(
            f"--trial {trial_seconds:g} is not between 1 and {_MOST_TRIAL_SECONDS:g} seconds", code=ExitCode.USAGE
        )
    capture = _capture(given)
    way = _way(backend, capture)
    typer.echo(f"# what `{_reads(way)}` reads:\n{way.plan(capture)}", nl=False)
    try:
        need_root("interception of this machine")
        for path in capture.cgroups:
            cgroup_folder(path).mkdir(parents=True, exist_ok=True)
        record = Record(capture=capture, backend=way.name, unit=install_unit)
        waits = host.apply(state, record, way, trial_seconds=0.0 if confirmed else trial_seconds)
    except InterceptionError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"the cgroup cannot be made: {error}") from error
    if circle := _circle(capture):
        typer.echo(circle, err=True)
    if confirmed:
        typer.echo("applied, and kept until `lateen intercept revert`", err=True)
        return ExitCode.DONE
    waiter = "a timer of systemd" if waits == "systemd" else "a process of its own"
    asked = f"lateen intercept confirm{f' --name {name}' if name else ''}"
    typer.echo(
        f"applied on trial: {waiter} takes the rules back in {trial_seconds:g} s unless you say `{asked}`", err=True
    )
    if sys.stdin.isatty() and _says_yes(trial_seconds):
        return confirm(name=name, state=state)
    return ExitCode.DONE


def confirm(name: NameOption = "", state: StateOption = Path(_STATE)) -> int:
    """Keep the rules that are on trial."""
    from lateen.agent.interception import host
    from lateen.agent.interception.programs import InterceptionError

    try:
        kept = host.confirm(state, name)
    except InterceptionError as error:
        raise Failure(str(error)) from error
    after = "after a reboot too" if kept.unit else "until the next reboot"
    typer.echo(f"confirmed: the rules stay, {after}; `lateen intercept revert` takes them back", err=True)
    return ExitCode.DONE


def verify(
    name: NameOption = "",
    state: StateOption = Path(_STATE),
    rules_only: Annotated[bool, typer.Option("--rules-only", help="Try no real connection.")] = False,
) -> int:
    """Compare the rules in force with those that were applied, and try a real connection as an intercepted user."""
    from lateen.agent.interception import host
    from lateen.agent.interception.programs import InterceptionError, need_root

    try:
        need_root("looking at the kernel's rules")
        record = host.recorded(state, name)
        if record is None:
            raise Failure("no rules are on record: `lateen intercept apply` puts some in force")
        differences = host.differences(record)
        problem = "" if differences or rules_only else host.probe(record.capture)
    except InterceptionError as error:
        raise Failure(str(error)) from error
    if differences:
        typer.echo("\n".join(differences))
        raise Failure(
            "the rules in force are not those that were applied", hint="`lateen intercept apply` again, or `revert`"
        )
    if problem:
        raise Failure(f"the rules are as planned, but {problem}")
    typer.echo(f"the rules are as planned{'' if rules_only else ', and a real connection reached the proxy'}")
    if record.trial:
        typer.echo("they are on trial: `lateen intercept confirm` keeps them", err=True)
    return ExitCode.DONE


def revert(name: NameOption = "", state: StateOption = Path(_STATE)) -> int:
    """Take the rules back, and the unit that would bring them again."""
    from lateen.agent.interception import host
    from lateen.agent.interception.programs import InterceptionError

    try:
        done = host.revert(state, name)
    except InterceptionError as error:
        raise Failure(str(error)) from error
    typer.echo("the rules are gone" if done else "there were none", err=True)
    return ExitCode.DONE


def _capture(given: Mapping[str, Any]) -> Capture:
    """Return what the flags say, of the parameters that `plan` and `apply` share. Failure when they contradict."""
    from lateen.agent.interception.capture import AGENT_PORTS, PROXY_ID, SSH_PORT, Capture, CaptureError
    from lateen.agent.interception.programs import InterceptionError, cgroup_root

    outbound, inbound = given["hops"] is not Hops.INBOUND, given["hops"] is not Hops.OUTBOUND
    _refuse_of_the_other_side(given)
    some, cgroups = given["user"] or given["cgroup"], given["cgroup"] or ()
    if outbound and not (some or given["everybody"]):
        raise usage("it is not said whose connections to intercept", "add --user USER or --cgroup PATH, or --everybody")
    if given["everybody"] and some:
        raise usage("--everybody contradicts --user and --cgroup", "leave one of them out")
    if inbound and not given["inbound_port"]:
        raise usage("it is not said which ports are the workload's", "add --inbound-port PORT")
    lists: dict[str, Any] = {f"{flag}s": tuple(given[flag] or ()) for flag in _LISTS}
    try:
        return Capture(
            name=given["name"],
            outbound=outbound,
            inbound=inbound,
            outbound_port=given["outbound_listen"],
            inbound_port=given["inbound_listen"],
            users=user_ids(given["user"] or ()),
            cgroups=tuple(path.strip("/") for path in cgroups),
            cgroup_root=cgroup_root() if cgroups else "",
            exclude_users=user_ids(given["exclude_user"] or (str(PROXY_ID),)),
            exclude_groups=_group_ids(given["exclude_group"] or (str(PROXY_ID),)),
            exclude_inbound_ports=(SSH_PORT, *AGENT_PORTS, *(given["exclude_inbound_port"] or ())),
            dns_port=given["dns_listen"],
            ipv6=given["ipv6"],
            **lists,
        )
    except (CaptureError, InterceptionError) as error:
        raise Failure(str(error), code=ExitCode.USAGE) from error


def _refuse_of_the_other_side(given: Mapping[str, Any]) -> None:
    """Raise Failure for a flag of connections that are not intercepted: it would do nothing."""
    for idle, flags, todo in (
        (Hops.OUTBOUND, _OF_INBOUND, "add --hops inbound or both, or leave it out"),
        (Hops.INBOUND, _OF_OUTBOUND, "leave it out, or say --hops both"),
    ):
        for flag in flags if given["hops"] is idle else ():
            if given[flag]:
                raise usage(f"--{flag.replace('_', '-')} does nothing with --hops {idle.value}", todo)


def user_ids(names: Sequence[str]) -> tuple[int, ...]:
    """Return uids of names or numbers. Raises Failure for a name that nobody has."""
    import pwd

    return _ids("user", names, lambda name: pwd.getpwnam(name).pw_uid)


def _group_ids(names: Sequence[str]) -> tuple[int, ...]:
    import grp

    return _ids("group", names, lambda name: grp.getgrnam(name).gr_gid)


def _ids(what: str, names: Sequence[str], of_name: Callable[[str], int]) -> tuple[int, ...]:
    def number(name: str) -> int:
        try:
            return int(name) if name.isdigit() else of_name(name)
        except KeyError:
            raise usage(f"there is no {what} {name[:80]!r}", "a name, or a number") from None

    return tuple(map(number, names))


def _way(wanted: BackendName | None, capture: Capture) -> Backend:
    from lateen.agent.interception.programs import InterceptionError, backend

    try:
        return backend(wanted.value if wanted else "", capture)
    except InterceptionError as error:
        raise Failure(str(error)) from error


def _reads(way: Backend) -> str:
    return "nft -f -" if way.name == "nft" else "iptables-restore --noflush"


def _circle(capture: Capture) -> str:
    """Return a warning if the proxy that listens is of a user whose connections these rules lead to it."""
    from lateen.agent.port_owners import listening_users

    listening = sorted(listening_users("127.0.0.1", capture.outbound_port) or ())
    taken = [user for user in listening if capture.takes(user)]
    if not taken:
        return ""
    return (
        f"warning: who listens on port {capture.outbound_port} is of user {taken[0]}, who is intercepted: "
        "its own connections come back to it, unless its group is excluded; run the sidecar as a user who is excluded"
    )


def _says_yes(seconds: float) -> bool:
    """Ask on the terminal; no answer in time is no."""
    import select

    typer.echo("keep them? type yes: ", nl=False, err=True)
    answering, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(answering) and sys.stdin.readline().strip().lower() in ("y", "yes")
