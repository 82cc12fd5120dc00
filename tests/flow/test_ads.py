"""The ADS server against a fake client: hub, sessions and gRPC together, in one process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from flow.discovery_server import Handmade, cluster, endpoints, eventually, serving
from flow.xds_client import NODE_ID, Variant, XdsClient
from lateen.discovery.ledger import TypeStatus
from lateen.discovery.limits import Limits
from lateen.discovery.ports import Port
from lateen.discovery.protocol import StateOfTheWorld
from lateen.discovery.server import serve
from lateen.discovery.wire import MAX_NAMES
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, TYPE_PREFIX, make_resource
from lateen.model.workloads import WorkloadRegistration

# gRPC's poller does not like a new event loop for each test.
pytestmark = pytest.mark.asyncio(loop_scope="module")

both = pytest.mark.parametrize("variant", ["delta", "sotw"])


def status(made: Handmade, kind: str) -> TypeStatus:
    (proxy,) = made.hub.proxies()
    return proxy.types[kind]


async def synced(made: Handmade, version: str) -> None:
    """Wait until every proxy has answered the state."""
    await made.hub.wait_synced(version, 30)
    assert made.hub.is_synced(version)


@both
async def test_client_gets_what_it_asks_for_and_then_each_change(variant: Variant) -> None:
    async with serving() as made, XdsClient(made.address, variant) as client:
        made.publish("1", cluster("a"), cluster("b"), endpoints("a", 80), endpoints("b", 81))
        await client.subscribe(CLUSTER, "*")
        await client.until_holds(CLUSTER, "a", "b")
        await client.subscribe(ENDPOINT, "a")
        await client.until_holds(ENDPOINT, "a")
        made.publish("2", cluster("a"), cluster("c"), endpoints("a", 82), endpoints("b", 83))
        await synced(made, "2")
        assert client.names(CLUSTER) == {"a", "c"}
        assert client.held[ENDPOINT] == {"a": endpoints("a", 82).body}
        assert status(made, CLUSTER).state == "synced"
        assert status(made, CLUSTER).acknowledged == made.snapshots["2"].version


@both
async def test_client_that_connects_before_the_first_state_waits_for_it(variant: Variant) -> None:
    async with serving() as made, XdsClient(made.address, variant) as client:
        await client.subscribe(CLUSTER, "*")
        await eventually(made.hub.proxies)
        assert status(made, CLUSTER).state == "not sent"
        made.publish("1", cluster("a"))
        await client.until_holds(CLUSTER, "a")


@both
async def test_rejection_is_in_the_ledger_with_its_reason_and_counts_as_an_answer(variant: Variant) -> None:
    async with serving() as made, XdsClient(made.address, variant) as client:
        client.rejects = lambda response: "no such policy" if "bad" in response.resources else None
        made.publish("1", cluster("good"))
        await client.subscribe(CLUSTER, "*")
        await client.until_holds(CLUSTER, "good")
        made.publish("2", cluster("good"), cluster("bad"))
        await synced(made, "2")
        assert status(made, CLUSTER) == TypeStatus(
            state="rejected",
            sent=made.snapshots["2"].version,
            acknowledged=made.snapshots["1"].version,
            rejection="no such policy",
            resources=2,
        )
        assert len(client.received) == 2
        made.publish("3", cluster("good"))
        await synced(made, "3")
        assert status(made, CLUSTER).state == "synced"
        assert client.names(CLUSTER) == {"good"}


async def test_reconnecting_client_gets_only_the_difference() -> None:
    """Versions are hashes of the content, so they hold across a restart of the control plane."""
    resources = [cluster("a"), cluster("b")]
    async with serving() as made, XdsClient(made.address) as client:
        made.publish("1", *resources)
        await client.subscribe(CLUSTER, "*")
        await client.until_holds(CLUSTER, "a", "b")
    async with serving() as made, XdsClient(made.address, held=client.held, versions=client.versions) as client:
        made.publish("2", *resources, cluster("c"))
        await client.subscribe(CLUSTER, "*")
        await client.until_received()
        await synced(made, "2")
        assert [set(response.resources) for response in client.received] == [{"c"}]


async def test_resuming_client_is_not_told_of_losses_before_the_hub_settles() -> None:
    """A restarted control plane knows half of the mesh at first: who runs keeps what it has, who starts is served."""
    async with serving() as made, XdsClient(made.address) as client:
        made.publish("1", cluster("a"), cluster("b"))
        await client.subscribe(CLUSTER, "*")
        await client.until_holds(CLUSTER, "a", "b")
    async with (
        serving(settled=False) as made,
        XdsClient(made.address, held=client.held, versions=client.versions) as resuming,
        XdsClient(made.address) as starting,
    ):
        made.publish("2", cluster("a"))
        await resuming.subscribe(CLUSTER, "*")
        await eventually(lambda: len(made.hub.proxies()) == 1)
        await starting.subscribe(CLUSTER, "*")
        await starting.until_holds(CLUSTER, "a")
        made.publish("3", cluster("a"), cluster("b"), cluster("c"))
        await starting.until_holds(CLUSTER, "a", "b", "c")
        assert not resuming.received
        made.hub.settle()
        await synced(made, "3")
        assert [set(response.resources) for response in resuming.received] == [{"c"}]
        assert not resuming.received[0].removed


WITH_AGENT = {"LATEEN": {"registers": True}}
OWN = WorkloadRegistration(service="reviews", namespace="default", name="reviews-v1-1", address="127.0.0.5", ports=())
NOT_YET = 3600.0
"""Patience that outlasts a test."""


async def test_proxy_with_an_agent_is_told_nothing_before_its_workload_is_registered() -> None:
    """Else it would be told that it has no inbound side. Neither others' registrations nor changes are its own."""
    async with (
        serving(patience=NOT_YET) as made,
        XdsClient(made.address, metadata=WITH_AGENT) as fresh,
        XdsClient(made.address) as without_agent,
    ):
        made.publish("1", cluster("a"), workloads=(replace(OWN, name="reviews-v1-0"), replace(OWN, name="z")))
        await fresh.subscribe(CLUSTER, "*")
        await eventually(lambda: len(made.hub.proxies()) == 1)
        await without_agent.subscribe(CLUSTER, "*")
        await without_agent.until_holds(CLUSTER, "a")
        made.publish("2", cluster("a"), cluster("b"))
        await without_agent.until_holds(CLUSTER, "a", "b")
        assert not fresh.received
        made.publish("3", cluster("a"), cluster("inbound"), workloads=(replace(OWN, ready=False),))
        await fresh.until_holds(CLUSTER, "a", "inbound")
        assert len(fresh.received) == 1


async def test_proxy_whose_workload_is_registered_is_served_at_once_and_on_when_that_ends() -> None:
    async with serving(patience=NOT_YET) as made, XdsClient(made.address, metadata=WITH_AGENT) as client:
        made.publish("1", cluster("a"), workloads=(OWN,))
        await client.subscribe(CLUSTER, "*")
        await client.until_holds(CLUSTER, "a")
        made.publish("2", cluster("b"))
        await client.until_holds(CLUSTER, "b")


@pytest.mark.parametrize("resumes", [False, True])
async def test_proxy_whose_agent_does_not_come_back_is_served_in_the_end(resumes: bool) -> None:
    """Also one that resumes long after the hub has settled: its lease ended while its network was away."""
    kept = {"held": {CLUSTER: {"a": b""}}, "versions": {CLUSTER: {"a": "old"}}} if resumes else {}
    async with serving(patience=0.05) as made, XdsClient(made.address, metadata=WITH_AGENT, **kept) as client:  # type: ignore[arg-type]
        made.publish("1", cluster("b"))
        await client.subscribe(CLUSTER, "*")
        await client.until_holds(CLUSTER, "b")


async def test_patience_does_not_end_before_the_hub_settles() -> None:
    """However long the first state takes, agents come back after it."""
    async with (
        serving(settled=False, patience=0.0) as made,
        XdsClient(made.address, metadata=WITH_AGENT) as fresh,
        XdsClient(made.address) as without_agent,
    ):
        await fresh.subscribe(CLUSTER, "*")
        await eventually(lambda: len(made.hub.proxies()) == 1)
        made.publish("1", cluster("a"))
        await without_agent.subscribe(CLUSTER, "*")
        await without_agent.until_holds(CLUSTER, "a")
        assert not fresh.received
        made.hub.settle()
        await fresh.until_holds(CLUSTER, "a")


async def test_slow_client_skips_to_the_newest_snapshot_and_delays_nobody() -> None:
    async with serving() as made, XdsClient(made.address) as quick, XdsClient(made.address, acknowledges=False) as slow:
        made.publish("1", cluster("a"))
        for client in (quick, slow):
            await client.subscribe(CLUSTER, "*")
            await client.until_received()
        for number in range(2, 30):
            made.publish(str(number), cluster(f"a{number}"))
            await quick.until_holds(CLUSTER, f"a{number}")
        assert len(slow.received) == 1
        assert not made.hub.is_synced("29")
        slow.acknowledges = True
        await slow.send(type_url=TYPE_PREFIX + CLUSTER, response_nonce=slow.received[0].nonce)
        await synced(made, "29")
        assert [set(response.resources) for response in slow.received] == [{"a"}, {"a29"}, set()]
        assert slow.received[-1].removed == ("a",)
        assert slow.held[CLUSTER] == quick.held[CLUSTER]


async def test_scope_is_generated_once_and_dropped_with_its_last_stream() -> None:
    async with serving() as made, XdsClient(made.address) as one:
        other = NODE_ID.replace("reviews-v1-1", "reviews-v1-2")
        async with XdsClient(made.address, node_id=other) as two:
            made.publish("1", cluster("a"))
            for client in (one, two):
                await client.subscribe(CLUSTER, "*")
                await client.until_received()
            assert made.generated == [("1", "default")]
            assert [proxy.proxy.id for proxy in made.hub.proxies()] == ["reviews-v1-1.default", "reviews-v1-2.default"]
            found = made.hub.snapshot_for("reviews-v1-2.default")
            assert found
            assert found[1] is made.snapshots["1"]
        await one.unsubscribe(CLUSTER, "*")
        await one._call.done_writing()
        await one.until_ended()
        assert one.ended == "OK"
        await eventually(lambda: not made.hub.proxies())  # the other one was cut off, on a connection of its own
        assert made.hub.snapshot_for("reviews-v1-1.default") is None
        assert not len(made.hub._scopes)


async def test_failed_generation_keeps_the_last_snapshot_and_touches_no_other_scope() -> None:
    async with serving() as made, XdsClient(made.address) as unlucky:
        node_id = NODE_ID.replace("default", "shop")
        async with XdsClient(made.address, node_id=node_id) as lucky:
            made.publish("1", cluster("a"))
            for client in (unlucky, lucky):
                await client.subscribe(CLUSTER, "*")
                await client.until_received()
            made.broken.add("default")
            made.publish("2", cluster("b"))
            await lucky.until_holds(CLUSTER, "b")
            assert unlucky.names(CLUSTER) == {"a"}
            made.broken.clear()
            made.publish("3", cluster("c"))
            await synced(made, "3")
            assert unlucky.names(CLUSTER) == lucky.names(CLUSTER) == {"c"}


async def test_equal_snapshot_of_a_newer_state_is_synced_without_a_response() -> None:
    async with serving() as made, XdsClient(made.address) as client:
        made.publish("1", cluster("a"))
        await client.subscribe(CLUSTER, "*")
        await client.until_received()
        await synced(made, "1")
        made.publish("2", cluster("a"))
        await synced(made, "2")
        assert len(client.received) == 1


async def test_wait_synced_gives_up_at_its_timeout_and_says_who_is_behind() -> None:
    async with serving() as made, XdsClient(made.address, acknowledges=False) as client:
        made.publish("1", cluster("a"))
        await client.subscribe(CLUSTER, "*")
        await client.until_received()
        (waiting,) = await made.hub.wait_synced("1", 0.05)
        assert waiting.types[CLUSTER].state == "stale"
        assert await made.hub.wait_synced("never published", 0.05) == made.hub.proxies()


@both
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type_url": "Cluster"}, "does not begin with"),
        ({"type_url": TYPE_PREFIX + CLUSTER, "node": {"id": "me"}}, "TYPE~IP~NAME.NAMESPACE~DOMAIN"),
        ({"type_url": TYPE_PREFIX + CLUSTER, "node": None}, "who the client is"),
    ],
)
async def test_malformed_request_ends_the_stream_with_a_reason(
    variant: Variant, fields: dict[str, Any], reason: str
) -> None:
    async with serving() as made, XdsClient(made.address, variant) as client:
        if "node" in fields:
            client._node = None
        await client.send(**fields)
        await client.until_ended()
        assert client.ended == "INVALID_ARGUMENT"
        assert reason in client.details


@both
async def test_garbage_flood_and_overlong_requests_end_their_own_stream_only(variant: Variant) -> None:
    async with serving() as made, XdsClient(made.address, variant) as good:
        made.publish("1", cluster("a"))
        await good.subscribe(CLUSTER, "*")
        names = "resource_names_subscribe" if variant == "delta" else "resource_names"
        kinds = [{"type_url": f"{TYPE_PREFIX}kind.{number}"} for number in range(40)]
        many = {"type_url": TYPE_PREFIX + ENDPOINT, names: [str(number) for number in range(MAX_NAMES + 1)]}
        floods: list[list[dict[str, Any]]] = [[{}], kinds, [many]]
        for requests in floods:
            async with XdsClient(made.address, variant, acknowledges=False) as bad:
                for request in requests:
                    await bad.send(**request)
                await bad.until_ended()
                # A write of gRPC's client that meets the end replaces the server's status by its own.
                assert bad.ended in ("INVALID_ARGUMENT", "INTERNAL")
        async with XdsClient(made.address, variant) as bad:
            await bad.send_bytes(b"\xff" * 100)
            await bad.until_ended()
            assert bad.ended == "INVALID_ARGUMENT"
        async with XdsClient(made.address, variant) as bad:
            await bad.send_bytes(b"\0" * (5 * 1024 * 1024))
            await bad.until_ended()
            assert bad.ended == "RESOURCE_EXHAUSTED"
        made.publish("2", cluster("b"))
        await good.until_holds(CLUSTER, "b")
        assert len(made.hub.proxies()) == 1


async def test_client_that_never_answers_is_sent_away() -> None:
    limits = Limits(answer=0.1)
    async with serving(limits=limits) as made, XdsClient(made.address, acknowledges=False) as client:
        made.publish("1", cluster("a"))
        await client.subscribe(CLUSTER, "*")
        await client.until_ended()
        assert client.ended == "DEADLINE_EXCEEDED"
        assert client.details == f"no ACK or NACK of {CLUSTER} within 0.1 s"


async def test_client_that_says_nothing_is_sent_away() -> None:
    async with serving(limits=Limits(first_request=0.1)) as made, XdsClient(made.address) as client:
        await client.until_ended()
        assert client.ended == "DEADLINE_EXCEEDED"


async def test_listeners_do_not_wait_for_cold_clusters_for_ever() -> None:
    async with serving(limits=Limits(warm_up=0.1)) as made, XdsClient(made.address) as client:
        made.publish("1", cluster("a"), make_resource(LISTENER, "web", {"name": "web"}))
        await client.subscribe(CLUSTER, "*")
        await client.subscribe(LISTENER, "*")
        await client.until_holds(LISTENER, "web")
        await synced(made, "1")
        client.acknowledges = False
        made.publish("2", cluster("b"), make_resource(LISTENER, "web2", {"name": "web2"}))
        await client.until_holds(LISTENER, "web2")
        assert client.names(CLUSTER) == {"a", "b"}


async def test_taken_port_is_an_os_error() -> None:
    async with serving() as made:
        with pytest.raises(OSError, match="cannot listen on"):
            async with serve(made.hub, [Port(address=made.address)]):
                pass


async def test_bug_in_one_stream_ends_that_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as made, XdsClient(made.address) as good, XdsClient(made.address, "sotw") as unlucky:
        made.publish("1", cluster("a"))
        monkeypatch.setattr(StateOfTheWorld, "on_request", lambda *_: 1 / 0)
        await good.subscribe(CLUSTER, "*")
        await unlucky.subscribe(CLUSTER, "*")
        await unlucky.until_ended()
        assert unlucky.ended == "INTERNAL"
        assert "a bug in the control plane" in unlucky.details
        made.publish("2", cluster("b"))
        await good.until_holds(CLUSTER, "b")
        assert len(made.hub.proxies()) == 1


async def test_shutdown_ends_every_stream_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with serving() as made:
        made.publish("1", cluster("a"))
        client = XdsClient(made.address)
        await client.__aenter__()
        await client.subscribe(CLUSTER, "*")
        await client.until_received()
    await client.until_ended()
    await eventually(lambda: not made.hub.proxies())
    await client.__aexit__()
    await eventually(lambda: asyncio.all_tasks() <= before)
