"""How the user of an agent speaks with it: a Unix socket in the workload's own folder, for its owner only.

`lateen proxy status` and `lateen proxy restart` use it. HTTP/1.1, one request per connection. Not a port: every user
of the machine could reach that. Used by `lifecycle`. Must not know: what a restart is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from lateen.agent.http1 import MAX_HEAD_BYTES, Http1Error, read_head
from lateen.agent.log import get_log

SOCKET_NAME = "agent.sock"
_LONGEST_PATH = 100
_HEAD_SECONDS = 5.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 409: "Conflict"}


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Yield a name of a socket that is short enough for the kernel, which takes 107 bytes: by its open folder."""
    if len(os.fsencode(path)) <= _LONGEST_PATH or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _make_room(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Of an agent that was killed; the address, which this one holds, says that it is gone.
    path.unlink(missing_ok=True)


def _bound(path: Path) -> socket.socket:
    """Return a socket at the path, for its owner only."""
    _make_room(path)
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    before = os.umask(0o177)  # of the whole process, so nothing is awaited until it is put back
    try:
        with reachable(path) as short:
            made.bind(short)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


class ControlServer:
    """Answers on the socket."""

    def __init__(self, *, status: Callable[[], dict[str, Any]], restart: Callable[[], Awaitable[str]]) -> None:
        """`restart` returns why no new Envoy took over; empty when one did."""
        self._status = status
        self._restart = restart

    @asynccontextmanager
    async def serve(self, folder: Path) -> AsyncIterator[None]:
        """Serve inside the block, at `agent.sock` in the folder; without it when that cannot be."""
        path = folder / SOCKET_NAME
        try:
            server = await self._listen(path)
        except OSError as error:
            get_log().warning("no control socket: `lateen proxy` cannot find this agent", reason=str(error))
            yield
            return
        try:
            yield
        finally:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink()

    async def _listen(self, path: Path) -> asyncio.Server:
        listening = _bound(path)
        try:
            return await asyncio.start_unix_server(self._connection, sock=listening, limit=MAX_HEAD_BYTES)
        except BaseException:
            listening.close()
            raise

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await read_head(reader)
            code, answer = await self._answer(" ".join(head.first_line.split(" ")[:2]))
            body = json.dumps(answer).encode() + b"\n"
            writer.write(
                f"HTTP/1.1 {code} {_REASONS[code]}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (Http1Error, OSError, TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, request: str) -> tuple[int, dict[str, Any]]:
        match request:
            case "GET /status":
                return 200, self._status()
            case "POST /restart":
                if reason := await self._restart():
                    return 409, {"error": reason}
                return 200, self._status()
        return 404, {"error": "try GET /status or POST /restart"}
