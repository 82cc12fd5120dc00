"""Whom the mesh trusts, told to agents over the attach stream, and what they say of it.

Made by `app`, which publishes a trust whenever a root comes or goes; `attach` brings it to each agent and notes its
answer; the rotation of roots waits for these answers. One event loop, no lock. Must not know: how certificates are
made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from lateen.registries.sessions import StreamId


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What agents are told."""

    roots: tuple[str, ...] = ()
    """PEM of each certificate authority whose certificates count."""
    issuer: str = ""
    """Name of the one that signs now: who has a certificate of another one is told to renew it."""

    @property
    def digest(self) -> str:
        """What an agent says once it trusts these roots."""
        return blake2b("\n".join(self.roots).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustReport:
    """What an agent last said."""

    workload: str
    """`name.namespace`."""
    trusts: str = ""
    """Digest of the roots that it trusts."""
    issuer: str = ""
    """Who signed the certificate that it shows."""


class TrustBoard:
    """The trust in force, and the answers of the agents that are attached."""

    def __init__(self) -> None:
        self._trust = Trust()
        self._changed = asyncio.Event()
        self._reports: dict[StreamId, TrustReport] = {}
        self._reported = asyncio.Event()

    @property
    def trust(self) -> Trust:
        """The newest."""
        return self._trust

    @property
    def reports(self) -> Mapping[StreamId, TrustReport]:
        """The answers by stream: empty at first, none of a stream that proved no identity."""
        return self._reports

    def publish(self, trust: Trust) -> None:
        """Tell every agent, if it is another trust than before."""
        if trust != self._trust:
            self._trust = trust
            self._changed.set()
            self._changed = asyncio.Event()

    async def other_than(self, known: Trust | None) -> Trust:
        """Return the newest trust as soon as it is another one than `known`."""
        while self._trust == known:
            await self._changed.wait()
        return self._trust

    def report(self, stream: StreamId, report: TrustReport) -> None:
        """Note what an agent says."""
        if self._reports.get(stream) != report:
            self._reports[stream] = report
            self._note()

    def forget(self, stream: StreamId) -> None:
        """Note that an agent is gone."""
        if self._reports.pop(stream, None) is not None:
            self._note()

    async def next_report(self) -> None:
        """Wait until an agent says something else than before, or goes."""
        await self._reported.wait()

    def _note(self) -> None:
        self._reported.set()
        self._reported = asyncio.Event()
