"""The order in which an agent goes away, as data, and the loop that follows it.

The order is what keeps requests alive: first the others stop sending (LEAVE returns when every proxy has dropped this
workload), then what is under way finishes, then the app stops, and the proxy last, because the app's last answers and
calls go through it. Followed by `lifecycle`; `leaving` says what each stage does. Must not know: any of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import TypeAlias

Action: TypeAlias = Callable[[], Awaitable[None]]


class Stage(Enum):
    """One step of going away."""

    LEAVE = "deregister, wait until every other proxy stopped sending"
    DRAIN = "answer with connection: close, fail health checks"
    IN_FLIGHT = "wait for the requests under way"
    STOP_LISTENING = "close the inbound sockets"
    STOP_APP = "pass the signal to the app, wait for it"
    STOP_ENVOY = "end Envoy"


class Cause(Enum):
    """Why the agent goes away."""

    SIGNAL = "signal"
    APP_EXITED = "the app exited"


ORDER: Mapping[Cause, tuple[Stage, ...]] = {
    Cause.SIGNAL: (
        Stage.LEAVE,
        Stage.DRAIN,
        Stage.IN_FLIGHT,
        Stage.STOP_LISTENING,
        # Whatever came in just before the sockets closed.
        Stage.IN_FLIGHT,
        Stage.STOP_APP,
        Stage.STOP_ENVOY,
    ),
    # Nobody is left to answer a request: only say so, and clear up what the app's process group left behind.
    Cause.APP_EXITED: (Stage.LEAVE, Stage.STOP_APP, Stage.STOP_ENVOY),
}

ONLY_WAITS = frozenset({Stage.LEAVE, Stage.DRAIN, Stage.IN_FLIGHT, Stage.STOP_LISTENING})
"""Stages that a second signal skips, or cuts short. The others do their work at once instead of patiently."""


async def go(cause: Cause, actions: Mapping[Stage, Action], hurry: asyncio.Event) -> tuple[Stage, ...]:
    """Follow the order; return the stages that ran to their end."""
    finished = []
    for stage in ORDER[cause]:
        if stage in ONLY_WAITS:
            if not await unless(hurry, actions[stage]):
                continue
        else:
            await actions[stage]()
        finished.append(stage)
    return tuple(finished)


async def unless(event: asyncio.Event, action: Callable[[], Awaitable[object]]) -> bool:
    """Run the action unless, or until, the event is set; return whether it ran to its end."""
    if event.is_set():
        return False

    async def act() -> None:
        await action()

    async with asyncio.TaskGroup() as group:
        acting = group.create_task(act())
        waiting = group.create_task(event.wait())
        await asyncio.wait((acting, waiting), return_when=asyncio.FIRST_COMPLETED)
        done = acting.done()
        acting.cancel()
        waiting.cancel()
    return done
