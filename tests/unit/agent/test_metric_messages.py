"""Metrics in protobuf and text, against Google's library and Prometheus' own client."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from client_model import MetricFamily, read_delimited
from lateen.agent.metric_families import Bucket, Event, Exemplar, Family, Histogram, Labels, Point, Summary
from lateen.agent.metric_merging import app_part
from lateen.agent.metric_messages import MessageReader, MessageWriter
from lateen.agent.metric_names import Kind, MetricsError, Names, Selection
from lateen.agent.metric_text import TextReader, TextWriter

NUMBERS = st.floats(allow_nan=False, width=64)
COUNTS = st.integers(0, 2**53)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
TIMES = st.none() | st.integers(-(2**40), 2**45)
LABEL_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in ("le", "quantile"))
LABELS: st.SearchStrategy[Labels] = st.dictionaries(LABEL_NAMES, TEXTS, max_size=3).map(lambda d: tuple(d.items()))
EXEMPLARS = st.none() | st.builds(Exemplar, LABELS, NUMBERS, TIMES)


def field(number: int, body: bytes) -> bytes:
    return bytes((number << 3 | 2, len(body))) + body


PLAIN_KINDS = (Kind.COUNTER, Kind.GAUGE, Kind.UNTYPED)


def histograms(exemplars: st.SearchStrategy[Exemplar | None]) -> st.SearchStrategy[Histogram]:
    bounds = st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, max_size=4).map(sorted)

    def of(found: list[float]) -> st.SearchStrategy[Histogram]:
        buckets = st.tuples(*(st.builds(Bucket, st.just(bound), COUNTS, exemplars) for bound in (*found, math.inf)))
        return st.builds(Histogram, COUNTS, NUMBERS, buckets)

    return bounds.flatmap(of)


SUMMARIES = st.builds(
    Summary, COUNTS, NUMBERS, st.lists(st.tuples(st.floats(0, 1), NUMBERS), max_size=3).map(tuple)
)  # fmt: skip


@st.composite
def pages(draw: st.DrawFn, exemplars: st.SearchStrategy[Exemplar | None] = EXEMPLARS) -> list[Event]:
    """Families with different names, each with points of different labels."""
    events: list[Event] = []
    names = draw(st.lists(st.from_regex(r"[a-z]{3,8}", fullmatch=True), unique=True, max_size=4))
    for name in names:
        kind = draw(st.sampled_from((*PLAIN_KINDS, Kind.HISTOGRAM, Kind.SUMMARY)))
        events.append(Family(name, kind, draw(TEXTS)))
        for labels in draw(st.lists(LABELS, min_size=1, max_size=3, unique_by=lambda found: tuple(sorted(found)))):
            time = draw(TIMES)
            if kind in PLAIN_KINDS:
                exemplar = draw(exemplars) if kind is Kind.COUNTER else None
                events.append(Point(labels, draw(NUMBERS), time, exemplar))
            else:
                either: st.SearchStrategy[Any] = histograms(exemplars) if kind is Kind.HISTOGRAM else SUMMARIES
                events.append(Point(labels, draw(either), time))
    return events


def written(writer: MessageWriter | TextWriter, events: list[Event]) -> bytes:
    return b"".join(map(writer.take, events)) + writer.end()


def read(reader: MessageReader | TextReader, page: bytes, size: int = 7) -> list[Event]:
    events = [event for at in range(0, len(page), size) for event in reader.feed(page[at : at + size])]
    return [bare(event) for event in (*events, *reader.end())]


def bare(event: Event) -> Event:
    if isinstance(event, Point):
        return Point(event.labels, event.value, event.timestamp_ms, event.exemplar, event.created_ms)
    return event


@given(pages(), st.integers(1, 50))
def test_what_is_written_as_messages_is_read_again(events: list[Event], size: int) -> None:
    assert read(MessageReader(), written(MessageWriter(), events), size) == events


@given(pages(st.none()), st.integers(1, 50))
def test_what_is_written_as_text_is_read_again(events: list[Event], size: int) -> None:
    assert read(TextReader(), written(TextWriter(), events), size) == events


@given(pages())
def test_googles_library_reads_what_we_write_and_we_read_what_it_writes(events: list[Event]) -> None:
    page = written(MessageWriter(), events)
    families = read_delimited(page)
    assert [(one.name, one.type, one.help) for one in families] == [
        (event.name, event.kind, event.help) for event in events if isinstance(event, Family)
    ]
    assert [len(one.metric) for one in families] == counts(events)
    reader = MessageReader()
    assert read(reader, b"".join(delimited(one) for one in families)) == events


def counts(events: list[Event]) -> list[int]:
    found: list[int] = []
    for event in events:
        if isinstance(event, Family):
            found.append(0)
        else:
            found[-1] += 1
    return found


def delimited(family: Any) -> bytes:
    message: bytes = family.SerializeToString()
    size, out = len(message), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out) + message


@given(pages(st.none()))
def test_prometheus_own_client_reads_the_text_that_we_write(events: list[Event]) -> None:
    """Every sample with its labels and value, under its family."""
    page = written(TextWriter(), events).decode()
    families = [one for one in text_string_to_metric_families(page) if one.samples]
    told = [event for event in events if isinstance(event, Family)]
    # It cuts blanks off.
    assert [one.documentation.strip() for one in families] == [event.help.strip() for event in told]
    values = [sample.value for one in families for sample in one.samples if not {"le", "quantile"} & set(sample.labels)]
    expected: list[Any] = []
    for event in events:
        if isinstance(event, Point):
            value = event.value
            expected += [value] if isinstance(value, float) else [value.total, value.count]
    assert values == expected


@given(st.binary(max_size=300))
def test_no_bytes_break_more_than_the_apps_part(data: bytes) -> None:
    for kind in ("text", "open", "protobuf"):
        for protobuf in (False, True):
            part = app_part(kind, Selection(Names()), protobuf=protobuf, quotes=False)
            try:
                served = part.feed(data) + part.end()
            except MetricsError:
                continue
            if protobuf:
                read_delimited(served)


@given(pages(), st.data())
def test_a_message_with_a_broken_byte_serves_whole_messages_or_none(events: list[Event], data: st.DataObject) -> None:
    page = bytearray(written(MessageWriter(), events))
    if not page:
        return
    page[data.draw(st.integers(0, len(page) - 1))] ^= data.draw(st.integers(1, 255))
    part = app_part("protobuf", Selection(Names()), protobuf=True, quotes=True)
    try:
        served = part.feed(bytes(page)) + part.end()
    except MetricsError:
        return
    read_delimited(served)


def native(**fields: Any) -> Any:
    family = MetricFamily(name="took", type=4)
    histogram = family.metric.add().histogram
    histogram.sample_count, histogram.sample_sum, histogram.schema = 6, 4.5, 3
    histogram.zero_threshold, histogram.zero_count = 1e-9, 1
    histogram.positive_span.add(offset=-2, length=2)
    histogram.positive_delta.extend(fields.pop("deltas", [2, 1]))
    exemplar = histogram.exemplars.add(value=0.5)
    exemplar.label.add(name="trace_id", value="x")
    for name, value in fields.items():
        setattr(histogram, name, value)
    return family


def served(family: Any, *, protobuf: bool = True, quotes: bool = True) -> bytes:
    part = app_part("protobuf", Selection(Names()), protobuf=protobuf, quotes=quotes)
    return part.feed(delimited(family)) + part.end()


def test_a_native_histogram_stays_what_it_is_in_protobuf() -> None:
    assert read_delimited(served(native())) == [native()]


def test_a_native_histogram_stays_also_where_a_label_must_be_renamed() -> None:
    family = native()
    family.metric[0].label.add(name="a.b", value="c")
    (found,) = read_delimited(served(family, quotes=False))
    family.metric[0].label[0].name = "a_b"
    assert found.metric[0].histogram == family.metric[0].histogram
    assert found.metric[0].label[0].name == "a_b"


def test_text_has_of_a_native_histogram_its_sum_and_count() -> None:
    page = '# TYPE took histogram\ntook_bucket{le="+Inf"} 6\ntook_sum 4.5\ntook_count 6\n'
    assert served(native(), protobuf=False).decode() == page


@pytest.mark.parametrize(
    "family",
    [native(schema=9), native(deltas=[1]), native(deltas=[2, -3]), native(sample_count=1)],
    ids=["schema", "buckets", "below zero", "more than all"],
)
def test_a_native_histogram_that_a_scraper_would_refuse_is_not_served(family: Any) -> None:
    with pytest.raises(MetricsError, match="native"):
        served(family)


def test_samples_of_a_histogram_may_stand_in_any_order() -> None:
    page = """# TYPE a histogram
a_count{x="1"} 3
a_count{x="2"} 4
a_bucket{x="1",le="+Inf"} 3
a_bucket{x="2",le="+Inf"} 4
a_bucket{x="1",le="0.5"} 1
a_sum{x="2"} 9
a_sum{x="1"} 8
"""
    family, first, second = read(TextReader(), page.encode())
    assert family == Family("a", Kind.HISTOGRAM)
    assert first == Point((("x", "1"),), Histogram(3, 8, (Bucket(0.5, 1), Bucket(math.inf, 3))))
    assert second == Point((("x", "2"),), Histogram(4, 9, (Bucket(math.inf, 4),)))


def test_a_family_that_is_too_large_to_be_held_is_refused() -> None:
    reader = MessageReader()
    with pytest.raises(MetricsError, match="too large"):
        list(reader.feed(b"\xff\xff\xff\x7f" + b"x"))


BROKEN = {
    "a value of another kind": field(1, b"a") + field(4, field(2, b"\x09" + b"\0" * 8)),
    "two values": field(1, b"a") + field(4, field(3, b"") + field(2, b"\xff")),
    "no value": field(1, b"a") + field(4, b""),
    "a number as text": field(1, b"a") + field(4, field(3, field(1, b"1"))),
    "a name as a number": b"\x08\x01" + field(4, field(3, b"")),
    "no name": field(4, field(3, b"")),
    "a bucket as a number": field(1, b"a") + b"\x18\x04" + field(4, field(7, b"\x18\x01")),
    "an exemplar that is none": field(1, b"a") + b"\x18\x04" + field(4, field(7, b"\x82\x01\x01\xff")),
    "a type that is none": field(1, b"a") + b"\x18\x09",
    "a varint that is too large": field(1, b"a") + b"\x18" + b"\xff" * 9 + b"\x7f",
    "a group": field(1, b"a") + b"\x23",
}


@pytest.mark.parametrize("message", BROKEN.values(), ids=BROKEN.keys())
def test_what_a_scrapers_library_refuses_is_not_served(message: bytes) -> None:
    """It is stricter than Google's for Python, which takes a field of another type for an unknown one."""
    part = app_part("protobuf", Selection(Names()), protobuf=True, quotes=True)
    with pytest.raises(MetricsError):
        part.feed(bytes((len(message),)) + message)


@pytest.mark.parametrize("count", ["NaN", "-1", "+Inf", "1e300"])
def test_a_summary_counts_in_whole_numbers(count: str) -> None:
    part = app_part("text", Selection(Names()), protobuf=True, quotes=True)
    part.feed(f"# TYPE a summary\na_count {count}\n".encode())
    with pytest.raises(MetricsError, match="count"):
        part.end()


@pytest.mark.parametrize("count", ["NaN", "-1", "+Inf", "1e300", "0.5"])
def test_a_histogram_may_count_as_it_likes(count: str) -> None:
    part = app_part("text", Selection(Names()), protobuf=True, quotes=True)
    page = f'# TYPE a histogram\na_bucket{{le="1"}} {count}\na_sum {count}\na_count {count}\n'.encode()
    assert [one.name for one in read_delimited(part.feed(page) + part.end())] == ["a"]
