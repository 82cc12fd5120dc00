"""The app's own metrics for the agent's page: asked for in the scraper's format, bounded in size and time.

Called by `app_pages` and `metrics_page`; loaded only for an app that has metrics. The page is streamed: it is as long
as the app likes within bounds, and the agent is small. What of it is served, `metric_merging` says. Must not know:
Envoy, or what the metrics are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lateen.agent.addresses import LOOPBACK
from lateen.agent.http1 import Connect, Http1Error, exchange
from lateen.agent.metric_formats import Wanted, answered
from lateen.agent.metric_names import MetricsError, Part

LIMIT = 32 << 20
LONGEST_SECONDS = 10.0
_DEFAULT_SECONDS = 5.0
_SHARE = 0.8
"""Of the scraper's patience: the rest is for what comes before and after."""
_TIMEOUT = "x-prometheus-scrape-timeout-seconds"
_LATE = "the app took too long"


@dataclass(slots=True)
class AppMetrics:
    """An answer of the app that has begun, or why there is none."""

    problem: str = ""
    format: str = "text"
    """As `metric_formats.answered` names it."""
    blocks: AsyncGenerator[bytes, None] | None = None
    deadline: float = 0.0

    async def served(self, part: Part) -> AsyncIterator[bytes]:
        """Yield what is to be served. What breaks it off is in `problem` afterwards."""
        size = 0
        try:
            while (block := await self._next()) is not None:
                size += len(block)
                if size > LIMIT:
                    raise MetricsError("the page is too large")
                if kept := part.feed(block):
                    yield kept
            if self.blocks and (kept := part.end()):
                yield kept
        except (OSError, TimeoutError, Http1Error, MetricsError) as error:
            self.problem = str(error) or _LATE

    async def _next(self) -> bytes | None:
        if self.blocks is None:
            return None
        # Not around a `yield`: it would interrupt whoever takes what is served.
        async with asyncio.timeout_at(self.deadline):
            # A page that is there already is not waited for: others must have their turn, and the deadline its effect.
            await asyncio.sleep(0)
            return await anext(self.blocks, None)


@asynccontextmanager
async def opened(
    port: int, path: str, headers: Mapping[str, str], wanted: Wanted, connect: Connect
) -> AsyncIterator[AppMetrics]:
    """Ask the app; yield what it answers, or a problem. It has a share of the scraper's patience. Never raises."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience(headers.get(_TIMEOUT, ""))
    asked = exchange(LOOPBACK, port, path, headers={"accept": wanted.app_accept}, connect=connect)
    try:
        async with asyncio.timeout_at(deadline):
            status, said, blocks = await asked.__aenter__()
    except (OSError, TimeoutError, Http1Error) as error:
        yield AppMetrics(problem=str(error) or _LATE)
        return
    try:
        content = said.get("content-type", "")
        if status != 200:
            yield AppMetrics(problem=f"the app answers {status}")
        elif said.get("content-encoding", "identity").lower() != "identity":
            yield AppMetrics(problem="the app compresses its page though nobody asked it to")
        elif not (kind := answered(content)):
            yield AppMetrics(problem=f"the app answers {content[:80]!r}, which is no format of metrics")
        else:
            yield AppMetrics(format=kind, blocks=blocks, deadline=deadline)
    finally:
        await asked.__aexit__(None, None, None)


def patience(said: str) -> float:
    """Return how many seconds the app has, by what the scraper says of its own patience."""
    try:
        seconds = float(said) * _SHARE if said else _DEFAULT_SECONDS
    except ValueError:
        seconds = _DEFAULT_SECONDS
    return min(seconds, LONGEST_SECONDS) if seconds > 0 else _DEFAULT_SECONDS
