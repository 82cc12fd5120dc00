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
    """Name of the filter, `envoy.filters.http.router`."""


class FilterMatch(Spec, frozen=True, kw_only=True):
    """A network filter."""

    name: str = ""
    """Name of the filter, `envoy.filters.network.http_connection_manager`."""
    sub_filter: SubFilterMatch | None = None
    """An HTTP filter inside of it."""


class FilterChainMatch(Spec, frozen=True, kw_only=True):
    """A filter chain."""

    name: str = ""
    """Name of the chain."""
    sni: str = ""
    """One of its server names."""
    transport_protocol: str = ""
    """`raw_buffer` or `tls`."""
    application_protocols: str = ""
    """Separated by commas; the chain must have all of them."""
    filter: FilterMatch | None = None
    """A filter that it has."""
    destination_port: Unsigned = 0
    """Original port of its connections; 0 is any."""
    transport_socket: str = ""
    """Reserved: Istio reads it and does nothing with it."""


class ListenerMatch(Spec, frozen=True, kw_only=True):
    """A listener."""

    port_number: Unsigned = 0
    """Port that it listens on or stands for; 0 is any."""
    port_name: str = ""
    """Reserved: Istio reads it and does nothing with it."""
    filter_chain: FilterChainMatch | None = None
    """A chain that it has."""
    listener_filter: str = ""
    """Name of a listener filter that it has."""
    name: str = ""
    """Name of the listener."""


class RouteMatch(Spec, frozen=True, kw_only=True):
    """A route of a virtual host."""

    name: str = ""
    """Name of the route: of the VirtualService's rule, `default` without one."""
    action: RouteAction = RouteAction.ANY
    """What it does with requests."""


class VirtualHostMatch(Spec, frozen=True, kw_only=True):
    """A virtual host of a route configuration."""

    name: str = ""
    """Name of the virtual host, `reviews.default.svc.cluster.local:80`."""
    domain_name: str = ""
    """One of its domains."""
    route: RouteMatch | None = None
    """A route that it has."""


class RouteConfigurationMatch(Spec, frozen=True, kw_only=True):
    """A route configuration."""

    port_number: Unsigned = 0
    """Port that it is for; 0 is any."""
    port_name: str = ""
    """Of a gateway's server."""
    gateway: str = ""
    """`namespace/name`."""
    vhost: VirtualHostMatch | None = None
    """A virtual host that it has."""
    name: str = ""
    """Name of the route configuration."""


class ClusterMatch(Spec, frozen=True, kw_only=True):
    """A cluster."""

    port_number: Unsigned = 0
    """Port of the service; 0 is any."""
    service: str = ""
    """Full host."""
    subset: str = ""
    """Subset of a DestinationRule."""
    name: str = ""
    """When it is set, nothing else counts."""


class WaypointFilterMatch(Spec, frozen=True, kw_only=True):
    """A network filter of a waypoint."""

    name: str = ""
    """Name of the filter."""
    sub_filter: SubFilterMatch | None = None
    """An HTTP filter inside of it."""


class WaypointRouteMatch(Spec, frozen=True, kw_only=True):
    """A route of a waypoint."""

    name: str = ""
    """Name of the route."""


class WaypointMatch(Spec, frozen=True, kw_only=True):
    """An object of a waypoint."""

    filter: WaypointFilterMatch | None = None
    """A network filter."""
    port_number: Unsigned = 0
    """Port of the service."""
    route: WaypointRouteMatch | None = None
    """A route."""


class EnvoyConfigObjectMatch(Spec, frozen=True, kw_only=True):
    """Which object. At most one of listener, routeConfiguration, cluster and waypoint."""

    context: PatchContext = PatchContext.ANY
    """On which side of which proxy; unset is any."""
    proxy: ProxyMatch | None = None
    """What the proxy says of itself."""
    listener: ListenerMatch | None = None
    """For listeners, their chains and filters."""
    route_configuration: RouteConfigurationMatch | None = None
    """For route configurations, virtual hosts and routes."""
    cluster: ClusterMatch | None = None
    """For clusters."""
    waypoint: WaypointMatch | None = None
    """Ambient mode has no counterpart here."""


class Patch(Spec, frozen=True, kw_only=True):
    """What to do with the object."""

    operation: PatchOperation = PatchOperation.INVALID
    """What is done."""
    value: dict[str, Any] | None = None
    """JSON of the Envoy message that `applyTo` says, or of the part that is merged."""
    filter_class: FilterClass = FilterClass.UNSPECIFIED


class EnvoyConfigObjectPatch(Spec, frozen=True, kw_only=True):
    """One patch."""

    apply_to: ApplyTo = ApplyTo.INVALID
    """Which kind of object is changed."""
    match: EnvoyConfigObjectMatch | None = None
    """Which of them; unset is all."""
    patch: Patch | None = None
    """What is done to it."""


class EnvoyFilter(Spec, frozen=True, kw_only=True):
    """Changes of what is generated for Envoy."""

    workload_selector: WorkloadSelector | None = None
    """Workloads of the namespace; unset is all, in the root namespace all of the mesh."""
    target_refs: list[PolicyTargetReference] = []
    """Gateways of the namespace, in place of a selector."""
    config_patches: list[EnvoyConfigObjectPatch] = []
    """Patches, in order."""
    priority: int = 0
    """Lower first, may be negative."""
