"""The hub: takes states, keeps a snapshot per scope, and tells each stream that there is a newer one.

Made by `app`, which publishes states and runs `Hub.run()` in its TaskGroup; `server` brings the streams; the API
reads `proxies()`. Everything runs in one event loop and no method blocks, so there is no lock.

**Settling.** After a restart the first state is built before every agent has registered again. Proxies that run,
with what they were sent before, must not be told that half of the mesh is gone: until `settle` is called, a stream
that resumes gets no answer and serves on from what it holds. A proxy that starts is answered at once, because
something is better than nothing.

There is no queue anywhere: a publication overwrites what a scope serves and sets the event of its streams. A stream
that wakes up late finds the newest snapshot and no trace of those between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from lateen.discovery.ledger import ProxyStatus
from lateen.discovery.protocol import Session
from lateen.discovery.scopes import Comparisons, Generate, Scope, ScopeOf, Scopes
from lateen.discovery.values import Request, Response
from lateen.envoy.resources import Snapshot
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy

log = structlog.get_logger()

_REMEMBERED_STATES = 1000
"""Versions of which `wait_synced` knows when they were published."""


class Stream:
    """One connected proxy: its protocol session, what it is to be sent, and the event that wakes its writer."""

    def __init__(self, proxy: Proxy, user_agent: str, session: Session[Any], hub: Hub) -> None:
        self.proxy = proxy
        self.user_agent = user_agent
        self.session = session
        self.connected_at = time.time()
        self.scope: Scope | None = None
        """None before the first state, and while a stream that resumes waits for the hub to settle."""
        self.wake = asyncio.Event()
        self._hub = hub
        self._outbox: deque[Response] = deque()
        """At most one response of a kind, as the session has no more in flight."""
        self._seen: Snapshot | None = None
        self._synced_number = 0

    def on_request(self, request: Request) -> None:
        """Take a request; PeerError when it breaks a rule."""
        if request.error is not None and request.nonce == self.session.ledger.unanswered_nonce(request.kind):
            log.warning("rejected", proxy=self.proxy.id, type=request.kind, reason=request.error)
        self._seen = self.scope.snapshot if self.scope else None
        self._enqueue(self.session.on_request(request, self._seen))

    def on_timeout(self) -> None:
        """Tell the session that its clusters have had time enough to warm up."""
        self._enqueue(self.session.on_timeout())

    def move_to(self, scope: Scope) -> None:
        """Serve from this scope, whose snapshot may be newer."""
        self.scope = scope
        if scope.snapshot is not self._seen:
            self.wake.set()

    def take(self) -> tuple[Response, ...]:
        """Return what is to be sent now, in order, and clear the event."""
        self.wake.clear()
        if self.scope and self.scope.snapshot is not self._seen:
            self._seen = self.scope.snapshot
            self._enqueue(self.session.on_publish(self._seen))
            self.wake.clear()
        taken = tuple(self._outbox)
        self._outbox.clear()
        return taken

    def is_synced_with(self, number: int) -> bool:
        """Whether the proxy has answered all that this state, or a later one, means to it."""
        if self.scope and self.session.is_settled_on(self.scope.snapshot):
            self._synced_number = self.scope.number
        return self._synced_number >= number

    def status(self) -> ProxyStatus:
        """Return what the API shows."""
        return ProxyStatus(
            proxy=self.proxy,
            connected_at=self.connected_at,
            user_agent=self.user_agent,
            types=self.session.statuses(),
        )

    def _enqueue(self, responses: list[Response]) -> None:
        self._outbox.extend(responses)
        if responses:
            self.wake.set()
        if self.scope and self.is_synced_with(self.scope.number):
            self._hub.note_progress()


class Hub:
    """Brings the newest state to every stream."""

    def __init__(self, generate: Generate, scope_of: ScopeOf) -> None:
        self.comparisons = Comparisons()
        """For the sessions of the streams."""
        self._scopes = Scopes(generate, scope_of)
        self._streams: dict[Stream, None] = {}
        """In the order of connection."""
        self._state: MeshState | None = None
        self._number = 0
        self._numbers: dict[str, int] = {}
        self._resuming: set[Stream] = set()
        """Streams that wait for `settle`."""
        self._settled = False
        self._published = asyncio.Event()
        self._progress = asyncio.Event()

    @property
    def state(self) -> MeshState | None:
        """The newest state; None before the first."""
        return self._state

    def publish(self, state: MeshState) -> None:
        """Make this the newest state. `run` brings it to the streams; a state of the same version changes nothing."""
        if self._state is not None and self._state.version == state.version:
            return
        self._state = state
        self._number += 1
        self._numbers.pop(state.version, None)
        self._numbers[state.version] = self._number
        if len(self._numbers) > _REMEMBERED_STATES:
            del self._numbers[next(iter(self._numbers))]
        self._published.set()

    def settle(self) -> None:
        """Serve the streams that resume too: whoever was registered before had the time to come back."""
        self._settled = True
        self._resuming.clear()
        self._published.set()

    async def run(self) -> None:
        """Generate and hand out snapshots until cancelled."""
        while True:
            await self._published.wait()
            self._published.clear()
            if self._state is not None:
                await self._distribute(self._state, self._number)

    @contextmanager
    def connected(
        self, proxy: Proxy, user_agent: str, session: Session[Any], *, resumes: bool = False
    ) -> Iterator[Stream]:
        """Serve a proxy for as long as the context lasts; `resumes` when it runs on what it was sent before."""
        stream = Stream(proxy, user_agent, session, self)
        if resumes and not self._settled:
            self._resuming.add(stream)
        elif self._state is not None:
            # At once, not by `run`: most often its scope is known already, and a proxy that starts wants its answer.
            stream.scope = self._scopes.scope(self._state, self._number, proxy)
        self._streams[stream] = None
        log.info("proxy connected", proxy=proxy.id, node=proxy.node_id, user_agent=user_agent)
        try:
            yield stream
        finally:
            del self._streams[stream]
            self._resuming.discard(stream)
            self._drop_unused()
            self.note_progress()
            log.info("proxy disconnected", proxy=proxy.id, seconds=round(time.time() - stream.connected_at, 1))

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """Return the status of each stream, by proxy id and then by the time of its connection."""
        return tuple(stream.status() for stream in sorted(self._streams, key=lambda s: (s.proxy.id, s.connected_at)))

    def snapshot_for(self, proxy_id: str) -> tuple[Proxy, Snapshot] | None:
        """Return a proxy by id (`reviews-v2-1.default`) and what it is served; of two streams, the newer."""
        for stream in reversed(self._streams):
            if stream.proxy.id == proxy_id and stream.scope is not None:
                return stream.proxy, stream.scope.snapshot
        return None

    async def wait_synced(self, state_version: str, timeout: float) -> tuple[ProxyStatus, ...]:  # noqa: ASYNC109
        """Return the statuses when every connected proxy has answered a published state, or after `timeout` seconds.

        A proxy has answered when each response that the state, or a later one, means to it was acknowledged or
        rejected; one that connects meanwhile counts too. A state that was not published yet is waited for.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.is_synced(state_version):
                    await self._progress.wait()
        return self.proxies()

    def is_synced(self, state_version: str) -> bool:
        """Whether every connected proxy has answered this state, see `wait_synced`."""
        number = self._numbers.get(state_version)
        return number is not None and all(stream.is_synced_with(number) for stream in self._streams)

    def note_progress(self) -> None:
        """Wake those who wait for proxies to get somewhere."""
        self._progress.set()
        self._progress = asyncio.Event()

    async def _distribute(self, state: MeshState, number: int) -> None:
        """Bring every stream to a state, a scope at a time; in between, others have their turn."""
        self.comparisons.forget()
        distributed: set[int] = set()
        for stream in tuple(self._streams):
            if stream in self._resuming:
                continue
            scope = self._scopes.scope(state, number, stream.proxy)
            if scope is None:
                continue
            stream.move_to(scope)
            if id(scope) not in distributed:
                distributed.add(id(scope))
                await asyncio.sleep(0)
        self._drop_unused()
        self.note_progress()

    def _drop_unused(self) -> None:
        self._scopes.keep({stream.scope for stream in self._streams if stream.scope is not None})
