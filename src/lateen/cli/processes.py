"""Commands that run a process: serve, run, proxy sidecar, proxy gateway, demo.

Registered by `cli/commands.py`. `run` and `proxy` only read flags and say which agent to become; `main` does so by
exec, so that no command-line library stays in the memory of a process that lives as long as its workload.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.options import MeshConfigOption
from lateen.cli.workload_options import (
    DEFAULT_CONTROL_PLANE,
    PROBE_TIMES,
    AddressOption,
    AgentStateOption,
    AppUserOption,
    CaFileOption,
    ControlPlaneOption,
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
    PrintAddressesOption,
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
    TokenOption,
    UpstreamsOption,
    VersionOption,
)

if TYPE_CHECKING:
    from lateen.agent.settings import AgentSettings

_AS_GIVEN = ("service_account", "locality", "network", "control_plane", "address", "print_addresses")


@dataclass(frozen=True, slots=True)
class Becoming:
    """What a command ends with that is to be an agent from then on: `main` replaces this process."""

    words: tuple[str, ...]
    """The agent's command line."""

    def become(self) -> NoReturn:
        """Replace this process; returns never."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(self.words[0], self.words)  # noqa: S606  the agent takes this process over


class LogLevel(StrEnum):
    """Levels of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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
    stop_timeout: Annotated[
        float,
        typer.Option("--stop-timeout", metavar="SECONDS", help="Longest wait for the app to end, before SIGKILL."),
    ] = 10.0,
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
) -> Becoming:
    """Run an app with its sidecar beside it. Everything after `--` is the app's command."""
    given = dict(locals())
    from lateen.agent.settings import RUN

    app = {"command": tuple(command or ()), "job": job, "app_stop_seconds": stop_timeout}
    return _becoming(mode=RUN, **app, **_of_agent(given), **_of_workload(given))


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
) -> Becoming:
    """Run a sidecar alone, for an app that something else starts."""
    given = dict(locals())
    from lateen.agent.settings import SIDECAR

    return _becoming(mode=SIDECAR, **_of_agent(given), **_of_workload(given))


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
) -> Becoming:
    """Run an ingress or egress gateway. Gateways are selected by its labels."""
    given = dict(locals())
    from lateen.agent.settings import GATEWAY
    from lateen.cli.workload_flags import read_labels, read_port_map

    return _becoming(
        mode=GATEWAY,
        name=name,
        namespace=namespace,
        labels=read_labels(label),
        port_map=read_port_map(port_map),
        **_of_agent(given),
    )


def _of_agent(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that every agent has, of the parameters that `run`, `sidecar` and `gateway` share."""
    from lateen.cli.workload_flags import given_file, stats_inclusion

    state = given["state"]
    patterns = (given[f"stats_inclusion_{kind}"] for kind in ("prefix", "suffix", "regexp"))
    return {
        **{name: given[name] for name in _AS_GIVEN},
        "token_file": given_file(given["token"], "--token"),
        "ca_file": given_file(given["ca_file"], "--ca-file"),
        "state_folder": str(state.absolute()) if state else "",
        "stats_inclusion": stats_inclusion(*patterns),
    }


def _of_workload(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an app's agent, of the parameters that `run` and `sidecar` share."""
    from lateen.cli.app_flags import read_metrics, read_probe
    from lateen.cli.workload_flags import workload_flags, workload_names

    return {
        **workload_names(given["service"], given["workload_group"]),
        **workload_flags(given["label"], given["port"], given["upstream"]),
        **read_metrics(given["metrics"]),
        **{name: given[name] for name in ("version", "own_rules", "dns", "app_user")},
        **{name: given[name].value for name in ("hops", "inbound_mode")},
        "interception": given["intercept"].value,
        "exclude_ports": tuple(given["exclude_port"] or ()),
        "exclude_networks": tuple(given["exclude_network"] or ()),
        "probe": read_probe(given["probe"], **{name: given[f"probe_{name}"] for name in PROBE_TIMES}),
        "group_exec": given["allow_exec_probe"],
    }


def _becoming(**settings: Any) -> Becoming:
    """Return the agent with these settings. Raises Failure for those that contradict themselves."""
    from lateen.agent.settings import AgentSettings, SettingsError
    from lateen.cli.workload_flags import check_control_plane

    check_control_plane(settings["control_plane"])
    try:
        made = AgentSettings(**settings)
    except SettingsError as error:
        raise Failure(str(error), code=ExitCode.USAGE) from error
    return Becoming(tuple(agent_command(made)))


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
