"""The agent's HTTP ports: readiness, the metrics page, and what a hostile client gets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lateen.agent.addresses import listen
from lateen.agent.http1 import Http1Error, fetch, response
from lateen.agent.status import Status, StatusServer, exposition, repaired

PAGE = b"""\
# TYPE envoy_istio_requests_total counter
envoy_istio_requests_total{response_code="200",path="envoy_istio_x"} 3
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{a="b"} 1
"""
REPAIRED = PAGE.replace(b"TYPE envoy_istio_", b"TYPE istio_").replace(b"\nenvoy_istio_", b"\nistio_")


class FakeEnvoy:
    """An Envoy as its admin page shows it."""

    def __init__(self, live: bool = True, page: bytes | None = PAGE, breaks_off: bool = False) -> None:
        self.live = live
        self.page = page
        self.breaks_off = breaks_off

    async def is_live(self) -> bool:
        return self.live

    @asynccontextmanager
    async def prometheus(self) -> AsyncIterator[tuple[int, AsyncGenerator[bytes, None]]]:
        if self.page is None:
            raise ConnectionRefusedError
        yield 200, self._blocks(self.page)

    async def _blocks(self, page: bytes) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(page), 7):
            yield page[at : at + 7]
        if self.breaks_off:
            raise Http1Error("cut")


@asynccontextmanager
async def served(envoy: FakeEnvoy, unready: str = "") -> AsyncIterator[int]:
    opened = listen("127.0.0.1", 0)
    status = Status(envoy=envoy, unready=lambda: unready, metrics=lambda: {"lateen_agent_x_total": 2.0})
    async with StatusServer(status).serve(opened):
        yield opened.getsockname()[1]


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        writer.write(request)
        answer = await reader.read(-1)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("live", "unready", "status", "text"),
    [
        (True, "", 200, b"ready"),
        (False, "", 503, b"envoy is not live"),
        (True, "draining", 503, b"draining"),
    ],
)
async def test_ready_means_envoy_and_app(live: bool, unready: str, status: int, text: bytes) -> None:
    async with served(FakeEnvoy(live=live), unready) as port:
        answer = await fetch("127.0.0.1", port, "/healthz/ready")
    assert (answer.status, answer.body.strip()) == (status, text)


async def test_metrics_are_the_agents_and_envoys_with_istios_names() -> None:
    """Names are repaired at a line's beginning only; label values stay as they are."""
    async with served(FakeEnvoy()) as port:
        answer = await fetch("127.0.0.1", port, "/stats/prometheus?usedonly")
    assert answer.status == 200
    assert answer.body == b"# TYPE lateen_agent_x_total counter\nlateen_agent_x_total 2\n" + REPAIRED


async def test_metrics_without_envoy_are_the_agents_own() -> None:
    async with served(FakeEnvoy(page=None)) as port:
        answer = await fetch("127.0.0.1", port, "/stats/prometheus")
    assert answer.body == exposition({"lateen_agent_x_total": 2.0})


def test_times_keep_their_seconds() -> None:
    """A certificate's end has ten digits."""
    assert exposition({"x_seconds": 1795374567.0}) == b"# TYPE x_seconds gauge\nx_seconds 1795374567\n"


async def test_half_a_page_is_not_taken_for_a_whole_one() -> None:
    async with served(FakeEnvoy(breaks_off=True)) as port:
        with pytest.raises((OSError, Http1Error, asyncio.IncompleteReadError)):
            await fetch("127.0.0.1", port, "/stats/prometheus")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /healthz/ready HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /healthz/ready HTTP/2\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20000 + b"\r\n\r\n", b"400"),
    ],
)
async def test_other_requests_are_refused(request_: bytes, status: bytes) -> None:
    async with served(FakeEnvoy()) as port:
        assert (await ask(port, request_)).startswith(b"HTTP/1.1 " + status)


async def test_silent_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lateen.agent.status._HEAD_SECONDS", 0.05)
    async with served(FakeEnvoy()) as port:
        try:
            answer = await ask(port, b"GET /healthz/re")
        except ConnectionResetError:
            answer = b""
    assert answer == b""


async def test_repair_does_not_depend_on_where_blocks_end() -> None:
    for size in (1, 5, 64, 1000):

        async def blocks(size: int = size) -> AsyncIterator[bytes]:
            for at in range(0, len(PAGE), size):
                yield PAGE[at : at + size]

        assert b"".join([block async for block in repaired(blocks())]) == REPAIRED


async def test_endless_line_is_refused() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    with pytest.raises(Http1Error, match="too long"):
        [block async for block in repaired(blocks())]


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, sock=_listening())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _listening() -> socket.socket:
    return listen("127.0.0.1", 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
    ids=["length", "until the end", "chunked"],
)
async def test_client_reads_every_framing(answer: bytes) -> None:
    async with raw_server(answer) as port:
        assert (await fetch("127.0.0.1", port, "/")).body == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhe",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + b"x" * 2000000,
    ],
)
async def test_client_refuses_broken_and_boundless_answers(answer: bytes) -> None:
    async with raw_server(answer) as port:
        with pytest.raises(Http1Error):
            await fetch("127.0.0.1", port, "/")


async def test_leaving_a_response_early_closes_it() -> None:
    async with (
        raw_server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300000) as port,
        response("127.0.0.1", port, "/") as (status, blocks),
    ):
        assert status == 200
        assert await anext(blocks)
