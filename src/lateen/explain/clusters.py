"""Clusters: whom a route names, how they are reached, and what limits are in force.

Called by `route_actions` and `routing`. Read off the cluster and its endpoints as the proxy is served them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lateen.envoy import names
from lateen.envoy.clusters import HTTP_OPTIONS, UNLIMITED
from lateen.envoy.messages import Fields
from lateen.explain.connections import socket_metadata, socket_of, told_endpoints, transport_of
from lateen.explain.explanations import ClusterView, EndpointView, TransportView
from lateen.explain.matchers import string_text
from lateen.explain.origins import source_of
from lateen.explain.served import Served

_HEALTH = {"HEALTHY": "healthy", "UNHEALTHY": "unhealthy", "DRAINING": "draining", "TIMEOUT": "unhealthy"}
SHOWN_ENDPOINTS = 100


def cluster_view(served: Served, name: str) -> ClusterView | None:
    """Return what there is to say of a cluster; None when the proxy does not know it."""
    cluster = served.cluster(name)
    if cluster is None:
        return None
    assignment = served.assignment(cluster)
    source = source_of(cluster)
    host, port, subset = names.outbound_parts(name)
    return ClusterView(
        name=name,
        host=host,
        port=port,
        subset=subset,
        origin=source.origin,
        config=source.config,
        discovery=_discovery(cluster),
        protocol=_protocol(cluster),
        transports=_transports(cluster, assignment),
        load_balancer=_load_balancer(cluster),
        connect_timeout=cluster.get("connect_timeout", ""),
        endpoints=[view for view, _ in zip(_endpoints(assignment), range(SHOWN_ENDPOINTS), strict=False)],
        circuit_breakers=_limits(cluster),
        outlier_detection=dict(cluster.get("outlier_detection", {})),
    )


def chooses_by_request(cluster: ClusterView) -> bool:
    """Whether the cluster has no endpoints of its own: it connects to where the client wanted, or asks DNS."""
    return cluster.discovery in ("ORIGINAL_DST", "dynamic_forward_proxy")


def _discovery(cluster: Fields) -> str:
    if "cluster_type" in cluster:
        return str(cluster["cluster_type"]["name"]).rpartition(".")[2]
    return str(cluster.get("type", "STATIC"))


def _protocol(cluster: Fields) -> str:
    options = cluster.get("typed_extension_protocol_options", {}).get(HTTP_OPTIONS, {})
    if "http2_protocol_options" in options.get("explicit_http_config", {}):
        return "HTTP/2"
    if "use_downstream_protocol_config" in options:
        return "as the client's"
    return "by ALPN" if "auto_config" in options else "HTTP/1.1"


def _transports(cluster: Fields, assignment: Fields) -> list[TransportView]:
    counted: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for _, _, told, _ in told_endpoints(assignment):
        key = _transport(socket_of(cluster, socket_metadata(told)))
        counted[key] = counted.get(key, 0) + 1
    if not counted:
        counted[_transport(cluster.get("transport_socket", {}))] = 0
    return [
        TransportView(mode=mode, server_name=name, subject_alt_names=list(names), endpoints=count)
        for (mode, name, names), count in counted.items()
    ]


def _transport(socket: Fields) -> tuple[str, str, tuple[str, ...]]:
    config = socket.get("typed_config", {})
    # A socket around another one (PROXY protocol) says nothing of TLS itself.
    while "transport_socket" in config:
        config = config["transport_socket"].get("typed_config", {})
    context = config.get("common_tls_context")
    if context is None:
        return "plain text", "", ()
    own = transport_of({"typed_config": config}).proves_identity
    shows = any(key.startswith("tls_certificate") for key in context)
    name = "(host of the request)" if config.get("auto_host_sni") and not config.get("sni") else config.get("sni", "")
    return "ISTIO_MUTUAL" if own else "MUTUAL" if shows else "SIMPLE", name, tuple(_alt_names(context))


def _alt_names(context: Fields) -> Iterator[str]:
    combined = context.get("combined_validation_context", {}).get("default_validation_context", {})
    for validation in (combined, context.get("validation_context", {})):
        for matcher in validation.get("match_typed_subject_alt_names", ()):
            yield string_text(matcher["matcher"])


def _load_balancer(cluster: Fields) -> str:
    policies = cluster.get("load_balancing_policy", {}).get("policies", ())
    if policies:
        return str(policies[0].get("typed_extension_config", {}).get("name", "")).rpartition(".")[2]
    return str(cluster.get("lb_policy", "ROUND_ROBIN"))


def _endpoints(assignment: Fields) -> Iterator[EndpointView]:
    for address, port, told, locality in told_endpoints(assignment):
        place = locality.get("locality", {})
        parts = [place[key] for key in ("region", "zone", "sub_zone") if key in place]
        yield EndpointView(
            address=f"{address}:{port}" if port else address,
            health=_HEALTH.get(told.get("health_status", ""), "unknown"),
            locality="/".join(parts),
            priority=int(locality.get("priority", 0)),
            weight=int(told.get("load_balancing_weight", 1)),
        )


def _limits(cluster: Fields) -> dict[str, int]:
    thresholds: Any = next(iter(cluster.get("circuit_breakers", {}).get("thresholds", ())), {})
    return {
        name: int(value)
        for name, value in thresholds.items()
        if not isinstance(value, bool | dict | str) and int(value) != UNLIMITED
    }
