"""The agent's own small HTTP server: merged metrics on 15020, readiness on 15021.

GET only, one request per connection, everything bounded: a probe or a scraper needs no more. The metrics page is
Envoy's own, streamed through with one repair: the stats access logger's `istio_requests_total` comes out of Envoy as
`envoy_istio_requests_total`, which no dashboard knows. Behind it stand the app's own metrics, if it
has any. Used by `lifecycle`. Must not know: how states come about.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lateen.agent.app_pages import HEALTH, Pages
from lateen.agent.http1 import MAX_HEAD_BYTES, Head, Http1Error, read_head

if TYPE_CHECKING:
    from lateen.agent.app_metrics import AppMetrics

READY_PATH = "/healthz/ready"
METRICS_PATH = "/stats/prometheus"
_TEXT = "text/plain; version=0.0.4"
_MISNAMED = re.compile(rb"^(# (?:TYPE|HELP) )?envoy_istio_", re.MULTILINE)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_HEAD_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_MOST_CONNECTIONS = 32
_LONGEST_LINE = 1 << 20


class Envoy(Protocol):
    """What is asked of Envoy (`envoy_admin.EnvoyAdmin`)."""

    async def is_live(self) -> bool:
        """Whether it serves."""

    def prometheus(self) -> AbstractAsyncContextManager[tuple[int, Any]]:
        """Open its metrics page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where answers come from."""

    envoy: Envoy
    unready: Callable[[], str]
    """Why the workload should get no traffic now; empty when it should. Envoy is asked besides."""
    metrics: Callable[[], Mapping[str, float]]
    """The agent's own metrics; a name that ends in `_total` is a counter, others are gauges."""
    pages: Pages | None = None
    """What the app says of itself."""


class StatusServer:
    """Serves the two ports on sockets that are already listening."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._open = 0

    @asynccontextmanager
    async def serve(self, *sockets: socket.socket) -> AsyncIterator[None]:
        """Serve inside the block."""
        servers = [await asyncio.start_server(self._connection, sock=sock, limit=MAX_HEAD_BYTES) for sock in sockets]
        try:
            yield
        finally:
            for server in servers:
                server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > _MOST_CONNECTIONS:
                writer.write(plain(503, "too many connections"))
                return
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await read_head(reader)
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._answer(head, writer)
                await writer.drain()
        except Http1Error as error:
            writer.write(plain(400, str(error)))
        except (OSError, TimeoutError):
            # The client went away or is too slow; cut it off, so that half a page is not taken for a whole one.
            writer.transport.abort()
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, head: Head, writer: asyncio.StreamWriter) -> None:
        method, _, rest = head.first_line.partition(" ")
        target, _, version = rest.partition(" ")
        path = target.partition("?")[0]
        if not version.startswith("HTTP/1."):
            writer.write(plain(400, "HTTP/1.1 only"))
        elif method != "GET":
            writer.write(plain(405, "GET only", "allow: GET\r\n"))
        elif path == READY_PATH:
            writer.write(await self._readiness())
        elif path == METRICS_PATH:
            await self._metrics(writer, head.headers)
        elif path.startswith(HEALTH) and self._status.pages:
            writer.write(plain(*await self._status.pages.health(path, head.headers)))
        else:
            writer.write(plain(404, f"try {READY_PATH} or {METRICS_PATH}"))

    async def _readiness(self) -> bytes:
        reason = self._status.unready()
        if not reason and not await self._status.envoy.is_live():
            reason = "envoy is not live"
        return plain(503, reason) if reason else plain(200, "ready")

    async def _metrics(self, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> None:
        own = exposition(self._status.metrics())
        pages = self._status.pages
        merging = _Merging(pages, asked) if pages and (asked := pages.app_metrics(headers)) else None
        if merging:
            merging.names.note(own)
        try:
            async with self._status.envoy.prometheus() as (status, blocks):
                if status != 200:
                    raise Http1Error(f"envoy answered {status}")
                writer.write(_head(200, _TEXT, "transfer-encoding: chunked\r\n"))
                writer.write(_chunk(own))
                try:
                    async for block in repaired(blocks):
                        if merging:
                            merging.names.note(block)
                        writer.write(_chunk(block))
                        await writer.drain()
                except Http1Error as error:
                    raise ConnectionError("envoy broke off within its metrics page") from error
                if merging:
                    await merging.write(writer)
                writer.write(b"0\r\n\r\n")
        except (ConnectionRefusedError, Http1Error):
            # Without Envoy there are still the agent's own metrics.
            writer.write(_head(200, _TEXT, f"content-length: {len(own)}\r\n") + own)


class _Merging:
    """The app's own metrics on a page, whatever the app does, behind those that must not be missing."""

    def __init__(self, pages: Pages, asked: AbstractAsyncContextManager[AppMetrics]) -> None:
        from lateen.agent.app_metrics import Names

        self.names = Names()
        """What the page has already."""
        self._pages = pages
        self._asked = asked

    async def write(self, writer: asyncio.StreamWriter) -> None:
        """Write what the app answers, and whether it was all."""
        from lateen.agent.app_metrics import Merger

        merger = Merger(self.names)
        async with self._asked as page:
            async for text in page.lines(merger):
                writer.write(_chunk(text))
                await writer.drain()
        self._pages.scraped(page.problem, merger.dropped)
        writer.write(_chunk(exposition({"lateen_agent_app_scrape_success": float(not page.problem)})))


async def repaired(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the page in whole lines with `envoy_istio_` at a line's beginning put right. Memory: one block."""
    rest = b""
    async for block in blocks:
        text = rest + block
        cut = text.rfind(b"\n") + 1
        if not cut and len(text) > _LONGEST_LINE:
            raise Http1Error("a line of the metrics page is too long")
        text, rest = text[:cut], text[cut:]
        if text:
            yield _MISNAMED.sub(rb"\1istio_", text)
    if rest:
        yield _MISNAMED.sub(rb"\1istio_", rest)


def exposition(metrics: Mapping[str, float]) -> bytes:
    """Return metrics in Prometheus' text format 0.0.4."""
    lines = []
    for name, value in metrics.items():
        lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}\n")
        # As many digits as a time has.
        lines.append(f"{name} {value:.15g}\n")
    return "".join(lines).encode()


def plain(status: int, text: str, headers: str = "") -> bytes:
    """Return a whole response with a line of text."""
    body = f"{text}\n".encode()
    return _head(status, "text/plain; charset=utf-8", f"content-length: {len(body)}\r\n{headers}") + body


def _head(status: int, content_type: str, headers: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status of the app')}\r\n"
        f"content-type: {content_type}\r\n{headers}connection: close\r\n\r\n"
    ).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
