"""The metrics page of 15020: the agent's, Envoy's and the app's, one behind the other, in the format that is wanted.

Streamed, so that the agent stays small whatever the mesh: one block of Envoy's page, one family of the app's stand in
memory. The app comes last, because it must not cost what is not its own: what is wrong with its page is said in the
metric at the end (`lateen_agent_app_scrape_success`) and in the log. Envoy breaking off is another thing: half a page
must not be taken for a whole one, so the connection is cut. Called by `status`, loaded with the first scrape. Must not
know: how pages are read and written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lateen.agent import metric_formats
from lateen.agent.envoy_metrics import EnvoyMessages, EnvoyText
from lateen.agent.http1 import Http1Error
from lateen.agent.metric_formats import PROTOBUF, TEXT, Wanted, answered
from lateen.agent.metric_names import Kind, MetricsError, Names, Part, Selection
from lateen.agent.own_metrics import exposition, messages

if TYPE_CHECKING:
    from lateen.agent.app_metrics import AppMetrics

_NATIVE = re.compile(r"histogram_buckets=prometheusnative|native_histogram_max_buckets=[0-9]{1,4}")
"""What of a scraper's query is asked of Envoy too, which knows it for protobuf only."""
_FASTEST = 1
_GZIP, _WINDOW, _MEMORY = 16, 13, 6
"""A window of 8 KiB: 64 KiB of memory in place of 256, and pages 2 % larger."""


class Envoy(Protocol):
    """What is asked of Envoy (`envoy_admin.EnvoyAdmin`)."""

    def prometheus(
        self, accept: str, query: str = ""
    ) -> AbstractAsyncContextManager[tuple[int, Mapping[str, str], Any]]:
        """Open its metrics page: status, headers and blocks."""


class Pages(Protocol):
    """What is asked of the app (`app_pages.Pages`)."""

    def app_metrics(self, headers: Mapping[str, str], wanted: Wanted) -> AbstractAsyncContextManager[AppMetrics] | None:
        """Return its page, to be opened; None when it has none."""

    def scraped(self, problem: str, dropped: set[str]) -> None:
        """Take note of how that went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """What a scraper asked for."""

    headers: Mapping[str, str]
    query: str = ""

    @property
    def wanted(self) -> Wanted:
        """The format."""
        return metric_formats.wanted(self.headers)


class Output:
    """The body of the answer: chunked, perhaps compressed."""

    def __init__(self, writer: asyncio.StreamWriter, wanted: Wanted) -> None:
        self._writer = writer
        self._compressor: Any = None
        if wanted.gzip:
            import zlib

            self._compressor = zlib.compressobj(_FASTEST, wbits=_GZIP + _WINDOW, memLevel=_MEMORY)

    async def write(self, data: bytes) -> None:
        """Write some of it, as fast as the scraper reads."""
        self._chunk(self._compressor.compress(data) if self._compressor else data)
        await self._writer.drain()

    def end(self) -> None:
        """Write the end."""
        if self._compressor:
            self._chunk(self._compressor.flush())
        self._writer.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def headers(scrape: Scrape) -> tuple[str, str]:
    """Return the type of the answer, and its other headers."""
    wanted = scrape.wanted
    compressed = "content-encoding: gzip\r\n" if wanted.gzip else ""
    return wanted.content_type, f"{compressed}vary: accept, accept-encoding\r\ntransfer-encoding: chunked\r\n"


async def write_page(
    scrape: Scrape, own: Mapping[str, float], envoy: Envoy, pages: Pages | None, writer: asyncio.StreamWriter
) -> None:
    """Write the body. ConnectionError when Envoy breaks off within its part."""
    wanted = scrape.wanted
    output = Output(writer, wanted)
    said = messages if wanted.protobuf else exposition
    asked = pages.app_metrics(scrape.headers, wanted) if pages else None
    names = Names() if asked else None
    if names is not None:
        for name in own:
            names.take(name, Kind.GAUGE)
        names.take("lateen_agent_app_scrape_success", Kind.GAUGE)
    await output.write(said(own))
    await _write_envoy(scrape, wanted, envoy, names, output)
    if pages and asked and names is not None:
        from lateen.agent.metric_merging import app_part

        selection = Selection(names)
        async with asked as page:
            part = app_part(page.format, selection, protobuf=wanted.protobuf, quotes=wanted.quotes)
            async for data in page.served(part):
                await output.write(data)
        pages.scraped(page.problem, selection.dropped)
        await output.write(said({"lateen_agent_app_scrape_success": float(not page.problem)}))
    output.end()


async def _write_envoy(scrape: Scrape, wanted: Wanted, envoy: Envoy, names: Names | None, output: Output) -> None:
    query = "&".join(one for one in scrape.query.split("&") if wanted.protobuf and _NATIVE.fullmatch(one))
    begun = False
    try:
        async with envoy.prometheus(PROTOBUF if wanted.protobuf else TEXT, query) as (status, said, blocks):
            if status != 200:
                return
            part = _envoy_part(answered(said.get("content-type", "")), wanted, names)
            async for block in blocks:
                begun = True
                await output.write(part.feed(block))
            await output.write(part.end())
    except (OSError, Http1Error, MetricsError) as error:
        # Without Envoy there are still the agent's own metrics, and the app's.
        if begun:
            raise ConnectionError("envoy broke off within its metrics page") from error


def _envoy_part(answer: str, wanted: Wanted, names: Names | None) -> Part:
    if not wanted.protobuf:
        return EnvoyText(names)
    return EnvoyMessages(names) if answer == "protobuf" else _TextToMessages(names or Names())


class _TextToMessages:
    """The page of an Envoy that knows text only."""

    def __init__(self, names: Names) -> None:
        from lateen.agent.metric_merging import Conversion
        from lateen.agent.metric_messages import MessageWriter
        from lateen.agent.metric_text import TextReader

        self._names = names
        self._text = EnvoyText(None)
        self._selection = Selection(Names())
        self._conversion = Conversion(TextReader(), MessageWriter(), self._selection, quotes=True)

    def feed(self, block: bytes) -> bytes:
        """Return what is complete with this block."""
        return self._conversion.feed(self._text.feed(block))

    def end(self) -> bytes:
        """Return the rest, and note whose names these were."""
        served = self._conversion.feed(self._text.end()) + self._conversion.end()
        for name, kind in self._selection.own.items():
            self._names.take(name, kind)
        return served
