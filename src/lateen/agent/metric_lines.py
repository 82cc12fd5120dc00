"""One line of Prometheus' text formats, taken apart and put together: names, labels, numbers, escapes. Pure.

Text format 0.0.4, with the quoted names of 1.0.0, and OpenMetrics 1.0. All expressions are possessive, so that no line
of an app, however long, costs more than its length. Used by `metric_text` and `metric_merging`. Must not know: which
line comes before.
"""

from __future__ import annotations

import math
import re

from lateen.agent.metric_families import Exemplar, Labels, check_labels, is_plain
from lateen.agent.metric_names import MetricsError

_STRING = r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_LABEL = rf"(?:[a-zA-Z_][a-zA-Z0-9_]*+|{_STRING})[ \t]*+(?:=[ \t]*+{_STRING})?+"
_BLOCK = rf"\{{[ \t]*+((?:{_LABEL}[ \t]*+(?:,[ \t]*+|(?=\}})))*+)\}}"
_TIME = r"[-+]?+[0-9][0-9.eE+-]*+"
SAMPLE = re.compile(
    rf"({_NAME})?+(?:[ \t]*+{_BLOCK}[ \t]*+|[ \t]++)(\S++)(?:[ \t]++({_TIME}))?+[ \t]*+(?:# ?+(\{{.*+))?+", re.ASCII
)
"""A sample: its name (None when it stands in the braces), labels, value, time, exemplar."""
_EXEMPLAR = re.compile(rf"{_BLOCK}[ \t]*+(\S++)(?:[ \t]++({_TIME}))?+[ \t]*+", re.ASCII)
_ITEM = re.compile(rf"([a-zA-Z_][a-zA-Z0-9_]*+|{_STRING})[ \t]*+(?:=[ \t]*+({_STRING}))?+", re.ASCII)
META = re.compile(rf"#[ \t]++(TYPE|HELP|UNIT)[ \t]++({_NAME}|{_STRING})(?:[ \t](.*+))?+", re.ASCII)
_NUMBER = re.compile(
    r"[-+]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][-+]?+[0-9]++)?+|[-+]?+[iI]nf(?:inity)?+|[nN]a[nN]"
)
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n", "\\": "\\", '"': '"'}
_FARTHEST_MILLISECONDS = 1 << 62


def number(text: str) -> float:
    """Return what a value says. MetricsError for what a scraper does not read."""
    if not _NUMBER.fullmatch(text):
        raise MetricsError("a value is no number")
    return float(text)


def milliseconds(text: str | None, *, seconds: bool) -> int | None:
    """Return a time that is said in milliseconds or in seconds."""
    if text is None:
        return None
    try:
        time = round(float(text) * 1000) if seconds else int(text)
    except (ValueError, OverflowError) as error:
        raise MetricsError("a time is none") from error
    if abs(time) >= _FARTHEST_MILLISECONDS:
        raise MetricsError("a time is none")
    return time


def labels_of(name: str | None, block: str | None) -> tuple[str, Labels, bool]:
    """Return a sample's name, its labels, and whether a name is in quotes: its own may stand before the labels."""
    if not block and name:
        return name, (), False
    pairs: list[tuple[str, str]] = []
    quotes = name is None
    for label, value in _ITEM.findall(block or ""):
        if value:
            in_quotes = label[0] == '"'
            quotes |= in_quotes
            pairs.append((unquoted(label) if in_quotes else label, unquoted(value)))
        elif name is None and label[0] == '"':
            name = unquoted(label)
        else:
            raise MetricsError("a label has no value")
    if not name:
        raise MetricsError("a sample has no name")
    return name, check_labels(tuple(pairs)), quotes


def exemplar_of(text: str | None) -> Exemplar | None:
    """Return the exemplar of a sample of OpenMetrics."""
    if text is None:
        return None
    found = _EXEMPLAR.fullmatch(text)
    if found is None:
        raise MetricsError("an exemplar is none")
    block, value, time = found.groups()
    _, labels, _ = labels_of("exemplar", block)
    return Exemplar(labels, number(value), milliseconds(time, seconds=True))


def unquoted(text: str) -> str:
    """Return what a text in quotes says. An escape that is none stands for itself, as Prometheus reads it."""
    text = text[1:-1]
    return _ESCAPE.sub(lambda found: _UNESCAPED.get(found[1], found[0]), text) if "\\" in text else text


def unescaped_help(text: str) -> str:
    """Return what a HELP says."""
    return _ESCAPE.sub(lambda found: _UNESCAPED.get(found[1], found[0]), text) if "\\" in text else text


def quoted(text: str) -> str:
    """Return a text in quotes."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def head_line(word: str, name: str, rest: str) -> str:
    """Return a TYPE or HELP line."""
    rest = rest.replace("\\", r"\\").replace("\n", r"\n") if word == "HELP" else rest
    return f"# {word} {name if is_plain(name) else quoted(name)} {rest}\n"


def sample_line(name: str, labels: Labels, value: float, timestamp_ms: int | None = None) -> str:
    """Return a sample, with quotes around names that need them."""
    items = [f"{key if is_plain(key, label=True) else quoted(key)}={quoted(said)}" for key, said in labels]
    if not is_plain(name):
        items.insert(0, quoted(name))
        name = ""
    block = f"{{{','.join(items)}}}" if items else ""
    stamp = "" if timestamp_ms is None else f" {timestamp_ms}"
    return f"{name}{block} {written(value)}{stamp}\n"


def written(value: float) -> str:
    """Return a number as Prometheus writes it: no digits that say nothing, and none missing."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")
