"""Where calls to hosts that nobody knows go, and which names are looked up with each call.

Called by the passes of sidecars and by `on_demand`. Source: Istio's OutboundTrafficPolicy. An egress proxy of the
Sidecar takes all that would pass otherwise. Names are looked up by Envoy's dynamic forward proxy: those of services
with `DYNAMIC_DNS`, those of unknown hosts under ALLOW_ANY_DYNAMIC_DNS, and in explicit mode, where nothing was dialled,
all unknown ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lateen.envoy import names
from lateen.envoy.filters import with_lookup
from lateen.envoy.messages import Fields
from lateen.generate.destinations import Target, target_of, target_of_cluster
from lateen.generate.mutual_tls import connects_as_dialled
from lateen.generate.traffic_policies import effective_policy
from lateen.generate.view import View
from lateen.model.services import Resolution


def egress_proxy(view: View) -> Target | None:
    """Return the target that takes calls to unknown hosts, if the Sidecar names one."""
    policy = view.sidecar.spec.outbound_traffic_policy if view.sidecar is not None else None
    if view.sidecar is None or policy is None or policy.egress_proxy is None or not view.allow_any:
        return None
    return target_of(view, policy.egress_proxy, view.sidecar.key.namespace, 0)


def connections_cluster(view: View) -> str:
    """Return where connections to nothing known go."""
    if not view.allow_any:
        return names.BLACKHOLE_CLUSTER
    proxy = egress_proxy(view)
    return proxy.cluster if proxy is not None else names.PASSTHROUGH_CLUSTER


def requests_cluster(view: View) -> str:
    """Return where requests for unknown hosts go; empty when they are refused."""
    if not view.allow_any:
        return ""
    return names.ALLOW_ANY_DYNAMIC_DNS_CLUSTER if looks_up_unknown(view) else connections_cluster(view)


def looks_up_unknown(view: View) -> bool:
    """Whether an intercepting proxy sends requests for unknown hosts where DNS says, not where they were dialled."""
    return view.resolves_unknown and not view.explicit and egress_proxy(view) is None


def looks_up_names(view: View) -> bool:
    """Whether requests may go to clusters that look their host up, so that a connection manager must help them."""
    if view.explicit or looks_up_unknown(view):
        return True
    return view.piece(
        ("names are looked up",),
        lambda: any(service.resolution is Resolution.DYNAMIC_DNS for service in view.services()),
    )


def with_lookups(view: View, routes: Sequence[Fields]) -> list[Fields]:
    """Return routes with the hosts of their requests looked up where they lead to clusters that need it."""
    return [
        with_lookup(route) if any(_looks_up(view, cluster) for cluster in _clusters(route)) else route
        for route in routes
    ]


def _clusters(route: Fields) -> Iterator[str]:
    action = route.get("route", {})
    if "cluster" in action:
        yield action["cluster"]
    for weighted in action.get("weighted_clusters", {}).get("clusters", ()):
        yield weighted["name"]


def _looks_up(view: View, cluster: str) -> bool:
    """Whether a cluster may find its endpoint by the name in the request: see `clusters`."""
    target = target_of_cluster(cluster)
    if target is None:
        return True
    service = view.service(target.host)
    if service is None or not (view.explicit or service.resolution is Resolution.DYNAMIC_DNS):
        return False
    policy = effective_policy(view.rule(target.host), target.port, target.subset, view.mesh_config)
    return connects_as_dialled(service, policy)
