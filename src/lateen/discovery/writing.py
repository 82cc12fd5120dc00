"""Writing to one client: in its turn, from shared bytes, and with an eye on the clock that the session has not.

`server` runs one `Writer` per stream; `Turns` is common to all streams of a server. A client that does not read or
does not answer is found out by one lazy timer per stream, which costs nothing while all goes well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from lateen.discovery.figures import Figures
from lateen.discovery.hub import Stream
from lateen.discovery.limits import Limits, SlowPeerError
from lateen.discovery.sharing import Bodies, Encode
from lateen.discovery.values import Response
from lateen.discovery.wire import encode_nonce
from lateen.envoy.resources import CLUSTER

_ENOUGH_RESOURCES = 16
"""Below as many a response is small, unless one of them is large: most pushes are not worth adding up."""


class Turns:
    """At most so many large writes at once, in the order of asking, so that a connect storm needs bounded memory.

    A client that is slow may keep its turn for as long as it likes while nobody waits; when somebody does, the
    longest of those that are over their time is told to go.
    """

    def __init__(self, limits: Limits) -> None:
        self._free = asyncio.Semaphore(limits.large_writes)
        self._seconds = limits.large_write_time
        self._held: dict[object, tuple[float, Callable[[], None]]] = {}
        """Until when each is safe, and how to end it; the oldest first."""

    @asynccontextmanager
    async def turn(self, end: Callable[[], None]) -> AsyncIterator[None]:
        """Wait for a turn and have it for as long as the context lasts; `end` must make it end soon."""
        await self._take()
        token = object()
        self._held[token] = asyncio.get_running_loop().time() + self._seconds, end
        try:
            yield
        finally:
            self._held.pop(token, None)
            self._free.release()

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            token, (safe_until, end) = next(iter(self._held.items()), (None, (None, None)))
            try:
                async with asyncio.timeout_at(safe_until):
                    await self._free.acquire()
                return
            except TimeoutError:
                # It may have ended meanwhile, or someone else who waits has ended it.
                if token in self._held and end is not None and safe_until is not None and loop.time() >= safe_until:
                    del self._held[token]
                    end()


class Writer:
    """Writes what one session wants sent."""

    def __init__(
        self,
        stream: Stream,
        write: Callable[[bytes], Awaitable[None]],
        encode: Encode,
        limits: Limits,
        shared: WriterShared,
    ) -> None:
        self._stream = stream
        self._write = write
        self._encode = encode
        self._limits = limits
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._sent_at: dict[str, tuple[str, float]] = {}
        """By kind: nonce of the response last written, and when."""
        self._patient = False
        """Whether clusters are in flight for which listeners and routes still wait."""
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._fault = ""

    async def run(self) -> None:
        """Write until cancelled; SlowPeerError when the client does not keep up."""
        self._task = asyncio.current_task()
        try:
            while True:
                await self._stream.wake.wait()
                for response in self._stream.take():
                    if _is_large(response, self._limits.large_write):
                        async with self._shared.turns.turn(self._give_way):
                            await self._send(response)
                    else:
                        await self._send(response)
        except asyncio.CancelledError:
            if self._fault:
                raise SlowPeerError(self._fault) from None
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _send(self, response: Response) -> None:
        kind, figures, began = response.kind, self._shared.figures, self._loop.time()
        body = self._shared.bodies.get(self._encode, response)
        self._sent_at[kind] = response.nonce, began
        patience = self._limits.answer
        if kind == CLUSTER:
            self._patient = True
            patience = min(patience, self._limits.warm_up)
        self._wait_until(began + patience)
        self._writing = True
        await self._write(body + encode_nonce(response.nonce))
        self._writing = False
        figures.pushes[kind] += 1
        figures.pushed_bytes[kind] += len(body)
        figures.resources[kind] += len(response.resources)
        figures.sizes[kind].observe(len(body))
        figures.queue.observe(began - self._stream.queued_at)
        figures.send.observe(self._loop.time() - began)

    def _wait_until(self, due: float) -> None:
        """Have `_on_timer` called at this time, or before."""
        if self._timer is None or due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        """Act on what is due now: answers that came meanwhile have moved the deadlines."""
        self._timer = None
        now = self._loop.time()
        ledger = self._stream.session.ledger
        # One that is not written yet has no deadline.
        unanswered = {kind: at for kind, (nonce, at) in self._sent_at.items() if nonce == ledger.unanswered_nonce(kind)}
        deadlines = {kind: at + self._limits.answer for kind, at in unanswered.items()}
        for kind, deadline in deadlines.items():
            if now >= deadline:
                what = "a response was not read" if self._writing else f"no ACK or NACK of {kind}"
                self._end(f"{what} within {self._limits.answer:g} s")
                return
        if self._patient and CLUSTER in unanswered:
            hurry = unanswered[CLUSTER] + self._limits.warm_up
            if now >= hurry:
                self._patient = False
                self._stream.on_timeout()
            else:
                deadlines[CLUSTER] = min(hurry, deadlines[CLUSTER])
        if deadlines:
            self._wait_until(min(deadlines.values()))

    def _give_way(self) -> None:
        self._shared.figures.evicted += 1
        self._end(f"a large response was not read within {self._limits.large_write_time:g} s while others waited")

    def _end(self, fault: str) -> None:
        self._fault = fault
        if self._task is not None:
            self._task.cancel()


class WriterShared:
    """What the writers of a server have in common."""

    def __init__(self, limits: Limits, bodies: Bodies, figures: Figures) -> None:
        self.turns = Turns(limits)
        self.bodies = bodies
        self.figures = figures


def _is_large(response: Response, size: int) -> bool:
    resources = response.resources
    if len(resources) < _ENOUGH_RESOURCES:
        return any(len(resource.body) >= size for resource in resources)
    return sum(len(resource.body) for resource in resources) >= size
