"""What the control plane learned, kept in a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import structlog

from lateen.app.learned import FILE_NAME, Learned, open_learned
from lateen.app.settings import StartError
from lateen.app.state_folder import StateFile
from lateen.discovery.learned_hosts import REMOVED_SECONDS
from lateen.model.proxies import Proxy, ProxyType

PROXY = Proxy(type=ProxyType.SIDECAR, name="web-v1-1", namespace="shop", asks_on_demand=True)
OTHER = Proxy(type=ProxyType.SIDECAR, name="web-v1-2", namespace="shop", asks_on_demand=True)
CLUSTERS = ("outbound|80||ratings", "outbound|80|v1|reviews", "inbound|80||", "xds-grpc", "outbound|80")
NOW = 1_800_000_000.0


async def kept(learned: Learned) -> None:
    """Run it and stop it, as a control plane that ends does."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(learned.run())
        await asyncio.sleep(0)
        task.cancel()


def content(folder: Path) -> bytes:
    return (folder / FILE_NAME).read_bytes()


def test_hosts_of_clusters_are_learned_for_all_replicas() -> None:
    learned = Learned()
    learned.note(PROXY, CLUSTERS)

    assert learned.hosts(OTHER) == ("ratings", "reviews")
    assert [entry.workload for entry in learned.entries("web-v1.shop")] == ["web-v1.shop"] * 2
    assert len(learned) == 2


def test_what_a_client_asks_that_is_never_told_is_not_learned() -> None:
    """A gRPC client names all its clusters; it is told nothing before."""
    learned = Learned()
    learned.note(Proxy(type=ProxyType.SIDECAR, name="web-1", namespace="shop"), CLUSTERS)

    assert len(learned) == 0


async def test_it_is_found_again_after_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    learned = open_learned(folder)
    learned.note_calls("web-v1-7", "shop", ["ratings"])
    await kept(learned)

    assert open_learned(folder).hosts(PROXY) == ("ratings",)
    assert (folder / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


async def test_it_is_written_soon_after_something_was_learned(tmp_path: Path) -> None:
    learned = Learned(StateFile(tmp_path / FILE_NAME), news_seconds=0)
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        task = group.create_task(learned.run())
        learned.note(PROXY, CLUSTERS)
        while not (tmp_path / FILE_NAME).exists():  # noqa: ASYNC110  a file tells nobody that it is there
            await asyncio.sleep(0.001)
        task.cancel()
    assert len(json.loads(content(tmp_path))["workloads"]["web-v1.shop"]) == 2


async def test_what_nobody_calls_any_more_goes_from_the_file(tmp_path: Path) -> None:
    times = [NOW]
    learned = Learned(StateFile(tmp_path / FILE_NAME), clock=lambda: times[0])
    learned.note(PROXY, ["outbound|80||old"])
    times[0] += REMOVED_SECONDS
    learned.note(PROXY, ["outbound|80||new"])
    await kept(learned)

    assert list(json.loads(content(tmp_path))["workloads"]["web-v1.shop"]) == ["new"]


@pytest.mark.parametrize("broken", [b"", b"{", b"\xff", b"[]", b'{"version": 99, "workloads": {}}', b"[" * 100_000])
async def test_a_broken_file_is_set_aside_and_said_once(tmp_path: Path, broken: bytes) -> None:
    """The start does not fail, and the next write does not replace what a person may want to look at."""
    (tmp_path / FILE_NAME).write_bytes(broken)
    with structlog.testing.capture_logs() as logs:
        learned = open_learned(tmp_path)
        learned.note(PROXY, CLUSTERS)
        await kept(learned)

    assert [(entry["log_level"], entry["path"]) for entry in logs] == [("warning", str(tmp_path / FILE_NAME))]
    assert (tmp_path / f"{FILE_NAME}.broken").read_bytes() == broken
    assert open_learned(tmp_path).hosts(PROXY) == ("ratings", "reviews")


async def test_a_write_that_fails_keeps_the_old_file_and_is_said_once(tmp_path: Path) -> None:
    learned = open_learned(tmp_path)
    learned.note_calls("web-v1-1", "shop", ["old"])
    await kept(learned)
    before = content(tmp_path)
    # A folder that is gone for a while, as one that cannot be written to is for all but root.
    away = tmp_path.rename(tmp_path.with_name("away"))
    learned.note(PROXY, CLUSTERS)
    with structlog.testing.capture_logs() as logs:
        await kept(learned)
        await kept(learned)
    assert [entry["event"] for entry in logs] == ["learned hosts cannot be kept"]
    assert content(away) == before

    away.rename(tmp_path)
    await kept(learned)
    assert open_learned(tmp_path).hosts(PROXY) == ("old", "ratings", "reviews")


def test_a_folder_that_cannot_be_one_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below"):
        with pytest.raises(StartError, match=f"--state {folder} ") as raised:
            open_learned(folder)
        assert raised.value.exit_code == 2
