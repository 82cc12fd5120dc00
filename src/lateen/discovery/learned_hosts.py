"""The hosts that workloads were seen calling, and when last. Pure: times are Unix seconds, passed in.

Used by `app.learned`, which brings the clock and keeps the table in a file. A proxy that starts is told of the hosts of
its workload, so that not every replica has to ask again for what all of them call.

A host ages in two steps. Not seen for EXPIRING_SECONDS it is *expiring*: still told, and one more call makes it active
again. Not seen for REMOVED_SECONDS it is removed, and the next proxy that calls it asks for it. So what is called once
a day stays. Times are those of the wall, because the table outlives the process; a clock that was set back makes
nothing older than it is.

Everything is bounded, because any workload can make itself seen calling anything. Where there are too many, the least
recently seen goes: of the workload's hosts, of the workloads, of all the hosts there are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any

from lateen.model.names import Hostname

EXPIRING_SECONDS = 24 * 3600
REMOVED_SECONDS = 48 * 3600
VERSION = 1
"""Of the JSON value."""

_HOST = re.compile(r"[A-Za-z0-9*_.:-]{1,253}")
"""What stands in the name of a cluster: a DNS name, perhaps with a wildcard, or an IP address."""
_LONGEST_WORKLOAD = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is remembered."""

    workloads: int = 10_000
    hosts_per_workload: int = 1_000
    hosts: int = 200_000
    """Of all workloads together: at most 15 MB here, 11 MB in the file."""


DEFAULT_BOUNDS = Bounds()


class HostState(Enum):
    """How a learned host stands."""

    ACTIVE = "active"
    EXPIRING = "expiring"
    """Not seen for long: it is removed unless it is seen again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedHost:
    """One line of the table."""

    workload: str
    host: Hostname
    last_seen: int
    """Unix seconds."""
    state: HostState


class LearnedHosts:
    """The table. A workload is any name that its replicas share (`reviews-v2.default`)."""

    def __init__(self, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._seen: dict[str, dict[Hostname, int]] = {}
        """Workloads and their hosts, each in the order in which they were noted last."""
        self._hosts = 0

    def __len__(self) -> int:
        """How many hosts there are, of all workloads together."""
        return self._hosts

    def note(self, workload: str, hosts: Iterable[str], now: float) -> bool:
        """Take note that a workload was seen calling hosts; return whether one of them is new.

        What cannot be the host of a cluster is left out.
        """
        # Many workloads call the same hosts: one text for all of them is a quarter of the memory.
        found = [Hostname(sys.intern(host)) for host in hosts if _HOST.fullmatch(host)]
        if not found or len(workload) > _LONGEST_WORKLOAD:
            return False
        known = self._seen.pop(workload, {})
        self._seen[workload] = known
        before = known.keys() & set(found)
        self._hosts -= len(known)
        for host in found:
            known.pop(host, None)
            known[host] = int(now)
        while len(known) > min(self._bounds.hosts_per_workload, self._bounds.hosts):
            del known[next(iter(known))]
        self._hosts += len(known)
        self._make_room()
        return len(before) < len(set(found))

    def hosts(self, workload: str, now: float) -> tuple[Hostname, ...]:
        """Return the hosts of a workload that are active or expiring, sorted."""
        return tuple(sorted(host for host, seen in self._seen.get(workload, {}).items() if _state(seen, now)))

    def age(self, now: float) -> int:
        """Remove what was not seen for REMOVED_SECONDS; return how many hosts that were."""
        before = self._hosts
        for workload, known in tuple(self._seen.items()):
            if max(known.values()) <= now and _state(min(known.values()), now):
                continue
            # What lies in the future was noted before the clock was set back.
            kept = {host: min(seen, int(now)) for host, seen in known.items() if _state(seen, now)}
            self._hosts += len(kept) - len(known)
            if kept:
                self._seen[workload] = kept
            else:
                del self._seen[workload]
        return before - self._hosts

    def entries(self, now: float, workload: str | None = None) -> Iterator[LearnedHost]:
        """Yield the lines, of one workload or all, by workload and host."""
        for name in sorted(self._seen) if workload is None else (workload,):
            for host, seen in sorted(self._seen.get(name, {}).items()):
                if state := _state(seen, now):
                    yield LearnedHost(workload=name, host=host, last_seen=seen, state=state)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types that `take_json` reads. Valid until the table changes."""
        return {"version": VERSION, "workloads": self._seen}

    def take_json(self, value: object, now: float) -> int:
        """Take over what `to_json` returned; return how many entries cannot be read and were left out.

        ValueError when the value is nothing of the kind, or of a version that is not known.
        """
        if not isinstance(value, dict) or not isinstance(value.get("workloads"), dict):
            raise ValueError("it holds no table of learned hosts")
        if value.get("version") != VERSION:
            raise ValueError(f"it is of version {str(value.get('version'))[:20]!r}, this one reads {VERSION}")
        unreadable = 0
        for workload, hosts in value["workloads"].items():
            if not isinstance(hosts, dict):
                unreadable += 1
                continue
            good = {host: seen for host, seen in hosts.items() if _readable(host, seen)}
            unreadable += len(hosts) - len(good)
            # The oldest first, so that those go which were not seen for longest should there be too many.
            for seen, hosts_then in groupby(sorted(good, key=good.__getitem__), key=good.__getitem__):
                self.note(workload, hosts_then, min(seen, now))
        self.age(now)
        return unreadable

    def _make_room(self) -> None:
        """Forget the workloads that were noted longest ago. The newest always finds room."""
        while len(self._seen) > self._bounds.workloads or self._hosts > self._bounds.hosts:
            self._hosts -= len(self._seen.pop(next(iter(self._seen))))


def _state(seen: int, now: float) -> HostState | None:
    """Return how a host stands that was seen then; None when its time is over."""
    if now - seen >= REMOVED_SECONDS:
        return None
    return HostState.EXPIRING if now - seen >= EXPIRING_SECONDS else HostState.ACTIVE


def _readable(host: object, seen: object) -> bool:
    return (
        isinstance(host, str)
        and _HOST.fullmatch(host) is not None
        and isinstance(seen, int)
        and not isinstance(seen, bool)
        and 0 <= seen < 1 << 53
    )
