"""What of a native histogram can be wrong so that a scraper refuses the page it stands on. Pure.

Used by `metric_messages`. Field numbers from Prometheus' `metrics.proto`, rules from its "Native Histograms"
specification: as many buckets as the spans say, none below zero, a known schema. Must not know: other metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lateen.agent.metric_names import MetricsError
from lateen.agent.protobuf_wire import (
    BYTES,
    DOUBLE,
    FIXED64,
    VARINT,
    double_field,
    read_fields,
    read_varint,
    text_field,
    varint_field,
    zigzag,
)

Read = tuple[int, int, int, bytes]
"""A field as `read_fields` yields it."""
_SCHEMA, _ZERO_COUNT = 5, 7
_NEGATIVE, _POSITIVE = 9, 12
"""Spans; then deltas, then counts, in the next two fields."""
_NATIVE = frozenset(range(5, 15))
_KEPT = _NATIVE | {16}
_SPAN_KINDS = {1: VARINT, 2: VARINT}
_SCHEMAS = range(-4, 9)
_CUSTOM_BOUNDS = -53
_MOST_BUCKETS = 100_000


def is_native(fields: Iterable[Read]) -> bool:
    """Whether a histogram's fields say one; some exporters write a schema of 0 and nothing else for every histogram."""
    return any(number in (_NEGATIVE, _POSITIVE) or (number in _NATIVE and number != _SCHEMA) for number, *_ in fields)


def check_native(fields: Sequence[Read], count: float) -> bytes:
    """Return the fields of a native histogram as they were; MetricsError for one that no scraper takes."""
    schema = next((zigzag(integer) for number, _, integer, _ in fields if number == _SCHEMA), 0)
    if schema not in _SCHEMAS and schema != _CUSTOM_BOUNDS:
        raise MetricsError("a native histogram has a schema that is none")
    inside = sum(_side(fields, number) for number in (_NEGATIVE, _POSITIVE))
    inside += next((integer for number, _, integer, _ in fields if number == _ZERO_COUNT), 0)
    if inside > count * (1 + 1e-9) + 1e-9:
        raise MetricsError("a native histogram has more in its buckets than altogether")
    return b"".join(_encoded(field) for field in fields if field[0] in _KEPT)


def _side(fields: Sequence[Read], spans: int) -> float:
    """Return how many observations the buckets of one sign hold."""
    expected = 0
    deltas: list[int] = []
    counts: list[float] = []
    for number, wire, integer, body in fields:
        if number == spans:
            expected += next((value for which, _, value, _ in read_fields(body, _SPAN_KINDS) if which == 2), 0)
        elif number == spans + 1:
            if wire not in (BYTES, VARINT):
                raise MetricsError("a number is not of its field's type")
            deltas.extend(map(zigzag, _varints(body) if wire == BYTES else (integer,)))
        elif number == spans + 2:
            if wire not in (BYTES, FIXED64):
                raise MetricsError("a number is not of its field's type")
            counts.extend(_doubles(body))
    if expected > _MOST_BUCKETS or expected != len(counts or deltas) or (counts and deltas):
        raise MetricsError("a native histogram has not the buckets that its spans say")
    total = current = 0
    for delta in deltas:
        current += delta
        total += current
        if current < 0:
            raise MetricsError("a native histogram has a bucket with less than nothing")
    if any(not one >= 0 for one in counts):
        raise MetricsError("a native histogram has a bucket with less than nothing")
    return total + sum(counts)


def _varints(body: bytes) -> Iterator[int]:
    at = 0
    while at < len(body):
        value, at = read_varint(body, at)
        yield value


def _doubles(body: bytes) -> Iterator[float]:
    if len(body) % DOUBLE.size:
        raise MetricsError("a number is not of its field's type")
    for (value,) in DOUBLE.iter_unpack(body):
        yield value


def _encoded(field: Read) -> bytes:
    number, wire, integer, body = field
    if wire == VARINT:
        return varint_field(number, integer)
    if wire == FIXED64:
        return double_field(number, DOUBLE.unpack(body)[0])
    return text_field(number, body)
