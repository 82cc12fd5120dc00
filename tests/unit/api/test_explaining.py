"""GET /v1/explain: answers about connected proxies, and what it says of questions that make no sense."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from lateen.config.parsing import parse
from lateen.generate.snapshot import generate
from lateen.model.proxies import Proxy, ProxyType
from unit.api.conftest import Call
from unit.api.fakes import FakeControlPlane, FakeProxyStatus

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: viewer}
spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}
"""
CALLER = Proxy(type=ProxyType.SIDECAR, name="web-1", namespace="default", addresses=("10.0.0.9",))
"""It has no certificate: what a connected proxy has counts, nothing is assumed."""


@pytest.fixture
def mesh(plane: FakeControlPlane) -> FakeControlPlane:
    plane.held = {found.key: found for found in parse(MESH.encode(), "mesh.yaml").objects}
    plane.statuses = [FakeProxyStatus(CALLER)]
    assert plane.state is not None
    plane.snapshots = {CALLER.id: (CALLER, generate(plane.state, CALLER))}
    return plane


def target(**query: str | list[str]) -> str:
    return f"/v1/explain?{urlencode(query, doseq=True)}"


async def test_a_request_of_a_connected_proxy_is_explained(call: Call, mesh: FakeControlPlane) -> None:
    answer = await call(
        "GET", target(proxy="web-1.default", request="PUT http://reviews:9080/x", header=["a=b", "c=d"])
    )
    explanation = answer.json()["explanation"]

    assert answer.status == 200
    assert explanation["verdict"] == "denied"
    assert explanation["caller"]["identity"] == ""
    assert explanation["request"]["headers"] == {"a": "b", "c": "d"}
    assert not any("files" in note for note in explanation["notes"])


async def test_an_unknown_host_passes_through_with_a_word_on_what_was_meant(call: Call, mesh: FakeControlPlane) -> None:
    answer = await call("GET", target(proxy="web-1.default", request="GET http://review:9080/"))
    routing = answer.json()["explanation"]["routing"]

    assert answer.status == 200
    assert routing["outcomes"][0]["action"] == "pass through"
    assert "did you mean reviews?" in routing["near_misses"][-1]["reason"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, 400, "`proxy` and `request`"),
        ({"proxy": "web-1.default"}, 400, "`proxy` and `request`"),
        ({"proxy": "web-1.default", "request": "reviews"}, 400, "not a method and a URL"),
        ({"proxy": "nobody.default", "request": "GET http://reviews:9080/"}, 404, "connected"),
    ],
)
async def test_wrong_questions(
    call: Call, mesh: FakeControlPlane, query: dict[str, str], status: int, words: str
) -> None:
    answer = await call("GET", target(**query))

    assert answer.status == status
    assert words in answer.json()["error"]["message"] + answer.json()["error"]["hint"]
