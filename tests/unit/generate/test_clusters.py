"""Clusters and endpoints of services, and what DestinationRules make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lateen.model.proxies import Proxy

Generated = Callable[..., dict[str, dict[str, Any]]]
NAME = "outbound|9080||reviews.default.svc.cluster.local"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@pytest.fixture
def cluster(generated: Generated, reviews: str) -> Callable[..., Mapping[str, Any]]:
    """Return a cluster of `reviews` under a DestinationRule's spec (flow YAML without host)."""

    def run(spec: str, subset: str = "") -> Mapping[str, Any]:
        rule = (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews}\n"
            f"spec: {{host: reviews, {spec}}}\n"
        )
        found: Mapping[str, Any] = generated(f"{reviews}---\n{rule}")["Cluster"][NAME.replace("||", f"|{subset}|")]
        return found

    return run


def entry(spec: str, host: str = "ext.example.com") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ext}\n"
        f"spec: {{hosts: [{host}], {spec}}}\n"
    )


def test_a_static_service_is_discovered_over_ads(generated: Generated, reviews: str) -> None:
    found = generated(reviews)
    cluster = found["Cluster"][NAME]

    assert cluster["type"] == "EDS"
    assert cluster["eds_cluster_config"]["eds_config"]["ads"] == {}
    assert cluster["lb_policy"] == "LEAST_REQUEST"
    assert cluster["connect_timeout"] == "10s"
    assert cluster["circuit_breakers"]["thresholds"][0]["max_requests"] == 4294967295
    assert [
        item["endpoint"]["address"]["socket_address"]["address"]
        for item in found["ClusterLoadAssignment"][NAME]["endpoints"][0]["lb_endpoints"]
    ] == ["10.1.0.1", "10.1.0.2"]


def test_metadata_names_service_subset_and_rule(cluster: Callable[..., Mapping[str, Any]]) -> None:
    metadata = cluster("subsets: [{name: v1, labels: {version: v1}}]", "v1")["metadata"]["filter_metadata"]

    assert metadata["istio"]["subset"] == "v1"
    assert metadata["istio"]["config"].endswith("/destination-rule/reviews")
    assert metadata["istio"]["services"] == [
        {"host": "reviews.default.svc.cluster.local", "name": "reviews", "namespace": "default"}
    ]
    assert metadata["lateen"]["config"] == "DestinationRule default/reviews"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("simple: ROUND_ROBIN", {"lb_policy": None}),
        ("simple: RANDOM", {"lb_policy": "RANDOM"}),
        ("simple: LEAST_REQUEST", {"lb_policy": "LEAST_REQUEST"}),
        ("simple: PASSTHROUGH", {"lb_policy": "CLUSTER_PROVIDED", "type": "ORIGINAL_DST"}),
        (
            "consistentHash: {useSourceIp: true}",
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "1024"}},
        ),
        (
            "consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 64}}",
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "64"}},
        ),
        (
            "consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 251}}",
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "251"}},
        ),
        (
            "simple: LEAST_REQUEST, warmup: {duration: 30s, minimumPercent: 5, aggression: 2}",
            {
                "least_request_lb_config": {
                    "slow_start_config": {
                        "slow_start_window": "30s",
                        "aggression": {"default_value": 2.0, "runtime_key": "lateen.slow_start.aggression"},
                        "min_weight_percent": {"value": 5.0},
                    }
                }
            },
        ),
        (
            "simple: ROUND_ROBIN, warmupDurationSecs: 10s",
            {"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "10s"}}},
        ),
    ],
)
def test_load_balancers(cluster: Callable[..., Mapping[str, Any]], settings: str, expected: Mapping[str, Any]) -> None:
    found = cluster(f"trafficPolicy: {{loadBalancer: {{{settings}}}}}")

    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("httpHeaderName: x-user", {"header": {"header_name": "x-user"}}),
        (
            "httpCookie: {name: user, ttl: 0s, path: /p}",
            {"cookie": {"name": "user", "ttl": "0s", "path": "/p"}},
        ),
        ("useSourceIp: true", {"connection_properties": {"source_ip": True}}),
        ("httpQueryParameterName: user", {"query_parameter": {"name": "user"}}),
    ],
)
def test_what_is_hashed_stands_on_the_route(
    generated: Generated, reviews: str, key: str, expected: Mapping[str, Any]
) -> None:
    """A retry then stays with its host."""
    rule = f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews}}
spec: {{host: reviews, trafficPolicy: {{loadBalancer: {{consistentHash: {{{key}}}}}}}}}
"""
    found = generated(reviews + rule)["RouteConfiguration"]["9080"]["virtual_hosts"][0]["routes"][0]["route"]

    assert found["hash_policy"] == [expected]


def test_connection_pool(cluster: Callable[..., Mapping[str, Any]]) -> None:
    found = cluster(
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3, connectTimeout: 2s, idleTimeout: 1m, "
        "tcpKeepalive: {time: 7200s, interval: 75s, probes: 9}, maxConnectionDuration: 1h}, "
        "http: {http1MaxPendingRequests: 4, http2MaxRequests: 5, maxRetries: 6, maxRequestsPerConnection: 7}}}"
    )
    limits = found["circuit_breakers"]["thresholds"][0]
    shared = found["typed_extension_protocol_options"][HTTP_OPTIONS]["common_http_protocol_options"]

    assert (limits["max_connections"], limits["max_pending_requests"]) == (3, 4)
    assert (limits["max_requests"], limits["max_retries"]) == (5, 6)
    assert found["connect_timeout"] == "2s"
    assert found["upstream_connection_options"]["tcp_keepalive"] == {
        "keepalive_probes": 9,
        "keepalive_time": 7200,
        "keepalive_interval": 75,
    }
    assert shared == {
        "idle_timeout": "60s",
        "max_connection_duration": "3600s",
        "max_requests_per_connection": 7,
    }


def test_retry_budget(cluster: Callable[..., Mapping[str, Any]]) -> None:
    found = cluster("trafficPolicy: {retryBudget: {percent: 35, minRetryConcurrency: 8}}")

    assert found["circuit_breakers"]["thresholds"][0]["retry_budget"] == {
        "budget_percent": {"value": 35.0},
        "min_retry_concurrency": 8,
    }


def test_outlier_detection(cluster: Callable[..., Mapping[str, Any]]) -> None:
    found = cluster(
        "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, consecutiveGatewayErrors: 0, interval: 1s, "
        "baseEjectionTime: 15s, maxEjectionPercent: 100, minHealthPercent: 40, "
        "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}}"
    )

    assert found["outlier_detection"] == {
        "consecutive_5xx": 3,
        "enforcing_consecutive_5xx": 100,
        "consecutive_gateway_failure": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "interval": "1s",
        "base_ejection_time": "15s",
        "max_ejection_percent": 100,
        "enforcing_success_rate": 0,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
    }
    assert found["common_lb_config"]["healthy_panic_threshold"] == {"value": 40.0}


def test_a_subset_inherits_and_overrides(cluster: Callable[..., Mapping[str, Any]]) -> None:
    spec = (
        "trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {consecutive5xxErrors: 3}}, "
        "subsets: [{name: v1, labels: {version: v1}}, "
        "{name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}]"
    )

    assert cluster(spec, "v1")["lb_policy"] == "RANDOM"
    assert cluster(spec, "v2")["lb_policy"] == "LEAST_REQUEST"
    assert cluster(spec, "v2")["outlier_detection"]["consecutive_5xx"] == 3


def test_a_port_inherits_nothing(cluster: Callable[..., Mapping[str, Any]]) -> None:
    spec = (
        "trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {consecutive5xxErrors: 3}, "
        "portLevelSettings: [{port: {number: 9080}, connectionPool: {tcp: {maxConnections: 1}}}]}"
    )
    found = cluster(spec)

    assert found["lb_policy"] == "LEAST_REQUEST"
    assert "outlier_detection" not in found
    assert found["circuit_breakers"]["thresholds"][0]["max_connections"] == 1


def test_a_subset_has_the_endpoints_with_its_labels(generated: Generated) -> None:
    documents = (
        entry(
            "location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], "
            "endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]"
        )
        + "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ext}\n"
        "spec: {host: ext.example.com, subsets: [{name: v2, labels: {version: v2}}]}\n"
    )
    assignment = generated(documents)["ClusterLoadAssignment"]["outbound|80|v2|ext.example.com"]

    assert [
        item["endpoint"]["address"]["socket_address"]["address"]
        for group in assignment["endpoints"]
        for item in group["lb_endpoints"]
    ] == ["10.0.0.2"]


def test_localities_and_weights(generated: Generated) -> None:
    documents = entry(
        "resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: ["
        "{address: 10.0.0.1, locality: eu/b/1, weight: 3}, {address: 10.0.0.2, locality: eu/a}, "
        "{address: 10.0.0.3, locality: eu/b/1}]"
    )
    groups = generated(documents)["ClusterLoadAssignment"]["outbound|80||ext.example.com"]["endpoints"]

    assert [group["locality"] for group in groups] == [
        {"region": "eu", "zone": "a"},
        {"region": "eu", "zone": "b", "sub_zone": "1"},
    ]
    assert [group["load_balancing_weight"] for group in groups] == [1, 4]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("resolution: DNS, endpoints: [{address: a.example}, {address: b.example}]", "STRICT_DNS"),
        ("resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.example}]", "LOGICAL_DNS"),
    ],
)
def test_names_are_resolved_by_envoy(generated: Generated, spec: str, kind: str) -> None:
    found = generated(entry(f"ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}"))
    cluster = found["Cluster"]["outbound|80||ext.example.com"]

    assert cluster["type"] == kind
    assert cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] == {
        "address": "a.example",
        "port_value": 80,
    }
    assert "outbound|80||ext.example.com" not in found.get("ClusterLoadAssignment", {})


def test_a_dns_service_without_endpoints_is_its_own_name(generated: Generated) -> None:
    found = generated(entry("resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]"))
    address = found["Cluster"]["outbound|443||ext.example.com"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]

    assert address["endpoint"]["address"]["socket_address"] == {"address": "ext.example.com", "port_value": 443}


def test_a_service_without_resolution_is_reached_where_the_client_wanted(
    generated: Generated, explicit_sidecar: Proxy
) -> None:
    """In explicit mode nobody knows an original destination: the host of the request is resolved."""
    documents = entry("resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]")

    assert generated(documents)["Cluster"]["outbound|80||ext.example.com"]["type"] == "ORIGINAL_DST"
    explicit = generated(documents, explicit_sidecar)["Cluster"]["outbound|80||ext.example.com"]
    assert explicit["cluster_type"]["name"] == "envoy.clusters.dynamic_forward_proxy"


def test_an_external_name_is_resolved(generated: Generated) -> None:
    documents = """
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: www.example.com, ports: [{name: http, port: 80}]}
"""
    cluster = generated(documents)["Cluster"]["outbound|80||outside.default.svc.cluster.local"]

    assert cluster["type"] == "STRICT_DNS"
    assert "www.example.com" in str(cluster["load_assignment"])


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("HTTP", None),
        ("HTTP2", "explicit_http_config"),
        ("GRPC", "explicit_http_config"),
        ("TCP", None),
        ("", "use_downstream_protocol_config"),
    ],
)
def test_the_protocol_spoken_upstream(generated: Generated, protocol: str, expected: str | None) -> None:
    port = f"{{number: 80, name: p, protocol: '{protocol}'}}"
    found = generated(entry(f"resolution: STATIC, ports: [{port}], endpoints: [{{address: 10.0.0.1}}]"))
    options = found["Cluster"]["outbound|80||ext.example.com"].get("typed_extension_protocol_options")

    assert (options is None) if expected is None else (expected in options[HTTP_OPTIONS])


def test_http_is_upgraded_when_asked_for(cluster: Callable[..., Mapping[str, Any]]) -> None:
    found = cluster("trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}")

    options = found["typed_extension_protocol_options"][HTTP_OPTIONS]
    assert "http2_protocol_options" in options["explicit_http_config"]


def test_the_meshs_upgrade_policy_spares_sniffed_ports(generated: Generated, reviews: str) -> None:
    documents = reviews + "---\n" + entry("resolution: STATIC, ports: [{number: 80, name: p}]")
    found = generated(documents, mesh_config="h2UpgradePolicy: UPGRADE")["Cluster"]

    assert "explicit_http_config" in found[NAME]["typed_extension_protocol_options"][HTTP_OPTIONS]
    assert "explicit_http_config" not in str(found["outbound|80||ext.example.com"])


def test_tls_to_an_upstream(cluster: Callable[..., Mapping[str, Any]]) -> None:
    found = cluster(
        "trafficPolicy: {tls: {mode: SIMPLE, sni: reviews.example, caCertificates: /etc/ca.pem, "
        "subjectAltNames: [reviews.example]}}"
    )
    context = found["transport_socket"]["typed_config"]
    validation = context["common_tls_context"]["validation_context"]

    assert context["sni"] == "reviews.example"
    assert validation["trusted_ca"] == {"filename": "/etc/ca.pem"}
    assert {"san_type": "DNS", "matcher": {"exact": "reviews.example"}} in validation["match_typed_subject_alt_names"]


def test_tls_disabled_is_plain(cluster: Callable[..., Mapping[str, Any]]) -> None:
    assert "transport_socket" not in cluster("trafficPolicy: {tls: {mode: DISABLE}}")


def test_proxy_protocol_goes_before_tls(cluster: Callable[..., Mapping[str, Any]]) -> None:
    plain = cluster("trafficPolicy: {proxyProtocol: {version: V2}}")["transport_socket"]
    both = cluster("trafficPolicy: {proxyProtocol: {version: V1}, tls: {mode: SIMPLE, sni: a}}")["transport_socket"]

    assert plain["name"] == "envoy.transport_sockets.upstream_proxy_protocol"
    assert "raw_buffer" in str(plain)
    assert "UpstreamTlsContext" in str(both)


def test_defaults_of_the_mesh(generated: Generated, reviews: str) -> None:
    found = generated(
        reviews,
        mesh_config="{connectTimeout: 3s, defaultTrafficPolicy: {outlierDetection: {consecutive5xxErrors: 9}}}",
    )["Cluster"][NAME]

    assert found["connect_timeout"] == "3s"
    assert found["outlier_detection"]["consecutive_5xx"] == 9


def test_addresses_that_eds_refuses_are_left_out(generated: Generated) -> None:
    documents = entry(
        "resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], "
        "endpoints: [{address: 10.0.0.1}, {address: 'unix:///run/app.sock'}]"
    )
    found = str(generated(documents)["ClusterLoadAssignment"]["outbound|80||ext.example.com"])

    assert "10.0.0.1" in found
    assert "/run/app.sock" in found
