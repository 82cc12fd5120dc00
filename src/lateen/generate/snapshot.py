"""Everything that a proxy is served: the entry point of generation.

Called by the hub per scope, and by the offline commands. Pure: the same state and proxy give the same snapshot,
byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator

from lateen.envoy.resources import Resource, Snapshot, make_snapshot
from lateen.generate.clusters import catch_all_clusters, service_clusters
from lateen.generate.explicit_proxy import explicit_resources
from lateen.generate.gateways import gateway_resources
from lateen.generate.proxyless import proxyless_resources
from lateen.generate.sidecars_inbound import inbound_resources
from lateen.generate.sidecars_outbound import outbound_resources
from lateen.generate.view import View, view_of
from lateen.mesh.state import MeshState
from lateen.model.proxies import Capability, Proxy, ProxyType


def generate(state: MeshState, proxy: Proxy) -> Snapshot:
    """Return every resource of a proxy in this state."""
    return make_snapshot(list(_resources(view_of(state, proxy))))


def _resources(view: View) -> Iterator[Resource]:
    if view.proxy.capability is Capability.GRPC:
        yield from proxyless_resources(view)
    elif view.proxy.type is ProxyType.GATEWAY:
        yield from gateway_resources(view)
    else:
        yield from service_clusters(view)
        yield from catch_all_clusters(view)
        yield from explicit_resources(view) if view.explicit else outbound_resources(view)
        yield from inbound_resources(view)
