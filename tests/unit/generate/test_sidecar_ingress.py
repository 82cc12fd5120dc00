"""A Sidecar's `ingress`: ports, addresses and ways to the application that stand for those of the services."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lateen.generate.snapshot import generate
from lateen.model.proxies import Interception, Proxy, ProxyType
from unit.generate.conftest import shown, state_of

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9090, name: tcp, protocol: TCP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.1.0.1, ports: {http: 8000}}]
---
"""
PROXY = Proxy(type=ProxyType.SIDECAR, name="a-1", namespace="default", addresses=("10.1.0.1",))
EXPLICIT = replace(PROXY, interception=Interception.NONE)


def ingress(*listeners: str, proxy: Proxy = PROXY) -> dict[str, Any]:
    text = "".join(f"  - {{{listener}}}\n" for listener in listeners)
    sidecar = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: default}\n"
        f"spec:\n  ingress:\n{text}"
    )
    return shown(generate(state_of(SERVICE + sidecar), proxy))


def inbound(found: dict[str, Any]) -> set[str]:
    return {name for name in found["Cluster"] if name.startswith("inbound|")}


def ports(found: dict[str, Any]) -> set[int]:
    chains = found["Listener"]["virtualInbound"]["filter_chains"]
    return {port for chain in chains if (port := chain.get("filter_chain_match", {}).get("destination_port"))}


HTTP = "port: {number: 8000, protocol: HTTP, name: http}"


def application(found: dict[str, Any], port: int) -> Any:
    cluster = found["Cluster"][f"inbound|{port}||"]
    return cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]


def test_only_what_it_lists_is_served() -> None:
    found = ingress(HTTP)
    assert inbound(found) == {"inbound|8000||"}
    assert ports(found) == {15006, 8000}
    assert found["Cluster"]["inbound|8000||"]["type"] == "ORIGINAL_DST"


def test_default_endpoint_says_where_the_application_is() -> None:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 7000}}
    for proxy in (PROXY, EXPLICIT):
        assert application(ingress(f"{HTTP}, defaultEndpoint: '127.0.0.1:7000'", proxy=proxy), 8000) == address
        socket = ingress(f"{HTTP}, defaultEndpoint: 'unix:///run/app.sock'", proxy=proxy)
        assert application(socket, 8000) == {"pipe": {"path": "/run/app.sock"}}


def test_every_address_is_the_workloads_own() -> None:
    found = ingress(f"{HTTP}, defaultEndpoint: '0.0.0.0:7000'")["Cluster"]["inbound|8000||"]
    assert (found["type"], found["original_dst_lb_config"]) == ("ORIGINAL_DST", {"upstream_port_override": 7000})
    own = ingress(f"{HTTP}, defaultEndpoint: '0.0.0.0:7000'", proxy=EXPLICIT)
    assert application(own, 8000) == {"socket_address": {"address": "10.1.0.1", "port_value": 7000}}


def test_a_port_of_no_service_is_the_sidecars_own() -> None:
    found = ingress("port: {number: 7777, protocol: TCP, name: tcp}, defaultEndpoint: '127.0.0.1:7778'")
    assert inbound(found) == {"inbound|7777||"}
    origin = found["Cluster"]["inbound|7777||"]["metadata"]["filter_metadata"]["lateen"]
    assert origin["config"] == "service s.default"


def test_a_port_that_is_not_captured_is_bound() -> None:
    found = ingress(f"{HTTP}, captureMode: NONE, bind: 127.0.0.9, defaultEndpoint: '127.0.0.1:7000'")
    assert ports(found) == {15006}
    address = found["Listener"]["inbound_127.0.0.9_8000"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == ("127.0.0.9", 8000)


def test_in_explicit_mode_the_listener_is_where_bind_says() -> None:
    assert "10.1.0.1_8000" in ingress(HTTP, proxy=EXPLICIT)["Listener"]
    assert "127.0.0.9_8000" in ingress(f"{HTTP}, bind: 127.0.0.9", proxy=EXPLICIT)["Listener"]


def test_its_connection_pool_wins() -> None:
    found = ingress(f"{HTTP}, connectionPool: {{http: {{http2MaxRequests: 7}}}}")
    assert found["Cluster"]["inbound|8000||"]["circuit_breakers"]["thresholds"][0]["max_requests"] == 7
