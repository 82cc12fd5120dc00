"""Traffic policies on clusters: load balancing, connection pool, circuit breakers, outlier detection, TLS.

Called by `generate.clusters` with the policy that applies to one cluster (already chosen by port and subset).
Source of each mapping: Istio's DestinationRule reference, Envoy's cluster.proto and outlier_detection.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lateen.config import durations
from lateen.config.mesh_config import MeshConfig, MeshH2UpgradePolicy
from lateen.config.networking import (
    ConnectionPoolSettings,
    ConsistentHashLB,
    H2UpgradePolicy,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    RetryBudget,
    SimpleLB,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
)
from lateen.envoy.clusters import (
    ClusterDraft,
    all_open_circuit_breakers,
    open_circuit_breakers,
    use_client_protocol,
    use_http2,
)
from lateen.envoy.messages import Fields, Message
from lateen.envoy.mutual_tls import (
    HTTP2_ALPN,
    HTTP_ALPN,
    TCP_ALPN,
    client_socket,
    matched_sockets,
    plaintext_socket,
)
from lateen.envoy.tls_parameters import client_defaults
from lateen.envoy.transport_sockets import (
    FROM_FILES,
    ClientSecrets,
    auto_names,
    tls_client_socket,
    with_proxy_protocol,
)
from lateen.model.protocols import Protocol

DEFAULT_RING_SIZE = 1024


@lru_cache(maxsize=64)
def _duration(text: str) -> Fields:
    """Return a Duration. Shared, because nearly all clusters have the same few: do not change it."""
    return durations.to_fields(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTLS:
    """How a cluster calls workloads of the mesh."""

    sni: str
    subject_alt_names: tuple[str, ...]
    """Of which the server must have one; none takes any of the mesh's."""
    by_endpoint: bool
    """Whether only those endpoints are called so that say that they take it, and the others in plain text."""


def apply_traffic_policy(
    draft: ClusterDraft,
    policy: TrafficPolicy | None,
    *,
    protocol: Protocol,
    mesh_config: MeshConfig,
    locality_weighted: bool = False,
    secrets: ClientSecrets = FROM_FILES,
    mutual_tls: MutualTLS | None = None,
) -> None:
    """Apply everything of a policy to an outbound cluster; None applies the mesh's defaults.

    `locality_weighted`: whether the weights of localities count. `secrets`: what stands for the credential of the
    policy's TLS. These and `mutual_tls` come from outside, because more than the policy decides them.
    """
    policy = policy or TrafficPolicy()
    pool = policy.connection_pool or ConnectionPoolSettings()
    http = pool.http or HTTPSettings()
    if _upgrades(http, protocol, mesh_config):
        use_http2(draft)
    apply_connection_pool(draft, pool, mesh_config, retry_budget=policy.retry_budget)
    apply_load_balancer(draft.fields, policy.load_balancer)
    if policy.outlier_detection is not None:
        apply_outlier_detection(draft, policy.outlier_detection)
    if locality_weighted and draft.fields.get("lb_policy") != "CLUSTER_PROVIDED":
        draft.fields.setdefault("common_lb_config", {})["locality_weighted_lb_config"] = {}
    if mutual_tls is not None:
        apply_mutual_tls(draft, mutual_tls, protocol, policy)
        return
    socket: Fields | None = None
    if policy.tls is not None:
        http2 = "http2_protocol_options" in _explicit(draft)
        socket = tls_client_socket(policy.tls, http2=http2, secrets=secrets, defaults=client_defaults(mesh_config))
        if socket is not None and (asked := auto_names(policy.tls, secrets)):
            draft.http_options["upstream_http_protocol_options"] = asked
    if policy.proxy_protocol is not None:
        socket = with_proxy_protocol(socket, policy.proxy_protocol.version)
    if socket is not None:
        draft.fields["transport_socket"] = socket


def apply_mutual_tls(draft: ClusterDraft, mutual_tls: MutualTLS, protocol: Protocol, policy: TrafficPolicy) -> None:
    """Call workloads with the proxy's own certificate. What is offered says what is spoken: the server cannot know."""
    alpn: tuple[str, ...] = TCP_ALPN
    if protocol.is_http or protocol.is_sniffed:
        alpn = HTTP2_ALPN if "http2_protocol_options" in _explicit(draft) else HTTP_ALPN
    socket = client_socket(alpn, sni=mutual_tls.sni, subject_alt_names=mutual_tls.subject_alt_names)
    plaintext = plaintext_socket()
    if policy.proxy_protocol is not None:
        socket = with_proxy_protocol(socket, policy.proxy_protocol.version)
        plaintext = with_proxy_protocol(None, policy.proxy_protocol.version)
    if mutual_tls.by_endpoint:
        draft.fields["transport_socket_matches"] = matched_sockets(socket, plaintext)
    else:
        draft.fields["transport_socket"] = socket


def _explicit(draft: ClusterDraft) -> Fields:
    explicit: Fields = draft.http_options.get("explicit_http_config", {})
    return explicit


def _upgrades(http: HTTPSettings, protocol: Protocol, mesh_config: MeshConfig) -> bool:
    """Whether HTTP/1.1 becomes HTTP/2: a rule's word counts for any port, the mesh's only for declared HTTP."""
    if http.use_client_protocol or http.h2_upgrade_policy is H2UpgradePolicy.DO_NOT_UPGRADE:
        return False
    if http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE:
        return True
    return protocol.is_http and mesh_config.h2_upgrade_policy is MeshH2UpgradePolicy.UPGRADE


# --- connection pool -----------------------------------------------------------------------------------------


def apply_connection_pool(
    draft: ClusterDraft,
    pool: ConnectionPoolSettings,
    mesh_config: MeshConfig,
    *,
    retry_budget: RetryBudget | None = None,
) -> None:
    """Apply timeouts, keep-alive and circuit breakers. Zero means not set, as in Istio."""
    tcp, http = pool.tcp or TCPSettings(), pool.http or HTTPSettings()
    draft.fields["circuit_breakers"] = _circuit_breakers(tcp, http, retry_budget)
    draft.fields["connect_timeout"] = _duration(tcp.connect_timeout or mesh_config.connect_timeout)
    if keepalive := tcp.tcp_keepalive or mesh_config.tcp_keepalive:
        draft.fields["upstream_connection_options"] = {"tcp_keepalive": _keepalive(keepalive)}
    _apply_http_limits(draft, http, tcp)


def _circuit_breakers(tcp: TCPSettings, http: HTTPSettings, retry_budget: RetryBudget | None) -> Fields | Message:
    limits: Fields = {
        name: {"value": limit}
        for name, limit in (
            ("max_connections", tcp.max_connections),
            ("max_pending_requests", http.http1_max_pending_requests),
            ("max_requests", http.http2_max_requests),
            ("max_retries", http.max_retries),
        )
        if limit > 0
    }
    if retry_budget is not None:
        percent = 20.0 if retry_budget.percent is None else retry_budget.percent
        limits["retry_budget"] = {
            "budget_percent": {"value": percent},
            "min_retry_concurrency": {"value": retry_budget.min_retry_concurrency or 3},
        }
    if not limits:
        return all_open_circuit_breakers()
    return {"thresholds": [open_circuit_breakers() | limits]}


def _keepalive(keepalive: TcpKeepalive) -> Fields:
    fields: Fields = {}
    if keepalive.probes:
        fields["keepalive_probes"] = {"value": keepalive.probes}
    if keepalive.time:
        fields["keepalive_time"] = {"value": _duration(keepalive.time)["seconds"]}
    if keepalive.interval:
        fields["keepalive_interval"] = {"value": _duration(keepalive.interval)["seconds"]}
    return fields


def _apply_http_limits(draft: ClusterDraft, http: HTTPSettings, tcp: TCPSettings) -> None:
    shared: Fields = {}
    if idle := http.idle_timeout or tcp.idle_timeout:
        shared["idle_timeout"] = _duration(idle)
    if http.max_requests_per_connection > 0:
        shared["max_requests_per_connection"] = {"value": http.max_requests_per_connection}
    if tcp.max_connection_duration:
        shared["max_connection_duration"] = _duration(tcp.max_connection_duration)
    if shared:
        draft.http_options["common_http_protocol_options"] = shared
    http2 = _explicit(draft).get("http2_protocol_options")
    if http2 is not None and http.max_concurrent_streams > 0:
        http2["max_concurrent_streams"] = {"value": http.max_concurrent_streams}
    if http2 is not None and http.http2_keep_alive is not None and http.http2_keep_alive.interval:
        http2["connection_keepalive"] = {
            "interval": _duration(http.http2_keep_alive.interval),
            "timeout": _duration(http.http2_keep_alive.timeout or "10s"),
        }
    if http.use_client_protocol:
        use_client_protocol(draft)


# --- load balancing ------------------------------------------------------------------------------------------


def apply_load_balancer(fields: Fields, settings: LoadBalancerSettings | None) -> None:
    """Choose the algorithm; least request when nothing is said (Istio's default since 1.14)."""
    if fields.get("lb_policy") == "CLUSTER_PROVIDED":
        return
    settings = settings or LoadBalancerSettings()
    if settings.consistent_hash is not None:
        apply_consistent_hash(fields, settings.consistent_hash)
        return
    match settings.simple:
        case SimpleLB.RANDOM:
            fields["lb_policy"] = "RANDOM"
        case SimpleLB.ROUND_ROBIN:
            fields["lb_policy"] = "ROUND_ROBIN"
            if slow_start := _slow_start(settings):
                fields["round_robin_lb_config"] = {"slow_start_config": slow_start}
        case SimpleLB.PASSTHROUGH:
            fields["lb_policy"] = "CLUSTER_PROVIDED"
            fields["type"] = "ORIGINAL_DST"
            fields.pop("load_assignment", None)
            fields.pop("eds_cluster_config", None)
        case _:
            fields["lb_policy"] = "LEAST_REQUEST"
            if slow_start := _slow_start(settings):
                fields["least_request_lb_config"] = {"slow_start_config": slow_start}


def apply_consistent_hash(fields: Fields, consistent: ConsistentHashLB) -> None:
    """Choose ring hash or maglev; the route's hash policy says what is hashed."""
    if consistent.maglev is not None:
        fields["lb_policy"] = "MAGLEV"
        if consistent.maglev.table_size:
            fields["maglev_lb_config"] = {"table_size": {"value": consistent.maglev.table_size}}
        return
    fields["lb_policy"] = "RING_HASH"
    if consistent.ring_hash is not None:
        size = consistent.ring_hash.minimum_ring_size
    else:
        size = consistent.minimum_ring_size or DEFAULT_RING_SIZE
    if size:
        fields["ring_hash_lb_config"] = {"minimum_ring_size": {"value": size}}


def _slow_start(settings: LoadBalancerSettings) -> Fields | None:
    if (warmup := settings.warmup) is not None:
        aggression = 1.0 if warmup.aggression is None else warmup.aggression
        minimum = 10.0 if warmup.minimum_percent is None else warmup.minimum_percent
        return {
            "slow_start_window": _duration(warmup.duration),
            # Envoy insists on a runtime key; this one cannot be set by accident.
            "aggression": {"default_value": aggression, "runtime_key": "lateen.slow_start.aggression"},
            "min_weight_percent": {"value": minimum},
        }
    if settings.warmup_duration_secs:
        return {"slow_start_window": _duration(settings.warmup_duration_secs)}
    return None


# --- outlier detection ---------------------------------------------------------------------------------------


def apply_outlier_detection(draft: ClusterDraft, outlier: OutlierDetection) -> None:
    """Eject failing endpoints. Success-rate ejection stays off, and so does panic mode unless asked for."""
    fields: Fields = {"enforcing_success_rate": {"value": 0}}
    for name, errors in (
        ("consecutive_5xx", outlier.consecutive_5xx_errors),
        ("consecutive_gateway_failure", outlier.consecutive_gateway_errors),
    ):
        if errors is not None:
            fields[name] = {"value": errors}
            fields[f"enforcing_{name}"] = {"value": 100 if errors else 0}
    if outlier.interval:
        fields["interval"] = _duration(outlier.interval)
    if outlier.base_ejection_time:
        fields["base_ejection_time"] = _duration(outlier.base_ejection_time)
    if outlier.max_ejection_percent > 0:
        fields["max_ejection_percent"] = {"value": outlier.max_ejection_percent}
    if outlier.split_external_local_origin_errors:
        fields["split_external_local_origin_errors"] = True
        fields["enforcing_local_origin_success_rate"] = {"value": 0}
        if failures := outlier.consecutive_local_origin_failures:
            fields["consecutive_local_origin_failure"] = {"value": failures}
            fields["enforcing_consecutive_local_origin_failure"] = {"value": 100}
    draft.fields["outlier_detection"] = fields
    draft.fields.setdefault("common_lb_config", {})["healthy_panic_threshold"] = {
        "value": float(max(outlier.min_health_percent, 0))
    }
    if outlier.outlier_detection_http_error_codes:
        draft.http_options["outlier_detection"] = {
            "error_matcher": _status_matcher(outlier.outlier_detection_http_error_codes)
        }


def _status_matcher(codes: list[int]) -> Fields:
    rules: list[Fields] = [
        {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": str(code)}}]}}
        for code in codes
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
