"""One HTTP/1.1 request on a connection of its own, as curl would send it.

Called by the traffic and by the control plane's client. Importing an HTTP library would take longer than all the
demo's requests of a second; what is sent and answered here is known on both sides, so this is enough.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MAX_BODY_BYTES = 4 * 1024 * 1024


class ExchangeError(Exception):
    """No complete answer came: nobody listens, the connection broke, or it took too long."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case, one value each."""


async def exchange(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", seconds: float = 15.0
) -> Response:
    """Send a request and return the answer, or raise ExchangeError, after at most `seconds`."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"content-length: {len(body)}")
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=MAX_BODY_BYTES)
            try:
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                return await _response(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise ExchangeError(f"{method} {url}: {str(error) or type(error).__name__}") from error


async def _response(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = int(head.split(maxsplit=2)[1])
    pairs = (line.partition(":") for line in head.split("\r\n")[1:] if ":" in line)
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Response(status, await _body(reader, fields), fields)


async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    if "chunked" not in fields.get("transfer-encoding", "").lower():
        length = fields.get("content-length")
        return await (reader.read() if length is None else reader.readexactly(int(length)))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return body
