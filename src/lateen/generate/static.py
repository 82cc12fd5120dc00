"""A snapshot as one complete bootstrap: a bare Envoy runs it with no control plane.

Called by `lateen generate --static`. Everything that would come over ADS stands inline: routes in their
listeners, endpoints in their clusters, secrets beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lateen.envoy import names
from lateen.envoy.messages import to_json
from lateen.envoy.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET, Snapshot
from lateen.model.proxies import Interception, Proxy, ProxyType

ADMIN_PORT = 15000

Json = dict[str, Any]
"""A JSON object, as Envoy reads it."""


def static_bootstrap(snapshot: Snapshot, proxy: Proxy) -> Json:
    """Return the bootstrap as JSON types, in protobuf's JSON form with proto field names."""
    routes = _shown(snapshot, ROUTE)
    assignments = _shown(snapshot, ENDPOINT)
    extensions = _shown(snapshot, EXTENSION)
    listeners = [_inline(listener, routes, extensions) for listener in _shown(snapshot, LISTENER).values()]
    clusters = [_with_endpoints(cluster, assignments) for cluster in _shown(snapshot, CLUSTER).values()]
    resources: Json = {"listeners": listeners, "clusters": clusters}
    if secrets := list(_shown(snapshot, SECRET).values()):
        resources["secrets"] = secrets
    own_address = proxy.type is ProxyType.GATEWAY or proxy.interception is Interception.NONE
    admin = proxy.addresses[0] if own_address and proxy.addresses else names.LOOPBACK_ADDRESS
    return {
        "node": {"id": proxy.node_id, "cluster": f"{proxy.name}.{proxy.namespace}"},
        "admin": {"address": {"socket_address": {"address": admin, "port_value": ADMIN_PORT}}},
        "static_resources": resources,
    }


def _shown(snapshot: Snapshot, kind: str) -> Mapping[str, Json]:
    found = snapshot.resources.get(kind, {})
    return {name: to_json(kind, found[name].body) for name in sorted(found)}


def _inline(value: Any, routes: Mapping[str, Json], extensions: Mapping[str, Json]) -> Any:
    """Replace RDS and ECDS by what they would bring, and SDS over ADS by a static secret's name; files stay."""
    if isinstance(value, list):
        shown = [_inline(item, routes, extensions) for item in value]
        return [item for item in shown if not _does_nothing(item)]
    if not isinstance(value, dict):
        return value
    inlined: Json = {}
    for key, item in value.items():
        if key == "rds" and isinstance(item, dict) and "route_config_name" in item:
            name = item["route_config_name"]
            inlined["route_config"] = routes.get(name, {"name": name, "validate_clusters": False})
        elif key == "config_discovery" and value.get("name") in extensions:
            inlined["typed_config"] = extensions[value["name"]]["typed_config"]
        elif key != "sds_config" or "path_config_source" in item:
            inlined[key] = _inline(item, routes, extensions)
    return inlined


def _does_nothing(item: Any) -> bool:
    """Whether this is a filter that asks nothing: here it would never be told what to ask."""
    config = item.get("typed_config", {}) if isinstance(item, dict) else {}
    return str(config.get("@type", "")).endswith("rbac.v3.RBAC") and not {"rules", "shadow_rules"} & config.keys()


def _with_endpoints(cluster: Json, assignments: Mapping[str, Json]) -> Json:
    if cluster.get("type") != "EDS":
        return cluster
    name = cluster["name"]
    kept = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
    return {**kept, "type": "STATIC", "load_assignment": assignments.get(name, {"cluster_name": name})}
