"""What of one party's metrics may stand on a page that others are on, in the format that the scraper reads. Pure.

Blocks of bytes in, bytes to serve out, one `Part` for each party. A family is told of once: what comes second with a
name that is taken is left out. An app that has scattered a family of its own over its page keeps all samples of it.

Text for a scraper of text goes through line by line, checked but not taken apart into values (`PlainLines`): that is
what most apps and scrapers speak, and the agent is small. All else goes through `Conversion`.
Used by `app_metrics` and `metrics_page`. Must not know: sockets, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from lateen.agent.metric_families import Event, Family, check_name, is_plain, underscored, underscored_labels
from lateen.agent.metric_lines import META, SAMPLE, labels_of, milliseconds, number, sample_line, unquoted
from lateen.agent.metric_names import KINDS, SAMPLE_SUFFIXES, Kind, MetricsError, Part, Selection
from lateen.agent.metric_text import Lines, TextReader, TextWriter


class Reader(Protocol):
    """A format that is read."""

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield what is complete with this block."""

    def end(self) -> Iterator[Event]:
        """Yield what waited for the end."""


class Writer(Protocol):
    """A format that is written."""

    def take(self, event: Event) -> bytes:
        """Return what is to be served now."""

    def end(self) -> bytes:
        """Return what waited for the end."""


@dataclass(slots=True)
class Conversion:
    """One party's page, read and written."""

    reader: Reader
    writer: Writer
    selection: Selection
    quotes: bool = False
    """Whether the scraper reads names of any characters."""
    _served: bool = False

    def feed(self, block: bytes) -> bytes:
        """Return what is to be served of what is complete with this block."""
        return b"".join(self._written(self.reader.feed(block)))

    def end(self) -> bytes:
        """Return what waited for the end."""
        return b"".join(self._written(self.reader.end())) + self.writer.end()

    def _written(self, events: Iterator[Event]) -> Iterator[bytes]:
        for event in events:
            readable = event if self.quotes else _readable(event)
            if isinstance(readable, Family):
                self._served = self.selection.takes(readable.name, readable.kind)
                if self._served:
                    yield self.writer.take(readable)
            elif self._served:
                self.selection.count()
                yield self.writer.take(readable)


def _readable(event: Event) -> Event:
    """Return a family or point for a scraper that takes plain names only."""
    if isinstance(event, Family):
        return event if is_plain(event.name) else replace(event, name=underscored(event.name))
    if all(is_plain(name, label=True) for name, _ in event.labels):
        return event
    return replace(event, labels=underscored_labels(event.labels), raw=b"")


@dataclass(slots=True)
class PlainLines:
    """An app's page of text for a scraper of text."""

    selection: Selection
    quotes: bool = False
    _lines: Lines = field(default_factory=Lines)
    _family: str = ""
    _samples: frozenset[str] = frozenset()
    """What the family's samples are called."""
    _helped: tuple[str, str] = ("", "")
    """A HELP line that waits for its family, by the family's name."""
    _served: bool = False
    _again: bool = False
    """Whether the page told of the family before."""

    def feed(self, block: bytes) -> bytes:
        """Return what is to be served of what is complete with this block."""
        return "".join(map(self._line, self._lines.feed(block))).encode()

    def end(self) -> bytes:
        """Return what is to be served of a last line without an end."""
        return "".join(map(self._line, self._lines.end())).encode()

    def _line(self, line: str) -> str:
        if line[0] == "#":
            return self._meta(line)
        if (found := SAMPLE.fullmatch(line)) is None:
            if line.isspace():
                return ""
            raise MetricsError("a line is no sample")
        name, labels, in_quotes = labels_of(found[1], found[2])
        value, time = number(found[3]), milliseconds(found[4], seconds=False)
        if in_quotes and not self.quotes:
            name, labels = underscored(name), underscored_labels(labels)
        head = "" if name in self._samples else self._begin(check_name(name), Kind.UNTYPED)
        if not self._served:
            return ""
        self.selection.count()
        if found[5] is None and (self.quotes or not in_quotes):
            return f"{head}{line}\n"
        return head + sample_line(name, labels, value, time)

    def _meta(self, line: str) -> str:
        if (found := META.fullmatch(line)) is None or found[1] == "UNIT":
            return ""
        word, name, rest = found.groups()
        name = check_name(unquoted(name) if name[0] == '"' else name)
        told = f"{line}\n"
        if not is_plain(name) and not self.quotes:
            name = underscored(name)
            told = f"# {word} {name} {rest or ''}\n"
        if word == "HELP":
            if name == self._family:
                return told if self._served and not self._again else ""
            self._helped = (name, told)
            return ""
        kind = KINDS.get((rest or "").strip())
        if kind is None or kind is Kind.GAUGE_HISTOGRAM:
            raise MetricsError("a family has a type that is none")
        helped = self._begin(name, kind)
        return helped + told if self._served and not self._again else ""

    def _begin(self, name: str, kind: Kind) -> str:
        """Begin a family; return the HELP that was said of it."""
        self._again = name in self.selection.own
        self._family, self._served = name, self.selection.takes(name, kind)
        self._samples = frozenset((name, *(name + suffix for suffix in SAMPLE_SUFFIXES.get(kind, ()))))
        (helped, told), self._helped = self._helped, ("", "")
        return told if self._served and not self._again and helped == name else ""


def app_part(kind: str, selection: Selection, *, protobuf: bool, quotes: bool) -> Part:
    """Return what makes an app's page of a kind (`text`, `open`, `protobuf`) what the scraper reads."""
    if kind == "text" and not protobuf:
        return PlainLines(selection, quotes)
    # Loaded when it is needed: most apps and scrapers speak text.
    reader: Reader
    writer: Writer
    if kind == "protobuf" or protobuf:
        from lateen.agent.metric_messages import MessageReader, MessageWriter

        reader = MessageReader() if kind == "protobuf" else TextReader(kind == "open")
        writer = MessageWriter() if protobuf else TextWriter()
    else:
        reader, writer = TextReader(open_metrics=True), TextWriter()
    return Conversion(reader, writer, selection, quotes)
