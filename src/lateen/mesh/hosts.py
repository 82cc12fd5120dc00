"""HostTable: look up what is bound to a host, the most specific pattern first.

Part of `mesh.index`, read by `mesh.queries`. Knows nothing of what it holds.

A mesh asks "which VirtualService, which DestinationRule has this host?" once per service and proxy, so a lookup
must not scan all patterns. Patterns are exact names, `*`, or `*.suffix`: walking the labels of the host from the
left finds every candidate in as many dictionary lookups as the host has labels. Istio also admits a wildcard
inside the first label (`*-eu.example.com`); a table that holds one of those scans its wildcards instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from lateen.mesh.sharing import patched
from lateen.model.names import Hostname

ValueT_co = TypeVar("ValueT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class HostTable(Generic[ValueT_co]):
    """Values by host pattern."""

    patterns: Mapping[Hostname, ValueT_co]
    wildcards: frozenset[Hostname] = frozenset()
    """Those of the patterns."""
    scanned: tuple[Hostname, ...] = ()
    """All wildcards, longest first; empty when walking the labels finds them all."""

    @classmethod
    def of(cls, patterns: Mapping[Hostname, ValueT_co]) -> HostTable[ValueT_co]:
        """Index `patterns` (exact names and wildcards)."""
        wildcards = frozenset(pattern for pattern in patterns if pattern.startswith("*"))
        return cls(patterns, wildcards, _scanned(wildcards))

    def patched(self, changes: Mapping[Hostname, ValueT_co | None]) -> HostTable[ValueT_co]:
        """Return this with some values replaced (None: removed)."""
        patterns = patched(self.patterns, changes)
        if patterns is self.patterns:
            return self
        turned = {host for host in changes if host.startswith("*") and (host in patterns) != (host in self.patterns)}
        if not turned:
            return HostTable(patterns, self.wildcards, self.scanned)
        wildcards = self.wildcards ^ turned
        return HostTable(patterns, wildcards, _scanned(wildcards))

    def candidates(self, host: Hostname) -> Iterator[tuple[Hostname, ValueT_co]]:
        """Yield (pattern, value) of each pattern that covers `host`: the exact one, then longest wildcard first.

        `host` may be a wildcard itself: a pattern covers it when it covers every name under it.
        """
        if host in self.patterns:
            yield host, self.patterns[host]
        for pattern in self._wildcards(host):
            if pattern != host and pattern in self.patterns:
                yield pattern, self.patterns[pattern]

    def _wildcards(self, host: Hostname) -> Iterator[Hostname]:
        if self.scanned:
            needle = host.removeprefix("*")
            yield from (pattern for pattern in self.scanned if needle.endswith(pattern[1:]))
            return
        dot = host.find(".")
        while dot >= 0:
            yield Hostname("*" + host[dot:])
            dot = host.find(".", dot + 1)
        yield Hostname("*")


def _scanned(wildcards: frozenset[Hostname]) -> tuple[Hostname, ...]:
    if all(pattern == "*" or pattern.startswith("*.") for pattern in wildcards):
        return ()
    return tuple(sorted(wildcards, key=lambda pattern: (-len(pattern), pattern)))
