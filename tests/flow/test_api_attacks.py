"""Attempts to get round the gate of the API, as bytes on a connection: what a client library would not send."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest

from flow.control_planes import InProcess, control_plane

PATHS = (
    "//v1/tokens", "/v1//tokens", "/v1/tokens/", "/V1/tokens", "/v1/%74okens", "/v1/tokens%2f", "/v1/./tokens",
    "/x/../v1/tokens", "/v1/tokens;x", "http://localhost/v1/tokens", "//localhost/v1/tokens", "/%2e/v1/tokens",
    "/v1/tokens%00", "/healthz/../v1/tokens", "/healthz%2f..%2fv1%2ftokens", "/v1/tokens#a", "*",
)  # fmt: skip
"""Ways to write the path of an endpoint that needs an admin."""
HEAD = "host: localhost\r\nconnection: close\r\n"


@pytest.fixture
async def plane() -> AsyncIterator[InProcess]:
    async with control_plane() as found:
        yield found


async def said(plane: InProcess, request: str) -> list[int]:
    """Send bytes to the API; return the status of each answer."""

    def exchange() -> bytes:
        host, _, port = plane.listening.http.rpartition(":")
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                return stream.read()

    answers = await asyncio.get_running_loop().run_in_executor(plane.threads, exchange)
    assert b'"items"' not in answers
    return [int(part.split(b" ", 1)[0]) for part in answers.split(b"HTTP/1.1 ")[1:]]


async def token(plane: InProcess, role: str) -> str:
    answer = await plane.ask("POST", "/v1/tokens", json.dumps({"role": role, "name": role, "seconds": 3600}))
    return f"authorization: Bearer {answer.body['token']}\r\n"


async def test_no_spelling_of_a_path_passes_the_gate(plane: InProcess) -> None:
    editor = await token(plane, "editor")
    for path in PATHS:
        assert await said(plane, f"GET {path} HTTP/1.1\r\n{HEAD}\r\n") == [401], path
        (status,) = await said(plane, f"GET {path} HTTP/1.1\r\n{HEAD}{editor}\r\n")
        assert status in (307, 403, 404), path


async def test_no_other_method_stands_for_one(plane: InProcess) -> None:
    viewer = await token(plane, "viewer")
    override = "x-http-method-override: DELETE\r\nx-method-override: DELETE\r\n"
    for method in ("HEAD", "OPTIONS", "PATCH", "PUT", "TRACE", "get", "FOO"):
        (status,) = await said(plane, f"{method} /v1/tokens HTTP/1.1\r\n{HEAD}{viewer}{override}\r\n")
        assert status in (400, 403, 405), method


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
    ],
)
async def test_a_request_has_one_end(plane: InProcess, framing: str) -> None:
    """A proxy in front of the API and the API must not disagree about where the next request begins."""
    inner = f"GET /v1/tokens HTTP/1.1\r\n{HEAD}\r\n"
    statuses = await said(plane, f"POST /v1/config HTTP/1.1\r\n{HEAD}{framing}\r\n0\r\n\r\n{inner}")
    assert statuses == [400]


async def test_a_token_counts_in_one_place_only(plane: InProcess) -> None:
    viewer = await token(plane, "viewer")
    plain = viewer.split()[-1]
    assert await said(plane, f"GET /v1/version HTTP/1.1\r\n{HEAD}{viewer}\r\n") == [200]
    assert await said(plane, f"GET /v1/version HTTP/1.1\r\n{HEAD}{viewer}{viewer}\r\n") == [401]
    assert await said(plane, f"GET /v1/version?access_token={plain} HTTP/1.1\r\n{HEAD}\r\n") == [401]
    assert await said(plane, f"GET /v1/version HTTP/1.1\r\n{HEAD}cookie: token={plain}\r\n\r\n") == [401]
