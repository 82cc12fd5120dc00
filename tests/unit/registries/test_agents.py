"""The catalogue stream of attached agents."""

from __future__ import annotations

import asyncio

from lateen.model.workloads import WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.protocol import Registry


def workload(address: str, *, ready: bool = False) -> WorkloadRegistration:
    return WorkloadRegistration(service="reviews", namespace="default", address=address, ready=ready)


def test_it_is_a_registry() -> None:
    registry: Registry = AgentRegistry()
    assert registry.name == "agents"


async def test_watchers_see_the_content_at_once_and_then_only_the_newest() -> None:
    registry = AgentRegistry()
    watcher = registry.watch()
    assert not (await anext(watcher)).workloads
    one, two = registry.open(), registry.open()
    registry.register(one, workload("127.0.0.1"))
    registry.register(two, workload("127.0.0.2"))
    assert [item.address for item in (await anext(watcher)).workloads] == ["127.0.0.1", "127.0.0.2"]
    registry.leave(one)
    registry.gone("reviews-1.default")
    assert [item.address for item in (await anext(watcher)).workloads] == ["127.0.0.2"]
    assert [item.address for item in (await anext(registry.watch())).workloads] == ["127.0.0.2"]


async def test_a_registration_without_change_wakes_nobody() -> None:
    registry = AgentRegistry()
    stream = registry.open()
    registry.register(stream, workload("127.0.0.1"))
    watcher = registry.watch()
    first = await anext(watcher)
    registry.register(stream, workload("127.0.0.1"))
    registry.register(stream, workload("127.0.0.1", ready=True))
    second = await anext(watcher)
    assert (first.workloads[0].ready, second.workloads[0].ready) == (False, True)


async def test_a_waiting_watcher_removes_lost_workloads_when_their_grace_is_over() -> None:
    registry = AgentRegistry(grace=0.01)
    stream = registry.open()
    registry.register(stream, workload("127.0.0.1"))
    watcher = registry.watch()
    await anext(watcher)

    async def lose() -> None:
        registry.disconnect(stream)

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(lose())
        assert not (await anext(watcher)).workloads
