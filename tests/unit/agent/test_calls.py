"""Which hosts an app calls, from Envoy's statistics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from lateen.agent.calls import Calls, ReportTimes, report
from lateen.agent.envoy_admin import read_stats

RATINGS = "cluster.outbound|9080||ratings.default.svc.cluster.local;"
HOST = "ratings.default.svc.cluster.local"


def test_host_is_read_from_the_names_of_statistics() -> None:
    page = (
        f"{RATINGS}.upstream_rq_total: 2\n"
        "cluster.outbound|80|v1|*.example.com;.upstream_cx_total: 1\n"
        "cluster.outbound|80||::1;.upstream_cx_active: 1\n"
        "cluster.inbound|9080||;.upstream_rq_total: 7\n"
        "cluster.xds-grpc.upstream_rq_total: 1\n"
        "cluster.outbound|80||unused;.upstream_rq_total: 0\n"
        "outbound|80||no.cluster;.upstream_rq_total: 1\n"
        "cluster.outbound|80||no.end.upstream_rq_total: 1\n"
    )
    assert Calls().since_last(read_stats(page.encode())) == ("*.example.com", "::1", HOST)


@pytest.mark.parametrize(
    ("before", "now", "called"),
    [
        ({}, {"upstream_rq_total": 1}, True),
        ({"upstream_rq_total": 1}, {"upstream_rq_total": 1}, False),
        ({"upstream_rq_total": 1}, {"upstream_rq_total": 2}, True),
        ({"upstream_rq_total": 9}, {"upstream_rq_total": 2}, True),
        ({"upstream_cx_total": 1}, {"upstream_cx_total": 1, "upstream_cx_active": 1}, True),
        ({"upstream_cx_active": 1}, {"upstream_cx_active": 1}, True),
        ({"upstream_cx_active": 1}, {"upstream_cx_active": 0}, False),
    ],
)
def test_what_grew_or_is_open_is_called(before: dict[str, int], now: dict[str, int], called: bool) -> None:
    """A lower count is an Envoy that was started again."""
    calls = Calls()
    calls.since_last({f"{RATINGS}.{name}": count for name, count in before.items()})

    assert calls.since_last({f"{RATINGS}.{name}": count for name, count in now.items()}) == ((HOST,) if called else ())


def test_an_envoy_that_did_not_answer_makes_nothing_called_again() -> None:
    calls = Calls()
    counts = {f"{RATINGS}.upstream_rq_total": 3}
    calls.since_last(counts)

    assert calls.since_last({}) == ()
    assert calls.since_last(counts) == ()


class Heard:
    """A recipient that takes calls from some time on."""

    def __init__(self) -> None:
        self.takes_calls = False
        self.calls: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()

    def report_calls(self, hosts: Iterable[str]) -> None:
        self.calls.put_nowait(tuple(hosts))


async def test_what_was_called_is_reported_once_somebody_wants_to_know() -> None:
    heard = Heard()
    asked: list[Any] = []

    async def ask() -> Mapping[str, int]:
        asked.append(None)
        return {f"{RATINGS}.upstream_rq_total": len(asked)}

    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        task = group.create_task(report(ask, heard, ReportTimes(first=0, between=0)))
        await asyncio.sleep(0)
        assert not asked
        heard.takes_calls = True
        assert await heard.calls.get() == (HOST,)
        assert await heard.calls.get() == (HOST,)
        task.cancel()
