"""Watching a folder: every change is noticed, however it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from lateen.model.names import ObjectKey
from lateen.stores.directory import DirectoryStore
from lateen.stores.protocol import ReadOnlyStore, Store, StoreContent

Rule = Callable[..., str]


def seen(content: StoreContent) -> dict[str, str]:
    return {item.key.name: item.spec.host.removesuffix(".example.com") for item in content.objects.values()}


async def until(watcher: AsyncIterator[StoreContent], expected: dict[str, str]) -> StoreContent:
    async with asyncio.timeout(30):
        async for content in watcher:
            if seen(content) == expected:
                return content
    raise AssertionError("a watch never ends by itself")


async def test_every_way_to_change_a_file_is_noticed(tmp_path: Path, rule: Rule) -> None:
    """Written in place, replaced by rename as editors do, created in a new folder, removed."""
    file = tmp_path / "a.yaml"
    file.write_text(rule("a", "one"))
    store: Store = DirectoryStore(tmp_path)
    async with aclosing(store.watch()) as watcher:  # type: ignore[type-var]
        await until(watcher, {"a": "one"})
        file.write_text(rule("a", "two"))
        await until(watcher, {"a": "two"})
        temporary = tmp_path / "a.yaml.tmp"
        temporary.write_text(rule("a", "three"))
        temporary.rename(file)
        await until(watcher, {"a": "three"})
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "b.yaml").write_text(rule("b"))
        await until(watcher, {"a": "three", "b": "x"})
        file.unlink()
        await until(watcher, {"b": "x"})
        (tmp_path / "new" / "b.yaml").write_text("broken: [")
        broken = await until(watcher, {"b": "x"})
        assert broken.findings


async def test_a_change_while_the_watcher_is_busy_is_not_lost(tmp_path: Path, rule: Rule) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(rule("a", "one"))
    async with aclosing(DirectoryStore(tmp_path).watch()) as watcher:  # type: ignore[type-var]
        await anext(watcher)
        for host in ("two", "three"):
            file.write_text(rule("a", host))
        await until(watcher, {"a": "three"})


async def test_a_folder_replaced_by_another_is_followed(tmp_path: Path, rule: Rule) -> None:
    """The path is a link that is swapped; afterwards changes in the new folder are noticed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(rule("a", name))
    link = tmp_path / "config"
    link.symlink_to("one")
    async with aclosing(DirectoryStore(link, quiet_seconds=0.05).watch()) as watcher:  # type: ignore[type-var]
        await until(watcher, {"a": "one"})
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(link)
        await until(watcher, {"a": "two"})
        (tmp_path / "two" / "b.yaml").write_text(rule("b"))
        await until(watcher, {"a": "two", "b": "x"})


async def test_a_folder_that_goes_and_comes_back(tmp_path: Path, rule: Rule) -> None:
    place = tmp_path / "config"
    place.mkdir()
    (place / "a.yaml").write_text(rule("a"))
    async with aclosing(DirectoryStore(place, quiet_seconds=0.05).watch()) as watcher:  # type: ignore[type-var]
        await until(watcher, {"a": "x"})
        place.rename(tmp_path / "away")
        assert (await until(watcher, {"a": "x"})).findings
        place.mkdir()
        (place / "b.yaml").write_text(rule("b"))
        await until(watcher, {"b": "x"})


async def test_a_cancelled_watch_ends_at_once(tmp_path: Path) -> None:
    watcher = DirectoryStore(tmp_path, quiet_seconds=60).watch()
    await anext(watcher)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(watcher)
    assert loop.time() - began < 30, "it did not wait for the quiet period to end"


def test_a_missing_folder_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; create it"):
        DirectoryStore(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        DirectoryStore(tmp_path / "file")


async def test_it_takes_no_writes(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert store.name == f"directory {tmp_path}"
    with pytest.raises(ReadOnlyStore, match="read-only"):
        await store.put([])
    with pytest.raises(ReadOnlyStore, match="remove VirtualService a/b from its files"):
        await store.delete(ObjectKey("VirtualService", "a", "b"))
