"""The app's part of the metrics page, whatever the app does: bounded, said, and never at the cost of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from client_model import read_delimited
from flow.test_agent_status import PAGE, REPAIRED, FakeEnvoy
from lateen.agent.addresses import listen
from lateen.agent.app_metrics import AppMetrics, opened
from lateen.agent.http1 import exchange
from lateen.agent.metric_formats import PROTOBUF, Wanted
from lateen.agent.status import Status, StatusServer

OWN = b"# TYPE lateen_agent_x_total counter\nlateen_agent_x_total 2\n"
GOOD = b"# HELP lateen_agent_app_scrape_success Whether all metrics of the app were read in this scrape.\n"
GOOD += b"# TYPE lateen_agent_app_scrape_success gauge\nlateen_agent_app_scrape_success 1\n"
BAD = GOOD.replace(b"success 1", b"success 0")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer for a page than a scraper that says nothing waits."""
    for name in ("_DEFAULT_SECONDS", "LONGEST_SECONDS"):
        monkeypatch.setattr(f"lateen.agent.app_metrics.{name}", 60.0)


class FakePages:
    """The app's pages, of an app that listens somewhere."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.scrapes: list[tuple[str, set[str]]] = []

    def app_metrics(self, headers: Mapping[str, str], wanted: Wanted) -> AbstractAsyncContextManager[AppMetrics]:
        return opened(self.port, "/metrics", headers, wanted, asyncio.open_connection)

    def scraped(self, problem: str, dropped: set[str]) -> None:
        self.scrapes.append((problem, dropped))


@asynccontextmanager
async def app(head: bytes, body: bytes = b"", times: int = 1) -> AsyncIterator[FakePages]:
    """An app that answers everything with a head and a body, the body so many times."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            for _ in range(times):
                writer.write(body)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, sock=listen("127.0.0.1", 0))
    try:
        yield FakePages(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def scrape(pages: FakePages, envoy: FakeEnvoy, **headers: str) -> bytes:
    at = listen("127.0.0.1", 0)
    status: Any = Status(
        envoy=envoy,
        live=envoy.is_live,
        unready=str,
        metrics=lambda: {"lateen_agent_x_total": 2.0},
        pages=pages,  # type: ignore[arg-type]
    )
    async with asyncio.timeout(90), StatusServer(status).serve(at):
        target = (at.getsockname()[1], "/stats/prometheus")
        async with exchange("127.0.0.1", *target, headers=headers) as (code, _, blocks):
            assert code == 200
            return b"".join([block async for block in blocks])


async def test_the_three_stand_one_behind_the_other() -> None:
    async with app(b"content-type: text/plain", b"web_x 1\n") as pages:
        assert await scrape(pages, FakeEnvoy()) == OWN + REPAIRED + b"web_x 1\n" + GOOD
    assert pages.scrapes == [("", set())]


async def test_without_envoy_there_are_the_other_two() -> None:
    async with app(b"content-type: text/plain", b"web_x 1\n") as pages:
        assert await scrape(pages, FakeEnvoy(page=None)) == OWN + b"web_x 1\n" + GOOD


@pytest.mark.parametrize("envoy_speaks", [PROTOBUF, "text/plain"])
async def test_names_of_envoy_are_taken_in_either_format(envoy_speaks: str) -> None:
    from flow.test_agent_status import MESSAGES

    envoy = FakeEnvoy(page=MESSAGES if envoy_speaks == PROTOBUF else PAGE, kind=envoy_speaks)
    async with app(b"content-type: text/plain", b"istio_requests_total 1\nlateen_agent_x_total 9\nown 1\n") as pages:
        families = read_delimited(await scrape(pages, envoy, accept=PROTOBUF))
    assert [one.name for one in families][-2:] == ["own", "lateen_agent_app_scrape_success"]
    assert len({one.name for one in families}) == len(families)
    assert pages.scrapes == [("", {"istio_requests_total", "lateen_agent_x_total"})]


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"content-type: text/html", "no format"),
        (b"content-type: application/vnd.google.protobuf", "no format"),
        (b"content-type: text/plain\r\ncontent-encoding: gzip", "compresses"),
        (b"content-type: text/plain\r\ncontent-length: 100", "no sample"),
        (b"content-type: text/plain\r\ntransfer-encoding: chunked", "chunks"),
        (b"content-type: " + PROTOBUF.encode(), "message"),
        (b"content-type: application/openmetrics-text", "no sample"),
    ],
)
@pytest.mark.parametrize("accept", ["text/plain", PROTOBUF])
async def test_a_broken_answer_costs_the_apps_part_only(head: bytes, problem: str, accept: str) -> None:
    async with app(head, b"\x05secret\n") as pages:
        page = await scrape(pages, FakeEnvoy(), accept=accept)
    if accept == PROTOBUF:
        assert read_delimited(page)[-1].metric[0].gauge.value == 0
    else:
        assert page == OWN + REPAIRED + BAD
    ((said, dropped),) = pages.scrapes
    assert problem in said
    assert "secret" not in said
    assert not dropped


async def test_a_page_without_an_end_is_cut_off_at_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lateen.agent.app_metrics.LIMIT", 1 << 20)
    block = b"".join(b'web_x{number="%d"} 1\n' % number for number in range(1000))
    async with app(b"content-type: text/plain", block, times=1000) as pages:
        page = await scrape(pages, FakeEnvoy())
    assert page.endswith(BAD)
    assert len(page) < 2 << 20
    assert pages.scrapes == [("the page is too large", set())]


async def test_an_app_that_never_stops_ends_with_the_scrapers_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that always has more to say at once."""
    monkeypatch.setattr("lateen.agent.app_metrics.LIMIT", 1 << 40)  # a quick machine says megabytes meanwhile
    async with app(b"content-type: text/plain", b"# a remark\n" * 100, times=10**9) as pages:
        page = await scrape(pages, FakeEnvoy(), **{"x-prometheus-scrape-timeout-seconds": "0.3"})
    assert page == OWN + REPAIRED + BAD
    assert pages.scrapes == [("the app took too long", set())]
