"""gRPC's own `xds:///` resolver as an independent consumer: it was not written by us, and speaks state of the world.

It reads its bootstrap from the environment when gRPC is first used, so it runs in a process of its own
(`grpc_xds_program.py`), as do the servers that it calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from flow.discovery_server import Handmade, cluster, endpoints, eventually, serving
from lateen.envoy.messages import packed, typed_extension
from lateen.envoy.resources import KINDS, LISTENER, ROUTE, Resource, make_resource
from lateen.model.proxies import Capability

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = Path(__file__).with_name("grpc_xds_program.py")
HOST = "echo.mesh:50051"
NODE_ID = "sidecar~127.0.0.1~caller-1.default~default.svc.cluster.local"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def api_listener() -> Resource:
    manager = {
        "rds": {"route_config_name": HOST, "config_source": {"resource_api_version": "V3", "ads": {}}},
        "http_filters": [typed_extension("router", ROUTER)],
    }
    return make_resource(LISTENER, HOST, {"name": HOST, "api_listener": {"api_listener": packed(HCM, manager)}})


def split(**weights: int) -> Resource:
    clusters = [{"name": name, "weight": {"value": weight}} for name, weight in weights.items()]
    routes = [{"match": {"prefix": ""}, "route": {"weighted_clusters": {"clusters": clusters}}}]
    host = {"name": "echo", "domains": ["*"], "routes": routes}
    return make_resource(ROUTE, HOST, {"name": HOST, "virtual_hosts": [host]})


@asynccontextmanager
async def echo_server(name: str) -> AsyncIterator[int]:
    """A gRPC server that answers every call with its name."""

    async def answer(_request: bytes, _context: object) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", {"Say": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class Caller:
    """The process with the `xds:///` channel: asks for N calls, gets the answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout

    async def call(self, times: int) -> Counter[str]:
        self._stdin.write(f"{times}\n".encode())
        await self._stdin.drain()
        async with asyncio.timeout(90):
            return Counter(json.loads(await self._stdout.readline()))


@asynccontextmanager
async def caller(made: Handmade, folder: Path) -> AsyncIterator[Caller]:
    bootstrap = folder / "bootstrap.json"
    server = {
        "server_uri": made.address,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": {"id": NODE_ID}}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), f"xds:///{HOST}"),
        env=os.environ | {"GRPC_XDS_BOOTSTRAP": str(bootstrap)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.communicate()


async def test_grpc_resolves_routes_and_follows_changes(tmp_path: Path) -> None:
    async with (
        serving() as made,
        echo_server("one") as one,
        echo_server("two") as two,
        caller(made, tmp_path) as client,
    ):
        fixed = [api_listener(), cluster("v1"), cluster("v2"), endpoints("v1", one), endpoints("v2", two)]
        made.publish("1", *fixed, split(v1=90, v2=10))
        answers = await client.call(500)
        assert answers.keys() == {"one", "two"}
        assert 410 <= answers["one"] <= 480

        await made.hub.wait_synced("1", 30)
        (proxy,) = made.hub.proxies()
        assert proxy.proxy.capability is Capability.GRPC
        assert {kind: proxy.types[kind].state for kind in KINDS[:4]} == dict.fromkeys(KINDS[:4], "synced")

        made.publish("2", *fixed, split(v2=100))
        await made.hub.wait_synced("2", 30)
        assert made.hub.is_synced("2")
        await eventually_all(client, "two")

        # Endpoints alone: the cluster v2 moves to the other server.
        moved = [api_listener(), cluster("v1"), cluster("v2"), endpoints("v1", one), endpoints("v2", one)]
        made.publish("3", *moved, split(v2=100))
        await eventually_all(client, "one")


async def test_call_to_a_host_that_is_not_there_yet_goes_through_when_it_appears(tmp_path: Path) -> None:
    """gRPC asked in vain; what it named is remembered."""
    async with serving() as made, echo_server("one") as one, caller(made, tmp_path) as client:
        made.publish("1")
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(client.call(1))
            await eventually(lambda: made.hub.sent)
            made.publish("2", api_listener(), cluster("v1"), endpoints("v1", one), split(v1=100))
        assert call.result() == {"one": 1}
        await eventually(lambda: made.hub.is_synced("2"))


async def eventually_all(client: Caller, answer: str) -> None:
    """Wait until calls are answered so."""
    async with asyncio.timeout(60):
        while await client.call(20) != {answer: 20}:
            pass
