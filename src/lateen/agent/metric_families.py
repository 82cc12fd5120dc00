"""Metrics as values, whichever format they came in: families, and the points that follow each. Pure.

A page is a stream of `Family`, then its `Point`s, then the next `Family`. `metric_text` and `metric_messages` read and
write such streams; `metric_merging` lets through what may stand on a page. Here is also what both formats agree on:
how names look, and how one that a scraper cannot read is written for it. Source: Prometheus' documentation,
"Exposition formats", "Escaping schemes" and `io.prometheus.client`. Must not know: the formats, or where pages go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from lateen.agent.metric_names import Kind, MetricsError

Labels: TypeAlias = tuple[tuple[str, str], ...]

LONGEST_NAME = 1024
"""Characters of a family's or label's name."""
MOST_LABELS = 128
LARGEST_FAMILY = 8 << 20
"""Bytes of one family of the app that is converted: it stands in memory as a whole."""
_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PLAIN_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NO_LABELS = frozenset(("__name__", ""))
_ILL_IN_NAME = re.compile(r"[^a-zA-Z0-9_:]")
_ILL_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Family:
    """The head of a family. A counter's name is that of its samples: with the `_total` that OpenMetrics leaves out."""

    name: str
    kind: Kind
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that stands for many."""

    labels: Labels
    value: float
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many observations were not above a bound."""

    upper_bound: float
    count: float
    exemplar: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A distribution by quantiles."""

    count: float | None
    total: float | None
    quantiles: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """A distribution by buckets, which are cumulative and in order."""

    count: float | None
    total: float | None
    buckets: tuple[Bucket, ...] = ()
    native: bytes = b""
    """Protobuf's fields of a native histogram as they came, checked: no other format has words for them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One series of a family at one time."""

    labels: Labels
    value: float | Summary | Histogram
    timestamp_ms: int | None = None
    exemplar: Exemplar | None = None
    created_ms: int | None = None
    raw: bytes = b""
    """Protobuf's message that said this, when one did."""


Event: TypeAlias = Family | Point


def check_name(name: str) -> str:
    """Return a name that both formats can carry, MetricsError for one that they cannot."""
    if not name or len(name) > LONGEST_NAME:
        raise MetricsError("a name is empty or too long")
    return name


def check_labels(labels: Labels) -> Labels:
    """Return labels that a scraper takes: it refuses a whole page for one series that has a label twice."""
    if len(labels) > MOST_LABELS:
        raise MetricsError("a series has too many labels")
    names = {name for name, _ in labels}
    if len(names) != len(labels) or not _NO_LABELS.isdisjoint(names):
        raise MetricsError("a series has a label twice, or one that stands for its name")
    if names and max(map(len, names)) > LONGEST_NAME:
        raise MetricsError("a name is empty or too long")
    return labels


def is_plain(name: str, *, label: bool = False) -> bool:
    """Whether every scraper can read a name, also one that knows no quotes."""
    return (_PLAIN_LABEL if label else _PLAIN_NAME).fullmatch(name) is not None


def underscored(name: str, *, label: bool = False) -> str:
    """Return a name for a scraper that takes no other characters: Prometheus' scheme `underscores`."""
    plain = (_ILL_IN_LABEL if label else _ILL_IN_NAME).sub("_", name)
    return f"_{plain[1:]}" if plain[:1].isdigit() else plain


def underscored_labels(labels: Labels) -> Labels:
    """Return labels likewise. MetricsError when two have the same name then."""
    return check_labels(tuple((underscored(name, label=True), value) for name, value in labels))
