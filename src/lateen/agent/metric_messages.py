"""Metrics in protobuf: delimited `io.prometheus.client.MetricFamily` messages to families and points, and back. Pure.

Field numbers from Prometheus' `metrics.proto`. Everything is read, so that one broken message of an app does not cost
a scraper the whole page; what has no word of ours (native histograms, nanoseconds) goes on in `Point.raw`. Used by
`metric_merging`. Must not know: text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

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
    check_labels,
    check_name,
)
from lateen.agent.metric_names import Kind, MetricsError
from lateen.agent.native_histograms import check_native, is_native
from lateen.agent.protobuf_wire import (
    BYTES,
    DOUBLE,
    FIXED64,
    VARINT,
    WireError,
    double_field,
    read_fields,
    read_varint,
    signed,
    text_field,
    varint,
    varint_field,
)

_NAME, _HELP, _TYPE, _METRIC, _UNIT = 1, 2, 3, 4, 5
_FAMILY_KINDS = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
_METRIC_KINDS = {1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: BYTES, 6: VARINT, 7: BYTES}
_NUMBER_KINDS = {1: FIXED64}
_COUNTER_KINDS = {1: FIXED64, 2: BYTES, 3: BYTES}
_SUMMARY_KINDS = {1: VARINT, 2: FIXED64, 3: BYTES, 4: BYTES}
_QUANTILE_KINDS = {1: FIXED64, 2: FIXED64}
_HISTOGRAM_KINDS = {
    **dict.fromkeys((1, 5, 7), VARINT),
    **dict.fromkeys((2, 4, 6, 8), FIXED64),
    **dict.fromkeys((3, 9, 12, 15, 16), BYTES),
}
_BUCKET_KINDS = {1: VARINT, 2: FIXED64, 3: BYTES, 4: FIXED64}
_EXEMPLAR_KINDS = {1: BYTES, 2: FIXED64, 3: BYTES}
_LABEL_KINDS = {1: BYTES, 2: BYTES}
_TIME_KINDS = {1: VARINT, 2: VARINT}
"""What a scraper's library insists on: it refuses a page for one field of another kind."""
_LABEL, _TIMESTAMP = 1, 6
_VALUES = {Kind.GAUGE: 2, Kind.COUNTER: 3, Kind.SUMMARY: 4, Kind.UNTYPED: 5, Kind.HISTOGRAM: 7, Kind.GAUGE_HISTOGRAM: 7}
"""The field of a metric that says its value."""
_MOST_NANOSECONDS = 10**9


@dataclass(slots=True)
class MessageReader:
    """Blocks of a page in, families and points out. MetricsError, whatever is wrong."""

    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield what is complete with this block."""
        self._rest += block
        at = 0
        try:
            while (framed := _frame(self._rest, at)) is not None:
                begin, end = framed
                yield from decode_family(bytes(self._rest[begin:end]))
                at = end
        except (WireError, UnicodeDecodeError) as error:
            reason = str(error) if isinstance(error, WireError) else "has a text that is not UTF-8"
            raise MetricsError(f"a message {reason}") from error
        finally:
            del self._rest[:at]

    def end(self) -> Iterator[Event]:
        """Say that the page is over."""
        if self._rest:
            raise MetricsError("the page ends within a message")
        return iter(())


def _frame(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """Return where the message that is announced at `at` begins and ends; None while it is not all there."""
    for position in range(at, min(at + 5, len(buffer))):
        if buffer[position] < 0x80:
            size, begin = read_varint(buffer, at)
            if size > LARGEST_FAMILY:
                raise MetricsError("a family is too large")
            return (begin, begin + size) if begin + size <= len(buffer) else None
    if len(buffer) - at >= 5:
        raise MetricsError("a family is too large")
    return None


def decode_family(message: bytes) -> Iterator[Event]:
    """Yield a family and its points. MetricsError, WireError or UnicodeDecodeError."""
    name = help_text = unit = ""
    kind, metrics = Kind.COUNTER, []
    for number, _, integer, body in read_fields(message, _FAMILY_KINDS):
        if number == _METRIC:
            metrics.append(body)
        elif number == _NAME:
            name = body.decode()
        elif number == _HELP:
            help_text = body.decode()
        elif number == _UNIT:
            unit = body.decode()
        elif number == _TYPE:
            if integer > Kind.GAUGE_HISTOGRAM:
                raise MetricsError("a family has a type that is none")
            kind = Kind(integer)
    yield Family(check_name(name), kind, help_text, unit)
    for metric in metrics:
        yield _decode_metric(metric, kind)


def _decode_metric(message: bytes, kind: Kind) -> Point:
    labels: list[tuple[str, str]] = []
    said = None
    timestamp = None
    value_field = _VALUES[kind]
    for number, _, integer, body in read_fields(message, _METRIC_KINDS):
        if number == _LABEL:
            labels.append(_decode_label(body))
        elif number == value_field and said is None:
            said = body
        elif number == _TIMESTAMP:
            timestamp = signed(integer)
        elif number in _METRIC_KINDS:
            said = None
            break
    if said is None:
        raise MetricsError("a metric has no value of its family's type")
    checked = check_labels(tuple(labels))
    if kind in (Kind.HISTOGRAM, Kind.GAUGE_HISTOGRAM):
        histogram, created = _decode_histogram(said)
        return Point(checked, histogram, timestamp, None, created, message)
    if kind is Kind.SUMMARY:
        summary, created = _decode_summary(said)
        return Point(checked, summary, timestamp, None, created, message)
    value, exemplar, created = 0.0, None, None
    for number, _, _, body in read_fields(said, _COUNTER_KINDS if kind is Kind.COUNTER else _NUMBER_KINDS):
        if number == 1:
            value = _double(body)
        elif kind is Kind.COUNTER and number == 2:
            exemplar = _decode_exemplar(body)
        elif kind is Kind.COUNTER and number == 3:
            created = _decode_time(body)
    return Point(checked, value, timestamp, exemplar, created, message)


def _decode_label(message: bytes) -> tuple[str, str]:
    name = value = b""
    for number, _, _, body in read_fields(message, _LABEL_KINDS):
        if number == 1:
            name = body
        elif number == 2:
            value = body
    return name.decode(), value.decode()


def _double(body: bytes) -> float:
    number: float = DOUBLE.unpack(body)[0]
    return number


def _decode_summary(message: bytes) -> tuple[Summary, int | None]:
    count, total, created, quantiles = 0, 0.0, None, []
    for number, _, integer, body in read_fields(message, _SUMMARY_KINDS):
        if number == 1:
            count = integer
        elif number == 2:
            total = _double(body)
        elif number == 3:
            found = {1: 0.0, 2: 0.0}
            found.update(
                (which, _double(value)) for which, _, _, value in read_fields(body, _QUANTILE_KINDS) if which in found
            )
            quantiles.append((found[1], found[2]))
        elif number == 4:
            created = _decode_time(body)
    return Summary(count, total, tuple(quantiles)), created


def _decode_histogram(message: bytes) -> tuple[Histogram, int | None]:
    count, real_count, total, created = 0, 0.0, 0.0, None
    buckets: list[Bucket] = []
    native: list[tuple[int, int, int, bytes]] = []
    for number, wire, integer, body in read_fields(message, _HISTOGRAM_KINDS):
        if number == 1:
            count = integer
        elif number == 2:
            total = _double(body)
        elif number == 3:
            buckets.append(_decode_bucket(body))
        elif number == 4:
            real_count = _double(body)
        elif number == 15:
            created = _decode_time(body)
        else:
            if number == 16:
                _decode_exemplar(body)
            native.append((number, wire, integer, body))
    kept = check_native(native, real_count or count) if is_native(native) else b""
    _check_order(buckets)
    return Histogram(real_count if real_count > 0 else count, total, tuple(buckets), kept), created


def _decode_bucket(message: bytes) -> Bucket:
    count, real_count, bound, exemplar = 0, 0.0, 0.0, None
    for number, _, integer, body in read_fields(message, _BUCKET_KINDS):
        if number == 1:
            count = integer
        elif number == 2:
            bound = _double(body)
        elif number == 3:
            exemplar = _decode_exemplar(body)
        elif number == 4:
            real_count = _double(body)
    return Bucket(bound, real_count if real_count > 0 else count, exemplar)


def _check_order(buckets: list[Bucket]) -> None:
    bounds = [bucket.upper_bound for bucket in buckets]
    if any(not before < after for before, after in pairwise(bounds)):
        raise MetricsError("the buckets of a histogram are not in order")


def _decode_exemplar(message: bytes) -> Exemplar:
    labels, value, timestamp = [], 0.0, None
    for number, _, _, body in read_fields(message, _EXEMPLAR_KINDS):
        if number == 1:
            labels.append(_decode_label(body))
        elif number == 2:
            value = _double(body)
        elif number == 3:
            timestamp = _decode_time(body)
    return Exemplar(tuple(labels), value, timestamp)


def _decode_time(message: bytes) -> int:
    """Return the milliseconds of a `google.protobuf.Timestamp`."""
    seconds = nanoseconds = 0
    for number, _, integer, _ in read_fields(message, _TIME_KINDS):
        if number == 1:
            seconds = signed(integer)
        elif number == 2:
            nanoseconds = signed(integer)
    if not 0 <= nanoseconds < _MOST_NANOSECONDS:
        raise MetricsError("a time is none")
    return seconds * 1000 + nanoseconds // 1_000_000


@dataclass(slots=True)
class MessageWriter:
    """Families and points in, delimited messages out: each when the next one begins, since its size comes first."""

    _head: bytes = b""
    _kind: Kind = Kind.UNTYPED
    _points: list[bytes] = field(default_factory=list)
    _size: int = 0

    def take(self, event: Event) -> bytes:
        """Return what is to be served before this, if anything."""
        if isinstance(event, Point):
            encoded = text_field(_METRIC, event.raw or _encode_metric(event, self._kind))
            self._points.append(encoded)
            self._size += len(encoded)
            if self._size > LARGEST_FAMILY:
                raise MetricsError("a family is too large")
            return b""
        served = self.end()
        self._kind = event.kind
        self._head = encode_head(event)
        return served

    def end(self) -> bytes:
        """Return the last family. One without points is not served."""
        message = b"".join((self._head, *self._points))
        had = bool(self._points)
        self._points.clear()
        self._size = 0
        return varint(len(message)) + message if had else b""


def encode_head(family: Family) -> bytes:
    """Return the fields of a family that are not its metrics."""
    return (
        text_field(_NAME, family.name)
        + (text_field(_HELP, family.help) if family.help else b"")
        + varint_field(_TYPE, family.kind)
        + (text_field(_UNIT, family.unit) if family.unit else b"")
    )


def _encode_metric(point: Point, kind: Kind) -> bytes:
    if isinstance(point.value, Histogram):
        value = _encode_histogram(point.value, point.created_ms)
    elif isinstance(point.value, Summary):
        value = _encode_summary(point.value, point.created_ms)
    else:
        value = double_field(1, point.value)
        if kind is Kind.COUNTER:
            value += _optional_exemplar(2, point.exemplar) + _optional_time(3, point.created_ms)
    stamp = varint_field(_TIMESTAMP, point.timestamp_ms) if point.timestamp_ms is not None else b""
    return _encode_labels(point.labels) + text_field(_VALUES[kind], value) + stamp


def _encode_labels(labels: Labels) -> bytes:
    return b"".join(text_field(_LABEL, text_field(1, name) + text_field(2, value)) for name, value in labels)


def _encode_summary(summary: Summary, created: int | None) -> bytes:
    return (
        varint_field(1, _whole(summary.count or 0))
        + double_field(2, summary.total or 0.0)
        + b"".join(text_field(3, double_field(1, at) + double_field(2, value)) for at, value in summary.quantiles)
        + _optional_time(4, created)
    )


def _whole(count: float) -> int:
    if not (math.isfinite(count) and 0 <= count < 1 << 64):
        raise MetricsError("a summary has a count that is none")
    return int(count)


def _encode_histogram(histogram: Histogram, created: int | None) -> bytes:
    return (
        _encode_count(histogram.count or 0, 1)
        + double_field(2, histogram.total or 0.0)
        + b"".join(text_field(3, _encode_bucket(bucket)) for bucket in histogram.buckets)
        + histogram.native
        + _optional_time(15, created)
    )


def _encode_bucket(bucket: Bucket) -> bytes:
    return _encode_count(bucket.count, 1) + double_field(2, bucket.upper_bound) + _optional_exemplar(3, bucket.exemplar)


def _encode_count(count: float, number: int) -> bytes:
    """An integer in its field; anything else in the field 4, which outdoes it both in histograms and in buckets."""
    if math.isfinite(count) and count == int(count) and 0 <= count < 1 << 64:
        return varint_field(number, int(count))
    return double_field(4, count)


def _optional_exemplar(number: int, exemplar: Exemplar | None) -> bytes:
    if exemplar is None:
        return b""
    body = _encode_labels(exemplar.labels) + double_field(2, exemplar.value) + _optional_time(3, exemplar.timestamp_ms)
    return text_field(number, body)


def _optional_time(number: int, milliseconds: int | None) -> bytes:
    if milliseconds is None:
        return b""
    seconds, rest = divmod(milliseconds, 1000)
    return text_field(number, varint_field(1, seconds) + varint_field(2, rest * 1_000_000))
