"""Who is attached: the sessions of agents, sans-IO. Used by `registries.agents`; knows no stream and no clock.

A session is a workload's lease. It lives as long as the stream that registered it, plus a grace period after a
stream that broke without `leave`, so that a restarting network or control plane does not empty the mesh. Times are
seconds of any monotonic clock, passed in.

Two things are unique among the living: a workload's name in its namespace, and its address in its network. Where
two want the same, the one that is connected keeps it; one that is only remembered gives way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from lateen.mesh.sharing import Ordered, kept
from lateen.model.workloads import WorkloadRegistration

GRACE_SECONDS = 5.0
DRAIN_SECONDS = 60.0
"""Longest life of a workload that has left: its proxy still answers the requests under way."""
MAX_NAME = 63
"""Length of an RFC 1123 label."""

Name = tuple[str, str]
"""Namespace and name of a workload."""
Place = tuple[str, str]
"""Network and address."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class StreamId:
    """Names one stream for its life."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a registration was not taken: the peer's fault, in words for its user."""

    message: str


@dataclass(slots=True, kw_only=True)
class _Session:
    registration: WorkloadRegistration
    stream: StreamId
    deadline: float | None = None
    """When a session without a stream ends; None while connected."""

    @property
    def name(self) -> Name:
        return self.registration.namespace, self.registration.name

    @property
    def place(self) -> Place:
        return self.registration.network, self.registration.address


class AgentSessions:
    """All sessions. Whatever happens to one costs the same, however many there are."""

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._numbers = count(1)
        self._sessions: dict[Name, _Session] = {}
        self._streams: dict[StreamId, _Session] = {}
        self._places: dict[Place, _Session] = {}
        self._lost: dict[Name, _Session] = {}
        """Those without a stream; as every grace is as long, the first of them ends first."""
        self._draining: dict[Name, _Session] = {}
        """Those that have left and whose proxy may still be there; the first of them ends first, too."""
        self._workloads: Ordered[WorkloadRegistration] = Ordered()

    def workloads(self) -> Sequence[WorkloadRegistration]:
        """Return every living workload, by namespace and name: the same object while nothing changes."""
        return self._workloads

    def open(self) -> StreamId:
        """Return a new stream's id; it has no session until it registers."""
        return StreamId(next(self._numbers))

    def register(
        self, stream: StreamId, registration: WorkloadRegistration, now: float
    ) -> WorkloadRegistration | Refusal:
        """Take a valid registration, the stream's first or a change of it, and return it with its name.

        A workload without a name gets the lowest free one, `service[-version]-n`; one that names itself keeps
        that name, taking over what is left of its earlier session.
        """
        self.expire(now)
        current = self._streams.get(stream)
        if current is not None:
            return self._change(current, registration)
        rival = self._at_address(registration)
        if rival is not None and rival.deadline is not None:
            # Its stream is gone and its address has a new owner: it is not coming back.
            self._forget(rival)
            rival = None
        if not registration.name:
            registration = replace(registration, name=self._free_name(registration))
        holder = self._sessions.get((registration.namespace, registration.name))
        if rival is not None and rival is not holder:
            return _address_taken(registration, rival)
        if holder is not None and holder.deadline is None and holder.registration.address != registration.address:
            return Refusal(
                message=f"workload {registration.name}.{registration.namespace} is already attached, at "
                f"{holder.registration.address}; stop it or choose another name"
            )
        self._replace(holder, _Session(registration=registration, stream=stream))
        return registration

    def leave(self, stream: StreamId, now: float) -> WorkloadRegistration | None:
        """End the stream's session and return what it was; None when it has none.

        From now on nobody sends to the workload. It is not forgotten before its proxy is gone (`gone`): the requests
        under way need the proxy's inbound side, which is there because the workload is.
        """
        session = self._streams.get(stream)
        if session is None:
            return None
        before = session.registration
        self._replace(session, _Session(registration=replace(before, ready=False), stream=stream))
        del self._streams[stream]
        left = self._sessions[session.name]
        left.deadline = now + DRAIN_SECONDS
        self._draining[left.name] = left
        return before

    def gone(self, name: Name) -> bool:
        """Note that the proxy of a workload is gone; whether the workload had left, and is forgotten now."""
        session = self._draining.get(name)
        if session is None:
            return False
        self._forget(session)
        return True

    def disconnect(self, stream: StreamId, now: float) -> WorkloadRegistration | None:
        """Note that a stream broke: its session, which is returned if there is one, now lasts for the grace only.

        A stream whose session was taken over or has left has none.
        """
        session = self._streams.get(stream)
        if session is None:
            return None
        session.deadline = now + self._grace
        self._lost.pop(session.name, None)
        self._lost[session.name] = session
        return session.registration

    def expire(self, now: float) -> tuple[WorkloadRegistration, ...]:
        """End the sessions whose grace is over, and return what they were."""
        ended: list[WorkloadRegistration] = []
        for waiting in (self._lost, self._draining):
            while (session := next(iter(waiting.values()), None)) is not None and (session.deadline or 0) <= now:
                self._forget(session)
                ended.append(session.registration)
        return tuple(ended)

    def next_deadline(self) -> float | None:
        """Return when `expire` has something to do next, None when nothing waits."""
        firsts = (next(iter(waiting.values()), None) for waiting in (self._lost, self._draining))
        return min((first.deadline for first in firsts if first is not None and first.deadline), default=None)

    def _change(self, session: _Session, registration: WorkloadRegistration) -> WorkloadRegistration | Refusal:
        before = session.registration
        if (registration.name or before.name, registration.namespace) != (before.name, before.namespace):
            return Refusal(message=f"a stream is one workload, {before.name}.{before.namespace}: open another one")
        rival = self._at_address(registration)
        if rival is not None and rival is not session:
            return _address_taken(registration, rival)
        registration = replace(registration, name=before.name)
        self._replace(session, _Session(registration=registration, stream=session.stream))
        return registration

    def _at_address(self, registration: WorkloadRegistration) -> _Session | None:
        return self._places.get((registration.network, registration.address))

    def _replace(self, old: _Session | None, new: _Session) -> None:
        """Begin a session in place of the one that has its name, if there is one."""
        if old is not None:
            self._unlist(old)
        self._sessions[new.name] = self._streams[new.stream] = self._places[new.place] = new
        known = self._workloads.get(new.name)
        self._workloads = self._workloads.patched({new.name: kept(known, new.registration)})

    def _forget(self, session: _Session) -> None:
        self._unlist(session)
        self._workloads = self._workloads.patched({session.name: None})

    def _unlist(self, session: _Session) -> None:
        del self._sessions[session.name], self._places[session.place]
        self._streams.pop(session.stream, None)
        self._lost.pop(session.name, None)
        self._draining.pop(session.name, None)

    def _free_name(self, registration: WorkloadRegistration) -> str:
        """Return the lowest free `service[-version]-n`; a gateway is named after its labels."""
        labels = registration.labels
        base = registration.service or registration.group or labels.get("istio") or labels.get("app") or "gateway"
        stem = _NOT_IN_NAMES.sub("-", "-".join(part for part in (base, registration.version) if part).lower())
        for number in count(1):
            end = f"-{number}"
            name = stem[: MAX_NAME - len(end)].strip("-") + end
            if (registration.namespace, name) not in self._sessions:
                return name
        raise AssertionError("count() is endless")


def _address_taken(registration: WorkloadRegistration, rival: _Session) -> Refusal:
    other = rival.registration
    return Refusal(
        message=f"address {registration.address} already belongs to workload {other.name}.{other.namespace}; "
        "give this one another address"
    )
