"""Egress listeners of a Sidecar: what is opened where, and who is called there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lateen.model.proxies import Proxy
from unit.generate.conftest import Generated

SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}, {number: 80, name: web, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.1.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b}
spec:
  hosts: [b.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}, {number: 9443, name: tls, protocol: TLS}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.1.0.2}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s}
spec:
  egress:
"""


def domains(resources: dict[str, dict[str, object]], name: str) -> set[str]:
    found: dict[str, list[dict[str, list[str]]]] = resources["RouteConfiguration"][name]  # type: ignore[assignment]
    return {domain for host in found["virtual_hosts"] for domain in host["domains"]}


def test_a_captured_port_is_of_its_listener_alone(generated: Generated) -> None:
    """What the last listener imports is not added to it."""
    found = generated(
        f"{SERVICES}  - port: {{number: 9080, protocol: HTTP, name: h}}\n"
        "    hosts: [./a.default.svc.cluster.local]\n  - hosts: ['./*']\n"
    )
    assert "a" in domains(found, "9080")
    assert "b" not in domains(found, "9080")
    assert {"0.0.0.0_9080", "0.0.0.0_80", "0.0.0.0_9443"} <= found["Listener"].keys()


def test_without_a_listener_for_the_rest_there_is_no_other(generated: Generated) -> None:
    found = generated(f"{SERVICES}  - port: {{number: 9080, protocol: HTTP, name: h}}\n    hosts: ['./*']\n")
    assert {"a", "b"} <= domains(found, "9080")
    assert not {"0.0.0.0_80", "0.0.0.0_9443"} & found["Listener"].keys()


def test_a_captured_listener_speaks_what_it_says(generated: Generated) -> None:
    found = generated(f"{SERVICES}  - port: {{number: 9080, protocol: TCP, name: t}}\n    hosts: ['./*']\n")
    assert "9080" not in found.get("RouteConfiguration", {})
    assert "0.0.0.0_9080" in found["Listener"]


@pytest.mark.parametrize("capture", ["captureMode: NONE", "bind: 127.0.0.7", ""])
def test_every_listener_with_a_port_is_bound_in_explicit_mode(
    generated: Generated, explicit_sidecar: Proxy, capture: str
) -> None:
    """At its address, else at the workload's own; a port below 1024 is moved for who may not bind it."""
    more = f"    {capture}\n" if capture else ""
    proxy = replace(explicit_sidecar, privileged=False)
    found = generated(f"{SERVICES}  - port: {{number: 80, protocol: HTTP, name: h}}\n{more}    hosts: ['./*']\n", proxy)
    address = "127.0.0.7" if "bind" in capture else "127.0.0.9"
    listener = found["Listener"][f"{address}_8080"]
    assert listener["address"]["socket_address"] == {"address": address, "port_value": 8080}
    assert "bind_to_port" not in listener
    assert domains(found, f"{address}_8080") >= {"a", "a.default.svc.cluster.local", "*"}


def test_an_http_proxy_names_the_port(generated: Generated) -> None:
    """Requests for every port that speaks HTTP; without one in the Host header it is 80."""
    found = generated(
        f"{SERVICES}  - port: {{number: 15080, protocol: HTTP_PROXY, name: p}}\n    captureMode: NONE\n"
        "    hosts: ['./*']\n"
    )
    named = domains(found, "127.0.0.1_15080")
    assert {"a", "a:80", "a:9080", "b:9080", "*"} <= named
    assert "b" not in named
    assert not any("9443" in domain for domain in named)


def test_unknown_hosts_are_refused_where_a_listener_is_bound(generated: Generated) -> None:
    """Whatever the outbound traffic policy: passed on, the call would come back to the listener."""
    found = generated(
        f"{SERVICES}  - port: {{number: 9080, protocol: HTTP, name: h}}\n    captureMode: NONE\n    hosts: ['./*']\n"
    )
    hosts = found["RouteConfiguration"]["127.0.0.1_9080"]["virtual_hosts"]
    assert next(host for host in hosts if host["domains"] == ["*"])["routes"][0]["direct_response"]["status"] == 502


def test_a_port_of_the_workload_itself_stays_its_own(generated: Generated, explicit_sidecar: Proxy) -> None:
    own = SERVICES.replace("10.1.0.1", "127.0.0.9")
    found = generated(
        f"{own}  - port: {{number: 9080, protocol: HTTP, name: h}}\n    hosts: ['./*']\n", explicit_sidecar
    )
    assert found["Listener"]["127.0.0.9_9080"]["traffic_direction"] == "INBOUND"


def test_a_port_that_its_ingress_declares_stays_its_own(generated: Generated, explicit_sidecar: Proxy) -> None:
    """Although no service of its own has it."""
    egress = "  - port: {number: 9080, protocol: HTTP, name: h}\n    hosts: ['./*']\n"
    ingress = "  ingress:\n  - {port: {number: 9080, protocol: HTTP, name: i}, defaultEndpoint: '127.0.0.1:1'}\n"
    for more, direction in (("", "OUTBOUND"), (ingress, "INBOUND")):
        found = generated(f"{SERVICES}{egress}{more}", replace(explicit_sidecar, addresses=("127.0.0.9",)))
        assert found["Listener"]["127.0.0.9_9080"]["traffic_direction"] == direction


def test_it_is_told_everything_that_it_lists(generated: Generated, explicit_sidecar: Proxy) -> None:
    """Nothing is left to ask for, also by a proxy that would."""
    asking = replace(explicit_sidecar, asks_on_demand=True)
    found = generated(f"{SERVICES}  - port: {{number: 9080, protocol: HTTP, name: h}}\n    hosts: ['*/*']\n", asking)
    assert "outbound|9080||b.default.svc.cluster.local" in found["Cluster"]
