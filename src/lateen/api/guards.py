"""Guards in front of every endpoint: who may ask from where, and how much they may send.

A page from anywhere can make the user's browser send requests to 127.0.0.1, and with DNS rebinding even read the
answers. It has no token to send (`api/gate.py`), and two checks stop it before that: on a loopback bind the Host header
must name loopback (a rebound name cannot), and a request that changes something must not carry a foreign Origin (a
browser always sends one across origins). No CORS header is ever sent.
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lateen.api.answers import error_response
from lateen.model.loopback import is_loopback

MAX_BODY_BYTES = 8 * 1024 * 1024
BODY_SECONDS = 10.0
"""Longest wait for a whole body: a slow sender does not hold a request open."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyTooLargeError(Exception):
    """The body is larger than the endpoint takes."""


class Guards:
    """ASGI middleware that refuses foreign hosts and origins with 403."""

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = refused(scope["method"], headers.get("host", ""), headers.get("origin"), loopback=self._loopback)
        if refusal:
            await error_response(403, "forbidden", refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def refused(method: str, host: str, origin: str | None, *, loopback: bool) -> str:
    """Return why a request is refused, empty when it may pass.

    `host` and `origin` are the headers as received; `loopback` says that the server is bound to loopback only.
    """
    # No browser asks a resolver for a name below `localhost` (RFC 6761, section 6.3).
    name = host_name(host)
    if loopback and not (is_loopback(name) or name.endswith(".localhost")):
        return f"the Host header {host[:100]!r} does not name this machine's loopback"
    if method not in READING and origin is not None and origin.partition("://")[2] != host:
        return f"a page of {origin[:100]!r} may not change configuration"
    return ""


def host_name(authority: str) -> str:
    """Return the host of `host:port`, `[::1]:port` or a bare host."""
    if authority.startswith("["):
        address, _, rest = authority[1:].partition("]")
        return address if not rest or rest.startswith(":") else authority
    return authority.rpartition(":")[0] if authority.count(":") == 1 else authority


async def bounded_body(request: Request, most: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body. Raises BodyTooLargeError, or TimeoutError when the sender is too slow."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise BodyTooLargeError
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(BODY_SECONDS):
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise BodyTooLargeError
            parts.append(part)
    return b"".join(parts)
