"""Options about one workload and its agent, as annotated types: name, form and help of each stand here only.

Used by `run`, `proxy` and `join`, whose reference pages are made from them, and by `intercept` for words they share.
Imported by command modules, so it stays light. What a text becomes is in `workload_flags` and `app_flags`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONTROL_PLANE = "127.0.0.1:15010"
PROBE_TIMES = {"period": 5.0, "timeout": 1.0, "failures": 1, "successes": 1, "delay": 0.0}
"""Fields of Probe that have a flag `--probe-...` of the same name, and what they are without it."""


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
