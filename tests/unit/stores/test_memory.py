"""The store in memory."""

from __future__ import annotations

from typing import Any

from lateen.config.networking import DestinationRule
from lateen.config.objects import ConfigObject
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.stores.memory import MemoryStore
from lateen.stores.protocol import Store


def rule(name: str, host: str = "x", created: str = "") -> ConfigObject[Any]:
    return ConfigObject(
        key=ObjectKey("DestinationRule", "default", name),
        api_version="networking.istio.io/v1",
        spec=DestinationRule(host=host),
        origin=Origin("api"),
        digest=f"{name} {host}",
        document=b"{}",
        created=created,
    )


async def test_watchers_see_the_content_at_once_and_then_only_the_newest() -> None:
    store: Store = MemoryStore()
    watcher = store.watch()
    assert not (await anext(watcher)).objects
    await store.put([rule("a"), rule("b")])
    revision = await store.put([rule("a", "y")])
    newest = await anext(watcher)
    assert {item.key.name: item.spec.host for item in newest.objects.values()} == {"a": "y", "b": "x"}
    assert newest.revision == revision
    assert (await anext(store.watch())).revision == revision


async def test_a_put_without_change_keeps_the_revision_and_wakes_nobody() -> None:
    times = iter(["t1", "t2", "t3"])
    store = MemoryStore(clock=lambda: next(times))
    first = await store.put([rule("a")])
    watcher = store.watch()
    await anext(watcher)
    assert await store.put([rule("a")]) == first
    second = await store.put([rule("b")])
    assert (await anext(watcher)).revision == second != first


async def test_delete() -> None:
    store = MemoryStore([rule("a"), rule("b")])
    assert await store.delete(rule("a").key)
    assert not await store.delete(rule("a").key)
    assert list((await anext(store.watch())).objects) == [rule("b").key]


async def test_objects_get_the_time_of_their_first_put() -> None:
    """Older objects win conflicts, so a change must not make one younger; a time of its own stays."""
    times = iter(["t1", "t2", "t3"])
    store = MemoryStore(clock=lambda: next(times))
    await store.put([rule("a")])
    await store.put([rule("a", "y"), rule("b"), rule("c", created="t0")])
    content = await anext(store.watch())
    assert {key.name: item.created for key, item in content.objects.items()} == {"a": "t1", "b": "t2", "c": "t0"}


async def test_an_object_that_is_put_again_unchanged_stays_the_same_object() -> None:
    store = MemoryStore()
    await store.put([rule("a"), rule("b")])
    before = (await anext(store.watch())).objects
    await store.put([rule("a"), rule("b", "y")])
    after = (await anext(store.watch())).objects
    assert {key.name: before[key] is after[key] for key in before.keys() | after.keys()} == {"a": True, "b": False}
