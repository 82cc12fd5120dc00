"""Hosts by suffix: which of many are below a wildcard, without a look at all of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from lateen.model.names import Hostname


class HostNames:
    """Host names in the order of their ends."""

    def __init__(self, hosts: Iterable[Hostname]) -> None:
        self._backwards = sorted((host[::-1], host) for host in hosts)

    def under(self, pattern: Hostname) -> Iterator[Hostname]:
        """Yield the hosts that a wildcard (`*.suffix` or `*`) covers."""
        end = pattern.removeprefix("*")[::-1]
        for index in range(bisect_left(self._backwards, (end,)), len(self._backwards)):
            backwards, host = self._backwards[index]
            if not backwards.startswith(end):
                return
            if host == pattern or len(host) > len(end):
                yield host
