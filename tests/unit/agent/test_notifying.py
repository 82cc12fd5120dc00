"""systemd is told by its own protocol, and only when it asked."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from lateen.agent.notifying import Notifier


def test_lines_go_to_the_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).say("READY=1", "STATUS=serving")
        assert listening.recv(100) == b"READY=1\nSTATUS=serving"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_socket_nothing_happens(environment: dict[str, str]) -> None:
    Notifier(environment).say("READY=1")


def test_a_watchdog_of_another_process_is_none_of_ours() -> None:
    given = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier(given).pause == 0
    assert Notifier({**given, "WATCHDOG_PID": str(os.getpid())}).pause == 0.5


async def test_nobody_is_asked_for_signs_of_life_that_nobody_awaits() -> None:
    async def well() -> bool:
        raise AssertionError

    async with asyncio.timeout(5):
        await Notifier({"WATCHDOG_USEC": "1000"}).watch(well)


def test_an_end_that_takes_long_asks_for_the_time(tmp_path: Path) -> None:
    """systemd waits for the drain that the mesh wants, whatever the unit says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).stopping("signal", 121.5)
        assert "EXTEND_TIMEOUT_USEC=121500000" in listening.recv(4096).decode().splitlines()
