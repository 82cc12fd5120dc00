"""How often an address may fail to prove itself. Pure: the caller brings the clock.

Used by `service`. Guessing a token is hopeless at any rate; this bounds what the guessing costs us.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_MOST_ADDRESSES = 4096
"""Remembered at once; of more, those that were seen longest ago are forgotten."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Failures:
    """A token bucket for each address. A try takes from it and, when it succeeds, gives back: many tries at the same
    time count as failed until they are known not to be."""

    def __init__(self, per_second: float = 50.0, burst: float = 200.0) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str, now: float) -> bool:
        """Return whether another try may be made; `now` is of a clock that does not go back, in seconds."""
        bucket = self._buckets.setdefault(address, _Bucket(self._burst, now))
        self._buckets.move_to_end(address)
        while len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + max(0.0, now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True

    def give_back(self, address: str) -> None:
        """Note that a try was none that failed."""
        bucket = self._buckets.get(address)
        if bucket is not None:
            bucket.left = min(self._burst, bucket.left + 1)
