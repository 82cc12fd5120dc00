"""The attach protocol over a real gRPC server on loopback, with grpcio's client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import msgspec

from lateen.config.workload_groups import WorkloadGroup
from lateen.model.proxy_settings import ProxySettings
from lateen.model.workloads import ATTACH_METHOD, MAX_MESSAGE_BYTES, WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.attach import AttachOptions, attach_handler

REGISTRATION = {"service": "reviews", "namespace": "default", "address": "127.0.0.5", "version": "v2"}


async def acknowledged(_workload: str) -> bool:
    return True


class Agent:
    """One attach stream, by hand."""

    def __init__(self, channel: Any) -> None:
        self._call = channel.stream_stream(ATTACH_METHOD)()

    async def say(self, message: object) -> Any:
        """Send a message (bytes as they are) and return the reply; None when the stream ended instead."""
        await self.tell(message)
        return await self.hear()

    async def tell(self, message: object) -> None:
        """Send a message that has no reply."""
        await self._call.write(message if isinstance(message, bytes) else json.dumps(message).encode())

    async def hear(self) -> Any:
        reply = await self._call.read()
        return None if reply is grpc.aio.EOF else json.loads(reply)

    async def register(self, **fields: Any) -> Any:
        return await self.say({"register": REGISTRATION | fields})

    def break_off(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def serving(
    registry: AgentRegistry, on_left: Callable[[str], Awaitable[bool]] = acknowledged, **options: Any
) -> AsyncIterator[Callable[[], Agent]]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([attach_handler(registry, on_left, AttachOptions(**options))])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with asyncio.timeout(60), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield lambda: Agent(channel)
    finally:
        await server.stop(None)


async def until(registry: AgentRegistry, condition: Callable[[Sequence[WorkloadRegistration]], bool]) -> None:
    async for catalogue in registry.watch():
        if condition(catalogue.workloads):
            return


async def test_register_change_leave() -> None:
    registry = AgentRegistry()
    asked: list[tuple[str, list[bool]]] = []

    async def on_left(workload: str) -> bool:
        asked.append((workload, [item.ready for item in registry.workloads]))
        return True

    async with serving(registry, on_left) as attach:
        agent = attach()
        assert await agent.register() == {"registered": {"name": "reviews-v2-1"}}
        assert await agent.register(ready=True) == {"registered": {"name": "reviews-v2-1"}}
        assert [item.ready for item in registry.workloads] == [True]
        assert await agent.say({"leave": True}) == {"left": {"acknowledged": True}}
        assert await agent.hear() is None
    assert asked == [("reviews-v2-1.default", [False])], "nobody sends to it before anyone waits"


async def test_called_hosts_are_passed_on_without_a_reply() -> None:
    registry = AgentRegistry()
    noted: list[tuple[str, str, tuple[str, ...]]] = []

    async with serving(registry, on_calls=lambda *calls: noted.append(calls)) as attach:
        agent = attach()
        assert await agent.register() == {"registered": {"name": "reviews-v2-1", "takes": ["calls"]}}
        await agent.tell({"calls": ["ratings", "details"]})
        assert await agent.say({"leave": True}) == {"left": {"acknowledged": True}}
    assert noted == [("reviews-v2-1", "default", ("ratings", "details"))]


async def test_who_is_not_registered_calls_nobody() -> None:
    async with serving(AgentRegistry(), on_calls=lambda *_: None) as attach:
        agent = attach()
        assert "registers before" in (await agent.say({"calls": ["ratings"]}))["refused"]["message"]
        assert await agent.hear() is None


async def test_a_leave_that_not_every_proxy_confirms_in_time_says_so() -> None:
    async def never(_workload: str) -> bool:
        await asyncio.Event().wait()
        return True

    async with serving(AgentRegistry(), never, leave_seconds=0.02) as attach:
        agent = attach()
        await agent.register()
        assert await agent.say({"leave": True}) == {"left": {"acknowledged": False}}


async def test_a_leave_before_any_registration_is_answered() -> None:
    async with serving(AgentRegistry()) as attach:
        assert await attach().say({"leave": True}) == {"left": {"acknowledged": True}}


async def test_garbage_ends_its_stream_and_no_other() -> None:
    registry = AgentRegistry()
    async with serving(registry) as attach:
        good = attach()
        await good.register()
        for garbage in (b"\x00\xff", b"[]", b"{", b"", b"x" * (MAX_MESSAGE_BYTES + 1)):
            bad = attach()
            assert "refused" in await bad.say(garbage)
            assert await bad.hear() is None
        assert await good.register(ready=True) == {"registered": {"name": "reviews-v2-1"}}


async def test_a_second_workload_at_one_address_is_refused() -> None:
    async with serving(AgentRegistry()) as attach:
        first = attach()  # held: a stream that nobody holds any more is ended
        await first.register()
        second = attach()
        reply = await second.register(service="ratings")
        assert "belongs to workload reviews-v2-1.default" in reply["refused"]["message"]
        assert await second.hear() is None


async def test_a_broken_stream_is_taken_over_by_name() -> None:
    registry = AgentRegistry(grace=60)
    async with serving(registry) as attach:
        first = attach()
        await first.register()
        first.break_off()
        again = attach()
        assert await again.register(name="reviews-v2-1", ready=True) == {"registered": {"name": "reviews-v2-1"}}
        assert [item.ready for item in registry.workloads] == [True]


async def test_a_broken_stream_ends_after_the_grace() -> None:
    registry = AgentRegistry(grace=0.02)
    async with serving(registry) as attach:
        agent = attach()
        await agent.register()
        agent.break_off()
        await until(registry, lambda workloads: not workloads)


async def test_a_stream_that_says_nothing_is_closed() -> None:
    async with serving(AgentRegistry(), first_message_seconds=0.02) as attach:
        assert await attach().hear() is None


async def test_many_agents_at_once_get_names_of_their_own() -> None:
    registry = AgentRegistry()
    async with serving(registry) as attach:
        agents = [attach() for _ in range(50)]
        replies = await asyncio.gather(
            *(agent.register(address=f"127.0.1.{number}") for number, agent in enumerate(agents))
        )
        assert {reply["registered"]["name"] for reply in replies} == {f"reviews-v2-{n}" for n in range(1, 51)}


async def test_the_answer_says_what_the_proxy_begins_with_once_the_configuration_is_read() -> None:
    read = asyncio.Event()

    async def configured() -> None:
        await read.wait()

    settings = ProxySettings(concurrency=3, environment={"A": "b"})
    async with serving(AgentRegistry(), settings=lambda _workload: settings, configured=configured) as attach:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(attach().register())
            read.set()
        assert answer.result()["registered"]["proxy"] == {"concurrency": 3, "environment": {"A": "b"}}


async def test_a_configuration_that_does_not_come_holds_nobody_up_for_ever() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async with serving(AgentRegistry(), configured=never, configured_seconds=0.01) as attach:
        assert (await attach().register())["registered"]["name"] == "reviews-v2-1"


async def test_an_environment_that_is_too_large_is_left_out_and_the_rest_is_told() -> None:
    settings = ProxySettings(concurrency=3, environment={f"A{n}": "b" * 2000 for n in range(60)})
    async with serving(AgentRegistry(), settings=lambda _workload: settings) as attach:
        assert (await attach().register())["registered"]["proxy"] == {"concurrency": 3}


async def test_the_answer_says_what_the_workload_is_by_its_group_and_a_missing_one_is_refused() -> None:
    registry = AgentRegistry()
    async with serving(registry) as attach:
        refused = await attach().register(group="vms", address="127.0.0.9")
        assert "there is no WorkloadGroup vms" in refused["refused"]["message"]
        group = msgspec.convert({"template": {"labels": {"tier": "back"}, "ports": {"http": 8080}}}, WorkloadGroup)
        registry.take_groups({("default", "vms"): group})
        told = (await attach().register(group="vms", weight=99))["registered"]["group"]
        assert (told["labels"], told["ports"]) == ({"tier": "back"}, [8080])
        # The weight is the group's to say.
        assert registry.workloads[0].weight == 0
