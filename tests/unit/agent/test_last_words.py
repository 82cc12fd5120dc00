"""What a child said last is passed on, and its end is kept."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

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


async def test_what_is_said_with_every_try_is_passed_on_once_a_minute(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an outage of the control plane; everything else is passed on, and in its order."""
    clock = 1000.0
    monkeypatch.setattr("lateen.agent.last_words.time", SimpleNamespace(monotonic=lambda: clock))
    head = "[2026-11-23 09:12:05.123][17][warning][config] [./source/grpc_stream.h:226] "
    again = head + "DeltaAggregatedResources gRPC config stream to xds-grpc closed since {}s ago: 14"
    browser = f'[2026-11-23T09:12:05.123Z] "GET / HTTP/1.1" 200 "x {again.format(3)}"'
    words = LastWords()
    for seconds, said in (
        (0, again.replace(" since {}s ago", "")),
        (1, again.format(1)),
        (2, "rejected"),
        (3, again.format(3)),
        (4, browser),
        (62, f"{again.format(62)}\nother"),
    ):
        clock = 1000.0 + seconds
        # In two pieces, as a block may end anywhere.
        os.write(words.writing, said[:100].encode())
        words.lines()
        os.write(words.writing, f"{said[100:]}\n".encode())
        words.lines()
    words.started()
    words.lines()
    passed_on = capfd.readouterr().err.splitlines()
    assert [line.partition("closed")[2] or line for line in passed_on] == [
        ": 14", " since 1s ago: 14", "rejected", ' since 3s ago: 14"', " since 62s ago: 14", "other",
    ]  # fmt: skip
    assert words.lines() == passed_on


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
