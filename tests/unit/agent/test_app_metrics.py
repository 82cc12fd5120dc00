"""The app's page of metrics joined to one that has names already."""

from __future__ import annotations

import pytest

from lateen.agent.app_metrics import Merger, Names, patience
from lateen.agent.app_pages import read_annotations, read_probers
from lateen.agent.errors import StartError

PROXY = b"""# TYPE istio_requests_total counter
istio_requests_total{a="b"} 1
# TYPE envoy_time histogram
envoy_time_bucket{le="1"} 1
"""


def merged(page: str, *, open_metrics: bool = False) -> tuple[str, set[str]]:
    names = Names()
    names.note(PROXY)
    merger = Merger(names, open_metrics=open_metrics)
    half = page.index("\n") + 1
    served = merger.lines(page[:half].encode()) + merger.lines(page[half:].encode())
    return served.decode(), merger.dropped


def test_a_page_without_names_of_others_is_served_as_it_is_without_remarks() -> None:
    page = '# HELP web_x says\n# TYPE web_x counter\nweb_x{a="b # {"} 3 1700000000000\nweb_plain 4\n'
    assert merged("# a remark\n\n" + page) == (page, set())


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


def test_open_metrics_becomes_text() -> None:
    """Counters are named as their samples; units, creation times, exemplars, times and the end mark have no words."""
    page = """# HELP hits so many
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
    expected = """# HELP hits_total so many
# TYPE hits_total counter
hits_total{a="b"} 3
# TYPE took histogram
# HELP took long
took_bucket{le="+Inf"} 3
took_count 3
took_sum 1.5
# TYPE build_info gauge
build_info{v="1"} 1
# TYPE odd untyped
odd 1
"""
    assert merged(page, open_metrics=True) == (expected, set())


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
