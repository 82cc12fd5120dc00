"""What discovery counts about itself: plain numbers, written by the hub and its writers, read by the metrics.

Knows nothing of exposition: `api` gives each number its name. Sources of the bounds: Istio's metrics of the same
meaning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10, 20, 30)
"""Istio's, with finer ones below: what Istio calls less than a tenth of a second is where most pushes are."""
_SIZES = (1e4, 1e5, 1e6, 4e6, 1e7, 4e7)


class Histogram:
    """Counts of observations by upper bound."""

    def __init__(self, bounds: tuple[float, ...] = _SECONDS) -> None:
        self.bounds = bounds
        """Upper bounds, inclusive, ascending; a last one, infinity, is implied."""
        self.counts = [0] * (len(bounds) + 1)
        """Per bound, not cumulated."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def _sizes() -> Histogram:
    return Histogram(_SIZES)


@dataclass(slots=True, kw_only=True)
class Figures:
    """Counted since the start. Kinds are message names."""

    pushes: Counter[str] = field(default_factory=Counter)
    """Responses written, by kind."""
    pushed_bytes: Counter[str] = field(default_factory=Counter)
    resources: Counter[str] = field(default_factory=Counter)
    """Resources in the responses written, by kind."""
    rejects: Counter[str] = field(default_factory=Counter)
    """Responses that a proxy rejected, by kind."""
    requests: int = 0
    throttled: int = 0
    """Requests that were made to wait because their stream sent too many."""
    opened: int = 0
    """Streams whose node was accepted."""
    ended: Counter[str] = field(default_factory=Counter)
    """Streams that we ended, by gRPC status."""
    evicted: int = 0
    """Large writes that were given up because others waited for their turn."""
    convergence: Histogram = field(default_factory=Histogram)
    """Seconds from a publication (or the connection, if later) to the last ACK or NACK of a proxy."""
    queue: Histogram = field(default_factory=Histogram)
    """Seconds that a response waits until it is written."""
    send: Histogram = field(default_factory=Histogram)
    """Seconds until the network took a response."""
    generate: Histogram = field(default_factory=Histogram)
    """Seconds for one snapshot."""
    sizes: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(_sizes))
    """Bytes of responses, by kind."""
