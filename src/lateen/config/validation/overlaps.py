"""Which hosts or localities of a list cover each other, in time that grows with the list and not with its square.

Called by the rules of VirtualServices and of locality load balancing: a list may have a hundred thousand entries, and
comparing every entry with every other is how a document of two megabytes would keep a control plane busy for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HostSet:
    """Hosts, of which some are wildcards (`*` and whatever follows it)."""

    exact: frozenset[str]
    suffixes: frozenset[str]
    """What follows the `*` of each wildcard."""

    @classmethod
    def of(cls, hosts: Iterable[str]) -> HostSet:
        """Return the set of some hosts."""
        listed = frozenset(hosts)
        return cls(listed, frozenset(host[1:] for host in listed if host.startswith("*")))

    def covers(self, host: str) -> bool:
        """Whether a host of the set is this one or covers it (`model.names.host_matches`)."""
        return "*" in self.exact or host in self.exact or any(end in self.suffixes for end in _ends(host))


def _ends(host: str) -> Iterator[str]:
    """Yield what a wildcard that covers `host` may have after its `*`: every proper end of it."""
    return (host[start:] for start in range(1, len(host) + 1))


def overlapping_hosts(hosts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the position of each host that one before it covers, equals, or is covered by, and that one."""
    suffixes = HostSet.of(hosts).suffixes
    seen: set[str] = set()
    wildcards: dict[str, str] = {}
    """Earlier wildcards by what follows their `*`."""
    ended: dict[str, str] = {}
    """The first earlier host with each end that is the suffix of a wildcard of the list."""
    for position, host in enumerate(hosts):
        ends = [end for end in _ends(host) if end in suffixes]
        other = host if host in seen else next((wildcards[end] for end in ends if end in wildcards), "")
        if not other and host.startswith("*"):
            other = ended.get(host[1:], "")
        if other:
            yield position, other
        seen.add(host)
        for end in ends:
            ended.setdefault(end, host)
        if host.startswith("*"):
            wildcards.setdefault(host[1:], host)


@dataclass(slots=True)
class LocalitySet:
    """Patterns of localities (`region/zone/subzone`), as a tree of their parts."""

    below: dict[str, LocalitySet] = field(default_factory=dict)
    ends: bool = False
    """Whether a pattern ends here, which covers everything below."""

    def add(self, parts: Sequence[str]) -> None:
        """Add a pattern."""
        place = self
        for part in parts:
            place = place.below.setdefault(part, LocalitySet())
        place.ends = True

    def meets(self, parts: Sequence[str]) -> bool:
        """Whether a pattern of the set covers this one or is covered by it; `*` stands for any part."""
        if self.ends or not parts:
            return True
        first, rest = parts[0], parts[1:]
        if first == "*":
            return any(place.meets(rest) for place in self.below.values())
        return any(self.below[part].meets(rest) for part in (first, "*") if part in self.below)
