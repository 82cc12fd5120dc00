"""The registry of attached agents: sessions, a clock, and a stream of catalogues.

Used by `app` (watching) and `registries.attach` (registering). Everything happens on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from lateen.model.catalogues import Catalogue
from lateen.model.workloads import WorkloadRegistration
from lateen.registries.sessions import GRACE_SECONDS, AgentSessions, Refusal, StreamId


class AgentRegistry:
    """Workloads that registered themselves. Sessions end by themselves only while somebody watches."""

    def __init__(self, *, grace: float = GRACE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = AgentSessions(grace)
        self._clock = clock
        self._catalogue = Catalogue(name=self.name, workloads=self._sessions.workloads())
        self._changed = asyncio.Event()

    @property
    def name(self) -> str:
        """`agents`."""
        return "agents"

    @property
    def workloads(self) -> Sequence[WorkloadRegistration]:
        """The living workloads, by namespace and name."""
        return self._catalogue.workloads

    async def watch(self) -> AsyncIterator[Catalogue]:
        """Yield the catalogue at once and after each change (see Registry.watch)."""
        seen: Catalogue | None = None
        while True:
            self._sessions.expire(self._clock())
            self._publish()
            newest, changed = self._catalogue, self._changed
            if newest is not seen:
                seen = newest
                yield newest
                continue
            deadline = self._sessions.next_deadline()
            wait = None if deadline is None else max(0.0, deadline - self._clock())
            try:
                async with asyncio.timeout(wait):
                    await changed.wait()
            except TimeoutError:
                continue

    def open(self) -> StreamId:
        """Begin a stream."""
        return self._sessions.open()

    def register(self, stream: StreamId, registration: WorkloadRegistration) -> WorkloadRegistration | Refusal:
        """Take a valid registration; return it with its name, or why not (see AgentSessions.register)."""
        taken = self._sessions.register(stream, registration, self._clock())
        self._publish()
        return taken

    def leave(self, stream: StreamId) -> WorkloadRegistration | None:
        """Note that nobody sends to the stream's workload any more; None when it has none (see AgentSessions)."""
        left = self._sessions.leave(stream, self._clock())
        self._publish()
        return left

    def gone(self, workload: str) -> None:
        """Note that the proxy of a workload, `name.namespace`, is gone: one that has left is forgotten now."""
        name, _, namespace = workload.partition(".")  # a name has no dot
        if self._sessions.gone((namespace, name)):
            self._publish()

    def disconnect(self, stream: StreamId) -> WorkloadRegistration | None:
        """Note that a stream ended; its workload, if it still has one, stays for the grace period."""
        remembered = self._sessions.disconnect(stream, self._clock())
        if remembered is not None:
            self._wake()  # watchers must learn of the deadline
        return remembered

    def _publish(self) -> None:
        workloads = self._sessions.workloads()
        if workloads != self._catalogue.workloads:
            self._catalogue = Catalogue(name=self.name, workloads=workloads)
            self._wake()

    def _wake(self) -> None:
        # Every watcher waits on the event it saw: setting it wakes them all, and the next wait is on a new one.
        self._changed.set()
        self._changed = asyncio.Event()
