"""Private files and their folder: whose they are, and that nothing stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lateen.agent.private_folders import private_folder
from lateen.private_files import write_private


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_is_its_owners_and_goes_with_everything_in_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with private_folder() as folder:
        assert folder.parent == tmp_path
        assert mode(folder) == 0o700
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch()
        (folder / "link").symlink_to(outside)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "outside"]


def test_folder_that_is_gone_already_is_no_error() -> None:
    with private_folder() as folder:
        folder.rmdir()


def test_folder_without_a_temporary_place_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/place")
    with private_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_file_is_its_owners_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "key", b"one")
        write_private(tmp_path / "key", b"two")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "key"), (tmp_path / "key").read_bytes()) == (0o600, b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_file_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "key").symlink_to(tmp_path / "target")
    write_private(tmp_path / "key", b"new")
    assert ((tmp_path / "target").read_bytes(), (tmp_path / "key").is_symlink()) == (b"kept", False)
