"""Scopes: which proxies get the same snapshot.

What a proxy is served depends on what it is and where it runs, not on which one it is. Proxies of equal scope
share one snapshot, so a workload's replicas cost one generation.
"""

from __future__ import annotations

from dataclasses import dataclass

from lateen.mesh.queries import instances_of
from lateen.mesh.state import MeshState
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """All that `generate` reads of a proxy. Comparable within one state only."""

    type: ProxyType
    capability: Capability
    interception: Interception
    namespace: str
    dns_domain: str
    labels: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    """Where listeners are bound; empty when nothing is bound there."""
    only_ipv6: bool
    inbound: tuple[tuple[str, int, int, int], ...]
    """Host, service port, port and application port of what an intercepted workload serves."""
    port_map: tuple[tuple[int, int], ...]
    privileged: bool
    upstreams: tuple[Upstream, ...]


def scope_of(state: MeshState, proxy: Proxy) -> Scope:
    """Return the scope of a proxy: in one state, equal scopes have equal snapshots."""
    binds = proxy.type is ProxyType.GATEWAY or proxy.interception is Interception.NONE
    inbound = () if proxy.type is ProxyType.GATEWAY else instances_of(state, proxy)
    return Scope(
        type=proxy.type,
        capability=proxy.capability,
        interception=proxy.interception,
        namespace=proxy.namespace,
        dns_domain=proxy.dns_domain,
        labels=tuple(sorted(proxy.labels.items())),
        addresses=proxy.addresses if binds else (),
        only_ipv6=bool(proxy.addresses) and all(":" in address for address in proxy.addresses),
        inbound=tuple(
            (item.service.host, item.port.number, item.endpoint.port, item.endpoint.app_port) for item in inbound
        ),
        port_map=tuple(sorted(proxy.port_map.items())),
        privileged=proxy.privileged,
        upstreams=proxy.upstreams,
    )
