"""How long one change takes to reach 500 connected proxies, over real gRPC on loopback, clients included.

    python bench/ads_push.py [STREAMS] [CLUSTERS]

The clients are as light as Python allows: they decode the nonce and acknowledge, nothing more, but they share the
machine and the event loop with the server, so the figures are an upper bound. Prints, asserts nothing.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path

import grpc
import structlog

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from flow.discovery_server import Handmade, cluster, endpoints, eventually, serving
from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, ENDPOINT, TYPE_PREFIX, Resource

API = "envoy.service.discovery.v3."
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


async def client(address: str, number: int, names: list[str]) -> None:
    """Subscribe to all clusters and their endpoints, and acknowledge for ever."""
    request = message_class(API + "DeltaDiscoveryRequest")
    response = message_class(API + "DeltaDiscoveryResponse")
    node = {"id": f"sidecar~127.0.0.1~app-{number}.default~default.svc.cluster.local"}
    # Two hundred streams to a connection: the protocol's cost, not that of a thousand sockets in one process.
    channel = grpc.aio.insecure_channel(address, options=[("lateen.bench", number // 200)])
    async with channel:
        call = channel.stream_stream(METHOD)()
        for kind, wanted in (CLUSTER, ["*"]), (ENDPOINT, names):
            first = request(node=node, type_url=TYPE_PREFIX + kind, resource_names_subscribe=wanted)
            await call.write(first.SerializeToString())
        while (content := await call.read()) is not grpc.aio.EOF:
            message = response.FromString(content)
            await call.write(request(type_url=message.type_url, response_nonce=message.nonce).SerializeToString())


async def timed(made: Handmade, what: str, version: str, resources: list[Resource]) -> None:
    """Publish and wait for the last ACK."""
    wall, cpu = time.perf_counter(), time.process_time()
    made.publish(version, *resources)
    await made.hub.wait_synced(version, 120)
    done = "" if made.hub.is_synced(version) else "  NOT SYNCED"
    print(
        f"{what:<42} last ACK {(time.perf_counter() - wall) * 1000:8.1f} ms   "
        f"CPU with clients {(time.process_time() - cpu) * 1000:8.1f} ms{done}"
    )


async def main(streams: int, clusters: int) -> None:
    """Connect everybody, then change one thing at a time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    names = [f"c{number}" for number in range(clusters)]
    fixed = [cluster(name) for name in names]
    hosts = {name: endpoints(name, 8080) for name in names}
    async with serving() as made, asyncio.TaskGroup() as tasks:
        made.publish("0", *fixed, *hosts.values())
        began = time.perf_counter()
        clients = [tasks.create_task(client(made.address, number, names)) for number in range(streams)]
        await eventually(lambda: len(made.hub.proxies()) == streams and made.hub.is_synced("0"), 120)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{streams} streams x {clusters} clusters: connected in {time.perf_counter() - began:.2f} s, RSS {peak} MB"
        )
        for number in range(1, 4):
            hosts["c0"] = endpoints("c0", 8080 + number)
            await timed(made, "one endpoint changes", f"e{number}", [*fixed, *hosts.values()])
        for number in range(1, 4):
            fixed[0] = cluster("c0", connect_timeout={"seconds": number + 1})
            await timed(made, "one cluster changes (and its endpoints)", f"c{number}", [*fixed, *hosts.values()])
        changed = [cluster(name, connect_timeout={"seconds": 9}) for name in names]
        await timed(made, "every cluster changes", "all", [*changed, *hosts.values()])
        for task in clients:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in (sys.argv[1:] + ["500", "1000"][len(sys.argv) - 1 :]))))
