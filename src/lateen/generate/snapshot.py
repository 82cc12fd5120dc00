"""Everything that a proxy is served: the entry point of generation.

Called by the hub per scope, and by the offline commands. Pure: the same state and proxy give the same snapshot,
byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from lateen.envoy.jwt_authn import no_token_check
from lateen.envoy.resources import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    VIRTUAL_HOST,
    Resources,
    Snapshot,
    grouped,
    make_snapshot,
    resource_digest,
    snapshot_version,
)
from lateen.generate.clusters import CatchAllClusters, LearnedClusters, service_parts
from lateen.generate.dns_table import DnsTable
from lateen.generate.envoy_filters.selection import Selection
from lateen.generate.envoy_filters.snapshots import patched_snapshot
from lateen.generate.explicit_proxy import explicit_listeners, explicit_routes
from lateen.generate.gateways import gateway_parts
from lateen.generate.on_demand import VirtualHosts, on_demand_routes
from lateen.generate.parts import Part, made_in_full
from lateen.generate.proxyless import proxyless_parts
from lateen.generate.security_filters import policy_parts
from lateen.generate.sidecar_egress import bound_egress_parts, egress_parts
from lateen.generate.sidecars_inbound import Inbound
from lateen.generate.sidecars_outbound import outbound_parts
from lateen.generate.view import View, view_of
from lateen.mesh.queries import asks_on_demand, instances_of
from lateen.mesh.state import MeshState
from lateen.mesh.workload_groups import as_grouped
from lateen.model.proxies import Capability, Proxy, ProxyType


def generate(state: MeshState, proxy: Proxy) -> Snapshot:
    """Return every resource of a proxy in this state."""
    proxy = as_grouped(state, proxy)
    return patched_snapshot(unpatched(state, proxy), Selection().patch_set(state, proxy))


def unpatched(state: MeshState, proxy: Proxy) -> Snapshot:
    """Return the same before EnvoyFilters are applied."""
    proxy = as_grouped(state, proxy)
    view = view_of(state, proxy, on_demand=asks_on_demand(state, proxy), served=instances_of(state, proxy))
    shared, own = list(shared_parts(view)), list(own_parts(view))
    if not view.on_demand:
        told_all = make_snapshot(list(made_in_full([*shared, *own], view)))
        return replace(told_all, on_demand={EXTENSION: extensions_asked_for()})
    made, own_made = list(made_in_full(shared, view)), list(made_in_full(own, view))
    routes = on_demand_routes(shared)
    hosts = VirtualHosts(view, routes) if routes else None
    told = [resource for resource in made if resource.kind not in ASKED_FOR]
    asked_for = [resource for resource in made if resource.kind in ASKED_FOR]
    return Snapshot(
        version=snapshot_version(sum(map(resource_digest, (*made, *own_made))) + (hosts.digest if hosts else 0)),
        resources=grouped([*told, *own_made]),
        on_demand={
            **grouped(asked_for),
            **({VIRTUAL_HOST: hosts} if hosts else {}),
            EXTENSION: extensions_asked_for(),
        },
    )


ASKED_FOR = frozenset({CLUSTER, ENDPOINT})
"""Kinds of which a proxy that asks on demand is told what is its own only; what it shares with others it asks for."""


@cache
def extensions_asked_for() -> Resources:
    """Return what a filter is given that is still in use although the proxy is not told of it any more."""
    nothing = no_token_check()
    return MappingProxyType({nothing.name: nothing})


def shared_parts(view: View) -> Iterator[Part]:
    """Plan what all proxies of one outbound scope are served alike."""
    if view.proxy.capability is Capability.GRPC:
        yield from proxyless_parts(view)
    elif view.proxy.type is ProxyType.GATEWAY:
        yield from gateway_parts(view)
    else:
        yield from service_parts(view)
        if not view.explicit:
            yield from egress_parts(view) if view.egress_imports() else outbound_parts(view)
            if view.proxy.answers_dns:
                yield DnsTable()
        elif view.proxy.addresses:
            yield from explicit_routes(view)


def own_parts(view: View) -> Iterator[Part]:
    """Plan what only the replicas of one workload share, or nobody."""
    if view.proxy.capability is Capability.GRPC or view.proxy.type is ProxyType.GATEWAY:
        return
    if view.on_demand:
        yield CatchAllClusters()
        yield LearnedClusters()
    if view.explicit and view.proxy.addresses:
        yield from explicit_listeners(view)
        if view.egress_imports():
            yield from bound_egress_parts(view)
    yield from policy_parts()
    yield Inbound()
