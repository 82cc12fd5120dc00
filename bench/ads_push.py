"""How long one change takes to reach every connected proxy, over real gRPC on loopback, and what that costs.

    python bench/ads_push.py [STREAMS SERVICES]

The control plane's hub and server run here on handmade snapshots; the clients (`xds_clients.py`) run in a process of
their own, with one connection per proxy. CPU is given for both. A floor is measured first in the same way: what
gRPC alone needs to write a message to each stream and to read one back. Nothing is generated: `serving` measures the
whole. Prints, asserts nothing.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import structlog
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fleet import load
from flow.discovery_server import cluster, empty_state, endpoints, eventually
from lateen.app.collecting import rare_collections
from lateen.discovery.hub import Hub
from lateen.discovery.ports import Port
from lateen.discovery.server import OPTIONS, SERVICE, serve
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot, make_resource, make_snapshot
from report import Figure, figure, write

PADDING = "x" * 500
"""A cluster, listener or route of a real mesh has about a kilobyte."""


class Snapshots:
    """A hub whose proxies are all of one scope."""

    def __init__(self) -> None:
        self.hub = Hub(lambda _state, _proxy: self._snapshot, lambda _state, proxy: proxy.namespace)
        self._snapshot = make_snapshot([])

    def serve(self, version: str, snapshot: Snapshot) -> None:
        """Publish it."""
        self._snapshot = snapshot
        self.hub.publish(empty_state(version))


class Clients:
    """The client process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self) -> dict[str, Any]:
        """Return its counts so far."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"cpu\n")
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer


@asynccontextmanager
async def connecting(address: str, streams: int, names: dict[str, list[str]]) -> AsyncIterator[Clients]:
    """Start the clients; they begin to connect when the context is entered."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(names, file)
        file.flush()
        program = str(Path(__file__).parent / "xds_clients.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, address, str(streams), file.name, stdin=-1, stdout=-1
        )
        assert process.stdin
        assert process.stdout
        await process.stdout.readline()
        process.stdin.write(b"go\n")
        try:
            yield Clients(process)
        finally:
            process.stdin.close()
            await process.wait()


def rss() -> int:
    """Return this process's resident memory in MB, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


class Rows:
    """What was measured: wall time and the server's CPU of each round, by what was done."""

    def __init__(self, case: str) -> None:
        self._case = case
        self._taken: dict[str, list[tuple[float, float, str]]] = {}

    def add(self, what: str, wall: float, cpu: float, note: str) -> None:
        """Take one round, in milliseconds, and print it."""
        self._taken.setdefault(what, []).append((wall, cpu, note))
        print(f"push: {what:<38} last ACK {wall:8.1f} ms  CPU {cpu:8.1f} ms  {note}", flush=True)

    def figures(self) -> list[Figure]:
        """Return two figures for each thing that was done."""
        made: list[Figure] = []
        for what, rounds in self._taken.items():
            walls, cpus, notes = zip(*rounds, strict=True)
            made.append(figure(f"push: {what}", self._case, "ms", walls, notes[-1]))
            made.append(figure(f"push: {what}: server CPU", self._case, "ms", cpus))
        return made


async def floor(streams: int, rows: Rows) -> None:
    """Measure gRPC alone: one small message to each stream, one back, four times."""
    acknowledged = 0
    contexts: list[grpc.aio.ServicerContext] = []

    async def handler(_requests: object, context: grpc.aio.ServicerContext) -> None:
        nonlocal acknowledged
        for _ in range(4):
            await context.read()
        contexts.append(context)
        while await context.read() is not grpc.aio.EOF:
            acknowledged += 1

    method = grpc.stream_stream_rpc_method_handler(handler)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    kinds = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
    async with connecting(f"127.0.0.1:{port}", streams, {kind: ["*"] for kind in kinds}) as clients:
        await eventually(lambda: len(contexts) == streams, 120)
        for turn in range(1, 5):
            before, wall, cpu = await clients.ask(), time.perf_counter(), time.process_time()
            async with asyncio.TaskGroup() as tasks:
                for context in contexts:
                    tasks.create_task(context.write(b"\x12\xc8\x01" + b"x" * 200 + b"\x22\x01k\x2a\x011"))
            await eventually(lambda: acknowledged == turn * streams, 60)  # noqa: B023
            await report(rows, "floor: gRPC alone", clients, before, wall, cpu)
    await server.stop(None)


async def report(rows: Rows, what: str, clients: Clients, before: dict[str, Any], wall: float, cpu: float) -> None:
    """Take one round that began at these times, with these counts of the clients."""
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    after = await clients.ask()
    responses = after.get("responses", 0) - before.get("responses", 0)
    received = after.get("bytes", 0) - before.get("bytes", 0)
    note = (
        f"clients' CPU {(after['cpu'] - before['cpu']) * 1000:.0f} ms, {responses} responses, "
        f"{received / max(1, responses):.0f} bytes each, RSS {rss()} MB, {load()}"
    )
    rows.add(what, seconds * 1000, used * 1000, note)


async def timed(
    rows: Rows, made: Snapshots, clients: Clients, what: str, version: str, resources: list[Resource]
) -> None:
    """Publish and wait for the last ACK."""
    snapshot = make_snapshot(resources)
    before, wall, cpu = await clients.ask(), time.perf_counter(), time.process_time()
    made.serve(version, snapshot)
    assert await made.hub.until_synced(version, 120), "not synced"
    await report(rows, what, clients, before, wall, cpu)


async def pushes(streams: int, services: int) -> list[Figure]:
    """Connect everybody, then change one thing at a time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    rows = Rows(f"{streams} streams x {services} services")
    await floor(streams, rows)
    names = [f"outbound|80||service-{number}.default.svc.cluster.local" for number in range(services)]
    clusters = {name: cluster(name, alt_stat_name=PADDING) for name in names}
    hosts = {name: endpoints(name, 8080) for name in names}
    ports = [make_resource(LISTENER, f"l{number}", {"name": f"l{number}", "stat_prefix": PADDING}) for number in (1, 2)]
    route = make_resource(ROUTE, "80", {"name": "80"})
    made = Snapshots()
    made.hub.settle()
    wanted = {CLUSTER: ["*"], ENDPOINT: names, LISTENER: ["*"], ROUTE: ["80"]}
    async with serve(made.hub, [Port(address="127.0.0.1:0")]) as bound, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.hub.run())
        made.serve("0", make_snapshot([*clusters.values(), *hosts.values(), *ports, route]))
        before, began, cpu = {"cpu": 0.0}, time.perf_counter(), time.process_time()
        alone = rss()
        async with connecting(f"127.0.0.1:{bound[0]}", streams, wanted) as clients:
            began = time.perf_counter()
            await eventually(lambda: made.hub.streams == streams and made.hub.is_synced("0"), 300)
            await report(rows, "all connect", clients, before, began, cpu)
            each = (rss() - alone) * 1024 / streams
            for number in range(1, 6):
                hosts[names[0]] = endpoints(names[0], 8080 + number)
                resources = [*clusters.values(), *hosts.values(), *ports, route]
                await timed(rows, made, clients, "one endpoint changes", f"e{number}", resources)
            for number in range(1, 4):
                route = make_resource(
                    ROUTE, "80", {"name": "80", "max_direct_response_body_size_bytes": {"value": number}}
                )
                resources = [*clusters.values(), *hosts.values(), *ports, route]
                await timed(rows, made, clients, "one route changes", f"r{number}", resources)
            for number in range(1, 4):
                clusters[names[0]] = cluster(names[0], connect_timeout={"seconds": number + 1})
                resources = [*clusters.values(), *hosts.values(), *ports, route]
                await timed(rows, made, clients, "one cluster changes (and its endpoints)", f"c{number}", resources)
            changed = [cluster(name, connect_timeout={"seconds": 9}, alt_stat_name=PADDING) for name in names]
            await timed(rows, made, clients, "every cluster changes", "all", [*changed, *hosts.values(), *ports, route])
            await timed(rows, made, clients, "nothing changes", "same", [*changed, *hosts.values(), *ports, route])
        running.cancel()
    made_of = f"{alone} MB before"
    return [
        *rows.figures(),
        figure("push: RSS by stream", f"{streams} streams x {services} services", "kB", [each], made_of),
    ]


def measure(*, quick: bool = False) -> list[Figure]:
    """Return the rows of one size."""
    with rare_collections():  # as the control plane does
        return uvloop.run(pushes(50, 100) if quick else pushes(1000, 1000))


if __name__ == "__main__":
    with rare_collections():
        print(write(uvloop.run(pushes(*(int(argument) for argument in sys.argv[1:] or ("1000", "1000"))))))
