"""Envoy's health discovery service: what a gateway is asked to check, and what it says came of it.

Called by `generate.health_checks` and `discovery.health_service`. Found with Envoy 1.40, which the documentation does
not say: besides HTTP and TCP it makes gRPC checks; a cluster of this service never has traffic, so that without the
`no_traffic` intervals an endpoint is asked once a minute; a cluster keeps its checks under way over a message that
says the same of it, and over a stream that breaks; endpoints that were not checked yet are reported as unhealthy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lateen.envoy.listeners import is_ip, socket_address
from lateen.envoy.messages import Fields, message_class, packed, serialise
from lateen.model.health import HealthTarget
from lateen.model.probes import GRPC, HTTP, Probe

_API = "envoy.service.health.v3."
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HEALTHY = 1
"""envoy.config.core.v3.HealthStatus"""
_WRONG = [{"start": 100, "end": 200}, {"start": 400, "end": 600}]
"""Statuses that count as one failure: others than the expected ones would make an endpoint sick at once."""
_RIGHT = [{"start": 200, "end": 400}]
"""As the agent's own probes have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCluster:
    """One check and the targets that it is made of."""

    name: str
    host: str
    """For HTTP's `Host` and gRPC's `:authority`."""
    probe: Probe
    targets: Sequence[HealthTarget]


def specifier(clusters: Sequence[CheckedCluster], interval: float) -> bytes:
    """Return the HealthCheckSpecifier; `interval` is the time between two reports in seconds."""
    return serialise(
        f"{_API}HealthCheckSpecifier",
        {"cluster_health_checks": [_cluster(cluster) for cluster in clusters], "interval": _seconds(interval)},
    )


def _cluster(cluster: CheckedCluster) -> Fields:
    endpoints = [{"address": socket_address(target.address, target.port)} for target in cluster.targets]
    fields: Fields = {
        "cluster_name": cluster.name,
        "health_checks": [_check(cluster.probe, cluster.host)],
        "locality_endpoints": [{"endpoints": endpoints}],
    }
    if cluster.probe.tls:
        # The certificate is not verified: that is the agent's rule and Kubernetes'.
        socket = {"name": "envoy.transport_sockets.tls", "typed_config": packed(_TLS, {"sni": cluster.host})}
        fields["transport_socket_matches"] = [{"name": "tls", "match": {}, "transport_socket": socket}]
    return fields


def _check(probe: Probe, host: str) -> Fields:
    interval = _seconds(probe.period)
    fields: Fields = {
        "timeout": _seconds(probe.timeout),
        "interval": interval,
        "no_traffic_interval": interval,
        "no_traffic_healthy_interval": interval,
        "unhealthy_threshold": {"value": probe.failures},
        "healthy_threshold": {"value": probe.successes},
    }
    if probe.kind == HTTP:
        http = {"host": host, "path": probe.path, "expected_statuses": _RIGHT, "retriable_statuses": _WRONG}
        return {**fields, "http_health_check": http}
    if probe.kind == GRPC:
        return {**fields, "grpc_health_check": {"service_name": probe.service, "authority": host}}
    return {**fields, "tcp_health_check": {}}


def _seconds(value: float) -> Fields:
    whole = int(value)
    return {"seconds": whole, "nanos": round((value - whole) * 1000) * 1_000_000}


def asks_for_checks(content: bytes) -> bytes | None:
    """Return the node (serialised) of a stream's first message; None when it says none. DecodeError for no message."""
    message = message_class(f"{_API}HealthCheckRequestOrEndpointHealthResponse").FromString(content)
    if not message.HasField("health_check_request") or not message.health_check_request.HasField("node"):
        return None
    node: bytes = message.health_check_request.node.SerializeToString()
    return node


def reported(content: bytes) -> Iterable[tuple[str, str, int, bool]]:
    """Yield cluster, address, port and whether it is healthy, for all endpoints of a report. DecodeError."""
    message = message_class(f"{_API}HealthCheckRequestOrEndpointHealthResponse").FromString(content)
    for cluster in message.endpoint_health_response.cluster_endpoints_health:
        for locality in cluster.locality_endpoints_health:
            for found in locality.endpoints_health:
                where = found.endpoint.address.socket_address
                if is_ip(where.address):
                    yield cluster.cluster_name, where.address, where.port_value, found.health_status == _HEALTHY
