"""Everything that a proxy is served: the entry point of generation.

Called by the hub per scope, and by the offline commands. Pure: the same state and proxy give the same snapshot,
byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator

from lateen.envoy.resources import Snapshot, make_snapshot
from lateen.generate.clusters import service_parts
from lateen.generate.explicit_proxy import explicit_listeners, explicit_routes
from lateen.generate.gateways import gateway_parts
from lateen.generate.parts import Part, made_in_full
from lateen.generate.proxyless import proxyless_parts
from lateen.generate.sidecars_inbound import Inbound
from lateen.generate.sidecars_outbound import outbound_parts
from lateen.generate.view import View, view_of
from lateen.mesh.queries import instances_of
from lateen.mesh.state import MeshState
from lateen.model.proxies import Capability, Proxy, ProxyType


def generate(state: MeshState, proxy: Proxy) -> Snapshot:
    """Return every resource of a proxy in this state."""
    view = view_of(state, proxy, served=instances_of(state, proxy))
    return make_snapshot(list(made_in_full([*shared_parts(view), *own_parts(view)], view)))


def shared_parts(view: View) -> Iterator[Part]:
    """Plan what all proxies of one outbound scope are served alike."""
    if view.proxy.capability is Capability.GRPC:
        yield from proxyless_parts(view)
    elif view.proxy.type is ProxyType.GATEWAY:
        yield from gateway_parts(view)
    else:
        yield from service_parts(view)
        if not view.explicit:
            yield from outbound_parts(view)
        elif view.proxy.addresses:
            yield from explicit_routes(view)


def own_parts(view: View) -> Iterator[Part]:
    """Plan what only the replicas of one workload share, or nobody."""
    if view.proxy.capability is Capability.GRPC or view.proxy.type is ProxyType.GATEWAY:
        return
    if view.explicit and view.proxy.addresses:
        yield from explicit_listeners(view)
    yield Inbound()
