"""Serve an ASGI application from the control plane's own event loop, on a socket that is already bound.

Called by `app`, for TCP (with TLS or without) and for the Unix socket. uvicorn would install signal handlers of its own
and stop the process behind the composition root's back; here it serves until it is told to stop, and then closes
gracefully.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lateen.api.unix_sockets import PEER_UID, uid_of

CLOSE_SECONDS = 0.5
"""Longest wait for requests in flight when the server closes."""
MAX_HEADER_BYTES = 64 * 1024
"""Request line and headers; the parser itself knows no limit."""
HEADER_SECONDS = 10.0
"""Longest wait for the first byte of a connection, and from the first byte of a header to its last."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol that bounds headers in size and time, and says who is at the other end of a Unix socket."""

    _header_bytes = 0
    _in_headers = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family == socket.AF_UNIX:
            # Each request's scope gets a copy of this state; nothing of the request itself can reach it.
            self.app_state: dict[str, Any] = {**self.app_state, PEER_UID: uid_of(connection)}
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_waiting()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._stop_waiting()
        self._in_headers, self._header_bytes = True, 0
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_headers:
            return
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()


async def serve(
    application: ASGIApp, bound: socket.socket, stop: asyncio.Event, *, tls: ssl.SSLContext | None = None
) -> None:
    """Serve until `stop` is set; then take no more connections, let requests in flight end, and close the socket.

    `bound` is a TCP or a Unix socket. `tls` may be given other certificates while it is in use; new connections see
    them.
    """
    config = uvicorn.Config(
        application,
        http=_Protocol,
        log_config=None,
        # Our handlers log what fails; uvicorn would do it again, and call a stop with requests in flight an error.
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the peer is who connected, not who a header says
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=CLOSE_SECONDS,  # type: ignore[arg-type]  # a fraction works as well
        ws="none",
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    server = _QuietServer(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[bound]))
        await stop.wait()
        server.should_exit = True
