"""Explicit mode: an HTTP proxy on the workload's own address, and listeners for declared upstreams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lateen.model.proxies import Proxy, Upstream

Generated = Callable[..., dict[str, dict[str, Any]]]

BANK = """---
apiVersion: v1
kind: Service
metadata: {name: bank, namespace: money}
spec: {clusterIP: 10.0.0.12, ports: [{name: tcp, port: 7070}, {name: raw, port: 7071}, {name: http, port: 80}]}
"""


def virtual_host(found: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    hosts = found["RouteConfiguration"]["http_proxy"]["virtual_hosts"]
    host: Mapping[str, Any] = next(item for item in hosts if item["name"] == name)
    return host


def test_the_proxy_listens_at_the_workloads_address(generated: Generated, explicit_sidecar: Proxy) -> None:
    found = generated("", explicit_sidecar)["Listener"]

    assert list(found) == ["http_proxy"]
    assert found["http_proxy"]["address"]["socket_address"] == {"address": "127.0.0.9", "port_value": 15001}
    manager = found["http_proxy"]["filter_chains"][0]["filters"][0]["typed_config"]
    assert {"upgrade_type": "CONNECT"} in manager["upgrade_configs"]
    assert manager["http_protocol_options"]["allow_absolute_url"] is True


def test_every_name_of_a_port_is_a_domain(generated: Generated, explicit_sidecar: Proxy, reviews: str) -> None:
    """The port is part of the match; port 80, which URLs leave out, is the plain name too."""
    found = generated(reviews + BANK, explicit_sidecar)

    assert virtual_host(found, "reviews.default.svc.cluster.local:9080")["domains"] == [
        "reviews.default.svc.cluster.local:9080",
        "10.0.0.10:9080",
        "reviews:9080",
        "reviews.default:9080",
        "reviews.default.svc:9080",
    ]
    assert virtual_host(found, "bank.money.svc.cluster.local:80")["domains"] == [
        "bank.money.svc.cluster.local",
        "bank.money.svc.cluster.local:80",
        "10.0.0.12",
        "10.0.0.12:80",
        "bank.money",
        "bank.money:80",
        "bank.money.svc",
        "bank.money.svc:80",
    ]
    assert found["RouteConfiguration"]["http_proxy"].get("ignore_port_in_host_matching", False) is False


def test_connect_opens_a_tunnel_to_any_port(generated: Generated, explicit_sidecar: Proxy, reviews: str) -> None:
    """TCP ports have nothing but the tunnel, HTTP and sniffed ports have their routes after it."""
    found = generated(reviews + BANK, explicit_sidecar)

    tcp = virtual_host(found, "bank.money.svc.cluster.local:7070")["routes"]
    assert len(tcp) == 1
    assert tcp[0]["match"] == {"connect_matcher": {}}
    assert tcp[0]["route"]["cluster"] == "outbound|7070||bank.money.svc.cluster.local"
    assert tcp[0]["route"]["upgrade_configs"] == [{"upgrade_type": "CONNECT", "connect_config": {}}]
    for name in ("bank.money.svc.cluster.local:7071", "reviews.default.svc.cluster.local:9080"):
        matches = [route["match"] for route in virtual_host(found, name)["routes"]]
        assert matches == [{"connect_matcher": {}}, {"prefix": "/"}]


def test_tcp_rules_split_tunnels(generated: Generated, explicit_sidecar: Proxy) -> None:
    rule = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bank, namespace: money}
spec:
  hosts: [bank]
  tcp:
  - match: [{port: 7070}]
    route: [{destination: {host: bank, subset: v1}, weight: 80}, {destination: {host: bank, subset: v2}, weight: 20}]
"""
    found = generated(BANK + rule, explicit_sidecar)
    clusters = virtual_host(found, "bank.money.svc.cluster.local:7070")["routes"][0]["route"]["weighted_clusters"]

    assert [(item["name"].split("|")[2], item["weight"]) for item in clusters["clusters"]] == [("v1", 80), ("v2", 20)]


def test_unknown_hosts_are_resolved_when_allowed(generated: Generated, explicit_sidecar: Proxy) -> None:
    found = generated("", explicit_sidecar)
    routes = virtual_host(found, "allow_any")["routes"]

    assert [route["route"]["cluster"] for route in routes] == ["PassthroughCluster"] * 2
    assert found["Cluster"]["PassthroughCluster"]["cluster_type"]["name"] == "envoy.clusters.dynamic_forward_proxy"


def test_unknown_hosts_are_refused_otherwise(generated: Generated, explicit_sidecar: Proxy) -> None:
    found = generated("", explicit_sidecar, mesh_config="outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
    routes = virtual_host(found, "block_all")["routes"]

    assert [route["match"] for route in routes] == [{"connect_matcher": {}}, {"prefix": "/"}]
    assert [route["direct_response"]["status"] for route in routes] == [502, 502]


def test_the_proxy_does_not_call_itself(generated: Generated, explicit_sidecar: Proxy) -> None:
    host = virtual_host(generated("", explicit_sidecar), "http_proxy")

    assert host["domains"] == ["*:15001"]
    assert {route["direct_response"]["status"] for route in host["routes"]} == {400}


def test_a_declared_upstream_has_a_port_of_its_own(generated: Generated, explicit_sidecar: Proxy, reviews: str) -> None:
    """Requests there go to the service whatever their Host header says; unknown services have no listener yet."""
    proxy = replace(
        explicit_sidecar,
        upstreams=(
            Upstream(host="reviews", port=9080, local_port=19080),
            Upstream(host="bank.money", port=7070, local_port=17070),
            Upstream(host="bank.money.svc.cluster.local", port=7070, local_port=17071),
        ),
    )
    found = generated(reviews + BANK, proxy)

    assert sorted(found["Listener"]) == ["127.0.0.9_17071", "127.0.0.9_19080", "http_proxy"]
    http = found["Listener"]["127.0.0.9_19080"]
    assert http["additional_addresses"] == [
        {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 19080}}}
    ]
    routes = found["RouteConfiguration"]["reviews.default.svc.cluster.local:9080"]["virtual_hosts"]
    assert [host["domains"] for host in routes] == [["*"]]
    tcp = found["Listener"]["127.0.0.9_17071"]["filter_chains"][0]["filters"][0]["typed_config"]
    assert tcp["cluster"] == "outbound|7070||bank.money.svc.cluster.local"


def test_a_declared_upstream_may_be_looked_up(generated: Generated, explicit_sidecar: Proxy) -> None:
    """The cluster of a host of resolution NONE takes no request whose host the connection manager did not resolve."""
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec: {hosts: [api.example.com], location: MESH_EXTERNAL, ports: [{number: 80, name: http, protocol: HTTP}]}
"""
    proxy = replace(explicit_sidecar, upstreams=(Upstream(host="api.example.com", port=80, local_port=19080),))
    found = generated(entry, proxy)

    manager = found["Listener"]["127.0.0.9_19080"]["filter_chains"][0]["filters"][0]["typed_config"]
    assert [one["name"] for one in manager["http_filters"]][-2:] == [
        "envoy.filters.http.dynamic_forward_proxy",
        "envoy.filters.http.router",
    ]
    cluster = found["Cluster"]["outbound|80||api.example.com"]
    assert cluster["cluster_type"]["name"] == "envoy.clusters.dynamic_forward_proxy"


def test_inbound_listens_at_the_workloads_address(generated: Generated, explicit_sidecar: Proxy) -> None:
    """The application listens on loopback, behind the sidecar."""
    documents = """
apiVersion: v1
kind: Service
metadata: {name: me}
spec: {ports: [{name: http, port: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: me, labels: {kubernetes.io/service-name: me}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.9], conditions: {ready: false}}]
ports: [{name: http, port: 9080}]
"""
    found = generated(documents, explicit_sidecar)
    listener = found["Listener"]["127.0.0.9_9080"]
    cluster = found["Cluster"]["inbound|9080||"]

    assert listener["traffic_direction"] == "INBOUND"
    assert listener["address"]["socket_address"] == {"address": "127.0.0.9", "port_value": 9080}
    assert cluster["type"] == "STATIC"
    assert cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] == {
        "address": "127.0.0.1",
        "port_value": 9080,
    }
