"""What a gateway is asked to check, what a sick endpoint means to a state, and what is said of a bad annotation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.messages import message_class, to_json
from lateen.generate import health_checks
from lateen.generate.generator import Generator
from lateen.generate.health_checks import wanted_checks
from lateen.mesh.build import build_state
from lateen.mesh.health import target_of
from lateen.mesh.queries import endpoints_behind, endpoints_of
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding, has_errors
from lateen.model.health import HealthTarget
from lateen.model.names import Hostname
from lateen.model.proxies import Proxy, ProxyType

WEB = Hostname("web.internal")
SPECIFIER = "envoy.service.health.v3.HealthCheckSpecifier"
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, annotations: {{lateen.io/health-check: "{check}"}}}}
spec:
  hosts: [web.internal]
  resolution: {resolution}
  exportTo: ["{export}"]
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 81, name: more, protocol: TCP}}]
  {behind}
---
"""
INLINE = """endpoints:
  - {address: 192.0.2.1, ports: {http: 8080}}
  - {address: 192.0.2.2, network: far}
  - {address: "2001:db8::1"}
  - {address: 192.0.2.3, serviceAccount: web}
"""
SELECTED = "workloadSelector: {labels: {app: web}}"
WORKLOADS = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: plain}
spec: {address: 192.0.2.1, labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: special, annotations: {lateen.io/health-check: "grpc://:9090/stock"}}
spec: {address: 192.0.2.2, labels: {app: web}}
---
"""
EDGE = Proxy(type=ProxyType.GATEWAY, name="edge-1", namespace="default", addresses=("192.0.2.9",))


def entry(check: str = "http:///healthz", export: str = "*", behind: str = INLINE, resolution: str = "STATIC") -> str:
    return ENTRY.format(check=check, export=export, behind=behind, resolution=resolution)


def state_of(text: str, sick: frozenset[HealthTarget] = frozenset(), previous: MeshState | None = None) -> MeshState:
    parsed = parse(text.encode(), "f.yaml")
    assert not has_errors(parsed.findings), parsed.findings
    return build_state(parsed.objects, (), MeshConfig(), previous, sick=sick)


def asked(text: str, proxy: Proxy = EDGE) -> dict[str, Any]:
    message = wanted_checks(state_of(text), proxy).message()
    return {cluster["cluster_name"]: cluster for cluster in to_json(SPECIFIER, message)["cluster_health_checks"]}


def addresses(cluster: dict[str, Any]) -> list[tuple[str, int]]:
    return [
        (where["address"], where["port_value"])
        for locality in cluster["locality_endpoints"]
        for where in (endpoint["address"]["socket_address"] for endpoint in locality["endpoints"])
    ]


def test_each_plain_endpoint_is_asked_at_its_own_port() -> None:
    """Neither one of another network, nor one with a proxy of its own."""
    (cluster,) = asked(entry("http:///healthz?x=1 period=2s timeout=500ms failures=4 successes=2")).values()
    ports = [("192.0.2.1", 81), ("192.0.2.1", 8080), ("2001:db8::1", 80), ("2001:db8::1", 81)]
    assert addresses(cluster) == ports
    (check,) = cluster["health_checks"]
    http = check.pop("http_health_check")
    assert (http["host"], http["path"]) == ("web.internal", "/healthz?x=1")
    assert check == {
        "timeout": "0.500s",
        "interval": "2s",
        "no_traffic_interval": "2s",
        "no_traffic_healthy_interval": "2s",
        "unhealthy_threshold": 4,
        "healthy_threshold": 2,
    }


def test_a_port_in_the_check_is_asked_once_for_all_ports() -> None:
    (cluster,) = asked(entry("tcp://:9000")).values()
    assert addresses(cluster) == [("192.0.2.1", 9000), ("2001:db8::1", 9000)]
    assert "tcp_health_check" in cluster["health_checks"][0]


def test_a_workload_entrys_own_check_comes_before_the_services() -> None:
    clusters = asked(entry("tcp", behind=SELECTED) + WORKLOADS)
    assert {name: addresses(cluster) for name, cluster in clusters.items()} == {
        "health-check|web.internal|grpc://:9090/stock": [("192.0.2.2", 9090)],
        "health-check|web.internal|tcp": [("192.0.2.1", 80), ("192.0.2.1", 81)],
    }
    grpc = clusters["health-check|web.internal|grpc://:9090/stock"]["health_checks"][0]["grpc_health_check"]
    assert grpc == {"service_name": "stock", "authority": "web.internal"}


def test_https_is_asked_over_tls() -> None:
    (cluster,) = asked(entry("https://:8443/healthz")).values()
    assert cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"]["sni"] == "web.internal"


def test_a_gateway_is_asked_about_what_its_namespace_sees_and_its_network_reaches() -> None:
    assert not wanted_checks(state_of(entry(export="elsewhere")), EDGE).targets
    near = wanted_checks(state_of(entry("tcp://:1")), replace(EDGE, network="far")).targets
    assert {target.address for target in near} == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_checks, "MOST_TARGETS", 3)
    wanted = wanted_checks(state_of(entry()), EDGE)
    assert (len(wanted.targets), wanted.left_out) == (3, 1)


def test_nothing_to_check_is_an_empty_message() -> None:
    wanted = wanted_checks(state_of(entry("tcp").replace("annotations", "labels").replace("lateen.io/", "")), EDGE)
    assert not message_class(SPECIFIER).FromString(wanted.message()).cluster_health_checks


def test_a_sick_endpoint_leaves_its_service_and_comes_back() -> None:
    """As if it had been built from nothing, and what is not about it is the same object."""
    other = entry().replace("web", "other")
    before = state_of(entry() + other)
    first = before.endpoints[WEB][0]
    sick = target_of(WEB, first)
    assert sick is not None

    ill = state_of(entry() + other, frozenset((sick,)), before)

    assert first.port not in [found.port for found in endpoints_of(ill, WEB, first.service_port)]
    assert ill.endpoints[Hostname("other.internal")] is before.endpoints[Hostname("other.internal")]
    assert ill.services[WEB] is before.services[WEB]
    assert ill.version not in (before.version, "")
    assert ill == state_of(entry() + other, frozenset((sick,)))
    well = state_of(entry() + other, previous=ill)
    assert well == before


def test_a_sick_endpoint_stays_asked_about() -> None:
    state = state_of(entry())
    targets = wanted_checks(state, EDGE).targets
    assert wanted_checks(state_of(entry(), frozenset(targets), state), EDGE).targets == targets


DOUBLES = entry("tcp", export=".") + entry("tcp").replace("name: web,", "name: web, namespace: other,").replace(
    "192.0", "198.51"
)


def test_each_gateway_asks_the_service_that_its_namespace_sees() -> None:
    """Of two services of one host; and what it finds is of that one."""
    state = state_of(DOUBLES)
    own, others = (wanted_checks(state, replace(EDGE, namespace=name)).targets for name in ("default", "other"))
    assert {target.address for target in own} == {"192.0.2.1", "2001:db8::1"}
    assert {target.address for target in others} == {"198.51.2.1", "2001:db8::1"}
    sick = frozenset(target for target in (*own, *others) if target.address != "2001:db8::1")
    ill = state_of(DOUBLES, sick, state)
    for owner in ("default", "other"):
        found = {endpoint.address: endpoint.healthy for endpoint in endpoints_behind(ill, WEB, owner)}
        assert [found[target.address] for target in sick if target.address in found] == [False, False]


VARIANTS = (
    entry(),
    DOUBLES,
    entry("tcp") + WORKLOADS,
    entry("tcp", behind=SELECTED) + WORKLOADS,
    entry("tcp", behind=SELECTED) + WORKLOADS.replace("192.0.2.2", "192.0.2.1"),
    WORKLOADS,
)
TARGETS = sorted({target for text in VARIANTS for target in wanted_checks(state_of(text), EDGE).targets})


@given(st.lists(st.tuples(st.sampled_from(VARIANTS), st.frozensets(st.sampled_from(TARGETS))), max_size=6))
def test_whatever_becomes_sick_when_a_state_that_follows_is_the_one_from_scratch(
    steps: list[tuple[str, frozenset[HealthTarget]]],
) -> None:
    """And what a gateway is asked does not depend on who is sick; a healthy mesh has the version it always had."""
    generator, previous = Generator(), None
    for text, sick in steps:
        previous = state_of(text, sick, previous)
        scratch = state_of(text, sick)
        assert previous == scratch
        assert previous.checked == scratch.checked
        assert wanted_checks(previous, EDGE) == wanted_checks(state_of(text), EDGE)
        assert generator.generate(previous, EDGE).version == Generator().generate(scratch, EDGE).version
        assert sick or previous.version == state_of(text).version


def findings(text: str) -> list[Finding]:
    return list(parse(text.encode(), "f.yaml").findings)


@pytest.mark.parametrize(
    ("check", "word"),
    [
        ("ftp://:1", "no known kind"),
        ("http://other.example:80/", "its own address"),
        ("exec:/bin/true", "nobody is there to run"),
        ("tcp period=never", "no time"),
        ("tcp often", "none of"),
        ("tcp failures=0", "not between"),
        ("tcp period=0.001s", "not between"),
        ("http://:99999/", "Port out of range"),
        ("", "no known kind"),
    ],
)
def test_a_bad_check_is_a_finding_with_place_and_hint(check: str, word: str) -> None:
    (found,) = findings(entry(check))
    assert word in found.message
    assert "http://:8080/healthz" in found.message
    assert (found.file, found.line) == ("f.yaml", 4)
    assert has_errors((found,))


def test_where_it_does_nothing_that_is_said() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {lateen.io/health-check: tcp}}\n"
    (on_service,) = findings(service + "spec: {ports: [{port: 80}]}\n")
    assert "does nothing" in on_service.message
    (on_dns,) = findings(entry("tcp", behind="", resolution="DNS"))
    assert "does nothing" in on_dns.message
    assert not has_errors((on_service, on_dns))
