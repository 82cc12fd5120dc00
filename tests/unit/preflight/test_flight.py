"""Preflight: what Envoy would reject is found from the documents, with the object behind it."""

from pathlib import Path
from typing import Any

import pytest

from analysis_cases import document, service
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors
from lateen.preflight.flight import Preflight, preflight

LONG = "x" * 5000
GOLDENS = sorted((Path(__file__).parents[2] / "goldens").glob("*/in.yaml"))


def flown(*documents: str, **budget: Any) -> Preflight:
    parsed = parse("---\n".join(documents).encode(), "f.yaml")
    assert not has_errors(parsed.findings), parsed.findings
    state = build_state(parsed.objects, (), MeshConfig())
    return preflight(state, parsed.objects, parsed.positions, **budget)


def said(*documents: str, **budget: Any) -> list[str]:
    return [f"{one.code} {one.kind} {one.namespace}/{one.name}" for one in flown(*documents, **budget).findings]


def answer(name: str, body: str, more: str = "", *, namespace: str = "default", extra: str = "") -> str:
    rule = f"{{directResponse: {{status: 200, body: {{string: {body}}}}}}}"
    spec = f"{{hosts: [reviews.default.svc.cluster.local]{more}, http: [{rule}]}}"
    return document("VirtualService", name, spec, namespace=namespace, extra=extra)


def test_a_route_that_envoy_rejects_leads_to_its_object() -> None:
    """With file, line and the rule."""
    [found] = flown(service(), answer("v", LONG)).findings
    assert (found.code, found.kind, found.name, found.file) == ("LAT0070", "VirtualService", "v", "f.yaml")
    assert found.line > 1
    assert "must be at most 4096 bytes long" in found.message
    assert "of the sidecars of namespace default" in found.message


def test_a_cluster_that_envoy_rejects_leads_to_its_rule() -> None:
    """A name for TLS that is longer than the wire allows."""
    rule = document(
        "DestinationRule", "d", f"{{host: reviews, trafficPolicy: {{tls: {{mode: SIMPLE, sni: {LONG[:300]}}}}}}}"
    )
    assert said(service(), rule) == ["LAT0070 DestinationRule default/d"]


def test_what_a_patch_makes_leads_to_the_patch() -> None:
    """Not to the rule of the cluster that it changed."""
    match = "{context: SIDECAR_OUTBOUND, cluster: {service: reviews.default.svc.cluster.local}}"
    patch = "{operation: MERGE, value: {connect_timeout: -1s}}"
    patches = document("EnvoyFilter", "e", f"{{configPatches: [{{applyTo: CLUSTER, match: {match}, patch: {patch}}}]}}")
    patches = patches.replace("networking.istio.io/v1", "networking.istio.io/v1alpha3")
    rule = document("DestinationRule", "d", "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")
    assert set(said(service(), rule, patches)) == {"LAT0070 EnvoyFilter default/e"}


def test_gateways_are_tried_too() -> None:
    """A rule that only a gateway has."""
    gateway = document(
        "Gateway",
        "g",
        "{selector: {istio: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
    )
    assert said(service(), gateway, answer("v", LONG, ", gateways: [g]")) == ["LAT0070 VirtualService default/v"]


def test_other_namespaces_are_tried_too() -> None:
    """A rule that only one namespace sees."""
    assert said(service(), service(namespace="b"), answer("v", LONG, ", exportTo: [b]")) == [
        "LAT0070 VirtualService default/v"
    ]


def test_what_is_right_is_not_mentioned() -> None:
    """Also an annotated object is not."""
    assert said(service(), answer("v", "short")) == []
    assert said(service(), answer("v", LONG, extra=", annotations: {galley.istio.io/analyze-suppress: LAT0070}")) == []


def test_nothing_is_passed_over_in_a_small_mesh() -> None:
    """A few services of two namespaces: gateways, namespaces and workloads, each sort once."""
    come = flown(service(), service("ratings"), service(namespace="b"))
    assert come.passed_over == ""
    assert come.tried >= 3


def test_of_services_that_are_alike_one_is_tried() -> None:
    """And one that differs is among them, however many there are."""
    alike = [service(f"s{index}") for index in range(40)]
    rules = [
        document("DestinationRule", f"s{index}", f"{{host: s{index}, trafficPolicy: {{tls: {{mode: SIMPLE}}}}}}")
        for index in range(40)
    ]
    wrong = document(
        "DestinationRule", "odd", f"{{host: s33, trafficPolicy: {{tls: {{mode: SIMPLE, sni: {LONG[:300]}}}}}}}"
    )
    del rules[33]
    come = flown(*alike, *rules, wrong, most_services=10)
    assert [one.name for one in come.findings] == ["odd"]
    assert "services" in come.passed_over


@pytest.mark.timeout(30)
def test_of_the_hosts_of_one_rule_some_are_tried() -> None:
    """Ten thousand took half a minute, in the control plane's loop; what is wrong with the rule is wrong at each."""
    hosts = ", ".join(["reviews", *(f"h{number}.example.com" for number in range(10_000))])
    spec = f"{{hosts: [{hosts}], http: [{{directResponse: {{status: 200, body: {{string: {LONG}}}}}}}]}}"
    assert said(service(), document("VirtualService", "v", spec)) == ["LAT0070 VirtualService default/v"]
    come = flown(service(), document("VirtualService", "v", spec))
    assert come.passed_over == "9901 more hosts of VirtualServices with a hundred others"


def test_the_budget_is_kept() -> None:
    """What did not fit is counted; the first sort is always tried."""
    documents = [service(f"s{index}", namespace=f"n{index}") for index in range(6)]
    come = flown(*documents, most_work=1)
    assert come.tried == 1
    assert "sorts of proxies" in come.passed_over


@pytest.mark.parametrize("count", [1, 3])
def test_one_mistake_is_said_once(count: int) -> None:
    """However many proxies would reject it."""
    others = [service("other", namespace=f"n{index}") for index in range(count)]
    assert said(service(), *others, answer("v", LONG)) == ["LAT0070 VirtualService default/v"]


@pytest.mark.parametrize("case", GOLDENS, ids=lambda case: case.parent.name)
def test_what_envoy_takes_is_not_mentioned(case: Path) -> None:
    """The goldens, which load in a real Envoy (tests/e2e/test_goldens_validate.py), for all sorts of proxies."""
    parsed = parse(case.read_bytes(), "in.yaml")
    state = build_state(parsed.objects, (), MeshConfig())
    assert [str(one) for one in preflight(state, parsed.objects, parsed.positions).findings] == []
