"""Who is attached: the sessions of agents, sans-IO. Used by `registries.agents`; knows no stream and no clock.

A session is a workload's lease. It lives as long as the stream that registered it, plus a grace period after a
stream that broke without `leave`, so that a restarting network or control plane does not empty the mesh. Times are
seconds of any monotonic clock, passed in.

Two things are unique among the living: a workload's name in its namespace, and its address in its network. Where
two want the same, the one that is connected keeps it; one that is only remembered gives way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import count

from lateen.model.workloads import WorkloadRegistration

GRACE_SECONDS = 5.0
MAX_NAME = 63
"""Length of an RFC 1123 label."""

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


class AgentSessions:
    """All sessions."""

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._numbers = count(1)
        self._sessions: dict[tuple[str, str], _Session] = {}
        """By (namespace, name)."""

    def workloads(self) -> tuple[WorkloadRegistration, ...]:
        """Return every living workload, by namespace and name."""
        return tuple(self._sessions[key].registration for key in sorted(self._sessions))

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
        current = self._of(stream)
        if current is not None:
            return self._change(current, registration)
        rival = self._at_address(registration)
        if rival is not None and rival.deadline is not None:
            # Its stream is gone and its address has a new owner: it is not coming back.
            self._forget(rival)
            rival = None
        if not registration.name:
            registration = replace(registration, name=self._free_name(registration))
        key = (registration.namespace, registration.name)
        holder = self._sessions.get(key)
        if rival is not None and rival is not holder:
            return _address_taken(registration, rival)
        if holder is not None and holder.deadline is None and holder.registration.address != registration.address:
            return Refusal(
                message=f"workload {registration.name}.{registration.namespace} is already attached, at "
                f"{holder.registration.address}; stop it or choose another name"
            )
        self._sessions[key] = _Session(registration=registration, stream=stream)
        return registration

    def leave(self, stream: StreamId) -> WorkloadRegistration | None:
        """End the stream's session at once and return what it was; None when it has none."""
        session = self._of(stream)
        if session is None:
            return None
        self._forget(session)
        return session.registration

    def disconnect(self, stream: StreamId, now: float) -> WorkloadRegistration | None:
        """Note that a stream broke: its session, which is returned if there is one, now lasts for the grace only.

        A stream whose session was taken over or has left has none.
        """
        session = self._of(stream)
        if session is None:
            return None
        session.deadline = now + self._grace
        return session.registration

    def expire(self, now: float) -> tuple[WorkloadRegistration, ...]:
        """End the sessions whose grace is over, and return what they were."""
        ended = [item for item in self._sessions.values() if item.deadline is not None and item.deadline <= now]
        for session in ended:
            self._forget(session)
        return tuple(session.registration for session in ended)

    def next_deadline(self) -> float | None:
        """Return when `expire` has something to do next, None when nothing waits."""
        return min((item.deadline for item in self._sessions.values() if item.deadline is not None), default=None)

    def _change(self, session: _Session, registration: WorkloadRegistration) -> WorkloadRegistration | Refusal:
        before = session.registration
        if (registration.name or before.name, registration.namespace) != (before.name, before.namespace):
            return Refusal(message=f"a stream is one workload, {before.name}.{before.namespace}: open another one")
        rival = self._at_address(registration)
        if rival is not None and rival is not session:
            return _address_taken(registration, rival)
        session.registration = replace(registration, name=before.name)
        return session.registration

    def _of(self, stream: StreamId) -> _Session | None:
        return next((session for session in self._sessions.values() if session.stream == stream), None)

    def _at_address(self, registration: WorkloadRegistration) -> _Session | None:
        place = (registration.network, registration.address)
        for session in self._sessions.values():
            if (session.registration.network, session.registration.address) == place:
                return session
        return None

    def _forget(self, session: _Session) -> None:
        del self._sessions[session.registration.namespace, session.registration.name]

    def _free_name(self, registration: WorkloadRegistration) -> str:
        """Return the lowest free `service[-version]-n`; a gateway is named after its labels."""
        labels = registration.labels
        base = registration.service or labels.get("istio") or labels.get("app") or "gateway"
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
