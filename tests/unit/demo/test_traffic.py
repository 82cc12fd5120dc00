"""The demo's traffic: what is counted, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from lateen.cli.demo import traffic as module
from lateen.cli.demo.tally import Outcome
from lateen.cli.demo.traffic import Traffic


async def test_a_step_waits_for_the_answers_that_it_is_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is; those to requests of the step before do not count."""
    held = asyncio.Event()

    async def answered(_url: str, _user: str) -> tuple[Outcome, str]:
        await held.wait()
        return Outcome.V1, ""

    monkeypatch.setattr(module, "ask", answered)
    traffic = Traffic("http://shop", 1000.0)
    async with asyncio.TaskGroup() as tasks:
        flow = tasks.create_task(traffic.flow())
        while traffic._under_way.total() < 10:  # noqa: ASYNC110  nothing announces it
            await asyncio.sleep(0)
        traffic.restart()
        enough = tasks.create_task(traffic.seen_enough(25))
        held.set()
        await enough
        assert len(traffic.seen) >= 25
        assert traffic.total >= 35
        flow.cancel()
