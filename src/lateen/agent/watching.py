"""The app watched by its probe: checks in time, and a word whenever it becomes ready or sick.

Called by `app_life`; loaded only where there is a probe. The counting is in `probes`, the checks are in `checks`. Must
not know: what becomes of a verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from lateen.agent.probes import Course, Tally, Verdict
from lateen.model.probes import Probe


async def verdicts(
    probe: Probe, check: Callable[[], Awaitable[str]], tally: Tally | None = None
) -> AsyncIterator[tuple[Verdict, str]]:
    """Yield each new verdict, with what was wrong in the last check. For ever.

    A caller that takes its time between two verdicts delays the next check.
    """
    clock = asyncio.get_running_loop().time
    tally = tally or Tally()
    course = Course()
    await asyncio.sleep(probe.delay)
    while True:
        began = clock()
        problem = await check()
        tally.checks += 1
        tally.failures += bool(problem)
        before, course = course, course.after(problem, probe)
        if course.health.verdict is not before.health.verdict:
            yield course.health.verdict, problem
        await asyncio.sleep(course.pause(probe, clock() - began))
