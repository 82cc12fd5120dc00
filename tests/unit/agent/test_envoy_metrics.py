"""Envoy's own page with Istio's names, in text and in messages, however it comes in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_model import MetricFamily, read_delimited
from lateen.agent.envoy_metrics import EnvoyMessages, EnvoyText
from lateen.agent.metric_names import MetricsError, Names

PAGE = b"""\
# TYPE envoy_istio_requests_total counter
envoy_istio_requests_total{response_code="200",path="envoy_istio_x"} 3
# TYPE envoy_time histogram
envoy_time_bucket{le="1"} 1
"""
REPAIRED = PAGE.replace(b"TYPE envoy_istio_", b"TYPE istio_").replace(b"\nenvoy_istio_", b"\nistio_")
NAMES = {"istio_requests_total", "envoy_time", "envoy_time_bucket", "envoy_time_sum", "envoy_time_count"}


def delimited(*families: Any) -> bytes:
    out = b""
    for family in families:
        message = family.SerializeToString()
        size = len(message)
        while size > 0x7F:
            out += bytes((size & 0x7F | 0x80,))
            size >>= 7
        out += bytes((size,)) + message
    return out


def families(labels: int = 1) -> list[Any]:
    istio = MetricFamily(name="envoy_istio_requests_total", type=0)
    for number in range(labels):
        metric = istio.metric.add()
        metric.counter.value = number
        metric.label.add(name="path", value="envoy_istio_x" * 10)
    time = MetricFamily(name="envoy_time", help="says", type=4)
    time.metric.add().histogram.sample_count = 1
    return [istio, time, MetricFamily(name="e")]


@given(st.integers(1, 200))
def test_text_is_repaired_at_the_beginning_of_lines_wherever_blocks_end(size: int) -> None:
    names = Names()
    part = EnvoyText(names)
    served = b"".join(part.feed(PAGE[at : at + size]) for at in range(0, len(PAGE), size)) + part.end()
    assert served == REPAIRED
    assert names.taken == NAMES


def test_an_endless_line_is_refused() -> None:
    part = EnvoyText(None)
    with pytest.raises(MetricsError, match="too long"):
        part.feed(b"x" * (1 << 21))


@given(st.integers(1, 20000), st.sampled_from([1, 50, 500]))
def test_messages_are_repaired_in_their_names_wherever_blocks_end(size: int, labels: int) -> None:
    before = families(labels)
    page = delimited(*before)
    names = Names()
    part = EnvoyMessages(names)
    served = b"".join(part.feed(page[at : at + size]) for at in range(0, len(page), size)) + part.end()
    before[0].name = "istio_requests_total"
    assert read_delimited(served) == before
    assert names.taken == NAMES | {"e"}


@given(st.binary(max_size=200))
def test_no_bytes_break_more_than_the_page(data: bytes) -> None:
    part = EnvoyMessages(Names())
    try:
        part.feed(data)
        part.end()
    except MetricsError:
        pass


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_half_a_page_is_no_page(cut: int) -> None:
    part = EnvoyMessages(None)
    part.feed(delimited(*families())[:-cut])
    with pytest.raises(MetricsError):
        part.end()
