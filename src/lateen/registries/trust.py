"""Whom the mesh trusts, told to agents over the attach stream, and who wants to know what they answer.

Made by `app`, which publishes a trust whenever a root comes or goes; `attach` brings it to each agent and passes its
answer on; the rotation of roots waits for these answers. One event loop, no lock. Must not know: how certificates are
made.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from lateen.model.identities import Identity
from lateen.registries.sessions import StreamId


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What agents are told."""

    roots: tuple[str, ...] = ()
    """PEM of each certificate authority whose certificates count."""
    issuer: str = ""
    """SHA-256 of the certificate of who signs now: who has a leaf of another one renews it. Empty: any will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a connection proves."""

    identity: Identity
    certificate: object = None
    """For `Answers`: the certificate that proves it."""


class Answers(Protocol):
    """Who wants to know what agents with a certificate do."""

    def attached(self, stream: StreamId, workload: str, certificate: object) -> None:
        """Note that a workload, `name.namespace`, is connected and shows this certificate."""

    def confirmed(self, stream: StreamId, digest: str) -> None:
        """Note which roots it says that it trusts."""

    def detached(self, stream: StreamId, *, for_good: bool) -> None:
        """Note that its stream ended, `for_good` when it will not come back."""


class TrustBoard:
    """The trust in force."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self._trust = Trust()
        self._changed = asyncio.Event()

    @property
    def trust(self) -> Trust:
        """The newest."""
        return self._trust

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
