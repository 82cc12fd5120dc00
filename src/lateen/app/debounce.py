"""Debounce: wait for a burst of changes to end before acting on it, but never too long.

A checkout of a folder changes a hundred files within some milliseconds; a build per file would make a hundred
states of which ninety-nine are out of date. So a change is acted upon once nothing changed for a quiet time, and at
the latest a maximum time after the first change. Pure: the caller brings the clock. Called by `app`.
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

    def changed(self, now: float, *, urgent: bool = False) -> None:
        """Note a change. An urgent one (an endpoint came or went) is due at once, and takes the others along."""
        if self._first is None:
            self._first = now
        self._last = now
        self._urgent = self._urgent or urgent

    @property
    def due(self) -> float | None:
        """When to act: a time that may lie in the past, or None while nothing changed."""
        if self._first is None:
            return None
        if self._urgent:
            return self._first
        return min(self._last + self._quiet, self._first + self._maximum)

    def take(self, now: float) -> bool:
        """Whether to act now; if so the changes count as acted upon."""
        due = self.due
        if due is None or now < due:
            return False
        self._first = None
        self._urgent = False
        return True
