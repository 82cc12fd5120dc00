"""What was kept is there again, for its owner only and for the same settings; what is broken counts as not there."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lateen.agent.keeping import (
    KEPT_SECONDS,
    Keeper,
    KeptConfiguration,
    KeptIdentity,
    forget_the_old,
    state_folder,
    workload_keeper,
)
from lateen.agent.settings import AgentSettings

CONFIGURATION = KeptConfiguration(
    bootstrap={"node": {"id": "x"}},
    saved_at=1000.0,
    name="web-1",
    settings="{}",
    app_ports={80: 4000},
    missing=("listener a: b",),
)
IDENTITY = KeptIdentity(
    chain="CHAIN", key="SECRET", roots="ROOTS", secure=("127.0.0.1", 15012), join=("127.0.0.1", 15013), uri="spiffe://x"
)


def test_kept_things_come_back(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "web", "settings")
    assert keeper.configuration() is None
    assert keeper.identity() is None
    keeper.keep_configuration(CONFIGURATION)
    keeper.keep_identity(IDENTITY)
    again = Keeper(tmp_path / "web", "settings")
    assert again.configuration() == CONFIGURATION
    assert again.identity() == IDENTITY


def test_secrets_come_back_until_they_are_not_wanted_any_more(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "web", "settings")
    keeper.keep_secrets({"kubernetes://a": b"KEY"})
    assert Keeper(tmp_path / "web", "settings").secrets() == {"kubernetes://a": b"KEY"}
    assert oct((keeper.folder / "secrets.json").stat().st_mode & 0o777) == "0o600"
    keeper.keep_secrets({})
    assert list(keeper.folder.iterdir()) == []
    keeper.keep_secrets({"kubernetes://a": b"KEY"})
    assert keeper.secrets() == {"kubernetes://a": b"KEY"}


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "agents" / "web", "settings")
    keeper.keep_identity(IDENTITY)
    assert [oct(path.stat().st_mode & 0o777) for path in keeper.folder.iterdir()] == ["0o600"]
    assert oct(keeper.folder.stat().st_mode & 0o777) == "0o700"
    assert "SECRET" not in repr(IDENTITY)


def test_settings_that_changed_make_it_unfit(tmp_path: Path) -> None:
    """A configuration for other ports, or another control plane's, would do harm."""
    Keeper(tmp_path / "web", "settings").keep_configuration(CONFIGURATION)
    assert Keeper(tmp_path / "web", "others").configuration() is None


@pytest.mark.parametrize(
    ("changes", "serves"),
    [
        ({}, True),
        ({"labels": {"team": "a"}, "exclude_ports": (25,), "app_stop_seconds": 1.0}, True),
        ({"ports": ((80, "http"), (81, ""))}, False),
        ({"ports": ((80, "tcp"),)}, False),
        ({"hops": "outbound"}, False),
        ({"dns": False}, False),
        ({"service_account": "other"}, False),
    ],
)
def test_flags_that_shape_what_envoy_serves_make_it_unfit_and_leave_the_identity(
    tmp_path: Path, changes: dict[str, Any], serves: bool
) -> None:
    """A port that nobody has listened on yet would be refused for ever, and rules would lead to nobody."""
    settings = AgentSettings(mode="run", service="web", command=("x",), interception="host", ports=((80, "http"),))
    keeper = partial(
        workload_keeper, tmp_path, ip="10.0.0.7", ports={}, interception="REDIRECT", addresses=("10.0.0.7",)
    )
    keeper(settings=settings).keep_configuration(CONFIGURATION)
    keeper(settings=settings).keep_identity(IDENTITY)
    again = keeper(settings=replace(settings, **changes))
    assert (again.configuration() == CONFIGURATION) is serves
    assert again.identity() == IDENTITY


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"form": 1}', b"\xff\x00", b'{"form": 99, "fits": ""}'])
def test_a_broken_file_counts_as_not_there(tmp_path: Path, content: bytes) -> None:
    keeper = Keeper(tmp_path / "web", "settings")
    keeper.keep_configuration(CONFIGURATION)
    (keeper.folder / "configuration.json").write_bytes(content)
    assert keeper.configuration() is None


def test_the_same_is_not_written_twice(tmp_path: Path) -> None:
    """Idle workloads leave the disk alone: that time has passed is no news."""
    keeper = Keeper(tmp_path / "web", "settings")
    keeper.keep_configuration(CONFIGURATION)
    (keeper.folder / "configuration.json").unlink()
    keeper.keep_configuration(replace(CONFIGURATION, saved_at=2000.0))
    assert not (keeper.folder / "configuration.json").exists()


def test_folders_of_workloads_that_do_not_come_back_go(tmp_path: Path) -> None:
    for name in ("old", "new"):
        Keeper(tmp_path / name, "settings").keep_configuration(CONFIGURATION)
    then = (tmp_path / "old" / "configuration.json").stat().st_mtime - KEPT_SECONDS - 10
    os.utime(tmp_path / "old" / "configuration.json", (then, then))
    forget_the_old(tmp_path, now=then + KEPT_SECONDS + 5)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder("") == tmp_path / "lateen" / "agents"
    assert state_folder(str(tmp_path / "x")) == tmp_path / "x" / "agents"
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.delenv("HOME")
    assert state_folder("") is None


def test_a_file_of_another_shape_counts_as_not_there(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, "settings")
    keeper.keep_configuration(CONFIGURATION)
    file = tmp_path / "configuration.json"
    file.write_bytes(file.read_bytes().replace(b'{"80":4000}', b"[80]"))
    assert keeper.configuration() is None


def test_reports_of_one_moment_do_not_replace_each_other_and_sort_by_time(tmp_path: Path) -> None:
    """Of the last five, whatever the fraction of a second between them."""
    keeper = Keeper(tmp_path / "web", "settings")
    moments = (1000.0, 1000.0, 1000.25, 1000.9999999, 1001.0, 1001.5)
    paths = [Path(keeper.keep_crash(str(number), now=now)) for number, now in enumerate(moments)]
    assert len(set(paths)) == len(moments)
    kept = sorted(keeper.folder.glob("crash-*.txt"))
    assert [path.read_text() for path in kept] == ["1", "2", "3", "4", "5"]


def test_what_cannot_be_used_is_read_once_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked for every few seconds while the control plane is away, and can be large."""
    folder = tmp_path / "web"
    Keeper(folder, "others").keep_configuration(CONFIGURATION)
    keeper = Keeper(folder, "settings")
    assert [keeper.configuration() for _ in range(3)] == [None, None, None]
    assert caplog.text.count("of other flags") == 1
    keeper.keep_configuration(CONFIGURATION)
    assert keeper.configuration() == keeper.configuration() == CONFIGURATION
