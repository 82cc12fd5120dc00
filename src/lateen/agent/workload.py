"""Settings turned into what others are told: the registration, Envoy's node, the line of addresses. Pure.

Called by `lifecycle` and `membership`. Must not know: sockets or processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lateen.agent.addresses import OwnAddress, host_port, split_control_planes
from lateen.agent.attach_protocol import Registered
from lateen.agent.interception.capture import INBOUND_PORT
from lateen.agent.interception.places import Place, hops
from lateen.agent.joining import Wish
from lateen.agent.settings import GATEWAY, OUTBOUND, PROXY, AgentSettings, SettingsError
from lateen.agent.status import METRICS_PATH, READY_PATH
from lateen.envoy.bootstrap import OUTBOUND_PORT, BootstrapSettings
from lateen.envoy.statistics import StatsInclusion
from lateen.model.loopback import is_loopback
from lateen.model.probes import EXEC, Probe
from lateen.model.proxies import PRIVILEGED_PORTS, Proxy, ProxyType
from lateen.model.services import Locality
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

_HERE = Place()
TLS_MODE = "security.istio.io/tlsMode"
"""Istio's label of a workload: `istio` takes mutual TLS of the mesh, everything else does not."""
OUTBOUND_ROUTES = "http_proxy"
"""Name of the routes that the explicit outbound proxy serves."""


_TOLD = (
    "concurrency", "environment", "drain_seconds", "envoy_drain_seconds", "stats_inclusion",
    "labels", "service_account", "locality", "network", "ports", "probe", "metrics_port", "metrics_path",
    "merges_metrics",
)  # fmt: skip
"""Settings that `as_told` may change."""


def registration(settings: AgentSettings, address: str, app_ports: Mapping[int, int]) -> WorkloadRegistration:
    """Return the first registration: not ready, and the app expected where it was told to listen (0: as dialled)."""
    return WorkloadRegistration(
        service="" if settings.mode == GATEWAY else settings.service,
        namespace=settings.namespace,
        address=address,
        name=settings.name,
        version=settings.version,
        # Without a sidecar before it, the app gets what callers send: plain text, then.
        labels={**settings.labels, **({TLS_MODE: "disabled"} if settings.hops == OUTBOUND else {})},
        service_account=settings.service_account,
        locality=settings.locality,
        network=settings.network,
        group=settings.workload_group,
        ports=tuple(
            WorkloadPort(port=port, protocol=protocol, app_port=app_ports.get(port, 0))
            for port, protocol in settings.ports
        ),
    )


def as_told(settings: AgentSettings, told: Registered | None) -> AgentSettings:
    """Return the settings with what the control plane said of the proxy, and of the workload by its group.

    Statistics that flags ask for are made besides; flags for the rest there are none. SettingsError when a group says
    what no workload can be.
    """
    if told is None:
        return settings
    proxy, group, flags = told.proxy, told.group, settings.stats_inclusion
    settings = replace(
        settings,
        concurrency=settings.concurrency if proxy.concurrency is None else proxy.concurrency or _cores(),
        environment=proxy.environment,
        drain_seconds=settings.drain_seconds if proxy.drain_seconds is None else proxy.drain_seconds,
        envoy_drain_seconds=proxy.envoy_drain_seconds,
        stats_inclusion=StatsInclusion(
            prefixes=(*flags.prefixes, *proxy.stats_prefixes),
            suffixes=(*flags.suffixes, *proxy.stats_suffixes),
            regexps=(*flags.regexps, *proxy.stats_regexps),
        ),
        merges_metrics=proxy.merges_metrics,
    )
    settings = _with_app_pages(settings, told)
    if group is None:
        if settings.workload_group:
            # It has taken the workload for one without a group.
            raise SettingsError("the control plane is too old to know WorkloadGroups: update it")
        return settings
    return replace(
        settings,
        labels=group.labels,
        service_account=group.service_account or settings.service_account,
        locality=group.locality,
        network=group.network,
        ports=settings.ports or tuple((port, "") for port in group.ports),
    )


def _with_app_pages(settings: AgentSettings, told: Registered) -> AgentSettings:
    """Return the settings with what is said of the app's health and metrics, where flags say nothing."""
    if settings.mode == GATEWAY:
        return settings
    probe = told_probe(told)
    if settings.probe is None and probe is not None and (probe.kind != EXEC or settings.group_exec):
        settings = replace(settings, probe=probe)
    if told.group is not None and told.group.metrics_path and not settings.metrics_path:
        group = told.group
        # Its first port is not known before the group's ports are taken.
        port = group.metrics_port or next(iter((*(port for port, _ in settings.ports), *group.ports)), 0)
        settings = replace(settings, metrics_port=port, metrics_path=group.metrics_path) if port else settings
    return settings


def told_probe(told: Registered) -> Probe | None:
    """Return the probe that the control plane wants: its group's, else that of every workload."""
    return (told.group.probe if told.group is not None else None) or told.proxy.probe


def declines_probe(settings: AgentSettings, told: Registered | None) -> bool:
    """Whether the settings go without a command that the control plane wants run: the user here did not allow it."""
    probe = told_probe(told) if told is not None else None
    return probe is not None and probe.kind == EXEC and settings.probe is None and settings.mode != GATEWAY


def as_remembered(settings: AgentSettings, kept: str) -> AgentSettings:
    """Return the settings with what the control plane had said of them in an earlier life of the workload."""
    try:
        before = AgentSettings.from_json(kept)
    except SettingsError:
        return settings
    remembered = replace(settings, **{name: getattr(before, name) for name in _TOLD})
    if settings.probe is not None or (before.probe is not None and before.probe.kind == EXEC):
        # Which command runs here, this life's flags say.
        remembered = replace(remembered, probe=settings.probe)
    return remembered


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_app_ports(registered: WorkloadRegistration, app_ports: Mapping[int, int]) -> WorkloadRegistration:
    """Return the registration with what is known now about where the app listens."""
    ports = tuple(replace(port, app_port=app_ports.get(port.port, port.app_port)) for port in registered.ports)
    return replace(registered, ports=ports)


def port_map(settings: AgentSettings, address: OwnAddress) -> dict[int, int]:
    """Return declared port -> port to bind: what the user mapped, or what shares an address had to move."""
    return dict(settings.port_map) if settings.mode == GATEWAY else address.ports.moved()


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """The control plane as Envoy must know it."""

    address: tuple[str, int]
    identity: str = ""
    """SPIFFE ID that it must show; empty where it gives no certificates."""
    others: tuple[tuple[str, int], ...] = ()
    """Further ones, for when it does not answer."""


def is_out_of_reach(settings: AgentSettings, ip: str) -> bool:
    """Whether others are meant to call this workload and cannot: they are elsewhere, as the control plane is."""
    planes = (host for host, _ in split_control_planes(settings.control_plane))
    called = settings.ports or settings.workload_group or settings.mode == GATEWAY
    return bool(called) and is_loopback(ip) and not any(map(is_loopback, planes))


def wish(settings: AgentSettings) -> Wish:
    """Return whom the certificate is for, and by what right."""
    return Wish(
        namespace=settings.namespace,
        service_account=settings.service_account,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
    )


def proxy_of(
    settings: AgentSettings,
    name: str,
    address: OwnAddress,
    *,
    privileged: bool,
    certificates: bool = False,
    place: Place = _HERE,
) -> Proxy:
    """Return who the workload's Envoy is. Labels are those that the workload's endpoints carry."""
    labels = dict(settings.labels)
    if settings.mode != GATEWAY:
        if settings.service:
            labels.setdefault("app", settings.service)
        if settings.version and (settings.workload_group or "version" not in labels):
            labels["version"] = settings.version
    return Proxy(
        type=ProxyType.GATEWAY if settings.mode == GATEWAY else ProxyType.SIDECAR,
        name=name,
        namespace=settings.namespace,
        addresses=place.addresses or (address.ip,),
        labels=labels,
        service_account=settings.service_account,
        network=settings.network,
        locality=Locality.parse(settings.locality),
        interception=place.interception,
        port_map=port_map(settings, address),
        privileged=privileged,
        upstreams=settings.upstreams,
        certificates=certificates,
        answers_dns=place.answers_dns,
        registers=True,
    )


def bootstrap_settings(
    settings: AgentSettings,
    name: str,
    address: OwnAddress,
    control_plane: ControlPlane,
    *,
    privileged: bool,
    place: Place = _HERE,
) -> BootstrapSettings:
    """Return what Envoy's bootstrap is made of."""
    return BootstrapSettings(
        proxy=proxy_of(
            settings,
            name,
            address,
            privileged=privileged,
            certificates=bool(control_plane.identity),
            place=place,
        ),
        service=settings.service or settings.workload_group or settings.name,
        control_plane=control_plane.address,
        control_plane_identity=control_plane.identity,
        other_control_planes=control_plane.others,
        admin_address=address.private_ip,
        admin_port=address.ports.admin,
        prometheus_port=address.ports.prometheus,
        stats_inclusion=settings.stats_inclusion,
        outside_network=place.outside,
    )


def http_proxy(settings: AgentSettings, address: OwnAddress) -> str:
    """Return the URL of the explicit outbound proxy; empty when the app is not to use it."""
    if settings.mode == GATEWAY or settings.interception != PROXY:
        return ""
    return f"http://{host_port(address.private_ip, address.ports.outbound)}"


def expected_listeners(
    settings: AgentSettings, address: OwnAddress, place: Place = _HERE
) -> frozenset[tuple[str, int]]:
    """Return where Envoy must listen before the app may start.

    Not the upstreams: their listeners come when their services do, and two apps may well wait for each other.
    """
    if settings.mode == GATEWAY:
        return frozenset()
    if place.intercepts:
        outbound, inbound = hops(settings)
        wanted = ((outbound, OUTBOUND_PORT), (inbound, INBOUND_PORT))
        return frozenset(("0.0.0.0", port) for side, port in wanted if side)
    found = {(address.ip, port) for port, _ in settings.ports}
    if settings.interception == PROXY:
        found.add((address.private_ip, address.ports.outbound))
    return frozenset(found)


def addresses_line(
    settings: AgentSettings, name: str, address: OwnAddress, listeners: Mapping[int, tuple[str, int]]
) -> str:
    """Return the JSON line of `--print-addresses`; keys that do not apply are left out."""
    ip, ports = address.ip, address.ports
    line: dict[str, Any] = {"workload": f"{name}.{settings.namespace}", "address": ip}
    if settings.mode == GATEWAY:
        line["listeners"] = {str(declared): host_port(*bound) for declared, bound in listeners.items()}
    else:
        line["inbound"] = {str(port): host_port(ip, port) for port, _ in settings.ports}
    if url := http_proxy(settings, address):
        line["http_proxy"] = url
    line |= {
        "admin": host_port(address.private_ip, ports.admin),
        "ready": f"http://{host_port(ip, ports.ready)}{READY_PATH}",
        "metrics": f"http://{host_port(ip, ports.metrics)}{METRICS_PATH}",
    }
    return json.dumps(line)


def gateway_port_map(proxy: Proxy) -> dict[int, int]:
    """Return declared -> bound for reading bound ports backwards."""
    return {port: proxy.bound_port(port) for port in (*range(1, PRIVILEGED_PORTS), *proxy.port_map)}
