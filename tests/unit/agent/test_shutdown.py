"""The order of going away: as data, and as followed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lateen.agent.shutdown import ONLY_WAITS, ORDER, Cause, Stage, go, unless


def actions(
    happened: list[Stage], **special: Callable[[], Awaitable[None]]
) -> dict[Stage, Callable[[], Awaitable[None]]]:
    def noting(stage: Stage) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            happened.append(stage)
            if stage.name in special:
                await special[stage.name]()

        return act

    return {stage: noting(stage) for stage in Stage}


def test_order_keeps_requests_alive() -> None:
    """Others stop sending before we drain; the app outlives its requests; the proxy outlives the app."""
    order = ORDER[Cause.SIGNAL]
    assert order.index(Stage.LEAVE) < order.index(Stage.DRAIN) < order.index(Stage.IN_FLIGHT)
    assert max(at for at, stage in enumerate(order) if stage is Stage.IN_FLIGHT) < order.index(Stage.STOP_APP)
    assert order.index(Stage.STOP_LISTENING) < order.index(Stage.STOP_APP) < order.index(Stage.STOP_ENVOY)


@pytest.mark.parametrize("cause", Cause)
def test_envoy_stops_last_and_the_app_is_never_left(cause: Cause) -> None:
    assert ORDER[cause][0] is Stage.LEAVE
    assert ORDER[cause][-2:] == (Stage.STOP_APP, Stage.STOP_ENVOY)


@pytest.mark.parametrize("cause", Cause)
async def test_every_stage_runs_in_order(cause: Cause) -> None:
    happened: list[Stage] = []
    assert await go(cause, actions(happened), asyncio.Event()) == ORDER[cause] == tuple(happened)


async def test_hurry_cuts_the_wait_short_and_skips_the_other_waits() -> None:
    """A second signal: no more waiting, but the app and Envoy are still stopped."""
    hurry = asyncio.Event()
    happened: list[Stage] = []

    async def hurry_meanwhile() -> None:
        hurry.set()
        await asyncio.Event().wait()

    finished = await go(Cause.SIGNAL, actions(happened, LEAVE=hurry_meanwhile), hurry)
    assert happened == [Stage.LEAVE, Stage.STOP_APP, Stage.STOP_ENVOY]
    assert finished == (Stage.STOP_APP, Stage.STOP_ENVOY)
    assert not ONLY_WAITS & set(finished)


async def test_a_failing_action_rises() -> None:
    async def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup):
        await unless(asyncio.Event(), fail)


async def test_nothing_runs_when_the_event_is_set_already() -> None:
    event = asyncio.Event()
    event.set()
    happened: list[Stage] = []
    assert not await unless(event, actions(happened)[Stage.LEAVE])
    assert happened == []
