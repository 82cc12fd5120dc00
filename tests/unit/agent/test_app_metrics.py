"""The app's page of metrics joined to one that has names already."""

from __future__ import annotations

from typing import Any

import pytest

from client_model import read_delimited
from lateen.agent.app_metrics import patience
from lateen.agent.app_pages import read_annotations, read_probers
from lateen.agent.errors import StartError
from lateen.agent.metric_merging import app_part
from lateen.agent.metric_names import MetricsError, Names, Selection

PROXY = b"""# TYPE istio_requests_total counter
istio_requests_total{a="b"} 1
# TYPE envoy_time histogram
envoy_time_bucket{le="1"} 1
"""


def selection() -> Selection:
    names = Names()
    names.note(PROXY)
    return Selection(names)


def merged(page: str, kind: str = "text", *, quotes: bool = False) -> tuple[str, set[str]]:
    """Serve an app's page, that comes in two blocks, to a scraper of text."""
    chosen = selection()
    part = app_part(kind, chosen, protobuf=False, quotes=quotes)
    half = page.index("\n") - 1
    served = part.feed(page[:half].encode()) + part.feed(page[half:].encode()) + part.end()
    return served.decode(), chosen.dropped


def converted(page: bytes, kind: str, *, quotes: bool = False) -> list[Any]:
    """Serve an app's page to a scraper of protobuf; return what Google's library reads of it."""
    part = app_part(kind, selection(), protobuf=True, quotes=quotes)
    return read_delimited(part.feed(page) + part.end())


def test_a_page_without_names_of_others_is_served_as_it_is_without_remarks() -> None:
    page = '# HELP web_x says\n# TYPE web_x counter\nweb_x{a="b # {"} 3 1700000000000\nweb_plain 4\n'
    assert merged("# a remark\n\n" + page) == (page, set())


def test_help_may_come_after_the_type_or_without_one() -> None:
    page = "# TYPE a gauge\n# HELP a says\na 1\n# HELP b says\nb 1\n"
    assert merged(page) == (page, set())


@pytest.mark.parametrize(
    ("page", "dropped"),
    [
        ('# HELP istio_requests_total mine\n# TYPE istio_requests_total counter\nistio_requests_total{c="d"} 9\n',
         "istio_requests_total"),
        ("istio_requests_total 9\n", "istio_requests_total"),
        ("# TYPE envoy_time histogram\nenvoy_time_bucket 1\nenvoy_time_sum 1\nenvoy_time_count 1\n", "envoy_time"),
        ("# TYPE envoy_time_count gauge\nenvoy_time_count 1\n", "envoy_time_count"),
    ],
)  # fmt: skip
def test_a_family_with_a_name_that_is_taken_is_left_out_whole(page: str, dropped: str) -> None:
    assert merged(page + "own 1\n") == ("own 1\n", {dropped})


def test_a_family_that_the_app_scatters_is_told_of_once_and_keeps_its_samples() -> None:
    page = '# HELP a x\n# TYPE a gauge\na{b="1"} 1\nother 1\n# HELP a x\n# TYPE a gauge\na{b="2"} 1\n'
    assert merged(page) == ('# HELP a x\n# TYPE a gauge\na{b="1"} 1\nother 1\na{b="2"} 1\n', set())


def test_a_family_of_another_type_than_before_is_left_out() -> None:
    assert merged("# TYPE a gauge\na 1\nb 1\n# TYPE a counter\na 2\n") == (
        "# TYPE a gauge\na 1\nb 1\n",
        {"a"},
    )


OPEN = """# HELP hits so many
# TYPE hits counter
# UNIT hits things
hits_total{a="b"} 3 1700000000.5 # {trace="1"} 1 1700000000.2
hits_created{a="b"} 1700000000.5
# TYPE took histogram
# HELP took long
took_bucket{le="+Inf"} 3 # {} 0.5
took_count 3
took_sum 1.5
took_created 1700000000.5
# TYPE build info
build_info{v="1"} 1
# TYPE odd unknown
odd 1
# EOF
"""


def test_open_metrics_becomes_text() -> None:
    """Counters are named as their samples; units, creation times, exemplars and the end mark have no words."""
    expected = """# HELP hits_total so many
# TYPE hits_total counter
hits_total{a="b"} 3 1700000000500
# HELP took long
# TYPE took histogram
took_bucket{le="+Inf"} 3
took_sum 1.5
took_count 3
# TYPE build_info gauge
build_info{v="1"} 1
# TYPE odd untyped
odd 1
"""
    assert merged(OPEN, "open") == (expected, set())


def test_open_metrics_becomes_messages_with_exemplars_units_and_times() -> None:
    hits, took, build, odd = converted(OPEN.encode(), "open")
    assert (hits.name, hits.type, hits.unit, hits.metric[0].timestamp_ms) == ("hits_total", 0, "things", 1700000000500)
    exemplar = hits.metric[0].counter.exemplar
    assert (exemplar.label[0].value, exemplar.value, exemplar.timestamp.nanos) == ("1", 1, 200_000_000)
    histogram = took.metric[0].histogram
    assert (histogram.sample_count, histogram.sample_sum) == (3, 1.5)
    assert (histogram.bucket[0].upper_bound, histogram.bucket[0].exemplar.value) == (float("inf"), 0.5)
    assert histogram.start_timestamp.seconds == 1700000000
    assert [(one.name, one.type) for one in (build, odd)] == [("build_info", 1), ("odd", 3)]


QUOTED = '# TYPE "my.hits" counter\n{"my.hits", "a.b"="c"} 1\n'


def test_names_of_any_characters_are_for_scrapers_that_read_them() -> None:
    assert merged(QUOTED, quotes=True) == (QUOTED, set())
    assert merged(QUOTED) == ('# TYPE my_hits counter\nmy_hits{a_b="c"} 1\n', set())
    (quoted,), (plain,) = converted(QUOTED.encode(), "text", quotes=True), converted(QUOTED.encode(), "text")
    assert (quoted.name, quoted.metric[0].label[0].name) == ("my.hits", "a.b")
    assert (plain.name, plain.metric[0].label[0].name) == ("my_hits", "a_b")


@pytest.mark.parametrize(
    "page",
    [
        "good 1\nbad\n",
        'a{b="1",b="2"} 1\n',
        'a{b="1} 1\n',
        "a 1_000\n",
        "a 0x10\n",
        "a 1 yesterday\n",
        '{b="c"} 1\n',
        'a{__name__="b"} 1\n',
        'a{b.c="1"} 1\n',
        "# TYPE a strange\na 1\n",
        "a" * 2000 + " 1\n",
        "<html>\n",
        'a{"b.c"="1",b_c="2"} 1\n',
        "a{" + "b" * 100_000 + "\n",
        "a{" + " " * 100_000 + "\n",
    ],
)
@pytest.mark.parametrize("protobuf", [False, True])
def test_what_a_scraper_would_refuse_a_page_for_is_said_and_not_served(page: str, protobuf: bool) -> None:
    part = app_part("text", selection(), protobuf=protobuf, quotes=False)
    with pytest.raises(MetricsError):
        _ = part.feed(page.encode()) + part.end()


def test_a_page_of_open_metrics_without_its_end_is_cut_short() -> None:
    with pytest.raises(MetricsError, match="end mark"):
        merged("# TYPE a gauge\na 1\n", "open")


def test_what_is_not_utf_8_is_refused() -> None:
    part = app_part("text", selection(), protobuf=False, quotes=False)
    with pytest.raises(MetricsError, match="UTF-8"):
        part.feed(b'a{b="\xff"} 1\n')


@pytest.mark.parametrize(("said", "seconds"), [("", 5), ("10", 8), ("100", 10), ("x", 5), ("-1", 5), ("nan", 5)])
def test_the_app_has_a_share_of_the_scrapers_patience(said: str, seconds: float) -> None:
    assert patience(said) == seconds


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("", (0, "")),
        ('{"scrape": "true"}', (80, "/metrics")),
        ('{"scrape": "true", "port": "9090", "path": "/m"}', (9090, "/m")),
        ('{"scrape": "false", "port": "9090"}', (0, "")),
    ],
)
def test_annotations_are_read_as_istios_agent_reads_them(text: str, page: tuple[int, str]) -> None:
    assert read_annotations(text) == page


@pytest.mark.parametrize("text", ["{", "[]", '{"port": "15020"}', '{"port": "x"}', '{"port": "1", "path": "m"}'])
def test_annotations_that_cannot_be_are_an_error_and_so_is_our_own_page(text: str) -> None:
    with pytest.raises(StartError):
        read_annotations(text)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        '{"/app-health/x": {"tcpSocket": {"port": 1}}}',
        '{"/app-health/a/readyz": {}}',
        '{"/app-health/a/readyz": {"tcpSocket": {"port": "http"}}}',
        '{"/app-health/a/readyz": {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}}',
        '{"/app-health/a/readyz": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "b\\r\\nc"}]}}}',
    ],
)
def test_probers_that_cannot_be_are_an_error(text: str) -> None:
    with pytest.raises(StartError):
        read_probers(text)


def test_probers_are_kubernetes_probes() -> None:
    text = (
        '{"/app-health/a/livez": {"httpGet": {"path": "h", "port": 8, "scheme": "HTTPS", '
        '"httpHeaders": [{"name": "Host", "value": "x"}]}, "timeoutSeconds": 3}, '
        '"/app-lifecycle/a/prestopz": {"httpGet": {"port": 1}}}'
    )
    (probe,) = read_probers(text).values()
    assert (probe.path, probe.port, probe.tls, probe.headers, probe.timeout) == ("/h", 8, True, (("Host", "x"),), 3)
