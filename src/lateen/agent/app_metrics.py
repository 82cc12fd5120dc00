"""The app's own metrics on the agent's page: fetched as text, in whole lines, without names that others have.

Called by `app_pages` and `status`; loaded only for an app that has metrics. The page is streamed: it is as long as the
app likes within bounds, and the agent is small. `Merger` is pure: the names that the page has so far in, lines out.
Must not know: Envoy.

One exposition must not name a family twice, and all of a family's lines stand together (Prometheus' text format): what
comes second is left out. An app that answers with OpenMetrics although it was asked for text is read too, as far as the
text format has words for it: units, exemplars, creation times and the end mark go, and counters get the name of their
samples. One that answers with protobuf is not merged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lateen.agent.addresses import LOOPBACK
from lateen.agent.http1 import Connect, Http1Error, exchange

ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
LIMIT = 32 << 20
LONGEST_SECONDS = 10.0
_DEFAULT_SECONDS = 5.0
_SHARE = 0.8
"""Of the scraper's patience: the rest is for what comes before and after."""
_LONGEST_LINE = 1 << 20
_TIMEOUT = "x-prometheus-scrape-timeout-seconds"
_OPEN = "application/openmetrics-text"
_META = re.compile(rb"# (TYPE|HELP|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?")
_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TYPES = re.compile(rb"^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (\w+)", re.MULTILINE)
_SUFFIXES = {b"histogram": (b"_bucket", b"_sum", b"_count"), b"summary": (b"_sum", b"_count")}
_EXEMPLAR = re.compile(rb"([}\s]\S+)( \S+)? # \{.*$")


@dataclass(slots=True)
class Names:
    """The names that a page has already: of families, and of their samples."""

    taken: set[bytes] = field(default_factory=set)

    def note(self, text: bytes) -> None:
        """Take the families of whole lines."""
        for name, kind in _TYPES.findall(text):
            self.taken.add(name)
            self.taken.update(name + suffix for suffix in _SUFFIXES.get(kind, ()))


@dataclass(slots=True)
class Merger:
    """Lines of the app's page in, those to serve out."""

    names: Names
    open_metrics: bool = False
    dropped: set[str] = field(default_factory=set)
    _family: bytes = b""
    _kind: bytes = b""
    _open_family: bytes = b""
    """The family as OpenMetrics names it."""
    _helped: bytes = b""
    _help: bytes = b""

    def lines(self, text: bytes) -> bytes:
        """Return what of whole lines is to be served."""
        return b"".join(line + b"\n" for line in map(self._line, text.split(b"\n")) if line)

    def _line(self, line: bytes) -> bytes:
        line = line.rstrip(b"\r")
        if line.startswith(b"#"):
            return self._meta(line)
        named = _NAME.match(line)
        if named is None:
            return b""
        name = named.group()
        family = self._family if self._is_of_family(name) else name
        if family in self.names.taken or name in self.names.taken:
            self.dropped.add(family.decode())
            return b""
        if self.open_metrics:
            if family != name and name.endswith(b"_created"):
                return b""
            line = _plain(line)
        return line

    def _is_of_family(self, name: bytes) -> bool:
        if not self._family:
            return False
        suffixes = (b"", *_SUFFIXES.get(self._kind, ()))
        return name in {self._family + suffix for suffix in suffixes} or (
            self.open_metrics and name == self._open_family + b"_created"
        )

    def _meta(self, line: bytes) -> bytes:
        found = _META.fullmatch(line)
        if found is None:
            return b""
        word, name, rest = found.groups()
        if self.open_metrics:
            return self._open_meta(word, name, rest or b"")
        if name != self._family:
            self._family, self._kind = name, b""
        if word == b"TYPE":
            self._kind = rest or b""
        return self._served(line) if word != b"UNIT" else b""

    def _open_meta(self, word: bytes, name: bytes, rest: bytes) -> bytes:
        """OpenMetrics names a counter without its `_total`, and may say HELP first: both wait for the type."""
        if word == b"HELP":
            if name == self._open_family:
                return self._served(b"# HELP " + self._family + b" " + rest)
            self._helped, self._help = name, rest
            return b""
        if word != b"TYPE":
            return b""
        kind = {b"unknown": b"untyped", b"info": b"gauge", b"stateset": b"gauge", b"gaugehistogram": b"histogram"}.get(
            rest, rest
        )
        suffix = {b"counter": b"_total", b"info": b"_info"}
        self._open_family, self._family, self._kind = name, name + suffix.get(rest, b""), kind
        helped = b"# HELP " + self._family + b" " + self._help + b"\n" if self._helped == name else b""
        return self._served(helped + b"# TYPE " + self._family + b" " + kind)

    def _served(self, line: bytes) -> bytes:
        if self._family in self.names.taken:
            self.dropped.add(self._family.decode())
            return b""
        return line


def _plain(line: bytes) -> bytes:
    """Return a sample of OpenMetrics as one of the text format: without exemplar and time (seconds there)."""
    line = _EXEMPLAR.sub(rb"\1", line)
    cut = line.rfind(b"}") + 1
    head, values = line[:cut], line[cut:].split()
    if not cut:
        head, values = values[0], values[1:]
    return head + b" " + values[0] if values else b""


@dataclass(slots=True)
class AppMetrics:
    """An answer of the app that has begun, or why there is none."""

    problem: str = ""
    open_metrics: bool = False
    blocks: AsyncGenerator[bytes, None] | None = None
    deadline: float = 0.0

    async def lines(self, merger: Merger) -> AsyncIterator[bytes]:
        """Yield what is to be served, in whole lines. What breaks it off is in `problem` afterwards."""
        merger.open_metrics = self.open_metrics
        rest, size = b"", 0
        try:
            while (block := await self._next()) is not None:
                size += len(block)
                text = rest + block
                cut = text.rfind(b"\n") + 1
                text, rest = text[:cut], text[cut:]
                if size > LIMIT or len(rest) > _LONGEST_LINE:
                    raise Http1Error("the page is too large")
                if kept := merger.lines(text):
                    yield kept
            if rest and (kept := merger.lines(rest)):
                yield kept
        except (OSError, TimeoutError, Http1Error) as error:
            self.problem = str(error) or "the app took too long"

    async def _next(self) -> bytes | None:
        if self.blocks is None:
            return None
        # Not around a `yield`: it would interrupt whoever takes the lines.
        async with asyncio.timeout_at(self.deadline):
            return await anext(self.blocks, None)


@asynccontextmanager
async def opened(port: int, path: str, headers: Mapping[str, str], connect: Connect) -> AsyncIterator[AppMetrics]:
    """Ask the app; yield what it answers, or a problem. It has a share of the scraper's patience. Never raises."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience(headers.get(_TIMEOUT, ""))
    asked = exchange(LOOPBACK, port, path, headers={"accept": ACCEPT}, connect=connect)
    try:
        async with asyncio.timeout_at(deadline):
            status, said, blocks = await asked.__aenter__()
    except (OSError, TimeoutError, Http1Error) as error:
        yield AppMetrics(problem=str(error) or "the app took too long")
        return
    try:
        content = said.get("content-type", "").partition(";")[0].strip().lower()
        if status != 200:
            yield AppMetrics(problem=f"the app answers {status}")
        elif said.get("content-encoding", "identity").lower() != "identity":
            yield AppMetrics(problem="the app compresses its page though nobody asked it to")
        elif content not in ("", "text/plain", _OPEN):
            yield AppMetrics(problem=f"the app answers {content[:80]!r}, not text")
        else:
            yield AppMetrics(open_metrics=content == _OPEN, blocks=blocks, deadline=deadline)
    finally:
        await asked.__aexit__(None, None, None)


def patience(said: str) -> float:
    """Return how many seconds the app has, by what the scraper says of its own patience."""
    try:
        seconds = float(said) * _SHARE if said else _DEFAULT_SECONDS
    except ValueError:
        seconds = _DEFAULT_SECONDS
    return min(seconds, LONGEST_SECONDS) if seconds > 0 else _DEFAULT_SECONDS
