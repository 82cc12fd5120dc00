"""Signals become two wishes: stop, and hurry."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from lateen.agent import signals
from lateen.agent.signals import Signals


async def test_first_signal_stops_and_is_remembered() -> None:
    received = Signals()
    received.received(signal.SIGINT)
    assert received.stop.is_set()
    assert not received.hurry.is_set()
    assert received.number == signal.SIGINT


async def test_echo_of_the_same_ctrl_c_does_not_hurry() -> None:
    """A parent that passes Ctrl-C on must not turn one press into an impatient second one."""
    received = Signals()
    received.received(signal.SIGINT)
    received.received(signal.SIGTERM)
    assert not received.hurry.is_set()
    assert received.number == signal.SIGINT


async def test_later_signal_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_SAME_SIGNAL_SECONDS", 0.0)
    received = Signals()
    received.received(signal.SIGTERM)
    received.received(signal.SIGTERM)
    assert received.hurry.is_set()


async def test_closed_terminal_ends_the_app_and_does_not_make_it_reload() -> None:
    received = Signals()
    received.received(signal.SIGHUP)
    assert received.number == signal.SIGTERM


@pytest.mark.parametrize(("before", "stops"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
async def test_a_closed_terminal_is_nothing_to_who_was_started_by_nohup(before: signal.Handlers, stops: bool) -> None:
    """It ignores SIGHUP before it starts its program."""
    found = signal.signal(signal.SIGHUP, before)
    received, passed_on = Signals(), asyncio.Event()
    try:
        with received.installed(lambda _number: passed_on.set()):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            await passed_on.wait()
            assert received.stop.is_set() is stops
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, found)
