"""Localities, findings, node ids, visibility, registrations."""

from __future__ import annotations

import json

import pytest

from lateen.model.findings import Finding, Severity, has_errors
from lateen.model.origins import Origin
from lateen.model.proxies import Proxy, ProxyType, labels_match
from lateen.model.services import Locality, visible_to
from lateen.model.workloads import WorkloadPort, WorkloadRegistration


@pytest.mark.parametrize("text", ["", "eu", "eu/a", "eu/a/1"])
def test_a_locality_reads_back(text: str) -> None:
    assert str(Locality.parse(text)) == text


def test_an_origin_reads_like_a_compiler_s() -> None:
    assert [str(Origin("a.yaml", 12)), str(Origin("api"))] == ["a.yaml:12", "api"]


def test_a_finding_reads_like_a_compiler_s() -> None:
    finding = Finding(
        code="IST0101", severity=Severity.ERROR, message="no such host", file="a.yaml", line=3, column=5,
        kind="VirtualService", namespace="default", name="reviews", path="spec.http[0]",
    )  # fmt: skip
    assert str(finding) == "a.yaml:3:5: error IST0101 VirtualService default/reviews spec.http[0]: no such host"
    assert has_errors([finding])


def test_a_node_id_has_istio_s_form() -> None:
    proxy = Proxy(type=ProxyType.GATEWAY, name="edge", namespace="shop", addresses=("127.0.0.9",))
    assert proxy.node_id == "router~127.0.0.9~edge.shop~shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("export_to", "seen_in_a", "seen_in_b"),
    [((), True, True), (("*",), True, True), ((".",), True, False), (("b",), False, True), ((".", "b"), True, True)],
)
def test_visibility_of_something_in_namespace_a(export_to: tuple[str, ...], seen_in_a: bool, seen_in_b: bool) -> None:
    assert visible_to(export_to, "a", "a") is seen_in_a
    assert visible_to(export_to, "a", "b") is seen_in_b


def test_an_empty_selector_matches_everything() -> None:
    assert labels_match({}, {"app": "x"})
    assert labels_match({"app": "x"}, {"app": "x", "v": "1"})
    assert not labels_match({"app": "x", "v": "2"}, {"app": "x", "v": "1"})


def test_a_registration_is_plain_json() -> None:
    made = WorkloadRegistration(
        service="reviews", namespace="default", address="127.0.0.9", ports=(WorkloadPort(port=9080, protocol="http"),)
    )
    again = json.loads(json.dumps(made.to_json()))
    assert again["ports"] == [{"port": 9080, "protocol": "http", "name": "", "app_port": 0}]
    assert again["service"] == "reviews"


@pytest.mark.parametrize(
    ("addresses", "private"),
    [((), "127.0.0.1"), (("127.64.0.9",), "127.64.0.9"), (("10.0.0.1",), "127.0.0.1"), (("::1",), "::1")],
)
def test_what_is_for_the_own_app_only_never_binds_a_reachable_address(addresses: tuple[str, ...], private: str) -> None:
    proxy = Proxy(type=ProxyType.SIDECAR, name="a", namespace="default", addresses=addresses)
    assert proxy.private_address == private


def test_ports_move_by_the_map_or_for_lack_of_privilege() -> None:
    proxy = Proxy(type=ProxyType.GATEWAY, name="a", namespace="default", port_map={80: 9000}, privileged=False)
    assert [proxy.bound_port(port) for port in (80, 443, 1023, 1024, 31400)] == [9000, 8443, 9023, 1024, 31400]
