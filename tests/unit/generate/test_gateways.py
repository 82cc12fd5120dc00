"""Gateway proxies: servers, hosts, TLS, and what they are sent."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from key_pairs import encoded, key_pair
from lateen.model.proxies import Proxy

Generated = Callable[..., dict[str, dict[str, Any]]]


def gateway(servers: str, *, name: str = "front", namespace: str = "default") -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
{servers}
"""


def rule(hosts: str, route: str, *, name: str = "front", gateways: str = "[front]", namespace: str = "default") -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: {hosts}
  gateways: {gateways}
{route}
"""


HTTP_80 = "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"
TO_REVIEWS = "  http: [{route: [{destination: {host: reviews}}]}]"


def secret(name: str, namespace: str = "default", keys: tuple[str, str] = ("tls.crt", "tls.key")) -> str:
    values = dict(zip(keys, map(encoded, key_pair()), strict=True))
    return f"""---
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
type: {"kubernetes.io/tls" if keys[0] == "tls.crt" else "Opaque"}
data: {{{", ".join(f"{key}: {value}" for key, value in values.items())}}}
"""


def test_http(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    found = generated(reviews + gateway(HTTP_80) + rule("['*']", TO_REVIEWS), gateway_proxy)
    listener = found["Listener"]["0.0.0.0_80"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]

    assert listener["address"]["socket_address"] == {"address": "127.0.0.8", "port_value": 8080}
    assert manager["rds"]["route_config_name"] == "http.80"
    assert manager["use_remote_address"] is True
    assert manager["forward_client_cert_details"] == "SANITIZE_SET"
    hosts = found["RouteConfiguration"]["http.80"]["virtual_hosts"]
    assert [(host["name"], host["domains"]) for host in hosts] == [("*:80", ["*"])]
    assert listener["metadata"]["filter_metadata"]["lateen"]["config"] == "Gateway default/front"


def test_only_the_clusters_that_routes_name(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    other = reviews.replace("reviews", "unused").replace("10.0.0.10", "10.0.0.11")
    found = generated(f"{reviews}---{other}" + gateway(HTTP_80) + rule("['*']", TO_REVIEWS), gateway_proxy)

    assert list(found["Cluster"]) == ["outbound|9080||reviews.default.svc.cluster.local"]
    assert list(found["ClusterLoadAssignment"]) == list(found["Cluster"])


def test_without_rules_nothing_is_found(generated: Generated, gateway_proxy: Proxy) -> None:
    hosts = generated(gateway(HTTP_80), gateway_proxy)["RouteConfiguration"]["http.80"]["virtual_hosts"]

    assert [(host["name"], host["domains"], host.get("routes", [])) for host in hosts] == [("blackhole:80", ["*"], [])]


def test_another_gateways_selector(generated: Generated, gateway_proxy: Proxy) -> None:
    proxy = replace(gateway_proxy, labels={"istio": "egressgateway"})

    assert generated(gateway(HTTP_80), proxy).keys() == {"TypedExtensionConfig"}


@pytest.mark.parametrize(
    ("offered", "asked", "domains"),
    [
        ("['*']", "[a.example.com]", ["a.example.com"]),
        ("['*.example.com']", "[a.example.com, b.other.com]", ["a.example.com"]),
        ("[a.example.com]", "['*.example.com']", ["a.example.com"]),
        ("[default/a.example.com]", "[a.example.com]", ["a.example.com"]),
        ("[./a.example.com]", "[a.example.com]", ["a.example.com"]),
        ("['*/a.example.com']", "[a.example.com]", ["a.example.com"]),
        ("[other/a.example.com]", "[a.example.com]", ["*"]),
        ("[b.example.com]", "[a.example.com]", ["*"]),
    ],
)
def test_hosts_that_gateway_and_rule_share(
    generated: Generated, gateway_proxy: Proxy, reviews: str, offered: str, asked: str, domains: list[str]
) -> None:
    """`*` here is the empty configuration that finds nothing."""
    server = f"  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: {offered}}}"
    found = generated(reviews + gateway(server) + rule(asked, TO_REVIEWS), gateway_proxy)
    hosts = found["RouteConfiguration"]["http.80"]["virtual_hosts"]

    assert [domain for host in hosts for domain in host["domains"]] == domains


def test_hosts_of_one_rule_share_a_virtual_host(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    found = generated(reviews + gateway(HTTP_80) + rule("[b.example.com, a.example.com]", TO_REVIEWS), gateway_proxy)
    hosts = found["RouteConfiguration"]["http.80"]["virtual_hosts"]

    assert [(host["name"], host["domains"]) for host in hosts] == [
        ("a.example.com:80", ["a.example.com", "b.example.com"])
    ]


def test_rules_for_one_host_are_merged(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    """The route that catches everything goes last, whichever rule it is of."""
    special = "  http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: reviews}}]}]"
    found = generated(
        reviews + gateway(HTTP_80) + rule("['*']", TO_REVIEWS, name="a") + rule("['*']", special, name="b"),
        gateway_proxy,
    )
    hosts = found["RouteConfiguration"]["http.80"]["virtual_hosts"]

    assert [route["match"] for route in hosts[0]["routes"]] == [{"prefix": "/a"}, {"prefix": "/"}]


def test_gateways_on_one_port_share_a_listener(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    def server(host: str) -> str:
        return f"  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{host}]}}"

    found = generated(
        reviews
        + gateway(server("a.example.com"), name="one")
        + gateway(server("b.example.com"), name="two", namespace="other")
        + rule("[a.example.com]", TO_REVIEWS, gateways="[one]", name="a")
        + rule("[b.example.com]", TO_REVIEWS, gateways="[other/two]", name="b"),
        gateway_proxy,
    )

    assert list(found["Listener"]) == ["0.0.0.0_80"]
    assert [host["name"] for host in found["RouteConfiguration"]["http.80"]["virtual_hosts"]] == [
        "a.example.com:80",
        "b.example.com:80",
    ]


def test_https_redirect(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    """Also for hosts that no rule is about."""
    server = (
        "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com, b.example.com], "
        "tls: {httpsRedirect: true}}"
    )
    found = generated(reviews + gateway(server) + rule("[a.example.com]", TO_REVIEWS), gateway_proxy)
    hosts = found["RouteConfiguration"]["http.80"]["virtual_hosts"]

    assert [(host["name"], host["require_tls"]) for host in hosts] == [
        ("a.example.com:80", "ALL"),
        ("b.example.com:80", "ALL"),
    ]


def https(tls: str, hosts: str = "[a.example.com]") -> str:
    return f"  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: {hosts}, tls: {{{tls}}}}}"


def test_https_from_files(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    server = https("mode: SIMPLE, serverCertificate: /etc/c.pem, privateKey: /etc/k.pem, minProtocolVersion: TLSV1_3")
    found = generated(reviews + gateway(server) + rule("[a.example.com]", TO_REVIEWS), gateway_proxy)
    listener = found["Listener"]["0.0.0.0_443"]
    chain = listener["filter_chains"][0]
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]

    assert chain["filter_chain_match"] == {"server_names": ["a.example.com"], "transport_protocol": "tls"}
    assert context["tls_certificates"] == [
        {"certificate_chain": {"filename": "/etc/c.pem"}, "private_key": {"filename": "/etc/k.pem"}}
    ]
    assert context["alpn_protocols"] == ["h2", "http/1.1"]
    assert context["tls_params"] == {"tls_minimum_protocol_version": "TLSv1_3"}
    assert list(found["RouteConfiguration"]) == ["https.443.https.front.default"]
    assert "Secret" not in found


@pytest.mark.parametrize("keys", [("tls.crt", "tls.key"), ("cert", "key")])
def test_https_from_a_secret(generated: Generated, gateway_proxy: Proxy, reviews: str, keys: tuple[str, str]) -> None:
    documents = reviews + gateway(https("mode: SIMPLE, credentialName: cred")) + secret("cred", keys=keys)
    found = generated(documents, gateway_proxy)
    context = found["Listener"]["0.0.0.0_443"]["filter_chains"][0]["transport_socket"]["typed_config"]

    configs = context["common_tls_context"]["tls_certificate_sds_secret_configs"]
    assert [item["name"] for item in configs] == ["kubernetes://cred"]
    certificate = found["Secret"]["kubernetes://cred"]["tls_certificate"]
    assert base64.b64decode(certificate["private_key"]["inline_bytes"]) == key_pair()[1]


def test_a_secret_of_another_namespace_stays_there(generated: Generated, gateway_proxy: Proxy) -> None:
    """Even a Gateway of that namespace does not bring it here; the other servers of the port are up."""
    documents = (
        gateway(https("mode: SIMPLE, credentialName: cred"), namespace="other")
        + gateway(https("mode: SIMPLE, credentialName: mine", "[b.example.com]"), name="mine")
        + secret("cred", namespace="other")
        + secret("mine")
    )
    found = generated(documents, gateway_proxy)

    assert list(found["Secret"]) == ["kubernetes://mine"]
    chains = found["Listener"]["0.0.0.0_443"]["filter_chains"]
    assert [chain["filter_chain_match"]["server_names"] for chain in chains] == [["b.example.com"]]


def test_mutual_tls_asks_for_a_certificate(generated: Generated, gateway_proxy: Proxy) -> None:
    documents = (
        gateway(https("mode: MUTUAL, credentialName: cred"))
        + secret("cred")
        + secret("cred-cacert", keys=("cacert", "unused"))
    )
    found = generated(documents, gateway_proxy)
    context = found["Listener"]["0.0.0.0_443"]["filter_chains"][0]["transport_socket"]["typed_config"]

    assert context["require_client_certificate"] is True
    assert list(found["Secret"]) == ["kubernetes://cred", "kubernetes://cred-cacert"]


def test_tls_passthrough_by_server_name(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    server = (
        "  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [a.example.com, b.example.com], "
        "tls: {mode: PASSTHROUGH}}"
    )
    routes = """  tls:
  - match: [{port: 443, sniHosts: [a.example.com]}]
    route: [{destination: {host: reviews, port: {number: 9080}}}]
  - match: [{port: 443, sniHosts: [b.example.com]}]
    route: [{destination: {host: reviews, subset: b, port: {number: 9080}}}]
"""
    found = generated(reviews + gateway(server) + rule("[a.example.com, b.example.com]", routes), gateway_proxy)
    listener = found["Listener"]["0.0.0.0_443"]

    assert [
        (chain["filter_chain_match"]["server_names"], chain["filters"][-1]["typed_config"]["cluster"].split("|")[2])
        for chain in listener["filter_chains"]
    ] == [(["a.example.com"], ""), (["b.example.com"], "b")]
    assert "transport_socket" not in listener["filter_chains"][0]
    assert [item["name"] for item in listener["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]
    # The subset does not exist: its route stays and fails, its cluster cannot be sent.
    assert list(found["Cluster"]) == ["outbound|9080||reviews.default.svc.cluster.local"]


TCP_SERVER = "  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}"


def test_tcp(generated: Generated, gateway_proxy: Proxy, reviews: str) -> None:
    routes = """  tcp:
  - match: [{port: 1}]
    route: [{destination: {host: never}}]
  - match: [{port: 9000}]
    route: [{destination: {host: reviews, port: {number: 9080}}}]
"""
    found = generated(reviews + gateway(TCP_SERVER) + rule("['*']", routes), gateway_proxy)
    listener: Mapping[str, Any] = found["Listener"]["0.0.0.0_9000"]

    assert len(listener["filter_chains"]) == 1
    tcp = listener["filter_chains"][0]["filters"][-1]["typed_config"]
    assert tcp["cluster"] == "outbound|9080||reviews.default.svc.cluster.local"


def test_a_tcp_port_without_rules_is_closed(generated: Generated, gateway_proxy: Proxy) -> None:
    """Envoy refuses a listener without chains."""
    assert "Listener" not in generated(gateway(TCP_SERVER), gateway_proxy)


def test_rules_for_other_gateways_are_not_for_this_one(
    generated: Generated, gateway_proxy: Proxy, reviews: str
) -> None:
    routes = """  http:
  - match: [{gateways: [mesh]}]
    route: [{destination: {host: reviews, subset: inside}}]
  - match: [{gateways: [front]}]
    route: [{destination: {host: reviews, subset: outside}}]
"""
    found = generated(
        reviews + gateway(HTTP_80) + rule("[a.example.com]", routes, gateways="[front, mesh]"), gateway_proxy
    )

    listed = found["RouteConfiguration"]["http.80"]["virtual_hosts"][0]["routes"]
    assert [route["route"]["cluster"].split("|")[2] for route in listed] == ["outside"]
