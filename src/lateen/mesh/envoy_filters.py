"""EnvoyFilters: which of them are about a proxy, and in which order they act.

Called by `mesh.build` for the table and by `generate.envoy_filters` for the question. They are found as security
policies are (`mesh.policies`): of the root namespace they are about the whole mesh, of another about its workloads.
Source: Istio, `PushContext.EnvoyFilters` and its policy attachment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lateen.config.envoy_filter import EnvoyFilter
from lateen.config.objects import ConfigObject
from lateen.mesh.policies import GATEWAY_NAME_LABEL
from lateen.model.proxies import Proxy, ProxyType, labels_match

if TYPE_CHECKING:
    from lateen.mesh.state import MeshState

ENVOY_FILTER = "EnvoyFilter"


def envoy_filters_for(state: MeshState, proxy: Proxy) -> tuple[ConfigObject[EnvoyFilter], ...]:
    """Return the EnvoyFilters that are about a proxy, in the order in which their patches are applied.

    Lowest priority first; of one priority those of the root namespace, then the oldest, then by name.
    """
    if not state.envoy_filters:
        return ()
    root = state.mesh_config.root_namespace
    found = [
        item
        for namespace in dict.fromkeys((root, proxy.namespace))
        for item in state.index.policies.get((ENVOY_FILTER, namespace), ())
        if _is_about(item, proxy)
    ]
    return tuple(
        sorted(found, key=lambda item: (item.spec.priority, item.key.namespace != root, item.created, item.key.name))
    )


def _is_about(item: ConfigObject[EnvoyFilter], proxy: Proxy) -> bool:
    """Whether an EnvoyFilter of the proxy's or the root namespace is about this proxy.

    Target references exclude everything but the Gateway that they name, in the proxy's own namespace; Services,
    ServiceEntries and GatewayClasses are targets of waypoints, which there are none of.
    """
    if item.spec.target_refs:
        return (
            proxy.type is ProxyType.GATEWAY
            and item.key.namespace == proxy.namespace
            and any(
                target.kind == "Gateway"
                and target.namespace in ("", proxy.namespace)
                and target.name == proxy.labels.get(GATEWAY_NAME_LABEL)
                for target in item.spec.target_refs
            )
        )
    selector = item.spec.workload_selector
    return labels_match(selector.labels if selector is not None else {}, proxy.labels)
