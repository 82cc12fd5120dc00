"""Listeners, virtual hosts and the inbound side of intercepted sidecars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from lateen.model.proxies import Interception, Proxy

Generated = Callable[..., dict[str, dict[str, Any]]]


def service(name: str, ports: str, *, address: str = "10.0.0.9", namespace: str = "default") -> str:
    return f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: {address}, ports: [{ports}]}}
"""


def filter_named(chain: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(item["typed_config"] for item in chain["filters"] if item["name"].endswith(name))
    return found


def names_of(routes: Mapping[str, Any]) -> list[str]:
    return [host["name"] for host in routes["virtual_hosts"]]


def test_everything_arrives_at_one_listener(generated: Generated) -> None:
    """A call to the listener's own port would come back for ever, so it is refused."""
    listener = generated("")["Listener"]["virtualOutbound"]

    assert listener["address"]["socket_address"]["port_value"] == 15001
    assert listener["use_original_dst"] is True
    assert listener["filter_chains"][0]["filter_chain_match"] == {"destination_port": 15001}
    assert filter_named(listener["filter_chains"][0], "tcp_proxy")["cluster"] == "BlackHoleCluster"
    assert filter_named(listener["filter_chains"][1], "tcp_proxy")["cluster"] == "PassthroughCluster"


def test_transparent_interception_keeps_addresses(generated: Generated, sidecar: Proxy) -> None:
    found = generated("", replace(sidecar, interception=Interception.TPROXY))["Listener"]

    assert found["virtualOutbound"]["transparent"] is True
    assert found["virtualInbound"]["transparent"] is True


@pytest.mark.parametrize("others", [("10.9.9.9",), ()], ids=["both", "only_ipv6"])
def test_who_has_ipv6_is_intercepted_by_ipv6(generated: Generated, sidecar: Proxy, others: tuple[str, ...]) -> None:
    """Also a proxy that has nothing else: its rules lead such connections to the same ports."""
    proxy = replace(sidecar, addresses=(*others, "fd00::9"))
    found = generated(service("a", "{name: http, port: 9080}"), proxy)["Listener"]

    for name in ("virtualOutbound", "virtualInbound", "0.0.0.0_9080"):
        (also,) = found[name]["additional_addresses"]
        assert also["address"]["socket_address"]["address"] == "::", name


def test_http_services_share_a_listener_per_port(generated: Generated) -> None:
    found = generated(service("a", "{name: http, port: 9080}") + service("b", "{name: http, port: 9080}"))
    listener = found["Listener"]["0.0.0.0_9080"]

    assert listener["bind_to_port"] is False
    http = listener["filter_chains"][0]
    assert http["filter_chain_match"]["application_protocols"] == ["http/1.0", "http/1.1", "h2c"]
    manager = filter_named(http, "http_connection_manager")
    assert manager["rds"]["route_config_name"] == "9080"
    assert manager["stat_prefix"] == "outbound_0.0.0.0_9080;"
    assert manager["server_name"] == "istio-envoy"
    assert manager["stream_idle_timeout"] == "0s"
    assert manager["upgrade_configs"] == [{"upgrade_type": "websocket"}]
    assert [item["name"].rpartition(".")[2] for item in manager["http_filters"]] == [
        "grpc_stats",
        "fault",
        "cors",
        "router",
    ]
    assert listener["default_filter_chain"]["name"] == "PassthroughFilterChain"
    assert names_of(found["RouteConfiguration"]["9080"]) == [
        "a.default.svc.cluster.local:9080",
        "b.default.svc.cluster.local:9080",
        "allow_any",
    ]


def test_a_service_answers_to_its_short_names_and_address(generated: Generated) -> None:
    """Only the proxy's own namespace may leave its name out."""
    found = generated(
        service("a", "{name: http, port: 80}", address="10.0.0.1")
        + service("b", "{name: http, port: 80}", address="10.0.0.2", namespace="other")
    )["RouteConfiguration"]["80"]["virtual_hosts"]

    assert found[0]["domains"] == ["a.default.svc.cluster.local", "10.0.0.1", "a", "a.default", "a.default.svc"]
    assert found[1]["domains"] == ["b.other.svc.cluster.local", "10.0.0.2", "b.other", "b.other.svc"]


def test_no_domain_stands_twice(generated: Generated) -> None:
    """A short name never takes the full name of another service: Envoy refuses the whole configuration then."""
    documents = (
        service("a", "{name: http, port: 80}")
        + """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: short}
spec: {hosts: [a.default], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
    )
    found = generated(documents)["RouteConfiguration"]["80"]["virtual_hosts"]
    domains = [domain for host in found for domain in host["domains"]]

    assert len(domains) == len(set(domains))
    assert "a.default" in next(host for host in found if host["name"] == "a.default:80")["domains"]


def test_a_port_without_protocol_is_sniffed(generated: Generated) -> None:
    found = generated(service("a", "{port: 7071}"))
    listener = found["Listener"]["10.0.0.9_7071"]
    manager = filter_named(listener["filter_chains"][0], "http_connection_manager")

    assert manager["rds"]["route_config_name"] == "a.default.svc.cluster.local:7071"
    assert filter_named(listener["default_filter_chain"], "tcp_proxy")["cluster"].startswith("outbound|7071||a.")
    assert [item["name"] for item in listener["listener_filters"]] == ["envoy.filters.listener.http_inspector"]
    assert listener["continue_on_listener_filters_timeout"] is True
    assert found["RouteConfiguration"]["a.default.svc.cluster.local:7071"]["virtual_hosts"][0]["domains"] == ["*"]


def test_how_long_a_silent_client_is_waited_for(generated: Generated) -> None:
    """Zero, Istio's default, waits for ever."""
    documents = service("a", "{port: 7071}")

    assert generated(documents)["Listener"]["10.0.0.9_7071"]["listener_filters_timeout"] == "0s"
    found = generated(documents, mesh_config="protocolDetectionTimeout: 5s")["Listener"]["10.0.0.9_7071"]
    assert found["listener_filters_timeout"] == "5s"


def test_tcp_listens_at_the_services_address(generated: Generated) -> None:
    listener = generated(service("a", "{name: tcp, port: 7070}"))["Listener"]["10.0.0.9_7070"]

    assert "listener_filters" not in listener
    assert filter_named(listener["filter_chains"][0], "tcp_proxy")["cluster"].startswith("outbound|7070||a.")
    assert listener["metadata"]["filter_metadata"]["lateen"]["config"] == "service a.default.svc.cluster.local"


def test_tcp_without_an_address_is_told_apart_by_its_endpoints(generated: Generated) -> None:
    documents = "".join(
        f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: db{number}}}
spec:
  hosts: [db{number}.example.com]
  resolution: STATIC
  ports: [{{number: 3306, name: tcp, protocol: TCP}}]
  endpoints: [{{address: 10.5.0.{number}}}]
"""
        for number in (1, 2)
    )
    listener = generated(documents)["Listener"]["0.0.0.0_3306"]

    assert [
        (
            chain["filter_chain_match"]["prefix_ranges"][0]["address_prefix"],
            filter_named(chain, "tcp_proxy")["cluster"],
        )
        for chain in listener["filter_chains"]
    ] == [("10.5.0.1", "outbound|3306||db1.example.com"), ("10.5.0.2", "outbound|3306||db2.example.com")]


def test_an_endpoint_that_two_services_have_belongs_to_the_first(generated: Generated) -> None:
    """Envoy refuses a listener in which two chains want one address; the second service keeps its others."""
    documents = "".join(
        f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example.com]
  resolution: STATIC
  ports: [{{number: 3306, name: tcp, protocol: TCP}}]
  endpoints: [{", ".join(f"{{address: 10.5.0.{number}}}" for number in numbers)}]
"""
        for name, numbers in {"all": (1, 2), "both": (2, 3), "none": (1, 3)}.items()
    )
    listener = generated(documents)["Listener"]["0.0.0.0_3306"]

    assert {
        filter_named(chain, "tcp_proxy")["cluster"].rpartition("||")[2]: [
            one["address_prefix"] for one in chain["filter_chain_match"]["prefix_ranges"]
        ]
        for chain in listener["filter_chains"]
    } == {"all.example.com": ["10.5.0.1", "10.5.0.2"], "both.example.com": ["10.5.0.3"]}


def test_a_server_name_that_two_rules_have_belongs_to_the_first(generated: Generated) -> None:
    documents = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec:
  hosts: ['*.example.com']
  tls:
  - match: [{port: 443, sniHosts: [x.example.com, y.example.com]}]
    route: [{destination: {host: a, subset: x}}]
  - match: [{port: 443, sniHosts: [y.example.com, z.example.com]}]
    route: [{destination: {host: a, subset: y}}]
"""
    chains = generated(documents)["Listener"]["0.0.0.0_443"]["filter_chains"]

    assert [chain["filter_chain_match"]["server_names"] for chain in chains] == [
        ["x.example.com", "y.example.com"],
        ["z.example.com"],
    ]


def test_a_range_of_addresses_is_matched(generated: Generated) -> None:
    documents = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: range}
spec:
  hosts: [range.example.com]
  addresses: [10.7.0.0/16]
  ports: [{number: 27017, name: mongo, protocol: TCP}]
  resolution: NONE
"""
    listener = generated(documents)["Listener"]["0.0.0.0_27017"]

    assert listener["filter_chains"][0]["filter_chain_match"]["prefix_ranges"] == [
        {"address_prefix": "10.7.0.0", "prefix_len": 16}
    ]
    assert filter_named(listener["default_filter_chain"], "tcp_proxy")["cluster"] == "PassthroughCluster"


def test_tls_on_a_shared_port_is_told_apart_by_server_name(generated: Generated) -> None:
    documents = "".join(
        f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec: {{hosts: [{name}.example.com], ports: [{{number: 443, name: tls, protocol: TLS}}], resolution: DNS}}
"""
        for name in ("a", "b")
    )
    listener = generated(documents)["Listener"]["0.0.0.0_443"]

    assert [chain["filter_chain_match"]["server_names"] for chain in listener["filter_chains"]] == [
        ["a.example.com"],
        ["b.example.com"],
    ]
    assert [item["name"] for item in listener["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]


RULE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
"""


def test_tcp_rules(generated: Generated) -> None:
    documents = (
        service("a", "{name: tcp, port: 7070}")
        + RULE
        + """
  tcp:
  - match: [{port: 1}]
    route: [{destination: {host: never}}]
  - match: [{port: 7070, sourceLabels: {app: client}, gateways: [mesh], destinationSubnets: [10.1.0.0/16]}]
    route: [{destination: {host: a, subset: near}}]
  - route:
    - {destination: {host: a, subset: v1}, weight: 70}
    - {destination: {host: a, subset: v2}, weight: 30}
"""
    )
    listener = generated(documents)["Listener"]["10.0.0.9_7070"]

    near = listener["filter_chains"][0]
    assert near["filter_chain_match"]["prefix_ranges"] == [{"address_prefix": "10.1.0.0", "prefix_len": 16}]
    assert "|near|" in filter_named(near, "tcp_proxy")["cluster"]
    weighted = filter_named(listener["default_filter_chain"], "tcp_proxy")["weighted_clusters"]["clusters"]
    assert [(item["name"].split("|")[2], item["weight"]) for item in weighted] == [("v1", 70), ("v2", 30)]


def test_tls_rules_by_server_name(generated: Generated) -> None:
    documents = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec:
  hosts: ['*.example.com']
  tls:
  - match: [{port: 443, sniHosts: [x.example.com]}]
    route: [{destination: {host: a, subset: x}}]
  - match: [{port: 443, sniHosts: [y.example.com, '*.z.example.com']}]
    route: [{destination: {host: a, subset: y}}]
"""
    chains = generated(documents)["Listener"]["0.0.0.0_443"]["filter_chains"]

    assert [chain["filter_chain_match"]["server_names"] for chain in chains] == [
        ["x.example.com"],
        ["*.z.example.com", "y.example.com"],
    ]
    assert "|x|" in filter_named(chains[0], "tcp_proxy")["cluster"]


@pytest.mark.parametrize(
    ("mesh", "own", "expected"),
    [
        ("ALLOW_ANY", "", "allow_any"),
        ("REGISTRY_ONLY", "", "block_all"),
        ("ALLOW_ANY", "REGISTRY_ONLY", "block_all"),
        ("REGISTRY_ONLY", "ALLOW_ANY", "allow_any"),
    ],
)
def test_unknown_hosts(generated: Generated, mesh: str, own: str, expected: str) -> None:
    """The Sidecar's word counts before the mesh's, for HTTP and for TCP alike."""
    policy = f"""---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec: {{outboundTrafficPolicy: {{mode: {own}}}}}
"""
    documents = service("a", "{name: http, port: 80}") + (policy if own else "")
    found = generated(documents, mesh_config=f"outboundTrafficPolicy: {{mode: {mesh}}}")

    assert names_of(found["RouteConfiguration"]["80"])[-1] == expected
    cluster = "PassthroughCluster" if expected == "allow_any" else "BlackHoleCluster"
    chain = found["Listener"]["virtualOutbound"]["filter_chains"][-1]
    assert filter_named(chain, "tcp_proxy")["cluster"] == cluster


def test_a_sidecar_is_sent_what_its_egress_hosts_name(generated: Generated) -> None:
    documents = (
        service("a", "{name: http, port: 80}")
        + service("b", "{name: http, port: 80}", namespace="other")
        + """---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ["./*"]}]}
"""
    )
    found = generated(documents)

    assert not any(".other." in name for name in found["Cluster"])
    assert names_of(found["RouteConfiguration"]["80"]) == ["a.default.svc.cluster.local:80", "allow_any"]


def test_a_rule_for_a_host_that_is_no_service_acts_on_port_80(generated: Generated) -> None:
    documents = (
        service("a", "{name: http, port: 80}, {name: http-more, port: 81}")
        + """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: foreign}
spec:
  hosts: [www.example.com]
  http: [{route: [{destination: {host: a, port: {number: 81}}}]}]
"""
    )
    found = generated(documents)["RouteConfiguration"]

    assert "www.example.com:80" in names_of(found["80"])
    assert not any("example.com" in name for name in names_of(found["81"]))


# --- inbound -------------------------------------------------------------------------------------------------

SERVED = """
apiVersion: v1
kind: Service
metadata: {name: me}
spec:
  clusterIP: 10.0.0.1
  ports: [{name: http, port: 80, targetPort: 8000}, {name: tcp, port: 7070}, {name: x, port: 7071}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: me, labels: {kubernetes.io/service-name: me}}
addressType: IPv4
endpoints: [{addresses: [10.9.9.9], conditions: {ready: false}}]
ports: [{name: http, port: 8000}, {name: tcp, port: 7070}, {name: x, port: 7071}]
"""


def test_inbound_has_a_chain_per_port_even_while_unready(generated: Generated) -> None:
    found = generated(SERVED)
    chains = found["Listener"]["virtualInbound"]["filter_chains"]

    assert [(chain["name"], chain.get("filter_chain_match", {}).get("destination_port")) for chain in chains] == [
        ("virtualInbound-blackhole", 15006),
        ("0.0.0.0_8000", 8000),
        ("0.0.0.0_7070", 7070),
        ("0.0.0.0_7071-http", 7071),
        ("0.0.0.0_7071", 7071),
        ("virtualInbound", None),
    ]
    manager = filter_named(chains[1], "http_connection_manager")
    assert manager["route_config"]["name"] == "inbound|8000||"
    assert manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] == "inbound|8000||"
    assert filter_named(chains[2], "tcp_proxy")["cluster"] == "inbound|7070||"
    assert filter_named(chains[-1], "tcp_proxy")["cluster"] == "InboundPassthroughCluster"


def test_an_intercepted_workload_is_called_from_the_reserved_address(generated: Generated) -> None:
    cluster = generated(SERVED)["Cluster"]["inbound|8000||"]

    assert cluster["type"] == "ORIGINAL_DST"
    assert cluster["upstream_bind_config"]["source_address"]["address"] == "127.0.0.6"


def test_only_sniffed_ports_wait_for_the_clients_first_bytes(generated: Generated) -> None:
    inspector = generated(SERVED)["Listener"]["virtualInbound"]["listener_filters"][1]

    assert inspector["filter_disabled"] == {"not_match": {"destination_port_range": {"start": 7071, "end": 7072}}}


def test_a_services_limits_hold_on_its_own_side_too(generated: Generated) -> None:
    """A receiver with less room than its callers assume would fail them."""
    documents = (
        SERVED
        + """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: me}
spec: {host: me, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 9}}}}
"""
    )
    cluster = generated(documents)["Cluster"]["inbound|8000||"]

    assert cluster["circuit_breakers"]["thresholds"][0]["max_requests"] == 9


# --- access logs ---------------------------------------------------------------------------------------------


def test_access_logs(generated: Generated) -> None:
    documents = service("a", "{name: http, port: 80}")

    def log(mesh_config: str) -> Mapping[str, Any] | None:
        listener = generated(documents, mesh_config=mesh_config)["Listener"]["0.0.0.0_80"]
        logs = filter_named(listener["filter_chains"][0], "http_connection_manager").get("access_log")
        return logs[0]["typed_config"] if logs else None

    assert log("") is None
    plain = log("accessLogFile: /dev/stdout")
    assert plain is not None
    text = plain["log_format"]["text_format_source"]["inline_string"]
    assert text.startswith('[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"')
    assert text.endswith("%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n")
    encoded = log("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}")
    assert encoded is not None
    assert encoded["log_format"]["json_format"]["response_code"] == "%RESPONSE_CODE%"
