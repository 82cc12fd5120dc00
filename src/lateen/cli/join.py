"""`lateen join` and `lateen leave`: a machine becomes a member of the mesh, and stops being one.

Registered by `cli/commands.py`. Order of a join: read flags, look (`joining.observing`), judge (`joining.checks`), get
the first certificate, and only then write (`joining.hosts`) and start. A token for one use is shown to nobody before
everything else is in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lateen.cli.exits import ExitCode, Failure, usage
from lateen.cli.options import Output, OutputOption
from lateen.cli.workload_options import (
    AppUserOption,
    CaFileOption,
    DnsOption,
    ExcludeNetworkOption,
    ExcludePortOption,
    ExecProbeOption,
    GroupOption,
    Hops,
    HopsOption,
    InboundMode,
    InboundModeOption,
    Intercept,
    InterceptOption,
    LabelsOption,
    LocalityOption,
    MetricsOption,
    NetworkOption,
    OwnRulesOption,
    PortsOption,
    ProbeDelayOption,
    ProbeFailuresOption,
    ProbeOption,
    ProbePeriodOption,
    ProbeSuccessesOption,
    ProbeTimeoutOption,
    ServiceAccountOption,
    ServiceOption,
    StatsPrefixesOption,
    StatsRegexpsOption,
    StatsSuffixesOption,
    UpstreamsOption,
    VersionOption,
)

if TYPE_CHECKING:
    from lateen.agent.join_tokens import JoinToken
    from lateen.agent.settings import AgentSettings
    from lateen.cli.joining.certifying import FirstIdentity
    from lateen.cli.joining.checks import Check, Observations
    from lateen.cli.joining.hosts import Host, Owner
    from lateen.cli.joining.plans import HostPlan
    from lateen.cli.joining.records import Record

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
RootOption = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="Write below another root, and start nothing: for disk images.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joining:
    """One join, before it acts."""

    host: Host
    plan: HostPlan
    record: Record | None
    token: JoinToken | None
    owner: Owner | None
    given: AgentSettings
    """With the token and the roots where the user has them."""
    own: str
    identity_until: float
    """Until when an identity of an earlier join is good; 0 without one."""
    seen: Observations


def join(
    control_plane: Annotated[
        str,
        typer.Option(
            "--control-plane",
            envvar="LATEEN_CONTROL_PLANE",
            metavar="HOST:PORT",
            help="Secure xDS address (15012 by default); several, of control planes with one CA, with commas.",
        ),
    ],
    token: Annotated[Path, typer.Option("--token", metavar="FILE", help="Token to join the mesh with; it is copied.")],
    service: ServiceOption = "",
    workload_group: GroupOption = "",
    gateway: Annotated[bool, typer.Option("--gateway", help="A gateway; needs --name.")] = False,
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="Of the gateway, and of unit and files; default: the service or group."
        ),
    ] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="With --gateway: namespace.")] = "",
    port_map: Annotated[
        list[str] | None,
        typer.Option("--port-map", metavar="PORT:BOUND", help="With --gateway: bind another port."),
    ] = None,
    version: VersionOption = "",
    label: LabelsOption = None,
    port: PortsOption = None,
    upstream: UpstreamsOption = None,
    service_account: ServiceAccountOption = "default",
    locality: LocalityOption = "",
    network: NetworkOption = "",
    ca_file: CaFileOption = None,
    intercept: InterceptOption = Intercept.PROXY,
    hops: HopsOption = Hops.BOTH,
    inbound_mode: InboundModeOption = InboundMode.REDIRECT,
    own_rules: OwnRulesOption = True,
    dns: DnsOption = True,
    app_user: AppUserOption = "",
    exclude_port: ExcludePortOption = None,
    exclude_network: ExcludeNetworkOption = None,
    address: Annotated[
        str,
        typer.Option(
            "--address", metavar="IP", help="Where others reach this machine; default: its address on the way there."
        ),
    ] = "",
    stats_inclusion_prefix: StatsPrefixesOption = None,
    stats_inclusion_suffix: StatsSuffixesOption = None,
    stats_inclusion_regexp: StatsRegexpsOption = None,
    probe: ProbeOption = "",
    probe_period: ProbePeriodOption = 5.0,
    probe_timeout: ProbeTimeoutOption = 1.0,
    probe_failures: ProbeFailuresOption = 1,
    probe_successes: ProbeSuccessesOption = 1,
    probe_delay: ProbeDelayOption = 0.0,
    allow_exec_probe: ExecProbeOption = False,
    metrics: MetricsOption = "",
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Who the agent runs as; default: root.")] = "",
    root: RootOption = Path("/"),
    only_check: Annotated[bool, typer.Option("--check", help="Check only; get no certificate, write nothing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, then print all files and commands instead of acting.")
    ] = False,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start the service.")] = True,
    offline: Annotated[
        bool, typer.Option("--offline", help="Without the network: the agent gets its certificate when it starts.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> int:
    """Make this machine a member of the mesh: check everything, get a certificate, install a service and start it.

    Nothing is written when a check fails. Joining again with the same flags changes nothing.
    """
    from lateen.agent.settings import ROOT
    from lateen.cli.app_flags import read_metrics, read_probe
    from lateen.cli.workload_flags import given_file, stats_inclusion

    shared: dict[str, Any] = {
        "service_account": service_account,
        "locality": locality,
        "network": network,
        "control_plane": control_plane,
        "token_file": given_file(token, "--token"),
        "ca_file": given_file(ca_file, "--ca-file"),
        "address": address,
        "stats_inclusion": stats_inclusion(stats_inclusion_prefix, stats_inclusion_suffix, stats_inclusion_regexp),
    }
    of_workload: dict[str, Any] = {
        "version": version,
        "interception": intercept.value,
        "hops": hops.value,
        "inbound_mode": inbound_mode.value,
        "own_rules": own_rules,
        "dns": dns,
        "app_user": app_user,
        "exclude_ports": tuple(exclude_port or ()),
        "exclude_networks": tuple(exclude_network or ()),
        "probe": read_probe(
            probe,
            period=probe_period,
            timeout=probe_timeout,
            failures=probe_failures,
            successes=probe_successes,
            delay=probe_delay,
        ),
        "group_exec": allow_exec_probe,
        **read_metrics(metrics),
    }
    if gateway:
        _refuse_of_workload(service, workload_group, port, upstream, of_workload)
        settings = _gateway_settings(name, namespace, label, port_map, shared)
    else:
        settings = _workload_settings(service, workload_group, label, port, upstream, {**shared, **of_workload})
        if namespace or port_map:
            raise usage("--namespace and --port-map are for --gateway", "a workload's is --service NAME.NAMESPACE")
    own_name = name or settings.service or settings.workload_group
    if not _NAME.fullmatch(own_name):
        raise usage(f"--name {own_name[:80]!r} is not a name", "lower-case letters, digits and dashes")
    if user not in ("", *ROOT) and intercept is Intercept.HOST and (own_rules or app_user):
        raise usage(f"--user {user[:80]}: the rules of --intercept host take root", "leave out --user")
    if offline and not address and intercept is not Intercept.HOST:
        raise usage("--offline cannot find out which address others reach", "add --address IP")
    made = _look(own_name, settings, user=user, root=root, starts=start and not only_check, offline=offline)
    return _act(made, only_check=only_check, dry_run=dry_run, start=start, offline=offline, output=output)


def leave(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="What to leave: as the unit lateen-NAME.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Everything that was joined on this machine.")] = False,
    root: RootOption = Path("/"),
) -> int:
    """Stop the service, and remove exactly what `lateen join` made. What was changed since is kept, and said."""
    from lateen.cli.joining.hosts import Host

    if bool(name) is every:
        raise usage("say which name, or --all", "`lateen leave NAME`")
    host = Host(root)
    names = host.names() if every else [name]
    for each in names:
        _leave(host, each, here=root == Path("/"))
    if not names:
        typer.echo("nothing was joined here", err=True)
    return ExitCode.DONE


def _refuse_of_workload(
    service: str, group: str, port: list[str] | None, upstream: list[str] | None, of_workload: dict[str, Any]
) -> None:
    from lateen.agent.settings import GATEWAY, AgentSettings

    usual = AgentSettings(mode=GATEWAY, name="any")
    different = any(value != getattr(usual, key) for key, value in of_workload.items())
    if service or group or port or upstream or different:
        raise usage(
            "--gateway has no service, group, ports, upstreams, version, interception, probe or metrics",
            "its Gateway objects say its ports; --label, which of them select it",
        )


def _gateway_settings(
    name: str, namespace: str, label: list[str] | None, port_map: list[str] | None, shared: dict[str, Any]
) -> AgentSettings:
    from lateen.agent.settings import GATEWAY
    from lateen.cli.workload_flags import read_labels, read_port_map

    return _settings(
        mode=GATEWAY,
        name=name,
        namespace=namespace or "default",
        labels=read_labels(label),
        port_map=read_port_map(port_map),
        **shared,
    )


def _workload_settings(
    service: str,
    group: str,
    label: list[str] | None,
    port: list[str] | None,
    upstream: list[str] | None,
    others: dict[str, Any],
) -> AgentSettings:
    from lateen.agent.settings import SIDECAR
    from lateen.cli.workload_flags import workload_flags, workload_names

    return _settings(mode=SIDECAR, **workload_names(service, group), **workload_flags(label, port, upstream), **others)


def _settings(**given: Any) -> AgentSettings:
    from lateen.agent.settings import AgentSettings, SettingsError
    from lateen.cli.workload_flags import check_control_plane

    check_control_plane(given["control_plane"])
    try:
        return AgentSettings(**given)
    except SettingsError as error:
        raise Failure(str(error), code=ExitCode.USAGE) from error


def _look(name: str, given: AgentSettings, *, user: str, root: Path, starts: bool, offline: bool) -> _Joining:
    """Look at everything that the checks want to know. Nothing is changed."""
    import os
    import sys

    from lateen.agent.addresses import host_port, port_problem, split_control_planes
    from lateen.agent.settings import HOST
    from lateen.cli.joining import certifying, observing
    from lateen.cli.joining.checks import Observations
    from lateen.cli.joining.hosts import Host, Owner, RecordError
    from lateen.cli.joining.plans import Wish, host_plan

    host, elsewhere = Host(root), root != Path("/")
    planes = split_control_planes(given.control_plane)
    account = observing.user_of(user) if user else None
    token, content, roots, problem = _read_token(given)
    # The token says it of the one that made it.
    told = token.join_port if token and len(planes) == 1 else 0
    seen = [
        observing.Plane(address=each) if offline else observing.plane(each, told or each[1] + 1, roots, token)
        for each in planes
    ]
    plane = next((each for each in seen if not each.problem), seen[0])
    if not given.address and given.interception != HOST:
        given = replace(given, address=observing.way_to(plane.found.addresses))
    own = given.address or next(iter(certifying.addresses(given)), "")
    plan = host_plan(
        Wish(name=name, settings=given, python=sys.executable, user=user),
        content,
        Path(given.ca_file).read_bytes() if given.ca_file else b"",
    )
    try:
        record = host.record(name)
        strangers = host.strangers(plan, record)
    except (RecordError, OSError) as error:
        raise Failure(f"{host.place(plan.record)}: {error}", hint="`sudo`, or move it away") from error
    kept = certifying.keeper(plan.settings, host.place(plan.state), own, account.pw_uid if account else None)
    now = observing.now()
    running = _agent_of(host, plan.state.as_posix()) is not None
    version, envoy_problem = observing.envoy(given, account)
    # Programs and users of an image are not this machine's.
    rules, rules_problem, rules_todo = ("", "", "") if elsewhere else observing.rules(given)
    observed = Observations(
        now=now,
        root=os.geteuid() == 0,
        elsewhere=elsewhere,
        offline=offline,
        user=user,
        user_known=not user or account is not None,
        python=sys.executable,
        python_problem=observing.run_problem((sys.executable, "-c", "import lateen.agent.settings"), account)[1],
        envoy=version,
        envoy_problem=envoy_problem,
        systemd=observing.systemd_runs(),
        starts=starts,
        folders=tuple(observing.folder_seen(host.place(each.path), each.path) for each in plan.folders),
        strangers=strangers,
        token_problem=str(problem or ""),
        token_todo=problem.todo if problem else "",
        token_file=given.token_file,
        token_subject=token.subject if token else "",
        token_issued=token.issued if token else 0.0,
        token_expires=token.expires if token else 0.0,
        control_plane=plane.address,
        addresses=plane.found.addresses,
        dns_problem=plane.found.problem,
        own_address=own,
        address_problem=port_problem(own, 0) if own else 0,
        # One that runs here already has its ports: its own, as they should be.
        ports=() if running or elsewhere or not own else observing.ports(given, own),
        rules=rules,
        rules_problem=rules_problem,
        rules_todo=rules_todo,
        servers=plane.servers,
        others_away=tuple(
            f"{host_port(*each.address)} cannot be joined by now: {each.problem}"
            for each in seen
            if each is not plane and each.problem
        ),
    )
    return _Joining(
        host=host,
        plan=plan,
        record=record,
        token=token,
        owner=Owner(uid=account.pw_uid, gid=account.pw_gid) if account and os.geteuid() == 0 else None,
        given=given,
        own=own,
        identity_until=certifying.still_good(kept.identity(), given, now),
        seen=observed,
    )


def _read_token(given: AgentSettings) -> tuple[JoinToken | None, bytes, str, Any]:
    """Return the token, its file's content, the roots to trust, and what is wrong with it (a JoinError)."""
    import time

    from lateen.agent.errors import JoinError
    from lateen.agent.join_tokens import read_token_file
    from lateen.agent.joining import check_token
    from lateen.agent.workload import wish

    roots = Path(given.ca_file).read_text(errors="replace") if given.ca_file else ""
    try:
        token = read_token_file(given.token_file)
        content = f"{token.secret}\n".encode()
        roots = roots or "".join(token.roots)
        check_token(wish(given), token, time.time())
        if not roots:
            raise JoinError(f"the token in {token.file} holds no roots", "pass the control plane's with --ca-file FILE")
        return token, content, roots, None
    except JoinError as error:
        return None, b"", roots, error


def _act(made: _Joining, *, only_check: bool, dry_run: bool, start: bool, offline: bool, output: Output) -> int:
    from lateen.cli.joining.checks import check, problems

    checks = check(made.seen)
    _show(checks, output)
    if bad := problems(checks):
        code = ExitCode.UNREACHABLE if all(each.network for each in bad) else ExitCode.REJECTED
        raise Failure(f"{len(bad)} of {len(checks)} checks failed: nothing was written", code=code)
    if only_check:
        return ExitCode.DONE
    here = not made.seen.elsewhere
    changes = made.host.differences(made.plan, made.record)
    if dry_run:
        _print_plan(made, start=start and here)
        return ExitCode.DONE
    identity = None
    if not offline and not made.identity_until:
        identity = _earlier(made) or _certificate(made)
    if not changes and identity is None:
        typer.echo(f"{made.plan.unit} is joined already, and nothing of it changes", err=True)
        if start and here and made.seen.systemd and _agent_of(made.host, str(made.plan.state)) is None:
            _systemctl("start", "--no-block", made.plan.unit)
        return ExitCode.DONE
    for change in changes if made.record else ():
        typer.echo(f"changes: {change}", err=True)
    _write(made, identity)
    if start and here and made.seen.systemd:
        for _, *words in made.plan.start_commands:
            _systemctl(*words)
        typer.echo(f"started {made.plan.unit}: `journalctl -u {made.plan.unit} -f` shows what it does", err=True)
    else:
        typer.echo(f"installed {made.plan.unit}, not started", err=True)
    return ExitCode.DONE


def _earlier(made: _Joining) -> FirstIdentity | None:
    """Return the identity of an earlier join of this name: its token may be used up."""
    from lateen.cli.joining.certifying import earlier_identity

    state, owner = made.plan.state, made.owner.uid if made.owner else None
    return earlier_identity(made.plan.settings, state, made.host.place(state), made.own, owner, made.seen.now)


def _certificate(made: _Joining) -> FirstIdentity | None:
    from lateen.agent.errors import JoinError
    from lateen.agent.joining import shown
    from lateen.agent.secure_connection import ConnectError
    from lateen.agent.workload import wish
    from lateen.cli.joining.certifying import first_identity
    from lateen.cli.logs import configure_logs

    # What the agent's code would log is said here, or is no news.
    configure_logs("error")
    try:
        identity = first_identity(made.plan.settings, wish(made.given), made.plan.state, made.own)
    except JoinError as error:
        todo = error.todo if "again" not in error.todo else "nothing was written"
        raise Failure(f"{error}: nothing was written", hint=todo) from error
    except ConnectError as error:
        raise Failure(f"{error}: nothing was written", code=ExitCode.UNREACHABLE) from error
    if identity:
        typer.echo(f"has a certificate of {identity.uri}, until {shown(identity.expires)}", err=True)
    return identity


def _write(made: _Joining, identity: FirstIdentity | None) -> None:
    """Write all, or, when that fails, take back what was written."""
    try:
        made.host.write(made.plan, made.record, made.token.id if made.token else "", made.owner)
        if identity:
            made.host.keep(identity.folder, identity.name, identity.content, made.plan.state, made.owner)
    except OSError as error:
        if made.record is None and (written := made.host.record(made.plan.name)):
            made.host.remove(written)
        raise Failure(f"cannot write {error.filename}: {error.strerror}") from error


def _show(checks: tuple[Check, ...], output: Output) -> None:
    from lateen.cli.output import print_json, print_yaml

    rows = [
        {"check": each.name, "state": each.state.value, "message": each.message, "todo": each.todo} for each in checks
    ]
    match output:
        case Output.JSON:
            print_json(rows)
        case Output.YAML:
            print_yaml([rows])
        case Output.TABLE:
            for each in checks:
                typer.echo(f"{each.state.value:8} {each.name:12} {each.message}")
                if each.todo:
                    typer.echo(f"{'':22}{each.todo}")


def _print_plan(made: _Joining, *, start: bool) -> None:
    plan = made.plan
    for file in plan.files:
        shown = "(the token)\n" if file.secret else file.content.decode()
        typer.echo(f"\n# {file.path}, mode {file.mode:04o}\n{shown}", nl=False)
    for link in plan.links:
        typer.echo(f"\n# {link.path} -> {link.target}")
    typer.echo(f"\n# {plan.state}: first certificate and key\n# {plan.record}: what was made")
    for command in plan.start_commands if start else ():
        typer.echo(f"$ {' '.join(command)}")


def _leave(host: Host, name: str, *, here: bool) -> None:
    """Leave one. Raises Failure when there is nothing on record, or something does not go."""
    from lateen.cli.joining.hosts import RecordError
    from lateen.cli.joining.observing import systemd_runs

    try:
        record = host.record(name) if _NAME.fullmatch(name) else None
    except (RecordError, OSError) as error:
        raise Failure(f"what was made for {name} cannot be told: {error}", hint="`sudo`?") from error
    if record is None:
        known = ", ".join(host.names()) or "none"
        raise Failure(f"no join of {name!r} is on record here; those that are: {known}")
    systemd = here and systemd_runs()
    if systemd:
        _systemctl("stop", record.unit, ok=(0, 5))
    _stop(host, record)
    try:
        kept = host.remove(record)
    except OSError as error:
        raise Failure(f"cannot remove {error.filename}: {error.strerror}", hint="`sudo`? then leave again") from error
    if systemd:
        _systemctl("daemon-reload")
        _systemctl("reset-failed", record.unit, ok=(0, 1, 5))
    typer.echo(f"{name} has left", err=True)
    for path in kept:
        typer.echo(f"kept {path}: it was changed since", err=True)
    revoke = f"`lateen token revoke {record.token_id[:12]}`" if record.token_id else "`lateen token revoke ID`"
    typer.echo(
        f"nothing was revoked: {revoke} on the control plane takes the token back; "
        "the certificate went with its key, and is good until it expires wherever it was copied to",
        err=True,
    )


def _stop(host: Host, record: Record) -> None:
    """End an agent that something else than systemd started, and wait until it has drained."""
    import os
    import signal
    import time

    pid = _agent_of(host, record.state)
    if pid is None:
        return
    typer.echo(f"stopping the agent, process {pid}", err=True)
    try:
        watched = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
    except OSError as error:
        raise Failure(f"cannot stop process {pid}: {error.strerror}", hint="`sudo`?") from error
    import select

    try:
        begun = time.monotonic()
        ended, _, _ = select.select([watched], [], [], 60)
    finally:
        os.close(watched)
    if not ended:
        raise Failure(f"process {pid} did not end in {time.monotonic() - begun:.0f} s", code=ExitCode.TIMEOUT)


def _agent_of(host: Host, state: str) -> int | None:
    """Return the process of the agent that runs with this state folder; None when none does."""
    from lateen.cli.agents import running

    place = host.place(state)
    try:
        return next((int(answer["pid"]) for _, answer in running(place)), None)
    except (OSError, ValueError, KeyError):
        return None


def _systemctl(*words: str, ok: tuple[int, ...] = (0,)) -> None:
    import subprocess

    try:
        done = subprocess.run(("systemctl", *words), capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"`systemctl {' '.join(words)}`: {error}") from error
    if done.returncode not in ok:
        raise Failure(f"`systemctl {' '.join(words)}`: {done.stderr.strip()[:500]}")
