"""Debounce: wait for a burst of changes to end before acting on it, but never too long.

A checkout of a folder changes a hundred files within some milliseconds; a build per file would make a hundred
states of which ninety-nine are out of date. So a change is acted upon once nothing changed for a quiet time, and at
the latest a maximum time after the first change.

An urgent change does not wait for quiet. Were that all, a thousand of them in a second would be a thousand builds, and
the process would do nothing else: proxies would wait for states that are out of date before they are sent. So after
acting it rests as long as acting took, and what changes meanwhile is one change. Acting then takes half of the time at
most, and a change waits for one action that is under way and for the rest after it; when it is calm, for nothing.

Pure: the caller brings the clock. Called by `app`.
"""

from __future__ import annotations


class Debounce:
    """When to act on changes. Times are seconds of any monotonic clock, the same for all calls."""

    def __init__(self, *, quiet: float, maximum: float) -> None:
        """`quiet`: time without a change before acting; `maximum`: longest delay of the oldest change."""
        assert 0 <= quiet <= maximum
        self._quiet = quiet
        self._maximum = maximum
        self._first: float | None = None
        self._last = 0.0
        self._urgent = False
        self._rested: float | None = None
        """When the rest is over; None before it acted for the first time."""

    def changed(self, now: float, *, urgent: bool = False) -> None:
        """Note a change. An urgent one (an endpoint came or went) waits for no quiet, and takes the others along."""
        if self._first is None:
            self._first = now
        self._last = now
        self._urgent = self._urgent or urgent

    @property
    def due(self) -> float | None:
        """When to act: a time that may lie in the past, or None while nothing changed."""
        if self._first is None:
            return None
        due = self._first if self._urgent else self._last + self._quiet
        if self._rested is not None:
            due = max(due, self._rested)
        return min(due, self._first + self._maximum)

    def take(self, now: float) -> bool:
        """Whether to act now; if so the changes count as acted upon, and `acted` is to be called."""
        due = self.due
        if due is None or now < due:
            return False
        self._first = None
        self._urgent = False
        return True

    def acted(self, now: float, took: float) -> None:
        """Note that acting on the changes that were taken last is over, and how many seconds of work it was."""
        self._rested = now + took
