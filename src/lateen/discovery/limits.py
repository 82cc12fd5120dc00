"""What a client may cost: times, rates, and how often the log speaks of it. Pure, the caller brings the clock.

Used by `server`, `writing` and `hub`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of our time and memory a client may take. Times in seconds, sizes in bytes."""

    first_request: float = 30.0
    answer: float = 60.0
    """For the ACK of a response, and for taking its bytes. Envoy holds the ACK of clusters back while they warm up,
    15 seconds for one whose endpoints never come."""
    warm_up: float = 2.0
    """For the ACK of clusters, until listeners and routes are sent without it."""
    requests_per_second: float = 100.0
    """What a stream may send for long. A stream that sends more is read more slowly, not ended."""
    burst: float = 10_000.0
    """What it may send at once: the subscriptions of a proxy that connects to a large mesh."""
    large_write: int = 64 * 1024
    """Responses from this size on take turns: gRPC holds a copy of each until the client has taken it."""
    large_writes: int = 100
    """How many of them are written at the same time."""
    large_write_time: float = 10.0
    """After which one that is not done gives way, if others wait: its stream is ended."""


DEFAULT_LIMITS = Limits()
_REQUEST_UNIT = 1024
"""Bytes that count as one more request: a request of a million names is not one of none."""


class SlowPeerError(Exception):
    """The client did not do in time what the protocol expects of it."""


class Bucket:
    """A token bucket that goes into debt: whoever takes too much is told how long to wait."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, request_bytes: int, now: float) -> float:
        """Account for a request; return the seconds to wait before it is handled, 0 within the rate."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1 + request_bytes // _REQUEST_UNIT
        return max(0.0, -self._tokens / self._rate)


class Sparing:
    """Lets the first of many like lines through, and one a minute from then on."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._quiet_until: dict[str, float] = {}
        self._withheld: dict[str, int] = {}

    def admit(self, line: str, now: float) -> int | None:
        """Return how many were withheld before this one, None to withhold it too. `line` is one of a few constants."""
        if now < self._quiet_until.get(line, now):
            self._withheld[line] = self._withheld.get(line, 0) + 1
            return None
        self._quiet_until[line] = now + self._seconds
        return self._withheld.pop(line, 0)
