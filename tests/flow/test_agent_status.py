"""The agent's HTTP ports: readiness, the metrics page, and what a hostile client gets."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from client_model import MetricFamily, read_delimited
from lateen.agent.addresses import listen
from lateen.agent.http1 import Http1Error, exchange, fetch, response
from lateen.agent.metric_formats import PROTOBUF
from lateen.agent.own_metrics import exposition
from lateen.agent.status import Status, StatusServer

PAGE = b"""\
# TYPE envoy_istio_requests_total counter
envoy_istio_requests_total{response_code="200",path="envoy_istio_x"} 3
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{a="b"} 1
"""
REPAIRED = PAGE.replace(b"TYPE envoy_istio_", b"TYPE istio_").replace(b"\nenvoy_istio_", b"\nistio_")


def _messages() -> bytes:
    istio = MetricFamily(name="envoy_istio_requests_total", type=0)
    metric = istio.metric.add()
    metric.counter.value = 3
    metric.label.add(name="response_code", value="200")
    metric.label.add(name="path", value="envoy_istio_x")
    cluster = MetricFamily(name="envoy_cluster_upstream_rq", type=0)
    cluster.metric.add().counter.value = 1
    return b"".join(bytes((len(one),)) + one for one in (istio.SerializeToString(), cluster.SerializeToString()))


MESSAGES = _messages()


class FakeEnvoy:
    """An Envoy as its admin page shows it."""

    def __init__(
        self, live: bool = True, page: bytes | None = PAGE, breaks_off: bool = False, kind: str = "text/plain"
    ) -> None:
        self.live = live
        self.page = page
        self.breaks_off = breaks_off
        self.kind = kind
        self.accept = self.query = "never asked"

    async def is_live(self) -> bool:
        return self.live

    @asynccontextmanager
    async def prometheus(
        self, accept: str, query: str = ""
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncGenerator[bytes, None]]]:
        self.accept, self.query = accept, query
        if self.page is None:
            raise ConnectionRefusedError
        yield 200, {"content-type": self.kind}, self._blocks(self.page)

    async def _blocks(self, page: bytes) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(page), 7):
            yield page[at : at + 7]
        if self.breaks_off:
            raise Http1Error("cut")


@asynccontextmanager
async def served(envoy: FakeEnvoy, unready: str = "") -> AsyncIterator[int]:
    opened = listen("127.0.0.1", 0)
    status = Status(
        envoy=envoy, live=envoy.is_live, unready=lambda: unready, metrics=lambda: {"lateen_agent_x_total": 2.0}
    )
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


async def test_head_says_what_get_would() -> None:
    async with served(FakeEnvoy()) as port:
        page = await ask(port, b"HEAD /stats/prometheus HTTP/1.1\r\n\r\n")
        ready = await ask(port, b"HEAD /healthz/ready HTTP/1.1\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/plain; version=0.0.4" in page
    assert ready.startswith(b"HTTP/1.1 200")
    assert page.endswith(b"\r\n\r\n")
    assert ready.endswith(b"\r\n\r\n")


async def test_a_scraper_that_reads_gzip_gets_it() -> None:
    headers = {"accept-encoding": "gzip"}
    async with served(FakeEnvoy()) as port, exchange("127.0.0.1", port, "/stats/prometheus", headers=headers) as answer:
        _, said, blocks = answer
        body = b"".join([block async for block in blocks])
    assert said["content-encoding"] == "gzip"
    assert gzip.decompress(body).endswith(REPAIRED)


@pytest.mark.parametrize("envoy_speaks", ["protobuf", "text"])
async def test_a_scraper_that_wants_protobuf_gets_it_from_all(envoy_speaks: str) -> None:
    """Also of an Envoy that knows text only."""
    headers = {"accept": f"{PROTOBUF}, text/plain;q=0.5"}
    page = MESSAGES if envoy_speaks == "protobuf" else PAGE
    envoy = FakeEnvoy(page=page, kind=PROTOBUF if envoy_speaks == "protobuf" else "text/plain")
    async with served(envoy) as port, exchange("127.0.0.1", port, "/stats/prometheus", headers=headers) as answer:
        _, said, blocks = answer
        body = b"".join([block async for block in blocks])
    assert said["content-type"] == PROTOBUF
    own, istio, cluster = read_delimited(body)
    assert (own.name, own.type, own.metric[0].counter.value) == ("lateen_agent_x_total", 0, 2)
    assert (istio.name, istio.metric[0].label[1].value) == ("istio_requests_total", "envoy_istio_x")
    assert (cluster.name, cluster.metric[0].counter.value) == ("envoy_cluster_upstream_rq", 1)
    assert envoy.accept == PROTOBUF


async def test_native_histograms_are_asked_of_envoy_when_the_scraper_does() -> None:
    """They exist in protobuf only, and nothing else of a query reaches Envoy's admin page."""
    envoy = FakeEnvoy()
    query = "/stats/prometheus?histogram_buckets=prometheusnative&filter=x&native_histogram_max_buckets=20"
    async with served(envoy) as port:
        async with exchange("127.0.0.1", port, query, headers={"accept": PROTOBUF}):
            pass
        assert envoy.query == "histogram_buckets=prometheusnative&native_histogram_max_buckets=20"
        async with exchange("127.0.0.1", port, query):
            pass
        assert envoy.query == ""


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
