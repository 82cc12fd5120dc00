"""EnvoyFilters on real Envoy: filters on every side, limits per route, clusters changed, live and away again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import Answer, Mesh, Process, eventually, good, request, running_mesh

pytestmark = pytest.mark.e2e

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "envoy-filters.md"
SHOWN = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)

TYPE = "type.googleapis.com/envoy.extensions."
ROUTER = {
    "filterChain": {
        "filter": {
            "name": "envoy.filters.network.http_connection_manager",
            "subFilter": {"name": "envoy.filters.http.router"},
        }
    }
}
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [edge.example.com]
  gateways: [edge]
  http: [{name: all, route: [{destination: {host: echo}}]}]
"""


def lua(header: str, value: str = "1", *, name: str = "test.lua") -> dict[str, Any]:
    """A filter that adds a header to responses."""
    code = f'function envoy_on_response(handle)\n  handle:headers():add("{header}", "{value}")\nend\n'
    config = {"@type": TYPE + "filters.http.lua.v3.Lua", "default_source_code": {"inline_string": code}}
    return {"name": name, "typed_config": config}


def patch(apply_to: str, operation: str, value: Any = None, **match: Any) -> dict[str, Any]:
    body = {"operation": operation} | ({"value": value} if value is not None else {})
    return {"applyTo": apply_to, "match": match, "patch": body}


def envoy_filter(*patches: dict[str, Any], name: str = "ef", **spec: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"configPatches": list(patches), **spec},
        }
    )


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Process:
    mesh.run("echo", version="v1")
    mesh.run("other")
    return mesh.run("client")


@pytest.fixture(scope="module")
def gateway(mesh: Mesh, client: Process) -> Process:
    mesh.apply(EDGE)
    return mesh.gateway()


@pytest.fixture(autouse=True)
def _clean(mesh: Mesh, client: Process) -> Iterator[None]:
    yield
    mesh.delete_all("envoyfilters")


def once(client: Process, url: str = "http://echo/") -> Answer:
    address, _, port = str(client.addresses["http_proxy"]).removeprefix("http://").rpartition(":")
    return request(int(port), url, address=address)


def call(client: Process, url: str = "http://echo/") -> Answer:
    """Call until the answer is a good one."""
    return eventually(lambda: good(once(client, url)), what=url)


@pytest.mark.parametrize("context", ["SIDECAR_INBOUND", "SIDECAR_OUTBOUND"])
def test_a_lua_filter_before_the_router_of_a_sidecar(mesh: Mesh, client: Process, context: str) -> None:
    """It acts while it is there and is gone with its EnvoyFilter."""
    assert "x-lua" not in call(client).headers
    mesh.apply(envoy_filter(patch("HTTP_FILTER", "INSERT_BEFORE", lua("x-lua"), context=context, listener=ROUTER)))
    eventually(lambda: call(client).headers.get("x-lua") == "1", what="the filter")
    mesh.apply(envoy_filter(patch("HTTP_FILTER", "INSERT_BEFORE", lua("x-lua", "2"), context=context, listener=ROUTER)))
    eventually(lambda: call(client).headers.get("x-lua") == "2", what="the changed filter")
    mesh.delete_all("envoyfilters")
    eventually(lambda: "x-lua" not in call(client).headers, what="the filter to go")


def test_a_lua_filter_of_a_gateway(mesh: Mesh, client: Process, gateway: Process) -> None:
    address, _, port = str(gateway.addresses["listeners"]["80"]).rpartition(":")

    def asked() -> Answer:
        return request(int(port), "/", address=address, headers={"host": "edge.example.com"})

    eventually(lambda: good(asked()), what="the gateway")
    match = {"portNumber": 80, **ROUTER}
    mesh.apply(envoy_filter(patch("HTTP_FILTER", "INSERT_BEFORE", lua("x-edge"), context="GATEWAY", listener=match)))
    eventually(lambda: asked().headers.get("x-edge") == "1", what="the filter")
    assert "x-edge" not in call(client).headers


def test_a_filter_of_one_port_acts_on_calls_of_this_port_only(mesh: Mesh, client: Process) -> None:
    """One listener carries all ports, so virtual hosts enable it, those that are asked for too."""

    def of_port(port: int) -> str:
        match = {"portNumber": port, **ROUTER}
        return envoy_filter(
            patch("HTTP_FILTER", "INSERT_BEFORE", lua("x-port"), context="SIDECAR_OUTBOUND", listener=match)
        )

    mesh.apply(of_port(80))
    eventually(lambda: call(client).headers.get("x-port") == "1", what="the filter of port 80")
    mesh.apply(of_port(9999))
    eventually(lambda: "x-port" not in call(client).headers, what="the filter of another port")


def test_a_local_rate_limit_of_a_route(mesh: Mesh, client: Process) -> None:
    """Two requests pass, the third is refused; another service is not limited."""
    limit = {
        "@type": TYPE + "filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "test",
        "token_bucket": {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "600s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    name = "envoy.filters.http.local_ratelimit"
    empty = {"@type": TYPE + "filters.http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "test"}
    call(client), call(client, "http://other/")
    mesh.apply(
        envoy_filter(
            patch("HTTP_FILTER", "INSERT_FIRST", {"name": name, "typed_config": empty}, context="SIDECAR_OUTBOUND"),
            patch(
                "HTTP_ROUTE",
                "MERGE",
                {"typed_per_filter_config": {name: limit}},
                context="SIDECAR_OUTBOUND",
                routeConfiguration={"portNumber": 80, "vhost": {"domainName": "echo.default.svc.cluster.local"}},
            ),
        )
    )
    eventually(lambda: once(client).status == 429, what="the limit")
    assert all(once(client, "http://other/").status == 200 for _ in range(4))


def test_a_cluster_is_changed(mesh: Mesh, client: Process) -> None:
    """Its limit of requests is one that no call can keep, so calls are refused until it is gone again."""
    call(client)
    none = {"circuit_breakers": {"thresholds": [{"max_requests": 0, "max_pending_requests": 0, "max_connections": 0}]}}
    mesh.apply(
        envoy_filter(
            patch(
                "CLUSTER",
                "MERGE_AND_REPLACE_LIST",
                none,
                context="SIDECAR_OUTBOUND",
                cluster={"service": "echo.default.svc.cluster.local"},
            )
        )
    )
    eventually(lambda: once(client).status == 503, what="the limit")
    assert once(client, "http://other/").status == 200
    mesh.delete_all("envoyfilters")
    call(client)


def test_a_broken_patch_harms_nothing_else(mesh: Mesh, client: Process) -> None:
    """What cannot be merged is skipped; what stands beside it acts, and every proxy acknowledges."""
    wrong = {**lua("x-never"), "name": "envoy.filters.http.router"}
    unknown = {"name": "nothing", "typed_config": {"@type": TYPE + "nothing.v3.Nothing", "a": 1}}
    mesh.apply(
        envoy_filter(
            patch("HTTP_FILTER", "MERGE", wrong, context="SIDECAR_INBOUND", listener=ROUTER),
            patch("CLUSTER", "MERGE", {"no_such_field": 1}),
            patch("HTTP_FILTER", "INSERT_BEFORE", unknown, context="GATEWAY", listener={"portNumber": 4711}),
            patch("HTTP_FILTER", "INSERT_BEFORE", lua("x-good"), context="SIDECAR_INBOUND", listener=ROUTER),
        )
    )
    eventually(lambda: call(client).headers.get("x-good") == "1", what="the good patch")


def test_the_documents_of_the_guide(mesh: Mesh, client: Process) -> None:
    """Applied one after the other as they stand, every proxy acknowledges them, and calls are answered."""
    for text in SHOWN.findall(GUIDE.read_text()):
        mesh.apply(text)
        call(client)


def test_a_bootstrap_is_patched_when_the_proxy_starts(mesh: Mesh, client: Process) -> None:
    """The agent merges what it is told when it registers, whatever stands in it of the node."""
    value = {"stats_flush_interval": "7s", "node": {"id": "x"}}
    selector = {"labels": {"app": "late"}}
    mesh.apply(envoy_filter(patch("BOOTSTRAP", "MERGE", value), workloadSelector=selector))
    late = mesh.run("late")
    for process, interval in ((late, "7s"), (client, None)):
        address, _, port = str(process.addresses["admin"]).rpartition(":")
        shown = request(int(port), "/config_dump", address=address).json
        found = next(one["bootstrap"] for one in shown["configs"] if "bootstrap" in one)
        assert found.get("stats_flush_interval") == interval
        assert found["node"]["id"] != "x"
