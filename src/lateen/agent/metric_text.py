"""Metrics in text: Prometheus' format 0.0.4 and OpenMetrics to families and points, and families to 0.0.4. Pure.

The samples of one histogram may stand anywhere within its family, so its points come when the family ends; all others
come at once. What text has no words for goes when it is written: exemplars, creation times, units, native histograms
(their classic buckets, and with none their count and sum, stay). Used by `metric_merging`. Must not know: protobuf.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lateen.agent.metric_families import (
    LARGEST_FAMILY,
    Bucket,
    Event,
    Exemplar,
    Family,
    Histogram,
    Labels,
    Point,
    Summary,
    check_name,
)
from lateen.agent.metric_lines import (
    META,
    SAMPLE,
    exemplar_of,
    head_line,
    labels_of,
    milliseconds,
    number,
    sample_line,
    unescaped_help,
    unquoted,
    written,
)
from lateen.agent.metric_names import Kind, MetricsError

LONGEST_LINE = 1 << 20
_FARTHEST_SECONDS = 1e11
_TEXT_KINDS = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "summary": Kind.SUMMARY,
    "histogram": Kind.HISTOGRAM,
    "untyped": Kind.UNTYPED,
}
_OPEN_KINDS = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "summary": Kind.SUMMARY,
    "histogram": Kind.HISTOGRAM,
    "gaugehistogram": Kind.GAUGE_HISTOGRAM,
    "unknown": Kind.UNTYPED,
    "info": Kind.GAUGE,
    "stateset": Kind.GAUGE,
}
_OPEN_SUFFIXES = {"counter": "_total", "info": "_info"}
"""What OpenMetrics leaves out of a family's name."""
_WHOLE, _BUCKET, _QUANTILE, _SUM, _COUNT, _CREATED = range(6)
_COMPOSITE = {
    Kind.HISTOGRAM: {"_bucket": _BUCKET, "_sum": _SUM, "_count": _COUNT},
    Kind.GAUGE_HISTOGRAM: {"_bucket": _BUCKET, "_gsum": _SUM, "_gcount": _COUNT},
    Kind.SUMMARY: {"": _QUANTILE, "_sum": _SUM, "_count": _COUNT},
}
_WRITTEN_KINDS = {
    Kind.COUNTER: "counter",
    Kind.GAUGE: "gauge",
    Kind.SUMMARY: "summary",
    Kind.UNTYPED: "untyped",
    Kind.HISTOGRAM: "histogram",
    Kind.GAUGE_HISTOGRAM: "histogram",
}


@dataclass(slots=True)
class Lines:
    """Blocks in, whole lines out."""

    _rest: bytes = b""

    def feed(self, block: bytes) -> list[str]:
        """Return the lines that are complete with this block."""
        text = self._rest + block
        cut = text.rfind(b"\n") + 1
        self._rest = text[cut:]
        if len(self._rest) > LONGEST_LINE:
            raise MetricsError("a line is too long")
        return _decoded(text[:cut])

    def end(self) -> list[str]:
        """Return the last line, if it has no end."""
        rest, self._rest = self._rest, b""
        return _decoded(rest)


def _decoded(text: bytes) -> list[str]:
    try:
        return [line for line in (line.rstrip("\r") for line in text.decode().split("\n")) if line]
    except UnicodeDecodeError as error:
        raise MetricsError("a text is not UTF-8") from error


@dataclass(slots=True)
class _Composite:
    """A histogram or summary whose samples are coming in."""

    timestamp_ms: int | None = None
    created_ms: int | None = None
    count: float | None = None
    total: float | None = None
    buckets: list[Bucket] = field(default_factory=list)
    quantiles: list[tuple[float, float]] = field(default_factory=list)


@dataclass(slots=True)
class TextReader:
    """Blocks of a page in, families and points out. MetricsError for what a scraper would refuse."""

    open_metrics: bool = False
    _lines: Lines = field(default_factory=Lines)
    _told: dict[str, str] = field(default_factory=dict)
    """TYPE, HELP and UNIT of the family."""
    _name: str = ""
    """As the page says it."""
    _family: Family | None = None
    """What was yielded."""
    _roles: dict[str, int] = field(default_factory=dict)
    """What a sample of the family is, by its name."""
    _parts: dict[Labels, _Composite] = field(default_factory=dict)
    _size: int = 0
    _ended: bool = False

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield what is complete with this block."""
        for line in self._lines.feed(block):
            yield from self._line(line)

    def end(self) -> Iterator[Event]:
        """Say that the page is over; yield what waited for that."""
        for line in self._lines.end():
            yield from self._line(line)
        if self.open_metrics and not self._ended:
            raise MetricsError("the page has no end mark")
        yield from self._close()

    def _line(self, line: str) -> Iterator[Event]:
        if self._ended:
            raise MetricsError("the page goes on after its end mark")
        if line[0] != "#":
            yield from self._sample(line.lstrip(" \t"))
            return
        if line == "# EOF" and self.open_metrics:
            self._ended = True
            return
        if (meta := META.fullmatch(line)) is None:
            return
        word, name, rest = meta.groups()
        name = check_name(unquoted(name) if name[0] == '"' else name)
        if name != self._name or self._family:
            # Also when the same family is told of again: its samples stand in two places.
            yield from self._close()
            self._name = name
        self._told[word] = rest or ""

    def _sample(self, line: str) -> Iterator[Event]:
        if not line:
            return
        found = SAMPLE.fullmatch(line)
        if found is None:
            raise MetricsError("a line is no sample")
        name, labels, _ = labels_of(found[1], found[2])
        if self._family is None and self._name:
            self._settle()
        role = self._roles.get(name)
        if role is None:
            yield from self._close()
            self._name = check_name(name)
            self._settle(name)
            role = self._roles[name]
        if self._family is None:
            raise AssertionError("a settled family")
        value = number(found[3])
        timestamp = milliseconds(found[4], seconds=self.open_metrics)
        exemplar = exemplar_of(found[5])
        if not self._size:
            yield self._family
        self._size += len(line)
        if role == _WHOLE:
            yield Point(labels, value, timestamp, exemplar)
        elif self._family.kind in _COMPOSITE:
            if self._size > LARGEST_FAMILY:
                raise MetricsError("a family is too large")
            self._gather(role, labels, value, timestamp, exemplar)

    def _settle(self, sample: str = "") -> None:
        """Make the family of what was told of it; or, of a sample that was not told of, one of its own."""
        word = self._told.get("TYPE", "unknown" if self.open_metrics else "untyped")
        known = _OPEN_KINDS if self.open_metrics else _TEXT_KINDS
        if word not in known:
            raise MetricsError("a family has a type that is none")
        kind = Kind.UNTYPED if sample else known[word]
        base = self._name
        suffix = _OPEN_SUFFIXES.get(word, "") if self.open_metrics and not sample else ""
        self._family = Family(
            base + suffix, kind, unescaped_help(self._told.get("HELP", "")), self._told.get("UNIT", "").strip()
        )
        suffixes = _COMPOSITE.get(kind, {suffix: _WHOLE})
        self._roles = {base + one: role for one, role in suffixes.items()}
        if self.open_metrics and word in ("counter", "histogram", "summary"):
            self._roles[base + "_created"] = _CREATED

    def _gather(
        self, role: int, labels: Labels, value: float, timestamp: int | None, exemplar: Exemplar | None
    ) -> None:
        bound = 0.0
        if role in (_BUCKET, _QUANTILE):
            key = "le" if role == _BUCKET else "quantile"
            bound = number(next((said for name, said in labels if name == key), ""))
            labels = tuple(pair for pair in labels if pair[0] != key)
        part = self._parts.setdefault(labels, _Composite(timestamp))
        if role == _BUCKET:
            part.buckets.append(Bucket(bound, value, exemplar))
        elif role == _QUANTILE:
            part.quantiles.append((bound, value))
        elif role == _SUM:
            part.total = value
        elif role == _COUNT:
            part.count = value
        else:
            part.created_ms = round(value * 1000) if abs(value) < _FARTHEST_SECONDS else None

    def _close(self) -> Iterator[Event]:
        """Yield the points that waited for their family's end, and forget the family."""
        for labels, part in self._parts.items():
            if self._family and self._family.kind is Kind.SUMMARY:
                value: Summary | Histogram = Summary(part.count, part.total, tuple(part.quantiles))
            else:
                value = _histogram(part)
            yield Point(labels, value, part.timestamp_ms, None, part.created_ms)
        self._parts.clear()
        self._told.clear()
        self._name, self._family, self._size = "", None, 0
        self._roles = {}


def _histogram(part: _Composite) -> Histogram:
    buckets = sorted(part.buckets, key=lambda bucket: bucket.upper_bound)
    bounds = [bucket.upper_bound for bucket in buckets]
    if len(set(bounds)) != len(bounds) or any(map(math.isnan, bounds)):
        raise MetricsError("a histogram has a bucket twice")
    count = part.count
    if count is None and buckets and math.isinf(buckets[-1].upper_bound):
        count = buckets[-1].count
    return Histogram(count, part.total, tuple(buckets))


class TextWriter:
    """Families and points in, lines out."""

    def __init__(self) -> None:
        self._name = ""
        self._told = b""

    def take(self, event: Event) -> bytes:
        """Return what says this. A family is told of with its first point."""
        if isinstance(event, Family):
            self._name = event.name
            helped = head_line("HELP", event.name, event.help) if event.help else ""
            self._told = (helped + head_line("TYPE", event.name, _WRITTEN_KINDS[event.kind])).encode()
            return b""
        told, self._told = self._told, b""
        return told + "".join(_lines(self._name, event)).encode()

    def end(self) -> bytes:
        """Return nothing: everything is said at once."""
        return b""


def _lines(name: str, point: Point) -> Iterator[str]:
    value, labels, time = point.value, point.labels, point.timestamp_ms
    if isinstance(value, float | int):
        yield sample_line(name, labels, value, time)
        return
    if isinstance(value, Summary):
        for quantile, said in value.quantiles:
            yield sample_line(name, (*labels, ("quantile", written(quantile))), said, time)
    else:
        buckets = [(bucket.upper_bound, bucket.count) for bucket in value.buckets]
        if value.count is not None and not (buckets and buckets[-1][0] == math.inf):
            buckets.append((math.inf, value.count))
        for bound, count in buckets:
            yield sample_line(f"{name}_bucket", (*labels, ("le", written(bound))), count, time)
    if value.total is not None:
        yield sample_line(f"{name}_sum", labels, value.total, time)
    if value.count is not None:
        yield sample_line(f"{name}_count", labels, value.count, time)
