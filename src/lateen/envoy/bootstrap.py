"""Envoy's bootstrap: what one Envoy must know before it can ask the control plane for the rest.

Called by the agent (which writes it as JSON) and by the CLI (`proxy-config bootstrap`). Plain JSON without protobuf,
because the agent must stay small. It is JSON and not YAML on purpose: Envoy's YAML reader takes a bare `n` or `y`
for a boolean. Must not know: files, processes, or what the control plane will serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from lateen.envoy.statistics import StatsInclusion, deferred_stat_options, stats_config
from lateen.model.proxies import Proxy, ProxyType

XDS_CLUSTER = "xds-grpc"
"""Istio's name of the cluster that leads to the control plane."""
ADMIN_CLUSTER = "prometheus_stats"
"""Istio's name of the cluster that leads to this Envoy's own admin page."""
PROMETHEUS_STAT_PREFIX = "stats"
ADMIN_PORT = 15000
OUTBOUND_PORT = 15001
DNS_PORT, DNS_TABLE_PORT = 15053, 15054
"""Where the agent answers DNS on a machine (Istio's), and where Envoy's table of names answers the agent."""
DNS_TABLE_PORTS = (DNS_TABLE_PORT, 15055, 15056)
"""Of Envoys that relieve one another: at most three epochs live at the same time (`agent.table_ports`)."""
DNS_LISTENER = "dns"
PROMETHEUS_PORT = 15090
PROMETHEUS_PATH = "/stats/prometheus"
CERTIFICATES_FOLDER = "certificates"
"""In Envoy's working directory: the path is relative, so that what refers to it is the same for every proxy."""
CERTIFICATE_SECRET, ROOTS_SECRET = "default", "ROOTCA"
"""Istio's names of the workload's own certificate and of the roots."""
CERTIFICATE_FILE, ROOTS_FILE = f"{CERTIFICATE_SECRET}.json", f"{ROOTS_SECRET}.json"

_TYPE = "type.googleapis.com/"
_HCM = f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"
_CONNECTION_LIMIT = f"{_TYPE}envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_HTTP_OPTIONS = f"{_TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = f"{_TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapSettings:
    """One Envoy's bootstrap as values."""

    proxy: Proxy
    """Who it is; its first address is where everything binds."""
    service: str
    """Short service name, or the gateway's name; with the namespace it becomes `node.cluster`."""
    control_plane: tuple[str, int]
    """Host (IP or DNS name) and port of the control plane's gRPC server."""
    other_control_planes: tuple[tuple[str, int], ...] = ()
    """Further ones, in the order in which they are tried when those before do not answer."""
    control_plane_identity: str = ""
    """SPIFFE ID that the server must show. Wanted by proxies with certificates, which speak mTLS with it."""
    admin_address: str = ""
    """Where the admin page binds; empty means the proxy's own address."""
    admin_port: int = ADMIN_PORT
    prometheus_port: int = PROMETHEUS_PORT
    stats_inclusion: StatsInclusion = field(default_factory=StatsInclusion)
    """Statistics to make besides our own list."""
    outside_network: str = ""
    """File of the network namespace to connect from, relative to Envoy's folder; empty means the one it runs in.

    Listeners, and connections that have a source address of their own (to the app), stay in Envoy's.
    """


def bootstrap(settings: BootstrapSettings) -> dict[str, Any]:
    """Return the bootstrap as JSON types, field names as in protobuf.

    Discovery is delta ADS. `initial_fetch_timeout` is 0 (wait for ever) on CDS and LDS: an Envoy that comes up while
    the control plane is away must not go live empty and answer 404 for a whole mesh.
    """
    proxy = settings.proxy
    address = proxy.addresses[0]
    admin = _socket(settings.admin_address or address, settings.admin_port)
    return {
        "node": _node(settings),
        "admin": {"address": admin},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": _reconnection()}}],
            },
            "lds_config": _ads(),
            "cds_config": _ads(),
        },
        "static_resources": {
            "clusters": [_xds_cluster(settings), _admin_cluster(admin, settings)],
            "listeners": [_prometheus_listener(address, settings.prometheus_port)],
        },
        **({"hds_config": _health_discovery()} if proxy.type is ProxyType.GATEWAY else {}),
        **({"cluster_manager": _outside(settings.outside_network)} if settings.outside_network else {}),
        "stats_config": stats_config(address, settings.stats_inclusion),
        "deferred_stat_options": deferred_stat_options(),
        "overload_manager": {
            "resource_monitors": [
                {
                    # Without a number Envoy warns at each start; a sidecar's limit is its container's business.
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {"@type": _CONNECTION_LIMIT, "max_active_downstream_connections": "2147483647"},
                }
            ]
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "lateen",
                    "static_layer": {
                        # Regexes of routes are checked by the control plane; Envoy's default of 100 refuses usual ones.
                        "re2.max_program_size.error_level": 32768,
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }


_OURS = ("node", "dynamic_resources", "hds_config", "admin")
"""Who the proxy is, and how it finds the control plane and its agent finds it: no patch changes that."""


def merged_bootstrap(made: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bootstrap with a patch merged into it, both JSON with protobuf's names, as protobuf would merge them.

    Mappings are merged and lists appended; an extension (`@type`) takes the place of another one.
    """
    return _merged(made, {key: value for key, value in patch.items() if key not in _OURS})


def _merged(made: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(made)
    for key, value in patch.items():
        there = found.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping) and "@type" not in value:
            found[key] = _merged(there, value)
        elif isinstance(value, list) and isinstance(there, list):
            found[key] = [*there, *value]
        else:
            found[key] = value
    return found


def _node(settings: BootstrapSettings) -> dict[str, Any]:
    """Istio's node: id, cluster, locality, and metadata names that any xDS server of Istio's kind understands."""
    proxy = settings.proxy
    locality = {
        key: value
        for key, value in (
            ("region", proxy.locality.region),
            ("zone", proxy.locality.zone),
            ("sub_zone", proxy.locality.subzone),
        )
        if value
    }
    return {
        "id": proxy.node_id,
        "cluster": f"{settings.service}.{proxy.namespace}",
        "locality": locality,
        "metadata": {
            "NAME": proxy.name,
            "NAMESPACE": proxy.namespace,
            "WORKLOAD_NAME": proxy.workload,
            "LABELS": dict(proxy.labels),
            "SERVICE_ACCOUNT": proxy.service_account,
            "CLUSTER_ID": proxy.cluster_id,
            "NETWORK": proxy.network,
            "INTERCEPTION_MODE": proxy.interception.value,
            "INSTANCE_IPS": ",".join(proxy.addresses),
            "LATEEN": {
                "portMap": {str(port): bound for port, bound in sorted(proxy.port_map.items())},
                "unprivileged": not proxy.privileged,
                "upstreams": [
                    {"host": upstream.host, "port": upstream.port, "localPort": upstream.local_port}
                    for upstream in proxy.upstreams
                ],
                "locality": str(proxy.locality),
                **({"certificates": True} if proxy.certificates else {}),
                **({"dns": True} if proxy.answers_dns else {}),
                **({"registers": True} if proxy.registers else {}),
            },
        },
    }


def _ads() -> dict[str, Any]:
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _health_discovery() -> dict[str, Any]:
    """Ask the control plane which endpoints to check for it; how often Envoy tries again is its own business."""
    return {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
    }


def _reconnection() -> dict[str, Any]:
    """How soon Envoy tries again when the control plane is gone: first requests may be waiting for it.

    Envoy's own intervals grow to 30 s; like those, these are the upper ends of random ones.
    """
    return {"retry_back_off": {"base_interval": "0.25s", "max_interval": "3s"}}


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _load_assignment(name: str, *sockets: dict[str, Any]) -> dict[str, Any]:
    """Return endpoints of which each is used when those before are not to be had."""
    return {
        "cluster_name": name,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": socket}}], **({"priority": rank} if rank else {})}
            for rank, socket in enumerate(sockets)
        ],
    }


def _next_in_turn() -> dict[str, Any]:
    """Leave a control plane that does not answer twice in a row, for a while; no health check costs it anything."""
    return {
        "consecutive_5xx": 2,
        "consecutive_gateway_failure": 2,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "10s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 100,
    }


def _xds_cluster(settings: BootstrapSettings) -> dict[str, Any]:
    """The way to the control plane: HTTP/2, with pings so that a silently dead connection is noticed in 30 s."""
    addresses = (settings.control_plane, *settings.other_control_planes)
    keepalive = {"interval": "20s", "timeout": "10s"}
    secured = {"transport_socket": _mutual_tls(settings.control_plane_identity)} if settings.proxy.certificates else {}
    return {
        "name": XDS_CLUSTER,
        # Both families: left alone, Envoy takes `localhost` for ::1 only.
        **(
            {"type": "STATIC"}
            if all(_is_ip(host) for host, _ in addresses)
            else {"type": "STRICT_DNS", "dns_lookup_family": "ALL"}
        ),
        "connect_timeout": "5s",
        "load_assignment": _load_assignment(XDS_CLUSTER, *(_socket(*address) for address in addresses)),
        **({"outlier_detection": _next_in_turn()} if len(addresses) > 1 else {}),
        **secured,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
            }
        },
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 60}},
    }


def _mutual_tls(server: str) -> dict[str, Any]:
    """Show our certificate, and take the server for the control plane only if its SPIFFE ID is the control plane's.

    The secrets come from files, and not over the stream that this socket carries: a static cluster whose secrets come
    by ADS crashes Envoy.
    """
    names = [{"san_type": "URI", "matcher": {"exact": server}}]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS,
            "common_tls_context": {
                # Left alone, Envoy's clients stop at TLS 1.2.
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [file_secret(CERTIFICATE_SECRET)],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": names},
                    "validation_context_sds_secret_config": file_secret(ROOTS_SECRET),
                },
            },
        },
    }


def file_secret(name: str) -> dict[str, Any]:
    """Return the SdsSecretConfig of a secret that the agent keeps in a file of its name."""
    path = {"path": f"{CERTIFICATES_FOLDER}/{name}.json", "watched_directory": {"path": CERTIFICATES_FOLDER}}
    return {"name": name, "sds_config": {"path_config_source": path, "resource_api_version": "V3"}}


def _outside(network: str) -> dict[str, Any]:
    """Connect from another network namespace, whatever family the destination is of."""
    any_ipv4, any_ipv6 = (
        {"address": address, "port_value": 0, "network_namespace_filepath": network} for address in ("0.0.0.0", "::")
    )
    return {"upstream_bind_config": {"source_address": any_ipv4, "extra_source_addresses": [{"address": any_ipv6}]}}


def _admin_cluster(admin: dict[str, Any], settings: BootstrapSettings) -> dict[str, Any]:
    own = {"source_address": {"address": settings.admin_address, "port_value": 0}}
    return {
        **({"upstream_bind_config": own} if settings.outside_network else {}),
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _load_assignment(ADMIN_CLUSTER, admin),
    }


def _prometheus_listener(address: str, port: int) -> dict[str, Any]:
    """Envoy's metrics page alone, so that a scraper need not reach the admin page."""
    route = {"match": {"path": PROMETHEUS_PATH}, "route": {"cluster": ADMIN_CLUSTER, "timeout": "60s"}}
    return {
        "name": f"{address}_{port}",
        "address": _socket(address, port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": _HCM,
                            "stat_prefix": PROMETHEUS_STAT_PREFIX,
                            "route_config": {
                                "virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]
                            },
                            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
                        },
                    }
                ]
            }
        ],
    }
