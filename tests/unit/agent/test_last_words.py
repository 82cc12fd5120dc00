"""What a child said last is passed on, and its end is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lateen.agent.last_words import LastWords


async def test_the_end_is_kept_and_all_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    words = LastWords()
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", "for i in $(seq 9000); do echo line $i >&2; done", stderr=words.writing
    )
    words.started()
    assert await child.wait() == 0
    lines = words.lines(3)
    assert lines == ["line 8998", "line 8999", "line 9000"]
    assert len(words.lines(10_000)) < 2000
    assert capfd.readouterr().err.splitlines()[-1] == "line 9000"


async def test_a_child_that_never_began_leaves_nothing_open() -> None:
    before = open_files()
    words = LastWords()
    words.started()
    assert words.lines() == []
    assert open_files() == before


def open_files() -> int:
    """0 where the system does not tell."""
    known = Path("/proc/self/fd")
    return len(list(known.iterdir())) if known.is_dir() else 0
