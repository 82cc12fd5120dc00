"""The API over fakes, on real sockets: TCP, TLS and Unix, in a thread with the event loop that `lateen serve` uses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from starlette.types import ASGIApp

from lateen.api.application import api_application
from lateen.api.serving import serve
from lateen.api.unix_sockets import unix_socket
from unit.api.fakes import FakeControlPlane, FakeSecurity

DEADLINE = 30.0


@dataclass
class Served:
    """Where the API is served, and the fakes behind it."""

    http: str
    """URL."""
    https: str
    unix: str
    path: Path
    """Of the Unix socket."""
    plane: FakeControlPlane = field(default_factory=FakeControlPlane)
    security: FakeSecurity = field(default_factory=FakeSecurity)


@contextmanager
def served_api(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """Serve until the block ends; `https` is there with `tls` only."""
    with ExitStack() as stack:
        plain = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        secure = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        path = folder / "api.sock"
        local = stack.enter_context(unix_socket(path))
        served = Served(
            http=f"http://127.0.0.1:{plain.getsockname()[1]}",
            https=f"https://127.0.0.1:{secure.getsockname()[1]}",
            unix=f"unix://{path}",
            path=path,
        )
        application = api_application(served.plane, loopback=True, security=served.security.real)
        sockets = [(plain, None), (local, None), *([(secure, tls)] if tls else [])]
        stack.enter_context(_serving(application, sockets))
        yield served


@contextmanager
def _serving(application: ASGIApp, sockets: list[tuple[socket.socket, ssl.SSLContext | None]]) -> Iterator[None]:
    loop, stop = uvloop.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for bound, tls in sockets:
                bound.setblocking(False)
                group.create_task(serve(application, bound, stop, tls=tls))

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        yield  # the sockets listen already: who connects early waits
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)
        assert not thread.is_alive()
        loop.close()
