"""Network and HTTP filters: the HTTP connection manager, the TCP proxy, and what stands inside them.

Called by `generate`, which decides the routes and the order of chains. Extensions without settings are packed
once per process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from lateen.config.mesh_config import MeshConfig, PathNormalization
from lateen.envoy import names
from lateen.envoy.access_logs import access_logs
from lateen.envoy.manager_headers import ManagerHeaders, manager_headers
from lateen.envoy.messages import Fields, packed, typed_extension
from lateen.envoy.mutual_tls import TUNNEL_ALPN_FILTER, tunnel_alpn_filter
from lateen.envoy.route_policies import CORS_FILTER, FAULT_FILTER

ADS: Fields = {"ads": {}, "resource_api_version": "V3"}
"""A ConfigSource: from the stream that everything comes from."""
ON_DEMAND_PATIENCE: Fields = {"seconds": 15}
"""How long a request waits for its virtual host or cluster, or a connection for its cluster: long enough for a control
plane to restart and settle. For a virtual host Envoy itself would wait for ever: there it is the connection manager's
time-out of idle streams, which routes lift again, so it does not count once there is one (`routes.timeout_fields`)."""
FILTERS_BY_ROUTE = frozenset((FAULT_FILTER, CORS_FILTER))
"""Of HTTP; off where no route turns them on: each costs a request 2 % of its time in Envoy."""
LOOKUP_FILTER = "envoy.filters.http.dynamic_forward_proxy"
OFF_ON_DEMAND = (*sorted(FILTERS_BY_ROUTE), LOOKUP_FILTER, TUNNEL_ALPN_FILTER)
"""What a route configuration turns off whose virtual hosts are asked for. Not where the filters stand: Envoy chooses
those of a request before it asks for the virtual host of a host that it does not know yet. Without a route they are on,
for whatever the one that comes may say."""
ON_DEMAND_FILTER = "envoy.filters.http.on_demand"
RDS_SOURCE: Fields = ADS | {"initial_fetch_timeout": {"seconds": 0}}
"""Wait for routes for ever: a listener that goes live without them would answer 404."""

_NOT_SERVED: Fields = {
    "filter": {"response_flag_filter": {"flags": ["UF"]}},
    "headers_to_add": [
        {"header": {"key": "grpc-status", "value": "14"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    ],
}
"""Says that a request never reached the application, because it takes no connections: it starts, or was killed.

A caller's proxy sees a 503 there, which it must not repeat, as others are given by applications that have begun to
work. By gRPC's own word for it, which gRPC's callers get anyhow, it is `unavailable`, and that is among Istio's
default conditions of a retry: Envoy looks at the header only, not at whether the request was gRPC's.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterDefaults:
    """Settings that every connection manager and TCP proxy of one proxy shares."""

    access_logs: tuple[Fields, ...] = ()
    path_normalization: Fields = field(default_factory=dict)
    headers: ManagerHeaders = field(default_factory=ManagerHeaders)


def filter_defaults(mesh_config: MeshConfig) -> FilterDefaults:
    """Derive the shared settings from MeshConfig, once per generated snapshot."""
    return FilterDefaults(
        access_logs=tuple(access_logs(mesh_config)),
        path_normalization=_path_normalization(mesh_config),
        headers=manager_headers(mesh_config.default_config),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What differs between HTTP connection managers."""

    stat_prefix: str
    rds: str = ""
    """Name of the route configuration to fetch; else `routes` stands inline."""
    routes: Fields | None = None
    edge: bool = False
    """A gateway: the peer's address is the client's, forwarded headers are not trusted."""
    inbound: bool = False
    connect: bool = False
    """Accept HTTP CONNECT (explicit proxy)."""
    dynamic_forward_proxy: bool = False
    """Resolve the hosts of requests that are routed to a dynamic forward proxy cluster."""
    on_demand: bool = False
    """Fetch virtual hosts and clusters that the proxy was not told of when a request needs them."""
    mutual_tls: bool = False
    """With `connect`: tunnels may have to offer another ALPN than requests (see `mutual_tls.tunnel_alpn_filter`)."""
    security: tuple[Fields, ...] = ()
    """HTTP filters that come before all others: who may call."""


def http_connection_manager(settings: HttpSettings, defaults: FilterDefaults) -> Fields:
    """Return the network filter."""
    fields: Fields = {
        "stat_prefix": settings.stat_prefix,
        "use_remote_address": {"value": settings.edge},
        "stream_idle_timeout": ON_DEMAND_PATIENCE if settings.on_demand else {"seconds": 0},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_protocol_options": {"accept_http_10": True},
        "http_filters": _http_filters(settings, defaults),
        **defaults.path_normalization,
        **defaults.headers.all,
    }
    if settings.rds:
        fields["rds"] = {"config_source": RDS_SOURCE, "route_config_name": settings.rds}
    else:
        fields["route_config"] = settings.routes
    if settings.connect:
        fields["upgrade_configs"].append({"upgrade_type": "CONNECT"})
        fields["http2_protocol_options"] = {"allow_connect": True}
        fields["http_protocol_options"]["allow_absolute_url"] = {"value": True}
    if settings.edge:
        fields |= defaults.headers.edge
    elif settings.inbound:
        fields |= defaults.headers.inbound | {"local_reply_config": {"mappers": [_NOT_SERVED]}}
    if defaults.access_logs:
        fields["access_log"] = list(defaults.access_logs)
    return typed_extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        fields,
    )


def api_connection_manager(rds: str) -> Fields:
    """Return the packed connection manager of a gRPC client's API listener: only what gRPC knows (gRFC A27)."""
    return packed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "rds": {"config_source": ADS, "route_config_name": rds},
            "http_filters": [_fault(), _router()],
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSettings:
    """One TCP proxy: where its bytes go."""

    stat_prefix: str
    clusters: tuple[tuple[str, int], ...]
    """Clusters and weights; one entry's weight does not matter."""
    idle_timeout: Fields | None = None
    max_duration: Fields | None = None
    hash_source_ip: bool = False
    tunnel: Fields | None = None
    """How to wrap the bytes into HTTP, see `tunnel_config`."""
    on_demand: bool = False
    """Fetch the cluster when the first connection needs it."""


def tcp_proxy(settings: TcpSettings, defaults: FilterDefaults) -> Fields:
    """Return the network filter."""
    fields: Fields = {"stat_prefix": settings.stat_prefix, **tcp_target(settings.clusters)}
    if settings.idle_timeout is not None:
        fields["idle_timeout"] = settings.idle_timeout
    if settings.max_duration is not None:
        fields["max_downstream_connection_duration"] = settings.max_duration
    if settings.hash_source_ip:
        fields["hash_policy"] = [{"source_ip": {}}]
    if settings.tunnel is not None:
        fields["tunneling_config"] = settings.tunnel
    if settings.on_demand:
        fields["on_demand"] = {"odcds_config": ADS, "timeout": ON_DEMAND_PATIENCE}
    if defaults.access_logs:
        fields["access_log"] = list(defaults.access_logs)
    return typed_extension(
        "envoy.filters.network.tcp_proxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", fields
    )


def tunnel_config(target: str, *, post: bool) -> Fields:
    """Return how a TCP proxy asks an HTTP proxy upstream to connect it with `host:port`: by CONNECT, or by POST."""
    return {"hostname": target, "use_post": True} if post else {"hostname": target}


def tcp_target(clusters: Sequence[tuple[str, int]]) -> Fields:
    """Return the cluster specifier of a TCP proxy."""
    if len(clusters) == 1:
        return {"cluster": clusters[0][0]}
    weighted = [{"name": name, "weight": weight} for name, weight in clusters]
    return {"weighted_clusters": {"clusters": weighted}}


def server_name_lookup(port: int) -> Fields:
    """Return the network filter by which a TCP proxy reaches what DNS says of the connection's TLS server name."""
    return typed_extension(
        "envoy.filters.network.sni_dynamic_forward_proxy",
        "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
        {"port_value": port, "dns_cache_config": dns_cache()},
    )


def passthrough(cluster: str, defaults: FilterDefaults) -> Fields:
    """Return the TCP proxy of a catch-all chain."""
    return tcp_proxy(TcpSettings(stat_prefix=cluster, clusters=((cluster, 1),)), defaults)


# --- HTTP filters --------------------------------------------------------------------------------------------


def _http_filters(settings: HttpSettings, defaults: FilterDefaults) -> list[Fields]:
    # Before the others, because those after it read the route that it waits for.
    ask = [_on_demand()] if settings.on_demand else []
    forward = [_dynamic_forward_proxy()] if settings.dynamic_forward_proxy else []
    if settings.mutual_tls:
        ask.append(tunnel_alpn_filter())
    # Both act by what a route says; the one route to a workload's own application says nothing. Elsewhere they are off
    # but for the routes that say something. Where routes come on demand, those say so (`OFF_ON_DEMAND`).
    off = not settings.on_demand
    by_route = [] if settings.inbound else [_fault(off=off), _cors(off=off)]
    return [*settings.security, *ask, _grpc_stats(), *by_route, *forward, _router(quiet=defaults.headers.quiet)]


@cache
def _on_demand() -> Fields:
    return typed_extension(
        ON_DEMAND_FILTER,
        "envoy.extensions.filters.http.on_demand.v3.OnDemand",
        {"odcds": {"source": ADS, "timeout": ON_DEMAND_PATIENCE}},
    )


@cache
def no_clusters_on_demand() -> Fields:
    """Return the per-route setting of a route whose clusters are known not to exist: nothing to wait for."""
    return packed("envoy.extensions.filters.http.on_demand.v3.PerRouteConfig", {})


@cache
def _grpc_stats() -> Fields:
    return typed_extension(
        "envoy.filters.http.grpc_stats",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        {"emit_filter_state": True, "stats_for_all_methods": {"value": False}},
    )


@cache
def _fault(*, off: bool = False) -> Fields:
    found = typed_extension(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault")
    return {**found, "disabled": True} if off else found


@cache
def _cors(*, off: bool) -> Fields:
    found = typed_extension(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors")
    return {**found, "disabled": True} if off else found


@cache
def _router(*, quiet: bool = False) -> Fields:
    """`quiet`: without Envoy's own headers."""
    fields: Fields = {"suppress_envoy_headers": True} if quiet else {}
    return typed_extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", fields)


def with_lookup(route: Fields) -> Fields:
    """Return a route with the host of its requests looked up, where that is off by default."""
    filters = route.get("typed_per_filter_config", {})
    return {**route, "typed_per_filter_config": {**filters, LOOKUP_FILTER: turned_on()}}


@cache
def turned_on() -> Fields:
    """Return the setting of a route or virtual host for which a filter is on that is off by default. Shared."""
    return packed("envoy.config.route.v3.FilterConfig", {"config": {}})


@cache
def _dynamic_forward_proxy() -> Fields:
    return typed_extension(
        LOOKUP_FILTER,
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        {"dns_cache_config": dns_cache()},
    )


@cache
def dns_cache() -> Fields:
    """Return the DNS cache that the dynamic forward proxy's filter and cluster share: equal, or Envoy refuses."""
    return {"name": names.PASSTHROUGH_CLUSTER, "dns_lookup_family": "V4_PREFERRED", "max_hosts": {"value": 8192}}


def _path_normalization(mesh_config: MeshConfig) -> Fields:
    chosen = mesh_config.path_normalization.normalization if mesh_config.path_normalization else None
    if chosen is PathNormalization.NONE:
        return {"normalize_path": {"value": False}}
    fields: Fields = {"normalize_path": {"value": True}}
    if chosen in (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES):
        fields["merge_slashes"] = True
    if chosen is PathNormalization.DECODE_AND_MERGE_SLASHES:
        fields["path_with_escaped_slashes_action"] = "UNESCAPE_AND_FORWARD"
    return fields
