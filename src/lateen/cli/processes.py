"""Commands that run a process: serve, run, proxy sidecar, proxy gateway, demo.

Registered by `cli/commands.py`. `run` and `proxy` only read flags and exec into the agent, so that no command-line
library stays in the memory of a process that lives as long as its workload.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.options import MeshConfigOption

if TYPE_CHECKING:
    from lateen.agent.settings import AgentSettings

DEFAULT_CONTROL_PLANE = "127.0.0.1:15010"


class LogLevel(StrEnum):
    """Levels of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Intercept(StrEnum):
    """How the app's traffic reaches its sidecar."""

    NONE = "none"
    PROXY = "proxy"
    NETNS = "netns"
    HOST = "host"


class Hops(StrEnum):
    """Which side of a workload goes through its sidecar."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    BOTH = "both"


class InboundMode(StrEnum):
    """How inbound connections are intercepted."""

    REDIRECT = "redirect"
    TPROXY = "tproxy"


def serve(
    config: Annotated[
        list[Path] | None, typer.Option("--config", metavar="DIR", help="Folder to watch (GitOps); repeatable.")
    ] = None,
    store: Annotated[str, typer.Option("--store", metavar="URL", help="Where `apply` writes: memory:")] = "memory:",
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Where the control plane keeps what it learned, and its certificate authority; without it, the one in "
            "memory only, the other in the user's own folder for state.",
        ),
    ] = None,
    ca_files: Annotated[
        Path | None,
        typer.Option(
            "--ca-files",
            metavar="DIR",
            help="Certificate authority to use instead of our own: ca-cert.pem, ca-key.pem, root-cert.pem, "
            "cert-chain.pem.",
        ),
    ] = None,
    certificate_ttl: Annotated[
        str,
        typer.Option(
            "--certificate-ttl", metavar="DURATION", help="Life of workloads' certificates, at most: 1m to 24h."
        ),
    ] = "24h",
    rotation_pause: Annotated[
        str,
        typer.Option(
            "--rotation-pause",
            metavar="DURATION",
            help="Shortest time of each phase of a root's rotation, for workloads to connect.",
        ),
    ] = "30s",
    mesh_config: MeshConfigOption = None,
    grpc: Annotated[
        str, typer.Option("--grpc", metavar="ADDR", help="Plaintext xDS, on loopback only.")
    ] = "127.0.0.1:15010",
    secure_grpc: Annotated[
        str,
        typer.Option("--secure-grpc", metavar="ADDR", help="xDS with mutual TLS; default: port of --grpc + 2."),
    ] = "",
    join: Annotated[
        str,
        typer.Option(
            "--join", metavar="ADDR", help="First certificates, for a token; default: port of --secure-grpc + 1."
        ),
    ] = "",
    http: Annotated[
        str, typer.Option("--http", metavar="ADDR", help="HTTP API; with TLS when not on loopback.")
    ] = "127.0.0.1:15080",
    api_socket: Annotated[
        Path | None,
        typer.Option("--api-socket", metavar="PATH", help="Unix socket of the HTTP API, for the same user and root."),
    ] = None,
    monitoring: Annotated[
        str, typer.Option("--monitoring", metavar="ADDR", help="Metrics and health.")
    ] = "127.0.0.1:15014",
    plain_key_host: Annotated[
        list[str] | None,
        typer.Option(
            "--plain-key-host", metavar="HOST", help="Take JWKS over plain http from this host too; may be repeated."
        ),
    ] = None,
    key_refresh: Annotated[
        str, typer.Option("--key-refresh", metavar="DURATION", help="How often JWKS are fetched again.")
    ] = "20m",
    debounce_quiet: Annotated[
        str,
        typer.Option("--debounce-quiet", metavar="DURATION", help="Time without a change before changes act."),
    ] = "100ms",
    debounce_max: Annotated[
        str,
        typer.Option("--debounce-max", metavar="DURATION", help="Longest delay of a change while others keep coming."),
    ] = "10s",
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="Least severe message to log.")] = LogLevel.INFO,
) -> int:
    """Run the control plane until SIGTERM or SIGINT."""
    from lateen.app.settings import Settings, StartError
    from lateen.cli.logs import configure_logs
    from lateen.cli.serving import (
        ca_folder,
        read_certificate_ttl,
        read_debounce,
        read_key_refresh,
        read_rotation_pause,
        serve_until_signal,
    )

    quiet, longest = read_debounce(debounce_quiet, debounce_max)
    configure_logs(log_level.value)
    # Others are told where their token is, and may be in another folder than we are.
    state = state.absolute() if state else None
    settings = Settings(
        config_dirs=tuple(config or ()),
        store=store,
        state=state,
        ca=ca_folder(state),
        ca_files=ca_files,
        certificate_ttl=read_certificate_ttl(certificate_ttl),
        rotation_pause=read_rotation_pause(rotation_pause),
        mesh_config=mesh_config,
        grpc=grpc,
        secure_grpc=secure_grpc,
        join=join,
        api_socket=api_socket,
        http=http,
        monitoring=monitoring,
        plain_key_hosts=tuple(plain_key_host or ()),
        key_refresh=read_key_refresh(key_refresh),
        debounce_quiet=quiet,
        debounce_max=longest,
    )
    try:
        serve_until_signal(settings)
    except StartError as error:
        raise Failure(str(error), code=ExitCode(error.exit_code)) from error
    return ExitCode.DONE


ServiceOption = Annotated[
    str, typer.Option("--service", metavar="NAME[.NAMESPACE]", help="Service that the workload belongs to.")
]
GroupOption = Annotated[
    str,
    typer.Option(
        "--workload-group",
        metavar="NAME[.NAMESPACE]",
        help="WorkloadGroup whose template says what is not given here: labels, locality, network, ports.",
    ),
]
VersionOption = Annotated[str, typer.Option("--version", metavar="V", help="Version label.")]
LabelsOption = Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="Label; repeatable.")]
PortsOption = Annotated[
    list[str] | None,
    typer.Option("--port", metavar="PORT[/PROTOCOL]", help="Port that the workload serves; repeatable."),
]
UpstreamsOption = Annotated[
    list[str] | None,
    typer.Option("--upstream", metavar="NAME:PORT=LOCALPORT", help="Local port for a service; repeatable."),
]
ServiceAccountOption = Annotated[str, typer.Option("--service-account", metavar="SA", help="Identity.")]
LocalityOption = Annotated[str, typer.Option("--locality", metavar="R/Z/S", help="Region/zone/subzone.")]
NetworkOption = Annotated[str, typer.Option("--network", metavar="NAME", help="Network of the workload.")]
ControlPlaneOption = Annotated[
    str,
    typer.Option(
        "--control-plane",
        envvar="LATEEN_CONTROL_PLANE",
        metavar="HOST:PORT",
        help="xDS address; several, of control planes with one CA, with commas between their mutual TLS addresses.",
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token", metavar="FILE", help="Token to join the mesh with; not needed beside the control plane as its user."
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="FILE", help="Root certificates (PEM) of the control plane; default: those in the token."
    ),
]
InterceptOption = Annotated[
    Intercept,
    typer.Option(
        "--intercept",
        help="How traffic reaches the sidecar: by HTTP_PROXY, by --upstream alone, or by rules that the app does not "
        "notice, in a network namespace of its own or on this host (both need root).",
    ),
]
HopsOption = Annotated[Hops, typer.Option("--hops", help="With netns and host: which side goes through the sidecar.")]
InboundModeOption = Annotated[
    InboundMode, typer.Option("--inbound-mode", help="With netns: tproxy lets the app see its clients' addresses.")
]
OwnRulesOption = Annotated[
    bool,
    typer.Option("--rules/--no-rules", help="With host: apply the rules, or leave that to `lateen intercept apply`."),
]
DnsOption = Annotated[
    bool, typer.Option("--dns/--no-dns", help="With host: answer the app's DNS, names of services included, or not.")
]
AppUserOption = Annotated[
    str, typer.Option("--app-user", metavar="USER", help="With netns and host: user or uid that the app runs as.")
]
ExcludePortOption = Annotated[
    list[int] | None,
    typer.Option("--exclude-port", metavar="PORT", help="Outbound port that is not intercepted; repeatable."),
]
ExcludeNetworkOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-network", metavar="CIDR", help="Destinations that are not intercepted; repeatable."),
]
AddressOption = Annotated[
    str, typer.Option("--address", metavar="IP", help="Own address; default: a free loopback one.")
]
AgentStateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="Where to keep the last good configuration and certificate; the user's own folder for state by default.",
    ),
]
PrintAddressesOption = Annotated[
    bool, typer.Option("--print-addresses", help="One JSON line on stdout once the proxy is ready.")
]
StatsPrefixesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stats-inclusion-prefix", metavar="TEXT", help="Envoy makes statistics that begin so, too; repeatable."
    ),
]
StatsSuffixesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stats-inclusion-suffix", metavar="TEXT", help="Envoy makes statistics that end so, too; repeatable."
    ),
]
StatsRegexpsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stats-inclusion-regexp",
        metavar="RE2",
        help="Envoy makes statistics whose whole name matches, too; repeatable.",
    ),
]
ProbeOption = Annotated[
    str,
    typer.Option(
        "--probe",
        metavar="PROBE",
        help="How the app is found ready: http://:PORT/PATH, https://..., tcp://:PORT, grpc://:PORT[/SERVICE] or "
        "exec:COMMAND; default: its WorkloadGroup's, else by a connection to each port.",
    ),
]
ProbePeriodOption = Annotated[
    float, typer.Option("--probe-period", metavar="SECONDS", help="With --probe: time between two checks.")
]
ProbeTimeoutOption = Annotated[
    float, typer.Option("--probe-timeout", metavar="SECONDS", help="With --probe: longest time of a check.")
]
ProbeFailuresOption = Annotated[
    int, typer.Option("--probe-failures", metavar="N", help="With --probe: failures in a row until traffic stays away.")
]
ProbeSuccessesOption = Annotated[
    int, typer.Option("--probe-successes", metavar="N", help="With --probe: successes in a row until it comes back.")
]
ProbeDelayOption = Annotated[
    float, typer.Option("--probe-delay", metavar="SECONDS", help="With --probe: time before the first check.")
]
ExecProbeOption = Annotated[
    bool, typer.Option("--allow-exec-probe", help="Run the command that the WorkloadGroup names as its probe.")
]
MetricsOption = Annotated[
    str,
    typer.Option(
        "--metrics",
        metavar="[PORT]/PATH",
        help="The app's own metrics, shown on the agent's page too; without a port on its first one.",
    ),
]


def run(
    service: ServiceOption = "",
    command: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND...", help="The app.")] = None,
    workload_group: GroupOption = "",
    version: VersionOption = "",
    label: LabelsOption = None,
    port: PortsOption = None,
    upstream: UpstreamsOption = None,
    service_account: ServiceAccountOption = "default",
    locality: LocalityOption = "",
    network: NetworkOption = "",
    control_plane: ControlPlaneOption = DEFAULT_CONTROL_PLANE,
    token: TokenOption = None,
    ca_file: CaFileOption = None,
    intercept: InterceptOption = Intercept.PROXY,
    hops: HopsOption = Hops.BOTH,
    inbound_mode: InboundModeOption = InboundMode.REDIRECT,
    own_rules: OwnRulesOption = True,
    dns: DnsOption = True,
    app_user: AppUserOption = "",
    exclude_port: ExcludePortOption = None,
    exclude_network: ExcludeNetworkOption = None,
    address: AddressOption = "",
    state: AgentStateOption = None,
    job: Annotated[
        bool, typer.Option("--job", help="The app is a one-shot job: it serves nothing, and its end is the end.")
    ] = False,
    print_addresses: PrintAddressesOption = False,
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
) -> int:
    """Run an app with its sidecar beside it. Everything after `--` is the app's command."""
    from lateen.agent.settings import RUN
    from lateen.cli.app_flags import read_metrics, read_probe
    from lateen.cli.workload_flags import given_file, stats_inclusion, workload_flags, workload_names

    exec_agent(
        mode=RUN,
        **workload_names(service, workload_group),
        version=version,
        service_account=service_account,
        locality=locality,
        network=network,
        control_plane=control_plane,
        token_file=given_file(token, "--token"),
        ca_file=given_file(ca_file, "--ca-file"),
        interception=intercept.value,
        hops=hops.value,
        inbound_mode=inbound_mode.value,
        own_rules=own_rules,
        dns=dns,
        app_user=app_user,
        exclude_ports=tuple(exclude_port or ()),
        exclude_networks=tuple(exclude_network or ()),
        address=address,
        state_folder=str(state.absolute()) if state else "",
        job=job,
        print_addresses=print_addresses,
        stats_inclusion=stats_inclusion(stats_inclusion_prefix, stats_inclusion_suffix, stats_inclusion_regexp),
        probe=read_probe(
            probe,
            period=probe_period,
            timeout=probe_timeout,
            failures=probe_failures,
            successes=probe_successes,
            delay=probe_delay,
        ),
        group_exec=allow_exec_probe,
        **read_metrics(metrics),
        command=tuple(command or ()),
        **workload_flags(label, port, upstream),
    )


def sidecar(
    service: ServiceOption = "",
    workload_group: GroupOption = "",
    version: VersionOption = "",
    label: LabelsOption = None,
    port: PortsOption = None,
    upstream: UpstreamsOption = None,
    service_account: ServiceAccountOption = "default",
    locality: LocalityOption = "",
    network: NetworkOption = "",
    control_plane: ControlPlaneOption = DEFAULT_CONTROL_PLANE,
    token: TokenOption = None,
    ca_file: CaFileOption = None,
    intercept: InterceptOption = Intercept.PROXY,
    hops: HopsOption = Hops.BOTH,
    inbound_mode: InboundModeOption = InboundMode.REDIRECT,
    own_rules: OwnRulesOption = True,
    dns: DnsOption = True,
    app_user: AppUserOption = "",
    exclude_port: ExcludePortOption = None,
    exclude_network: ExcludeNetworkOption = None,
    address: AddressOption = "",
    state: AgentStateOption = None,
    print_addresses: PrintAddressesOption = False,
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
) -> int:
    """Run a sidecar alone, for an app that something else starts."""
    from lateen.agent.settings import SIDECAR
    from lateen.cli.app_flags import read_metrics, read_probe
    from lateen.cli.workload_flags import given_file, stats_inclusion, workload_flags, workload_names

    exec_agent(
        mode=SIDECAR,
        **workload_names(service, workload_group),
        version=version,
        service_account=service_account,
        locality=locality,
        network=network,
        control_plane=control_plane,
        token_file=given_file(token, "--token"),
        ca_file=given_file(ca_file, "--ca-file"),
        interception=intercept.value,
        hops=hops.value,
        inbound_mode=inbound_mode.value,
        own_rules=own_rules,
        dns=dns,
        app_user=app_user,
        exclude_ports=tuple(exclude_port or ()),
        exclude_networks=tuple(exclude_network or ()),
        address=address,
        state_folder=str(state.absolute()) if state else "",
        print_addresses=print_addresses,
        stats_inclusion=stats_inclusion(stats_inclusion_prefix, stats_inclusion_suffix, stats_inclusion_regexp),
        probe=read_probe(
            probe,
            period=probe_period,
            timeout=probe_timeout,
            failures=probe_failures,
            successes=probe_successes,
            delay=probe_delay,
        ),
        group_exec=allow_exec_probe,
        **read_metrics(metrics),
        **workload_flags(label, port, upstream),
    )


def gateway(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the gateway.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace.")] = "default",
    label: LabelsOption = None,
    port_map: Annotated[
        list[str] | None,
        typer.Option("--port-map", metavar="PORT:BOUND", help="Bind another port; default below 1024: port + 8000."),
    ] = None,
    service_account: ServiceAccountOption = "default",
    locality: LocalityOption = "",
    network: NetworkOption = "",
    control_plane: ControlPlaneOption = DEFAULT_CONTROL_PLANE,
    token: TokenOption = None,
    ca_file: CaFileOption = None,
    address: AddressOption = "",
    state: AgentStateOption = None,
    print_addresses: PrintAddressesOption = False,
    stats_inclusion_prefix: StatsPrefixesOption = None,
    stats_inclusion_suffix: StatsSuffixesOption = None,
    stats_inclusion_regexp: StatsRegexpsOption = None,
) -> int:
    """Run an ingress or egress gateway. Gateways are selected by its labels."""
    from lateen.agent.settings import GATEWAY
    from lateen.cli.workload_flags import given_file, read_labels, read_port_map, stats_inclusion

    exec_agent(
        mode=GATEWAY,
        name=name,
        namespace=namespace,
        labels=read_labels(label),
        port_map=read_port_map(port_map),
        service_account=service_account,
        locality=locality,
        network=network,
        control_plane=control_plane,
        token_file=given_file(token, "--token"),
        ca_file=given_file(ca_file, "--ca-file"),
        address=address,
        state_folder=str(state.absolute()) if state else "",
        print_addresses=print_addresses,
        stats_inclusion=stats_inclusion(stats_inclusion_prefix, stats_inclusion_suffix, stats_inclusion_regexp),
    )


def exec_agent(**settings: Any) -> NoReturn:
    """Replace this process by the agent. Raises Failure for settings that contradict themselves; returns never."""
    from lateen.agent.settings import AgentSettings, SettingsError
    from lateen.cli.workload_flags import check_control_plane

    check_control_plane(settings["control_plane"])
    try:
        made = AgentSettings(**settings)
    except SettingsError as error:
        raise Failure(str(error), code=ExitCode.USAGE) from error
    words = agent_command(made)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(words[0], words)  # noqa: S606  the agent takes this process over


def agent_command(settings: AgentSettings) -> list[str]:
    """Return the command line of the agent process."""
    return [sys.executable, "-m", "lateen.agent", settings.to_json()]


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the mesh running after the tour.")] = False,
    no_traffic: Annotated[bool, typer.Option("--no-traffic", help="Start the mesh without the tour.")] = False,
) -> int:
    """Run a whole mesh on this machine: control plane, gateway, six services, and a canary tour."""
    from lateen.cli.demo import demo as run_demo

    return run_demo(keep=keep, traffic=not no_traffic)
