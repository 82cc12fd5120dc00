"""Which format a scraper reads and an app is asked for: Accept, Accept-Encoding and Content-Type. Pure.

Prometheus asks for protobuf when its `scrape_protocols` begin with it, or when it takes native histograms; names of any
characters are for scrapers that say `escaping=allow-utf-8`. Used by `metrics_page` and `app_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_MESSAGE = "application/vnd.google.protobuf"
_TYPE = "io.prometheus.client.metricfamily"
PROTOBUF = f"{_MESSAGE}; proto=io.prometheus.client.MetricFamily; encoding=delimited"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
_QUOTING = "; escaping=allow-utf-8"
_TEXT_WITH_QUOTES = f"text/plain; version=1.0.0; charset=utf-8{_QUOTING}"
_OPEN_TEXT = "application/openmetrics-text"
_MOST_ITEMS = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scraper reads best of what we have."""

    protobuf: bool = False
    quotes: bool = False
    """Names of any characters, in quotes where the format is text."""
    gzip: bool = False

    @property
    def content_type(self) -> str:
        """What our page says it is."""
        if self.protobuf:
            return PROTOBUF + (_QUOTING if self.quotes else "")
        return _TEXT_WITH_QUOTES if self.quotes else TEXT

    @property
    def app_accept(self) -> str:
        """What the app is asked for: what it says in the scraper's own format needs not be converted."""
        escaping = ";escaping=allow-utf-8" if self.quotes else ";escaping=underscores"
        if self.protobuf:
            return (
                f"{_MESSAGE};proto=io.prometheus.client.MetricFamily;encoding=delimited{escaping};q=1,"
                f"{_OPEN_TEXT};version=1.0.0{escaping};q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            )
        first = f"text/plain;version=1.0.0{escaping};q=1," if self.quotes else ""
        return f"{first}text/plain;version=0.0.4;q={'0.9' if first else '1'},*/*;q=0.1"


def wanted(headers: Mapping[str, str]) -> Wanted:
    """Return what a scraper reads best by its headers (names in lower case); text when it does not say."""
    protobuf = text = quoted_text = anything = 0.0
    quotes = False
    for kind, parameters, weight in _items(headers.get("accept", "")):
        says = parameters.get("escaping") == "allow-utf-8" and weight > 0
        quotes |= says
        if kind == _MESSAGE and _is_ours(parameters):
            protobuf = max(protobuf, weight)
        elif kind in ("text/plain", "text/*"):
            text = max(text, weight)
            quoted_text = max(quoted_text, weight if says and parameters.get("version") == "1.0.0" else 0.0)
        elif kind == "*/*":
            anything = max(anything, weight)
    chosen = protobuf > max(text, anything)
    gzip = any(kind == "gzip" and weight > 0 for kind, _, weight in _items(headers.get("accept-encoding", "")))
    return Wanted(chosen, quotes if chosen else quoted_text > 0 and quoted_text >= text, gzip)


def answered(content_type: str) -> str:
    """Return which format an app has answered in: `text`, `open`, `protobuf`; empty for one that we do not read."""
    kind, parameters = _item(content_type)
    if kind in ("", "text/plain"):
        return "text"
    if kind == _OPEN_TEXT:
        return "open"
    return "protobuf" if kind == _MESSAGE and _is_ours(parameters) else ""


def _is_ours(parameters: Mapping[str, str]) -> bool:
    """Whether a protobuf type is that of metrics, one message after the other."""
    return parameters.get("proto", "").lower() == _TYPE and parameters.get("encoding", "").lower() == "delimited"


def _items(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for text in header.split(",", _MOST_ITEMS)[:_MOST_ITEMS]:
        kind, parameters = _item(text)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        yield kind, parameters, weight


def _item(text: str) -> tuple[str, dict[str, str]]:
    kind, *rest = (part.strip() for part in text.split(";"))
    pairs = (part.partition("=") for part in rest)
    return kind.lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
