"""Which names stand on a page of metrics, and whose families may still come on it. Pure.

Loaded with the first scrape, so it is small. A family is told of once: what comes second with a name that is taken is
left out. Used by `metrics_page`, `envoy_metrics`, `metric_families` and `metric_merging`. Must not know: formats, but
for the line of text that says a type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

MOST_FAMILIES = 20_000
MOST_SAMPLES = 1_000_000
_TYPES = re.compile(rb"\n# TYPE ([a-zA-Z0-9_:]+) (\w+)")


class MetricsError(ValueError):
    """The page breaks its format, or goes beyond a bound. Says no more of it than the kind of fault and a name."""


class Kind(IntEnum):
    """What a family is, by protobuf's numbers."""

    COUNTER = 0
    GAUGE = 1
    SUMMARY = 2
    UNTYPED = 3
    HISTOGRAM = 4
    GAUGE_HISTOGRAM = 5


SAMPLE_SUFFIXES = {
    Kind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    Kind.GAUGE_HISTOGRAM: ("_bucket", "_sum", "_count"),
    Kind.SUMMARY: ("_sum", "_count"),
}
"""What the names of a family's samples end with in text, besides nothing."""
KINDS = {kind.name.lower(): kind for kind in Kind}


class Part(Protocol):
    """One party's metrics on their way to the page. MetricsError for what no page can hold."""

    def feed(self, block: bytes) -> bytes:
        """Return what is to be served of what is complete with this block."""

    def end(self) -> bytes:
        """Return what waited for the end."""


@dataclass(slots=True)
class Names:
    """The names that stand on a page: of families, and of their samples."""

    taken: set[str] = field(default_factory=set)

    def take(self, name: str, kind: Kind) -> None:
        """Note a family."""
        self.taken.add(name)
        self.taken.update(name + suffix for suffix in SAMPLE_SUFFIXES.get(kind, ()))

    def note(self, text: bytes) -> None:
        """Note the families of whole lines that their maker names with plain names."""
        for name, word in _TYPES.findall(b"\n" + text):
            self.take(name.decode(), KINDS.get(word.decode(), Kind.UNTYPED))


@dataclass(slots=True)
class Selection:
    """Which families of one party are served, beside what others have."""

    names: Names
    """Of the others."""
    own: dict[str, Kind] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    _samples: int = 0

    def takes(self, name: str, kind: Kind) -> bool:
        """Whether a family may stand on the page. MetricsError beyond the bounds."""
        had = self.own.get(name)
        suffixes = SAMPLE_SUFFIXES.get(kind, ())
        if (had is not None and had is not kind) or not self.names.taken.isdisjoint(
            (name, *(name + suffix for suffix in suffixes))
        ):
            self.dropped.add(name)
            return False
        if len(self.own) >= MOST_FAMILIES:
            raise MetricsError("there are too many families")
        self.own[name] = kind
        return True

    def count(self) -> None:
        """Count a sample. MetricsError beyond the bounds."""
        self._samples += 1
        if self._samples > MOST_SAMPLES:
            raise MetricsError("there are too many samples")
