"""How often a wrong token may be tried: token buckets for each peer and for all, in a bounded table.

Called by `api/gate.py`. A token of ours cannot be guessed; what is limited is the work of checking signatures, and the
lines that refusals write. Pure: time is a parameter.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

MAX_PEERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many at once, and so many a second for ever."""

    burst: float
    per_second: float


PEER_RATE = Rate(burst=20, per_second=2)
GLOBAL_RATE = Rate(burst=200, per_second=50)
"""Verifying a signature takes some 0.2 ms: even if everybody guesses, that is a hundredth of a processor."""


class Bucket:
    """A token bucket, full at first."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until one may be taken, 0 for now."""
        self._refill(now)
        return 0.0 if self._left >= 1 else (1 - self._left) / self._rate.per_second

    def take(self, now: float) -> bool:
        """Take one; False when there is none."""
        self._refill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _refill(self, now: float) -> None:
        self._left = min(self._rate.burst, self._left + max(now - self._at, 0.0) * self._rate.per_second)
        self._at = now


class FailureLimits:
    """Counts failed log-ins by peer and of all. A peer that was not heard of for longest is forgotten first."""

    def __init__(self, peer: Rate = PEER_RATE, everybody: Rate = GLOBAL_RATE, max_peers: int = MAX_PEERS) -> None:
        self._peer_rate = peer
        self._everybody = Bucket(everybody, 0.0)
        self._peers: OrderedDict[str, Bucket] = OrderedDict()
        self._max_peers = max_peers

    def __len__(self) -> int:
        """Return how many peers are remembered."""
        return len(self._peers)

    def wait(self, peer: str, now: float) -> float:
        """Return for how many seconds this peer may not try a token that nobody has seen be right; 0 if it may."""
        bucket = self._peers.get(network(peer))
        return max(self._everybody.wait(now), bucket.wait(now) if bucket else 0.0)

    def failed(self, peer: str, now: float) -> None:
        """Count a wrong token."""
        key = network(peer)
        bucket = self._peers.setdefault(key, Bucket(self._peer_rate, now))
        self._peers.move_to_end(key)
        if len(self._peers) > self._max_peers:
            self._peers.popitem(last=False)
        bucket.take(now)
        self._everybody.take(now)


def network(peer: str) -> str:
    """Return the address, or of IPv6 its /64: whoever has one address of that has all."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
