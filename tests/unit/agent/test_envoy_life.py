"""What an Envoy is started with: the last good configuration is read once, and let go of when it is written."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lateen.agent.envoy_admin import EnvoyAdmin
from lateen.agent.envoy_life import EnvoyLife, Source, Wanted
from lateen.agent.envoy_process import EnvoyOptions
from lateen.agent.keeping import Keeper, KeptConfiguration

THEN: dict[str, Any] = {"node": {"metadata": {}}, "kept": True}
NOW: dict[str, Any] = {**THEN, "kept": False}
NOBODY = EnvoyAdmin(host="127.0.0.1", port=1)
KEPT = KeptConfiguration(bootstrap=THEN, saved_at=1000.0, name="web-1")


class CountingKeeper(Keeper):
    """Says how often the configuration was read."""

    reads = 0

    def configuration(self) -> KeptConfiguration | None:
        self.reads += 1
        return super().configuration()


def life(
    tmp_path: Path, wanted: Wanted, *, connected: bool, admin: EnvoyAdmin = NOBODY
) -> tuple[EnvoyLife, CountingKeeper]:
    keeper = CountingKeeper(tmp_path / "kept", "")
    options = EnvoyOptions(binary="/nowhere/envoy", folder=tmp_path)
    made = EnvoyLife(options, admin, keeper, wanted, connected=lambda: connected, watch=lambda _child: None)
    return made, keeper


def started_with(made: EnvoyLife) -> object:
    return json.loads(made._configuration().read_text())


def test_an_envoy_that_starts_alone_reads_what_was_kept_once(tmp_path: Path) -> None:
    made, keeper = life(tmp_path, Wanted(), connected=False)
    keeper.keep_configuration(KEPT)
    assert started_with(made) == THEN
    assert (made.source, made.kept_at, keeper.reads) == (Source.LAST_GOOD, 1000.0, 1)
    assert made.wanted.kept is None


def test_what_was_read_to_join_is_not_read_again(tmp_path: Path) -> None:
    made, keeper = life(tmp_path, Wanted(kept=KEPT), connected=False)
    assert started_with(made) == THEN
    assert (made.wanted.kept, keeper.reads) == (None, 0)


def test_with_a_control_plane_nothing_is_read(tmp_path: Path) -> None:
    made, keeper = life(tmp_path, Wanted(bootstrap=NOW), connected=True)
    keeper.keep_configuration(KEPT)
    assert started_with(made) == NOW
    assert (made.source, keeper.reads) == (Source.STREAM, 0)


def test_the_control_plane_wins_when_it_is_back_before_envoy_starts(tmp_path: Path) -> None:
    made, _ = life(tmp_path, Wanted(bootstrap=NOW, kept=KEPT), connected=True)
    assert started_with(made) == NOW
    assert (made.source, made.wanted.kept) == (Source.STREAM, None)


def test_without_anything_kept_envoy_waits_for_the_control_plane(tmp_path: Path) -> None:
    made, _ = life(tmp_path, Wanted(bootstrap=NOW), connected=False)
    assert started_with(made) == NOW


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietAdmin(EnvoyAdmin):
    """Of an Envoy that has its configuration and gets nothing new."""

    on_dump: Callable[[], Awaitable[None]]

    async def is_live(self) -> bool:
        return True

    async def received(self) -> int:
        return 5000

    async def config_dump(self) -> Any:
        await self.on_dump()
        return {"configs": []}


@pytest.mark.parametrize(("registered", "leaves"), [(True, False), (False, False), (True, True)])
async def test_what_is_in_force_is_kept_while_the_workload_is_registered_only(
    tmp_path: Path, registered: bool, leaves: bool
) -> None:
    """Its Envoy has no way to the app when it has left, or has not registered in time."""
    wanted = Wanted(bootstrap={**NOW, "static_resources": {"clusters": [], "listeners": []}})

    async def on_dump() -> None:
        if leaves:
            await made.leave()

    admin = QuietAdmin(host="127.0.0.1", port=1, on_dump=on_dump)
    made, keeper = life(tmp_path, wanted, connected=registered, admin=admin)
    assert await made._keep_now(keeper) is (registered and not leaves)
    assert (keeper.configuration() is not None) is (registered and not leaves)
    if leaves:
        await made._keep(keeper)
