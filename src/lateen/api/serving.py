"""Serve an ASGI application from the control plane's own event loop, on a socket that is already bound.

Called by `app`. uvicorn would install signal handlers of its own and stop the process behind the composition root's
back; here it serves until it is told to stop, and then closes gracefully.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

CLOSE_SECONDS = 0.5
"""Longest wait for requests in flight when the server closes."""


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(application: ASGIApp, bound: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then take no more connections, let requests in flight end, and close the socket."""
    config = uvicorn.Config(
        application,
        log_config=None,
        # Our handlers log what fails; uvicorn would do it again, and call a stop with requests in flight an error.
        log_level="critical",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=CLOSE_SECONDS,  # type: ignore[arg-type]  # a fraction works as well
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
    )
    server = _QuietServer(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[bound]))
        await stop.wait()
        server.should_exit = True
