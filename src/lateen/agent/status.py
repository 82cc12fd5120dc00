"""The agent's own small HTTP server: merged metrics on 15020, readiness on 15021.

GET and HEAD only, one request per connection, everything bounded: a probe or a scraper needs no more. The metrics page
is the work of `metrics_page`, loaded with the first scrape. Used by `lifecycle`. Must not know: how states come about,
or what metrics look like.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lateen.agent.app_pages import HEALTH, Pages
from lateen.agent.http1 import MAX_HEAD_BYTES, Head, Http1Error, read_head

if TYPE_CHECKING:
    from lateen.agent.metrics_page import Envoy

READY_PATH = "/healthz/ready"
METRICS_PATH = "/stats/prometheus"
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
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where answers come from."""

    envoy: Envoy
    live: Callable[[], Awaitable[bool]]
    """Whether Envoy serves."""
    unready: Callable[[], str]
    """Why the workload should get no traffic now; empty when it should, if Envoy is live besides."""
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
        path, _, query = target.partition("?")
        if not version.startswith("HTTP/1."):
            writer.write(plain(400, "HTTP/1.1 only"))
        elif method not in ("GET", "HEAD"):
            writer.write(plain(405, "GET or HEAD only", "allow: GET, HEAD\r\n"))
        elif path == METRICS_PATH:
            await self._metrics(writer, head.headers, query, bare=method == "HEAD")
        else:
            answer = await self._page(path, head.headers)
            writer.write(answer if method == "GET" else answer[: answer.index(_END_OF_HEAD) + len(_END_OF_HEAD)])

    async def _page(self, path: str, headers: Mapping[str, str]) -> bytes:
        if path == READY_PATH:
            return await self._readiness()
        if path.startswith(HEALTH) and self._status.pages:
            return plain(*await self._status.pages.health(path, headers))
        return plain(404, f"try {READY_PATH} or {METRICS_PATH}")

    async def _readiness(self) -> bytes:
        reason = self._status.unready()
        if not reason and not await self._status.live():
            reason = "envoy is not live"
        return plain(503, reason) if reason else plain(200, "ready")

    async def _metrics(
        self, writer: asyncio.StreamWriter, headers: Mapping[str, str], query: str, *, bare: bool
    ) -> None:
        from lateen.agent import metrics_page

        scrape = metrics_page.Scrape(headers=headers, query=query)
        writer.write(_head(200, *metrics_page.headers(scrape)))
        if not bare:
            status = self._status
            await metrics_page.write_page(scrape, status.metrics(), status.envoy, status.pages, writer)


def plain(status: int, text: str, headers: str = "") -> bytes:
    """Return a whole response with a line of text."""
    body = f"{text}\n".encode()
    return _head(status, "text/plain; charset=utf-8", f"content-length: {len(body)}\r\n{headers}") + body


def _head(status: int, content_type: str, headers: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status of the app')}\r\n"
        f"content-type: {content_type}\r\n{headers}connection: close\r\n\r\n"
    ).encode()
