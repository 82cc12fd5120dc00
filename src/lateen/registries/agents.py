"""The registry of attached agents: sessions, a clock, and a stream of catalogues.

Used by `app` (watching) and `registries.attach` (registering). Everything happens on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog

from lateen.config.workload_groups import WorkloadGroup
from lateen.mesh.workload_groups import account_problem, with_group
from lateen.model.catalogues import Catalogue
from lateen.model.workloads import WorkloadRegistration
from lateen.registries.sessions import GRACE_SECONDS, AgentSessions, Refusal, StreamId

GroupName = tuple[str, str]
"""Namespace and name of a WorkloadGroup."""

log = structlog.get_logger()


class AgentRegistry:
    """Workloads that registered themselves. Sessions end by themselves only while somebody watches."""

    def __init__(self, *, grace: float = GRACE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = AgentSessions(grace)
        self._clock = clock
        self._catalogue = Catalogue(name=self.name, workloads=self._sessions.workloads())
        self._changed = asyncio.Event()
        self._groups: Mapping[GroupName, WorkloadGroup] = {}
        self._grouped: dict[StreamId, tuple[WorkloadRegistration, WorkloadGroup]] = {}
        """What workloads of groups said themselves, and the group as it was applied; while their streams live."""

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
        """Take a valid registration; return it with its name and what its group says, or why not.

        A group that does not exist is a refusal, as under Istio: the agent tries again. See AgentSessions.register.
        """
        group = self._group_of(stream, registration)
        if isinstance(group, Refusal):
            return group
        wanted = with_group(registration, group) if group is not None else registration
        taken = self._sessions.register(stream, wanted, self._clock())
        if group is not None and not isinstance(taken, Refusal):
            self._grouped[stream] = (registration, group)
        self._publish()
        return taken

    def take_groups(self, groups: Mapping[GroupName, WorkloadGroup]) -> None:
        """Take the WorkloadGroups that there are now, and bring what changed to the workloads that are attached.

        Those of a group that is gone keep what it last said.
        """
        if groups == self._groups:
            return
        self._groups = groups
        for stream, (said, before) in list(self._grouped.items()):
            group = groups.get((said.namespace, said.group), before)
            if group == before:
                continue
            problem = account_problem(said, group)
            taken = problem or self._sessions.register(stream, with_group(said, group), self._clock())
            if isinstance(taken, WorkloadRegistration):
                self._grouped[stream] = (said, group)
            else:
                reason = taken.message if isinstance(taken, Refusal) else taken
                log.warning("a workload cannot follow its group", group=f"{said.group}.{said.namespace}", reason=reason)
        self._publish()

    def group(self, stream: StreamId) -> WorkloadGroup | None:
        """Return the group of a stream's workload as it was applied; None without one."""
        return self._grouped[stream][1] if stream in self._grouped else None

    def _group_of(self, stream: StreamId, registration: WorkloadRegistration) -> WorkloadGroup | Refusal | None:
        if not registration.group:
            return None
        group = self._groups.get((registration.namespace, registration.group))
        if group is None and stream in self._grouped and self._grouped[stream][0].group == registration.group:
            group = self._grouped[stream][1]
        if group is None:
            return Refusal(
                message=f"there is no WorkloadGroup {registration.group} in the namespace {registration.namespace}: "
                "apply one, or correct --workload-group"
            )
        problem = account_problem(registration, group)
        return Refusal(message=problem) if problem else group

    def leave(self, stream: StreamId) -> WorkloadRegistration | None:
        """Note that nobody sends to the stream's workload any more; None when it has none (see AgentSessions)."""
        self._grouped.pop(stream, None)
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
        self._grouped.pop(stream, None)
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
