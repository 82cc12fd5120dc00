"""The hub: takes states, keeps a snapshot per scope, and tells each stream that there is a newer one.

Made by `app`, which publishes states and runs `Hub.run()` in its TaskGroup; `server` brings the streams; the API
reads `proxies()`. Everything runs in one event loop and no method blocks, so there is no lock.

**Settling.** After a restart the first state is built before every agent has registered again. Proxies that run,
with what they were sent before, must not be told that half of the mesh is gone: until `settle` is called, a stream
that resumes gets no answer and serves on from what it holds. A proxy that starts is answered at once, because
something is better than nothing.

**Without its registration, nothing.** Not if an agent registers its workload and is still to do so: what a proxy is
told then lacks its own inbound side. A control plane that restarts, a lease that ran out while a network was away: the
proxy is back before its agent is, and a hot restart is a proxy that starts while its callers go on. It waits for the
state that has the workload, at most `patience` seconds; whoever has no agent does not.

There is no queue anywhere: a publication overwrites what a scope serves, and the session of each stream says at once
whether that means a response; only then is its writer woken. A session has one response of a kind in flight, so a
client that answers late is brought to the newest snapshot and sees no trace of those between.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import structlog

from lateen.discovery.figures import Figures
from lateen.discovery.learning import Forgetful, Learning
from lateen.discovery.ledger import ProxyStatus
from lateen.discovery.limits import Sparing
from lateen.discovery.protocol import Session
from lateen.discovery.scopes import Generate, Keep, Scope, ScopeOf, Scopes, ScopeStatus
from lateen.discovery.sharing import MemoryPart, Sharing
from lateen.discovery.values import Request, Response
from lateen.envoy.resources import ROUTE, VIRTUAL_HOST, Resource, Snapshot
from lateen.envoy.routes import with_virtual_hosts
from lateen.mesh.elections import workload_named
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy

log = structlog.get_logger()

_REMEMBERED_STATES = 1000
"""Versions of which `wait_synced` knows when they were published."""
_STREAMS_AT_ONCE = 50
"""Streams brought to a state before writers, readers and everybody else have a turn: about a millisecond."""
PATIENCE_SECONDS = 3.0
"""Longest wait of a proxy for its agent, which tries again at least every second (`agent.attach.AttachTimes`)."""


class Stream:
    """One connected proxy: its protocol session, what it is to be sent, and the event that wakes its writer."""

    def __init__(
        self, proxy: Proxy, user_agent: str, session: Session[Any], hub: Hub, *, resumes: bool = False
    ) -> None:
        self.proxy = proxy
        self.user_agent = user_agent
        self.resumed = resumes
        """Whether it ran on what it had been sent before when it connected."""
        self.session = session
        self.connected_at = time.time()
        self.scope: Scope | None = None
        """None before the first state, and while it waits for the hub to settle or for its workload."""
        self.patient = proxy.registers
        """Whether it would rather wait for its workload to be registered than be told what there is."""
        self.wake = asyncio.Event()
        self.queued_at = 0.0
        """When the oldest response in the outbox was put there, by the loop's clock."""
        self.sparing = Sparing()
        """For lines of the log that this proxy can cause at will."""
        self._hub = hub
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._outbox: list[Response] = []
        """At most one response of a kind, as the session has no more in flight."""
        self._number = 0
        """Of the state that it was brought to. Its scope may be further, as others share it."""
        self._synced_number = 0
        self._moving = False
        """Whether a response went out since it was synced last."""
        self._progress: asyncio.Event | None = None

    def on_request(self, request: Request) -> None:
        """Take a request; PeerError when it breaks a rule."""
        if request.error is not None and request.nonce == self.session.ledger.unanswered_nonce(request.kind):
            self._hub.figures.rejects[request.kind] += 1
            self.warn("rejected", type=request.kind, reason=request.error)
        self._enqueue(self.session.on_request(request, self.scope.snapshot if self.scope else None))
        if news := self.session.take_news():
            self._hub.learning.note(self.proxy, news)

    def on_timeout(self) -> None:
        """Tell the session that its clusters have had time enough to warm up."""
        self._enqueue(self.session.on_timeout())

    def move_to(self, scope: Scope) -> None:
        """Serve from this scope, whose snapshot may be newer."""
        self._hub.count_users(self.scope, scope)
        self.scope = scope
        self._number = scope.number
        self._enqueue(() if self.session.newest is scope.snapshot else self.session.on_publish(scope.snapshot))

    def take(self) -> tuple[Response, ...]:
        """Return what is to be sent now, in order, and clear the event."""
        self.wake.clear()
        taken = tuple(self._outbox)
        self._outbox.clear()
        return taken

    @property
    def waiting(self) -> int:
        """How many responses wait for the writer."""
        return len(self._outbox)

    def is_synced_with(self, number: int) -> bool:
        """Whether the proxy has answered all that this state, or a later one, means to it."""
        if self.scope and self._synced_number < self._number and self.session.is_settled_on(self.scope.snapshot):
            self._synced_number = self._number
            if self._moving:
                self._moving = False
                began = max(self._began, self._hub.published_at(self._synced_number))
                self._hub.figures.convergence.observe(self._clock() - began)
        return self._synced_number >= number

    async def progress(self) -> None:
        """Wait until the proxy is synced with what it is served, or gone."""
        self._progress = self._progress or asyncio.Event()
        await self._progress.wait()

    def note_progress(self) -> None:
        """Wake those who wait for this proxy."""
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    def warn(self, line: str, **fields: object) -> None:
        """Log a warning about this proxy, the same one at most once a minute."""
        withheld = self.sparing.admit(line, self._clock())
        if withheld is not None:
            log.warning(line, proxy=self.proxy.id, **fields, **({"withheld": withheld} if withheld else {}))

    def status(self) -> ProxyStatus:
        """Return what the API shows."""
        return ProxyStatus(
            proxy=self.proxy,
            connected_at=self.connected_at,
            user_agent=self.user_agent,
            types=self.session.statuses(),
        )

    def _enqueue(self, responses: Sequence[Response]) -> None:
        if responses:
            if not self._outbox:
                self.queued_at = self._clock()
            self._outbox += responses
            self._moving = True
            self.wake.set()
        elif self.scope and self.is_synced_with(self._number):
            self.note_progress()


class Hub:
    """Brings the newest state to every stream."""

    def __init__(
        self,
        generate: Generate,
        scope_of: ScopeOf,
        keep: Keep | None = None,
        learning: Learning = Forgetful(),  # noqa: B008  it holds nothing
        on_gone: Callable[[str], None] = lambda _proxy: None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`on_gone` is called with the id of a proxy whose last stream has ended.

        `patience`: seconds for which a proxy is told nothing while its agent is still to register its workload.
        """
        self.learning = learning
        self.sharing = Sharing()
        """For the sessions and writers of the streams."""
        self.figures = Figures()
        self._scopes = Scopes(generate, scope_of, self.figures, self.sharing.compare)
        self._keep = keep
        self._on_gone = on_gone
        self._patience = patience
        self._streams: dict[Stream, None] = {}
        """In the order of connection."""
        self._connected: Counter[str] = Counter()
        """Streams by the id of their proxy; nobody with none."""
        self._state: MeshState | None = None
        self._number = 0
        self._numbers: dict[str, int] = {}
        self._times: dict[int, float] = {}
        """When each number was published, by the loop's clock."""
        self._settled = False
        self._published = asyncio.Event()
        self._distributed = asyncio.Event()
        """Replaced by each distribution."""
        self._changed = asyncio.Event()
        """Replaced by each publication."""

    @property
    def state(self) -> MeshState | None:
        """The newest state; None before the first."""
        return self._state

    @property
    def changed(self) -> asyncio.Event:
        """Set when a newer state is published."""
        return self._changed

    @property
    def distributed(self) -> asyncio.Event:
        """Set when the next distribution is over: a state was brought to every stream."""
        return self._distributed

    @property
    def streams(self) -> int:
        """How many proxies are connected."""
        return len(self._streams)

    def publish(self, state: MeshState) -> None:
        """Make this the newest state. `run` brings it to the streams; a state of the same version changes nothing."""
        if self._state is not None and self._state.version == state.version:
            return
        self._state = state
        self._number += 1
        self._numbers.pop(state.version, None)
        self._numbers[state.version] = self._number
        self._times[self._number] = asyncio.get_running_loop().time()
        if len(self._times) > _REMEMBERED_STATES:
            del self._times[next(iter(self._times))]
        if len(self._numbers) > _REMEMBERED_STATES:
            del self._numbers[next(iter(self._numbers))]
        self._published.set()
        self._changed.set()
        self._changed = asyncio.Event()

    def published_at(self, number: int) -> float:
        """Return when a state was published, by the loop's clock; 0 for one that is long gone."""
        return self._times.get(number, 0.0)

    def count_users(self, left: Scope | None, joined: Scope | None) -> None:
        """Note that a stream is served from another scope."""
        if left is joined:
            return
        if joined is not None:
            joined.users += 1
        if left is not None:
            self._scopes.release(left)

    def settle(self) -> None:
        """Serve the streams that resume too: whoever was registered before had the time to come back."""
        self._settled = True
        self._published.set()

    async def run(self) -> None:
        """Generate and hand out snapshots until cancelled."""
        while True:
            await self._published.wait()
            self._published.clear()
            if self._state is not None:
                await self._distribute()

    @contextmanager
    def connected(
        self, proxy: Proxy, user_agent: str, session: Session[Any], *, resumes: bool = False
    ) -> Iterator[Stream]:
        """Serve a proxy for as long as the context lasts; `resumes` when it runs on what it was sent before."""
        if proxy.asks_on_demand:
            proxy = replace(proxy, learned=self.learning.hosts(proxy))
        stream = Stream(proxy, user_agent, session, self, resumes=resumes)
        if self._state is not None and not self._waits(stream, self._state):
            # At once, not by `run`: most often its scope is known already, and a proxy that starts wants its answer.
            scope = self._scopes.scope(self._state, self._number, proxy)
            if scope is not None:
                stream.move_to(scope)
        out_of_patience = asyncio.get_running_loop().call_later(self._patience, self._end_patience, stream)
        self.figures.opened += 1
        self._streams[stream] = None
        self._connected[proxy.id] += 1
        log.info("proxy connected", proxy=proxy.id, node=proxy.node_id, user_agent=user_agent)
        try:
            yield stream
        finally:
            out_of_patience.cancel()
            del self._streams[stream]
            self._connected[proxy.id] -= 1
            if not self._connected[proxy.id]:
                del self._connected[proxy.id]
            self.count_users(stream.scope, None)
            stream.scope = None
            stream.note_progress()
            if not self.is_connected(proxy.id):
                self._on_gone(proxy.id)
            log.info("proxy disconnected", proxy=proxy.id, seconds=round(time.time() - stream.connected_at, 1))

    def _waits(self, stream: Stream, state: MeshState) -> bool:
        """Whether a stream is told nothing yet; see the module's docstring. Whoever was told something is told on."""
        if stream.scope is not None:
            return False
        if not self._settled and stream.resumed:
            return True
        proxy = stream.proxy
        patient = stream.patient or (proxy.registers and not self._settled)
        return patient and workload_named(state.workloads, proxy.namespace, proxy.name) is None

    def _end_patience(self, stream: Stream) -> None:
        stream.patient = False
        if stream.scope is None:
            self._published.set()

    def is_connected(self, proxy_id: str) -> bool:
        """Whether a proxy, `name.namespace`, has a stream."""
        return proxy_id in self._connected

    def resumed(self, proxy_id: str) -> bool:
        """Whether a proxy ran on what it had been sent before when it connected, or is still to come back.

        Of two streams, the newer one's answer. One that starts asks for its configuration before anything else.
        """
        return next((stream.resumed for stream in reversed(self._streams) if stream.proxy.id == proxy_id), True)

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """Return the status of each stream, by proxy id and then by the time of its connection."""
        return tuple(stream.status() for stream in sorted(self._streams, key=lambda s: (s.proxy.id, s.connected_at)))

    def scopes(self) -> tuple[ScopeStatus, ...]:
        """Return what each scope is served, those with most proxies first."""
        return tuple(sorted((scope.status() for scope in self._scopes), key=lambda status: -status.proxies))

    def memory(self) -> dict[str, MemoryPart]:
        """Return what is kept, by part; bytes are those of serialised content."""
        resources = {
            id(resource): len(resource.body)
            for snapshot in {id(scope.snapshot): scope.snapshot for scope in self._scopes}.values()
            for named in (*snapshot.resources.values(), *snapshot.on_demand.values())
            if isinstance(named, Mapping)
            for resource in named.values()
        }
        sharing = self.sharing
        return {
            "snapshots": MemoryPart(len({id(scope.snapshot) for scope in self._scopes}), 0),
            "resources": MemoryPart(len(resources), sum(resources.values())),
            "shared responses": MemoryPart(len(sharing.bodies), sharing.bodies.size),
            "shared answers": MemoryPart(len(sharing.differences) + len(sharing.comparisons), 0),
            "sets of names": sharing.known_names(),
            "streams": MemoryPart(len(self._streams), 0),
            "responses that wait": MemoryPart(sum(stream.waiting for stream in self._streams), 0),
        }

    def snapshot_for(self, proxy_id: str) -> tuple[Proxy, Snapshot] | None:
        """Return a proxy by id (`reviews-v2-1.default`) and what it is served; of two streams, the newer.

        What is on demand is there as far as this proxy asked for it, virtual hosts also in their route configuration.
        """
        for stream in reversed(self._streams):
            if stream.proxy.id == proxy_id and stream.scope is not None:
                return stream.proxy, _as_held(stream.scope.snapshot, stream.session)
        return None

    def held(self, proxy: Proxy, kind: str) -> Mapping[str, Resource] | None:
        """Return what the newest stream of this proxy holds of a kind; None when there is none.

        Another's stream under the same id, or one that was proven in another way, is none of this proxy.
        """
        wanted = proxy.id, proxy.service_account, proxy.private_keys
        for stream in reversed(self._streams):
            if (stream.proxy.id, stream.proxy.service_account, stream.proxy.private_keys) == wanted:
                return stream.session.held(kind)
        return None

    async def wait_synced(self, state_version: str, timeout: float) -> tuple[ProxyStatus, ...]:  # noqa: ASYNC109
        """Return the statuses when every connected proxy has answered a published state, or after `timeout` seconds.

        A proxy has answered when each response that the state, or a later one, means to it was acknowledged or
        rejected; one that connects meanwhile counts too. A state that was not published yet is waited for.
        """
        await self.until_synced(state_version, timeout)
        return self.proxies()

    async def until_synced(self, state_version: str, timeout: float) -> bool:  # noqa: ASYNC109
        """As `wait_synced`; return only whether every connected proxy has answered."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while state_version not in self._numbers:
                    await self._changed.wait()
                # A stream at a time: those that are synced before their turn comes wake nobody.
                while lagging := [stream for stream in self._streams if not self._is_done(stream, state_version)]:
                    for stream in lagging:
                        while not self._is_done(stream, state_version):
                            await stream.progress()
        return self.is_synced(state_version)

    def _is_done(self, stream: Stream, state_version: str) -> bool:
        return stream not in self._streams or stream.is_synced_with(self._numbers.get(state_version, 0))

    def is_synced(self, state_version: str) -> bool:
        """Whether every connected proxy has answered this state, see `wait_synced`."""
        number = self._numbers.get(state_version)
        return number is not None and all(stream.is_synced_with(number) for stream in self._streams)

    async def _distribute(self) -> None:
        """Bring every stream to the newest state; in between, others have their turn.

        What is published meanwhile is taken up at once, so that generation never goes back, and brought to those who
        had their turn already by the next distribution.
        """
        self.sharing.forget()
        generated = self.figures.generate.total
        for count, stream in enumerate(tuple(self._streams), 1):
            if self._state is None or stream not in self._streams or self._waits(stream, self._state):
                continue
            scope = self._scopes.scope(self._state, self._number, stream.proxy, stream.scope)
            if scope is not None:
                stream.move_to(scope)
            if count % _STREAMS_AT_ONCE == 0 or generated != self.figures.generate.total:
                generated = self.figures.generate.total
                await asyncio.sleep(0)
        if self._keep is not None:
            self._keep(scope.key for scope in self._scopes)
        self._distributed.set()
        self._distributed = asyncio.Event()


def _as_held(snapshot: Snapshot, session: Session[Any]) -> Snapshot:
    if not snapshot.on_demand:
        return snapshot
    asked = {kind: session.held(kind) for kind in snapshot.on_demand}
    hosts = asked.get(VIRTUAL_HOST, {}).values()
    routes = {
        name: with_virtual_hosts(routes, [host for host in hosts if host.name.startswith(f"{name}/")])
        for name, routes in snapshot.resources.get(ROUTE, {}).items()
    }
    told = {**snapshot.resources, **({ROUTE: routes} if routes else {})}
    return replace(snapshot, resources={**told, **asked}, on_demand={})
