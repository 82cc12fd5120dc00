"""How one root gives way to the next without a handshake failing: a state machine. Pure.

Stepped by `authority`, which keeps it in a file, so that a restart goes on where it was.

A leaf is accepted by whoever trusts its root. So the new root may sign only when everybody who could meet such a leaf
trusts it, and the old one may be forgotten only when nobody shows a leaf of it any more:

    steady ─start─▶ distributing ─all trust both─▶ switching ─all renewed─▶ finishing ─none old left─▶ steady
    signs: old       old                            new                      new                       new
    trusted: old     old, new                       old, new                 old, new                  new

What "everybody" means is the hard part. An agent that is connected says what it trusts. One that was cut off keeps the
trust it had, and its leaf stays valid for a while. If the caller can name those (`Facts.absent`), they are waited for.
If it cannot, time answers: a leaf lives for `Times.leaf` at most and comes with the trusted roots of its day, so after
that long whoever still holds a valid one has the new roots too. A control plane that has just started knows nobody, and
everybody of nobody is no answer: the conditions count only once it has watched for a while.

The control plane's own serving certificate stays with the old root until the end: an agent that was cut off before the
new root reached it must still be able to come back.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """Where a rotation is."""

    STEADY = "steady"
    DISTRIBUTING = "distributing"
    SWITCHING = "switching"
    FINISHING = "finishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long the phases wait. Every one at least `least`, and none for something that time alone has settled."""

    least: dt.timedelta = dt.timedelta(seconds=30)
    """From the start of a phase, and from when the control plane began to see its agents: they need to come back."""
    switching: dt.timedelta = dt.timedelta(hours=1)
    """At most, for connected agents to renew; who has not by then is waited for in `finishing`."""
    leaf: dt.timedelta = dt.timedelta(hours=24)
    """The longest life of a leaf (`Lifetimes.longest_leaf`)."""


DEFAULT_TIMES = Times()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The state. Constructed steady."""

    phase: Phase = Phase.STEADY
    since: dt.datetime | None = None
    """When this phase began; None while steady."""
    old_leaves_end: dt.datetime | None = None
    """When the last leaf of the old root has expired, known from `switching` on."""

    @property
    def trusts_new(self) -> bool:
        """Whether the new root is in the bundle, beside the old one."""
        return self.phase is not Phase.STEADY

    @property
    def issues_new(self) -> bool:
        """Whether the new root's intermediate signs."""
        return self.phase in (Phase.SWITCHING, Phase.FINISHING)

    @property
    def renews(self) -> bool:
        """Whether workloads that hold a leaf of the old root are told to get a new one."""
        return self.issues_new


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the control plane sees of its agents now. Names are for the user: `reviews-1.default`."""

    watching_since: dt.datetime
    """From when on agents could connect to this process."""
    distrusting: tuple[str, ...] = ()
    """Connected, and has not confirmed that it trusts the newest bundle."""
    holding_old: tuple[str, ...] = ()
    """Connected, and its certificate is the old root's (or unknown)."""
    absent: tuple[str, ...] | None = None
    """Not connected, holds a leaf that is still valid, and was last seen without the new bundle (while distributing) or
    with an old root's leaf (from switching on). None: not known, which is always right, and slow."""


def start(rotation: Rotation, now: dt.datetime) -> Rotation:
    """Begin a rotation: the new root exists from now on, and is distributed. ValueError while one is under way."""
    if rotation.phase is not Phase.STEADY:
        raise ValueError(f"a rotation is under way: it is {rotation.phase}")
    return Rotation(phase=Phase.DISTRIBUTING, since=now)


def step(
    rotation: Rotation, facts: Facts, now: dt.datetime, *, times: Times = DEFAULT_TIMES, force: bool = False
) -> Rotation:
    """Return the state after looking at the facts: the same, or the next phase. Never two phases at once.

    `force` goes on without waiting, whoever is then not understood.
    """
    if rotation.phase is Phase.STEADY or (not force and waits(rotation, facts, now, times=times)):
        return rotation
    match rotation.phase:
        case Phase.DISTRIBUTING:
            return Rotation(phase=Phase.SWITCHING, since=now, old_leaves_end=now + times.leaf)
        case Phase.SWITCHING:
            return replace(rotation, phase=Phase.FINISHING, since=now)
    return Rotation()


def waits(rotation: Rotation, facts: Facts, now: dt.datetime, *, times: Times = DEFAULT_TIMES) -> tuple[str, ...]:
    """Return for what the phase still waits, in words; empty when it may end."""
    since = rotation.since or now
    if rotation.phase is Phase.FINISHING and rotation.old_leaves_end and now >= rotation.old_leaves_end:
        return ()
    soonest = max(since, facts.watching_since) + times.least
    if now < soonest:
        return (f"until {soonest:%H:%M:%SZ}, for agents to connect",)
    match rotation.phase:
        case Phase.DISTRIBUTING:
            named = (f"{name} to trust the new root" for name in facts.distrusting)
            return (*named, *_absent(facts, since + times.leaf, now))
        case Phase.SWITCHING if now < since + times.switching:
            return tuple(f"{name} to renew its certificate" for name in facts.holding_old)
        case Phase.FINISHING:
            named = (f"{name} to renew its certificate" for name in facts.holding_old)
            return (*named, *_absent(facts, rotation.old_leaves_end or since + times.leaf, now))
    return ()


def _absent(facts: Facts, end: dt.datetime, now: dt.datetime) -> tuple[str, ...]:
    """Return who is waited for although not connected, at most until their leaves have expired."""
    if now >= end:
        return ()
    if facts.absent is None:
        return (f"until {end:%Y-%m-%d %H:%M:%SZ}, when whoever is not connected has renewed or expired",)
    return tuple(f"{name} to come back, or until {end:%Y-%m-%d %H:%M:%SZ}" for name in facts.absent)
