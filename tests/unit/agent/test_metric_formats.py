"""Which format a scraper gets and an app is asked for."""

from __future__ import annotations

import pytest

from lateen.agent.metric_formats import PROTOBUF, TEXT, Wanted, answered, wanted

BARE = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OPEN = "application/openmetrics-text;version=1.0.0"


@pytest.mark.parametrize(
    ("accept", "protobuf", "quotes"),
    [
        ("", False, False),
        ("*/*", False, False),
        ("text/plain", False, False),
        (BARE, True, False),
        (PROTOBUF, True, False),
        # Prometheus 2.40 to 2.5x with native histograms.
        (f"{BARE},{OPEN};q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True, False),
        # Prometheus 2 without.
        (f"{OPEN},text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False, False),
        # Prometheus 3, by default and with native histograms.
        (
            (
                f"{OPEN};escaping=allow-utf-8;q=0.6,{OPEN};q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
                "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
            ),
            False,
            True,
        ),
        (
            (
                f"{BARE};q=0.6,{OPEN};escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
                "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            ),
            True,
            True,
        ),
        (f"{BARE};q=0.1,text/plain;q=0.5", False, False),
        (f"{BARE};q=0", False, False),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", False, False),
        ("application/vnd.google.protobuf", False, False),
        ("text/plain;version=1.0.0;escaping=underscores", False, False),
        (f"{BARE};q=nonsense,text/plain", False, False),
        (";,=;q=;,,", False, False),
        ("a," * 10_000 + BARE, False, False),
    ],
)
def test_a_scraper_gets_what_it_reads_best(accept: str, protobuf: bool, quotes: bool) -> None:
    found = wanted({"accept": accept})
    assert (found.protobuf, found.quotes) == (protobuf, quotes)


@pytest.mark.parametrize(
    ("said", "gzip"), [("", False), ("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("br", False)]
)
def test_a_scraper_gets_gzip_when_it_asks(said: str, gzip: bool) -> None:
    assert wanted({"accept-encoding": said}).gzip is gzip


def test_a_page_says_what_it_is() -> None:
    assert Wanted().content_type == TEXT
    assert Wanted(protobuf=True).content_type == PROTOBUF
    assert Wanted(quotes=True).content_type == "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"


@pytest.mark.parametrize("protobuf", [False, True])
@pytest.mark.parametrize("quotes", [False, True])
def test_an_app_is_asked_for_the_scrapers_format_first(protobuf: bool, quotes: bool) -> None:
    """What we ask an app for, another agent would understand the same way."""
    asked = Wanted(protobuf=protobuf, quotes=quotes)
    assert wanted({"accept": asked.app_accept}) == asked


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("", "text"),
        ("text/plain; version=0.0.4; charset=utf-8", "text"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "open"),
        (PROTOBUF, "protobuf"),
        (f"{PROTOBUF}; escaping=allow-utf-8", "protobuf"),
        ('application/vnd.google.protobuf; proto="io.prometheus.client.MetricFamily"; encoding=delimited', "protobuf"),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text", ""),
        ("text/html", ""),
        ("application/json", ""),
    ],
)
def test_an_answer_is_known_by_its_type(content_type: str, kind: str) -> None:
    assert answered(content_type) == kind
