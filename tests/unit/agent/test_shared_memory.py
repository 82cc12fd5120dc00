"""Marks that a dead Envoy left in shared memory. `tests/e2e/test_envoy_life.py` has Envoy's own."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lateen.agent import shared_memory
from lateen.agent.shared_memory import forget_start, free_base_id, remove


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of base id 7, which is not there yet."""
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", str(tmp_path / "memory_{}0"))
    return tmp_path / "memory_70"


def content(flags: int, *, size: int = 104, version: int = 11) -> bytes:
    return struct.pack("=QQ80sQ", size, version, b"m" * 80, flags)


def test_a_mark_is_taken_away_and_nothing_else(memory: Path) -> None:
    memory.write_bytes(content(0b101))
    assert forget_start(7)
    assert memory.read_bytes() == content(0b100)
    assert not forget_start(7)


@pytest.mark.parametrize(
    "found",
    [
        b"",
        b"short",
        content(1)[:-1],
        content(1, version=12),
        content(1, size=8),
        content(1, size=1 << 20),
        content(1, size=1 << 63),
    ],
    ids=["empty", "no head", "no flags", "another version", "too small", "too large", "much too large"],
)
def test_memory_of_another_layout_is_left_alone(memory: Path, found: bytes) -> None:
    memory.write_bytes(found)
    assert not forget_start(7)
    assert memory.read_bytes() == found


def test_without_memory_there_is_no_mark(memory: Path) -> None:
    assert not forget_start(7)
    assert not memory.exists()


def test_nobody_elses_memory_is_followed(memory: Path, tmp_path: Path) -> None:
    """The folder is everybody's."""
    other = tmp_path / "other"
    other.write_bytes(content(1))
    memory.symlink_to(other)
    assert not forget_start(7)
    assert other.read_bytes() == content(1)


def test_a_number_in_use_is_not_free(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write_bytes(content(0))
    numbers = iter([6, 6, 8])
    monkeypatch.setattr("os.urandom", lambda _size: next(numbers).to_bytes(4, "big"))
    assert free_base_id() == 9
    remove(7)
    assert not memory.exists()
    remove(7)
