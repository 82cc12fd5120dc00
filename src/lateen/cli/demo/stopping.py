"""Ctrl-C: the first asks the demo to stop in order, the second ends it at once. SIGTERM and SIGHUP count alike."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The work was stopped by a signal before it was done."""

    number: int


async def until_interrupted(
    work: Coroutine[Any, Any, int], *, on_first: Callable[[], None], on_second: Callable[[], None]
) -> int | Interrupted:
    """Return what `work` returns, or Interrupted after a signal cancelled it and it has cleaned up.

    `on_first` and `on_second` are called when the signals come. Exceptions of `work` rise in an ExceptionGroup.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []
    task: asyncio.Task[int] | None = None

    def receive(number: int) -> None:
        received.append(number)
        if len(received) == 1:
            on_first()
            if task is not None:
                task.cancel()
        else:
            on_second()

    for number in SIGNALS:
        loop.add_signal_handler(number, receive, number)
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work)
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    return Interrupted(number=received[0]) if task.cancelled() else task.result()
