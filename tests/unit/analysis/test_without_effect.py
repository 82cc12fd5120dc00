"""Rules and settings about what their host does not have."""

from __future__ import annotations

import pytest

from analysis_cases import codes, document, service
from analysis_cases import found as found_by

ROUTE = "route: [{destination: {host: db}}]"
TLS = f"tls: [{{match: [{{sniHosts: [db]}}], {ROUTE}}}]"


def rules(text: str, more: str = "") -> str:
    return document("VirtualService", "v", f"{{hosts: [db], {more}{text}}}")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("tcp", f"http: [{{{ROUTE}}}]", "http"),
        ("http", f"http: [{{{ROUTE}}}]", ""),
        ("web", f"http: [{{{ROUTE}}}]", ""),  # its name says nothing, so Envoy looks
        ("grpc", f"http: [{{{ROUTE}}}]", ""),
        ("http", f"tcp: [{{{ROUTE}}}]", "tcp"),
        ("mysql", f"tcp: [{{{ROUTE}}}]", ""),
        ("web", f"tcp: [{{{ROUTE}}}]", ""),
        ("https", f"tcp: [{{{ROUTE}}}]", "tcp"),
        ("https", TLS, ""),
        ("tcp", TLS, "tls"),
    ],
)
def test_rules_of_a_protocol_that_no_port_carries(name: str, text: str, found: str) -> None:
    """What the name of a port says decides in a sidecar which rules are asked."""
    wanted = [f"LAT0059 VirtualService/v spec.{found}"] if found else []
    port = f"{{name: {name}, port: 5432}}"
    assert [one for one in codes(service("db", port), rules(text)) if "LAT0059" in one] == wanted
    other = f"{port}, {{name: http-web, port: 80}}, {{name: tcp-b, port: 81}}, {{name: tls-c, port: 82}}"
    assert not [one for one in codes(service("db", other), rules(text)) if "LAT0059" in one]


def test_at_a_gateway_the_server_decides() -> None:
    server = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"
    edge = document("Gateway", "g", f"{{selector: {{a: b}}, servers: [{server}]}}")
    text = rules(f"http: [{{{ROUTE}}}]", "gateways: [g], ")
    assert codes(edge, service("db", "{name: tcp, port: 5432}"), text) == []


def test_addresses_at_a_gateway() -> None:
    """The rule is not asked there; inside the mesh it is."""
    server = "{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}"
    edge = document("Gateway", "g", f"{{selector: {{a: b}}, servers: [{server}]}}")
    text = f"tcp: [{{match: [{{destinationSubnets: [10.0.0.0/8]}}], {ROUTE}}}]"
    base = [edge, service("db", "{name: tcp, port: 5432}")]
    path = "spec.tcp[0].match[0].destinationSubnets"
    assert codes(*base, rules(text, "gateways: [g], ")) == [f"LAT0059 VirtualService/v {path}"]
    assert codes(*base, rules(text, "gateways: [g, mesh], ")) == []


def test_settings_of_a_port_that_is_not_there() -> None:
    spec = "{host: db, trafficPolicy: {portLevelSettings: [{port: {number: %d}, tls: {mode: DISABLE}}]}}"
    base = service("db", "{name: tcp, port: 5432}")
    path = "spec.trafficPolicy.portLevelSettings[0].port.number"
    assert codes(base, document("DestinationRule", "d", spec % 1)) == [f"LAT0059 DestinationRule/d {path}"]
    assert not [one for one in codes(base, document("DestinationRule", "d", spec % 5432)) if "LAT0059" in one]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("./db.default.svc.cluster.local", ""),
        ("*/db.default.svc.cluster.local", ""),
        ("./*", ""),
        ("other/*", ""),
        ("*/dbb.default.svc.cluster.local", "did you mean db.default.svc.cluster.local?"),
        ("other/db.default.svc.cluster.local", "write default/db.default.svc.cluster.local"),
    ],
)
def test_hosts_of_a_sidecar_that_nobody_has(host: str, said: str) -> None:
    """A pattern may be for what is to come."""
    sidecar = document("Sidecar", "s", f"{{egress: [{{hosts: ['{host}']}}]}}")
    found = [one for one in found_by(service("db", "{name: tcp, port: 5432}"), sidecar) if one.kind == "Sidecar"]
    assert [one.path for one in found] == (["spec.egress[0].hosts[0]"] if said else [])
    assert all(said in one.message and one.code == "LAT0059" for one in found)


def external(name: str, host: str, port: str, *, namespace: str = "default", more: str = "") -> str:
    ports = f"ports: [{{name: p, {port}}}]"
    return document(
        "ServiceEntry", name, f"{{hosts: ['{host}'], resolution: NONE, {ports}{more}}}", namespace=namespace
    )


HTTP, SECURE = "number: 8080, protocol: HTTP", "number: 443, protocol: TLS"
PRIVATE = ", exportTo: ['.']"


def ineffective(*documents: str) -> list[str]:
    return [one for one in codes(*documents) if "LAT0059" in one]


@pytest.mark.parametrize(
    ("services", "host", "found"),
    [
        ([external("a", "*.example.com", HTTP)], "a.example.com", True),
        ([external("a", "*.example.com", HTTP)], "*.example.com", False),
        ([external("a", "*.example.com", HTTP), external("b", "a.example.com", SECURE)], "*.example.com", False),
        (
            [external("a", "*.example.com", HTTP), external("b", "a.example.com", SECURE, namespace="b", more=PRIVATE)],
            "a.example.com",
            False,
        ),
        (
            [
                external("a", "a.example.com", HTTP, namespace="one", more=PRIVATE),
                external("b", "a.example.com", SECURE, namespace="two", more=PRIVATE),
            ],
            "a.example.com",
            False,
        ),
        (
            [external("a", "a.example.com", HTTP), external("b", "a.example.com", SECURE, namespace="b", more=PRIVATE)],
            "a.example.com",
            False,
        ),
    ],
)
def test_rules_for_a_host_of_which_others_see_another_service(services: list[str], host: str, *, found: bool) -> None:
    """Where namespaces see several services, or may, somebody may have the protocol."""
    tls = "tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: a.example.com}}]}]"
    rule = document("VirtualService", "v", f"{{hosts: ['{host}'], {tls}}}")
    assert ineffective(*services, rule) == (["LAT0059 VirtualService/v spec.tls"] if found else [])


def test_settings_of_a_port_that_the_service_of_another_namespace_has() -> None:
    setting = "{port: {number: 443}, tls: {mode: DISABLE}}"
    rule = document(
        "DestinationRule",
        "d",
        f"{{host: a.example.com, trafficPolicy: {{portLevelSettings: [{setting}]}}}}",
    )
    one = external("a", "a.example.com", HTTP)
    assert ineffective(one, rule)
    assert not ineffective(one, external("b", "a.example.com", SECURE, namespace="two", more=PRIVATE), rule)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("priv/priv.example.com", False),
        ("*/priv.example.com", False),
        ("default/priv.example.com", True),
        ("priv/other.example.com", True),
        ("priv/a.wide.test", False),
    ],
)
def test_the_sidecar_of_all_namespaces_imports_what_each_of_them_sees(host: str, *, found: bool) -> None:
    """A service that is exported to its own namespace only is imported there."""
    private = external("p", "priv.example.com", HTTP, namespace="priv", more=PRIVATE)
    wide = external("w", "*.wide.test", HTTP, namespace="priv", more=PRIVATE)
    sidecar = document("Sidecar", "s", f"{{egress: [{{hosts: ['{host}']}}]}}", namespace="istio-system")
    assert bool(ineffective(private, wide, sidecar)) is found
