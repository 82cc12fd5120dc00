"""Many clients at once, and clients that mean no good: nobody is lost, nobody else notices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
import structlog

from flow.discovery_server import Handmade, cluster, endpoints, eventually, serving
from flow.xds_client import API, NODE_ID, SERVICE, XdsClient
from lateen.discovery.limits import Limits
from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, ENDPOINT, ROUTE, TYPE_PREFIX, Resource, make_resource

pytestmark = pytest.mark.asyncio(loop_scope="module")

PADDING = "x" * 2000
SMALL = 10_000
"""Bytes from which these tests call a response large."""


async def _light(address: str, number: int) -> None:
    """Connect as Envoy does, on a connection shared with a few, and acknowledge for ever."""
    request = message_class(API + "DeltaDiscoveryRequest")
    response = message_class(API + "DeltaDiscoveryResponse")
    options = [("lateen.connection", number // 100), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.stream_stream(SERVICE + "DeltaAggregatedResources")()
        first = request(
            node={"id": NODE_ID.replace("-1.", f"-{number}.")},
            type_url=TYPE_PREFIX + CLUSTER,
            resource_names_subscribe=["*"],
        )
        await call.write(first.SerializeToString())
        while (content := await call.read()) is not grpc.aio.EOF:
            message = response.FromString(content)
            await call.write(request(type_url=message.type_url, response_nonce=message.nonce).SerializeToString())


async def test_thousand_clients_that_connect_at_once_are_all_served() -> None:
    limits = Limits(large_write=SMALL, large_writes=20)
    async with serving(limits=limits) as made, asyncio.TaskGroup() as tasks:
        made.publish("1", *(cluster(f"c{number}", alt_stat_name=PADDING) for number in range(10)))
        clients = [tasks.create_task(_light(made.address, number)) for number in range(1000)]
        await eventually(lambda: made.hub.streams == 1000 and made.hub.is_synced("1"), 60)
        # A push is counted after its write, and the answer to it may come before.
        await eventually(lambda: made.hub.figures.pushes[CLUSTER] == 1000)
        assert made.generated == [("1", "default")]
        assert made.hub.sharing.bodies.misses == 1
        for client in clients:
            client.cancel()


async def test_change_of_one_endpoint_writes_that_one_resource_and_wakes_nobody_else() -> None:
    async with serving() as made, XdsClient(made.address) as one, XdsClient(made.address) as two:
        made.publish("1", *(endpoints(name, 80) for name in "abc"), make_resource(ROUTE, "80", {"name": "80"}))
        await one.subscribe(ENDPOINT, "a", "b", "c")
        await two.subscribe(ROUTE, "80")
        for client in (one, two):
            await client.until_received()
        made.publish("2", endpoints("a", 80), endpoints("b", 81), endpoints("c", 80), *_routes(made))
        await made.hub.wait_synced("2", 30)
        assert [set(response.resources) for response in one.received] == [{"a", "b", "c"}, {"b"}]
        assert len(two.received) == 1
        # A push is counted after its write, and the answer to it may come before.
        await eventually(lambda: made.hub.figures.pushes == {ENDPOINT: 2, ROUTE: 1})


def _routes(made: Handmade) -> list[Resource]:
    return list(made.snapshots["1"].resources[ROUTE].values())


async def test_client_that_reads_nothing_holds_its_turn_for_a_bounded_time() -> None:
    limits = Limits(large_write=SMALL, large_writes=1, large_write_time=0.2)
    window = [("grpc.http2.lookahead_bytes", 1024), ("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    async with serving(limits=limits) as made:
        # More than sockets and windows take between two processes' ends.
        many = [cluster(f"c{number}", alt_stat_name="x" * 100_000) for number in range(300)]
        made.publish("1", *many)
        async with grpc.aio.insecure_channel(made.address, options=window) as channel:
            stuck = channel.stream_stream(SERVICE + "DeltaAggregatedResources")()
            request = message_class(API + "DeltaDiscoveryRequest")
            first = request(node={"id": NODE_ID}, type_url=TYPE_PREFIX + CLUSTER, resource_names_subscribe=["*"])
            await stuck.write(first.SerializeToString())
            await eventually(lambda: made.hub.sharing.bodies.misses)
            async with XdsClient(made.address) as good:
                await good.subscribe(CLUSTER, "*")
                await good.until(lambda: len(good.names(CLUSTER)) == 300)
                assert made.hub.figures.evicted == 1
                await eventually(lambda: made.hub.streams == 1)


async def test_flood_is_read_slowly_and_logged_once_while_others_are_served() -> None:
    limits = Limits(requests_per_second=50, burst=100)
    with structlog.testing.capture_logs() as logs:
        async with serving(limits=limits) as made, AsyncExitStack() as stack:
            good = await stack.enter_async_context(XdsClient(made.address))
            flooding = XdsClient(made.address, node_id=NODE_ID.replace("-1.", "-2."), acknowledges=False)
            await stack.enter_async_context(flooding)
            made.publish("1", cluster("a"))
            await good.subscribe(CLUSTER, "*")
            clock = asyncio.get_running_loop().time
            began = clock()
            async with asyncio.TaskGroup() as tasks:
                flood = tasks.create_task(_flood(flooding))
                await eventually(lambda: made.hub.figures.throttled > 3)
                for number in range(2, 12):
                    made.publish(str(number), cluster(f"a{number}"))
                    await good.until_holds(CLUSTER, f"a{number}")
                flood.cancel()
            # What a stream may send, those of the good one besides, and as much again: without a limit it is thousands.
            assert made.hub.figures.requests < 2 * (100 + 50 * (clock() - began) + 30)
    said = [line for line in logs if line["event"].startswith("too many requests")]
    assert [line["proxy"] for line in said] == ["reviews-v1-2.default"]


async def _flood(client: XdsClient) -> None:
    while True:
        await client.send(type_url=TYPE_PREFIX + ENDPOINT, resource_names_subscribe=["x"])


async def test_client_that_rejects_everything_is_logged_once_and_harms_nobody() -> None:
    with structlog.testing.capture_logs() as logs:
        async with (
            serving() as made,
            XdsClient(made.address, node_id=NODE_ID.replace("-1.", "-2.")) as bad,
            XdsClient(made.address) as good,
        ):
            bad.rejects = lambda _response: "no"
            for client in (good, bad):
                await client.subscribe(CLUSTER, "*")
            await eventually(lambda: made.hub.streams == 2)
            for number in range(1, 21):
                made.publish(str(number), cluster(f"a{number}"))
                await made.hub.wait_synced(str(number), 30)
            assert good.names(CLUSTER) == {"a20"}
            # Each state but the first has a removal too, in a response of its own.
            assert made.hub.figures.rejects[CLUSTER] == 39
            assert len(bad.received) == 39
    said = [line for line in logs if line["event"] == "rejected"]
    assert [(line["proxy"], line["reason"]) for line in said] == [("reviews-v1-2.default", "no")]
