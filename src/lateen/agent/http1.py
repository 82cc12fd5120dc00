"""As much HTTP/1.1 as an agent needs: asking Envoy's admin page, and reading the head of a probe's request.

Called by `envoy_admin`, `attach`, `status`, `checks` and `app_metrics`. Everything read is bounded in size, and every
call here must stand inside the caller's `asyncio.timeout`. Must not know: what is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from types import MappingProxyType
from typing import TypeAlias

from lateen.agent.addresses import host_port

MAX_HEAD_BYTES = 8 * 1024
_BLOCK = 64 * 1024
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Connect: TypeAlias = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects as `asyncio.open_connection` does, perhaps from elsewhere."""


class Http1Error(Exception):
    """The peer broke HTTP/1.1, or went beyond a bound."""


@dataclass(frozen=True, slots=True)
class Head:
    """First line and headers; header names in lower case, the last of a repeated one counts."""

    first_line: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read up to the empty line. The reader's own limit must be MAX_HEAD_BYTES; beyond it Http1Error."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise Http1Error("the connection was closed within a head") from error
    except asyncio.LimitOverrunError as error:
        raise Http1Error("the head is too large") from error
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Head(first, headers)


@asynccontextmanager
async def response(
    host: str, port: int, target: str, *, method: str = "GET", connect: Connect = asyncio.open_connection
) -> AsyncGenerator[tuple[int, AsyncGenerator[bytes, None]], None]:
    """Send a request without a body; yield the status and the body as blocks of at most 64 KiB.

    Raises OSError when nobody listens, Http1Error for an answer that is no HTTP/1.1.
    """
    async with exchange(host, port, target, method=method, connect=connect) as (status, _, body):
        yield status, body


@asynccontextmanager
async def exchange(
    host: str,
    port: int,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] = _NO_HEADERS,
    connect: Connect = asyncio.open_connection,
    tls: SSLContext | None = None,
) -> AsyncGenerator[tuple[int, Mapping[str, str], AsyncGenerator[bytes, None]], None]:
    """Do as `response`, with more headers (names in lower case), perhaps over TLS; yield the answer's headers too."""
    reader, writer = await connect(host, port, limit=MAX_HEAD_BYTES, **({"ssl": tls} if tls else {}))
    try:
        sent = {"host": host_port(host, port), **headers, "connection": "close"}
        if method == "POST":
            sent["content-length"] = "0"
        lines = (f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", "")
        writer.write("\r\n".join(lines).encode())
        head = await read_head(reader)
        version, _, rest = head.first_line.partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise Http1Error(f"the answer is no HTTP/1: {head.first_line[:80]!r}")
        body = _body(reader, head)
        try:
            yield int(status), head.headers, body
        finally:
            await body.aclose()
    finally:
        writer.close()


async def fetch(
    host: str,
    port: int,
    target: str,
    *,
    method: str = "GET",
    limit: int = 1 << 20,
    connect: Connect = asyncio.open_connection,
) -> Answer:
    """Return the whole answer; Http1Error when the body is larger than `limit` bytes."""
    async with response(host, port, target, method=method, connect=connect) as (status, blocks):
        content = bytearray()
        async for block in blocks:
            content += block
            if len(content) > limit:
                raise Http1Error(f"the answer is larger than {limit} bytes")
        return Answer(status, bytes(content))


async def _body(reader: asyncio.StreamReader, head: Head) -> AsyncGenerator[bytes, None]:
    """RFC 9112 section 6.3: chunked, else Content-Length, else until the connection ends."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        while size := await _chunk_size(reader):
            async for block in _exactly(reader, size):
                yield block
            async for _ in _exactly(reader, 2):
                pass
    elif (length := head.headers.get("content-length", "")).isdigit():
        async for block in _exactly(reader, int(length)):
            yield block
    else:
        while block := await reader.read(_BLOCK):
            yield block


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    try:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0].strip(), 16)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise Http1Error("the answer's chunks are broken") from error
    if size < 0:
        raise Http1Error("the answer's chunks are broken")
    return size


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncGenerator[bytes, None]:
    while size > 0:
        block = await reader.read(min(size, _BLOCK))
        if not block:
            raise Http1Error("the answer was cut short")
        size -= len(block)
        yield block
