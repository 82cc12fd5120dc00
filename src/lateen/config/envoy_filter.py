"""Istio's EnvoyFilter as frozen structs: every field of the schema, in its shape.

Field names are Istio's, in snake case. Source: the CRD schema of Istio 1.31, which
`tests/unit/config/test_schema_completeness.py` holds this to. The value of a patch is a piece of an Envoy message as
JSON and stays one here: this room knows no protobuf, `envoy.patches` reads it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from lateen.config.networking import Spec, Unsigned, WorkloadSelector
from lateen.config.security import PolicyTargetReference


class ApplyTo(Enum):
    """What kind of Envoy object a patch is about."""

    INVALID = "INVALID"
    LISTENER = "LISTENER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"
    LISTENER_FILTER = "LISTENER_FILTER"


class PatchContext(Enum):
    """On which side of which proxy."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"
    """Of ambient mode: there are no waypoints, so it never matches."""


class PatchOperation(Enum):
    """What is done to the object."""

    INVALID = "INVALID"
    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"
    """As MERGE, but lists of the patch take the place of those that are there."""


class FilterClass(Enum):
    """Where among the filters of a kind an added one belongs."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class RouteAction(Enum):
    """What a route does with a request."""

    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


class ProxyMatch(Spec, frozen=True, kw_only=True):
    """Which proxies, by what they say of themselves."""

    proxy_version: str = ""
    """RE2, compared with the node metadata ISTIO_VERSION."""
    metadata: dict[str, str] = {}
    """Of the node."""


class SubFilterMatch(Spec, frozen=True, kw_only=True):
    """An HTTP filter of an HTTP connection manager."""

    name: str = ""


class FilterMatch(Spec, frozen=True, kw_only=True):
    """A network filter."""

    name: str = ""
    sub_filter: SubFilterMatch | None = None


class FilterChainMatch(Spec, frozen=True, kw_only=True):
    """A filter chain."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: str = ""
    """Separated by commas; the chain must have all of them."""
    filter: FilterMatch | None = None
    destination_port: Unsigned = 0
    transport_socket: str = ""
    """Reserved: Istio reads it and does nothing with it."""


class ListenerMatch(Spec, frozen=True, kw_only=True):
    """A listener."""

    port_number: Unsigned = 0
    port_name: str = ""
    """Reserved: Istio reads it and does nothing with it."""
    filter_chain: FilterChainMatch | None = None
    listener_filter: str = ""
    name: str = ""


class RouteMatch(Spec, frozen=True, kw_only=True):
    """A route of a virtual host."""

    name: str = ""
    action: RouteAction = RouteAction.ANY


class VirtualHostMatch(Spec, frozen=True, kw_only=True):
    """A virtual host of a route configuration."""

    name: str = ""
    domain_name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(Spec, frozen=True, kw_only=True):
    """A route configuration."""

    port_number: Unsigned = 0
    port_name: str = ""
    """Of a gateway's server."""
    gateway: str = ""
    """`namespace/name`."""
    vhost: VirtualHostMatch | None = None
    name: str = ""


class ClusterMatch(Spec, frozen=True, kw_only=True):
    """A cluster."""

    port_number: Unsigned = 0
    service: str = ""
    """Full host."""
    subset: str = ""
    name: str = ""
    """When it is set, nothing else counts."""


class WaypointFilterMatch(Spec, frozen=True, kw_only=True):
    """A network filter of a waypoint."""

    name: str = ""
    sub_filter: SubFilterMatch | None = None


class WaypointRouteMatch(Spec, frozen=True, kw_only=True):
    """A route of a waypoint."""

    name: str = ""


class WaypointMatch(Spec, frozen=True, kw_only=True):
    """An object of a waypoint."""

    filter: WaypointFilterMatch | None = None
    port_number: Unsigned = 0
    route: WaypointRouteMatch | None = None


class EnvoyConfigObjectMatch(Spec, frozen=True, kw_only=True):
    """Which object. At most one of listener, routeConfiguration, cluster and waypoint."""

    context: PatchContext = PatchContext.ANY
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: WaypointMatch | None = None


class Patch(Spec, frozen=True, kw_only=True):
    """What to do with the object."""

    operation: PatchOperation = PatchOperation.INVALID
    value: dict[str, Any] | None = None
    """JSON of the Envoy message that `applyTo` says, or of the part that is merged."""
    filter_class: FilterClass = FilterClass.UNSPECIFIED


class EnvoyConfigObjectPatch(Spec, frozen=True, kw_only=True):
    """One patch."""

    apply_to: ApplyTo = ApplyTo.INVALID
    match: EnvoyConfigObjectMatch | None = None
    patch: Patch | None = None


class EnvoyFilter(Spec, frozen=True, kw_only=True):
    """Changes of what is generated for Envoy."""

    workload_selector: WorkloadSelector | None = None
    target_refs: list[PolicyTargetReference] = []
    config_patches: list[EnvoyConfigObjectPatch] = []
    priority: int = 0
    """Lower first, may be negative."""
