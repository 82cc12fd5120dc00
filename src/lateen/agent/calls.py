"""Which hosts the workload calls, as Envoy counted it, told to the control plane every minute.

An Envoy asks for what it was not told of, and so shows what it uses; of what it was told before it asked, only its
statistics show it. Without them the control plane would forget, a day later, hosts that are called all the time.

Spawned by `lifecycle` beside a sidecar. Must not know: how Envoy is asked, or how the control plane is told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lateen.envoy.names import host_of_outbound

_PREFIX = "cluster."
_OPEN = "upstream_cx_active"
"""Connections that are open count as use: one may last for days without another being made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTimes:
    """Times in seconds; tests shorten them."""

    first: float = 5.0
    """Sooner than the others: much of what a workload calls, it calls at its start."""
    between: float = 60.0


class Recipient(Protocol):
    """Who is told (`agent.attach.Attachment`)."""

    @property
    def takes_calls(self) -> bool:
        """Whether it wants to know."""

    def report_calls(self, hosts: Iterable[str]) -> None:
        """Tell it."""


class Calls:
    """Tells from two readings of Envoy's counts what was called between them."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}

    def since_last(self, counts: Mapping[str, int]) -> tuple[str, ...]:
        """Return the hosts whose counts differ from the last reading's, or that have open connections, sorted.

        `counts` is by the names of statistics (`cluster.outbound|80||HOST;.upstream_rq_total`). A count that is lower
        than before is that of an Envoy that was started again. An Envoy that did not answer has no counts.
        """
        if not counts:
            return ()
        found = {
            _host(name)
            for name, count in counts.items()
            if count and (name.endswith(_OPEN) or count != self._before.get(name))
        }
        self._before = dict(counts)
        return tuple(sorted(found - {""}))


def _host(name: str) -> str:
    """Return the host in the name of a cluster's statistic; the `;` ends the cluster's own name."""
    cluster, end, _ = name.removeprefix(_PREFIX).rpartition(";")
    return host_of_outbound(cluster) if end and name.startswith(_PREFIX) else ""


async def report(
    ask: Callable[[], Awaitable[Mapping[str, int]]], to: Recipient, times: ReportTimes = ReportTimes()
) -> None:
    """Ask Envoy for its counts now and again and report what was called, until cancelled.

    While the recipient does not want to know, Envoy is not asked; what was called then is reported later.
    """
    calls = Calls()
    pause = times.first
    while True:
        # Jitter keeps a thousand agents from reporting in one instant.
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  not a secret
        pause = times.between
        if to.takes_calls and (hosts := calls.since_last(await ask())):
            to.report_calls(hosts)
