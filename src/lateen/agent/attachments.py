"""Keeps this workload registered with several control planes at once.

Problem: each control plane knows the workloads that are registered with it. An agent that goes over to another one
only when the first is gone comes to a control plane that knows nobody yet, whose Envoys are told that every service is
empty.

What we do: the workload is registered with all of them all the time. So each knows the whole mesh, and it does not
matter with which of them an Envoy speaks; Envoy goes from one to the next by itself. The workload's name is given by
the first that answers, in the order that the user gave; to the others it is said.

Used by `membership` instead of an `Attachment` where there are several. Must not know: Envoy, or the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lateen.agent.addresses import host_port
from lateen.agent.attach import Attachment, Credentials
from lateen.agent.attach_protocol import Registered
from lateen.agent.secure_connection import Tls
from lateen.model.workloads import WorkloadRegistration

_FIRST_SECONDS = 3.0
"""So long one may take to give a name, before the next is asked."""


@dataclass(frozen=True, slots=True)
class _At:
    """The workload's credentials, for one control plane."""

    credentials: Credentials
    address: tuple[str, int]
    others_connected: Callable[[], bool]

    def tls(self) -> Tls:
        return self.credentials.tls()

    def trust(self, roots: tuple[str, ...], *, issuer: str) -> str:
        return self.credentials.trust(roots, issuer=issuer)

    def distrusted(self) -> None:
        """One of another CA must not cost the certificate that the others take."""
        if not self.others_connected():
            self.credentials.distrusted()


class Attachments:
    """As an `Attachment`, with each of several control planes."""

    def __init__(self, addresses: Iterable[tuple[str, int]], registration: WorkloadRegistration) -> None:
        self._addresses = tuple(addresses)
        self._each = tuple(Attachment(host_port(*address), registration) for address in self._addresses)
        self._first = self._each[0]
        """Who gave the name."""
        self._named = asyncio.Event()

    @property
    def control_plane(self) -> tuple[str, int]:
        """Where the first is."""
        return self._addresses[0]

    @property
    def connected(self) -> bool:
        """Whether one of them holds the registration now."""
        return any(one.connected for one in self._each)

    @property
    def takes_calls(self) -> bool:
        """Whether one of them wants to know whom the workload calls."""
        return any(one.takes_calls for one in self._each)

    @property
    def registration(self) -> WorkloadRegistration:
        """The newest wanted registration, with the name that was given."""
        return self._first.registration

    @property
    def was_registered(self) -> bool:
        """Whether any of them ever took this workload."""
        return any(one.was_registered for one in self._each)

    @property
    def bootstrap(self) -> Mapping[str, Any]:
        """What the control plane wants merged into Envoy's bootstrap."""
        return self._first.bootstrap

    @property
    def told(self) -> Registered | None:
        """The first answer."""
        return self._first.told

    @property
    def reconnects(self) -> int:
        """How often a connection was made again."""
        return sum(one.reconnects for one in self._each)

    def routes(self) -> tuple[tuple[tuple[str, int], Tls | None], ...]:
        """Return where those are that are there, and how to connect to each."""
        return tuple(route for one in self._each for route in one.routes())

    def secure(self, credentials: Credentials) -> None:
        """Connect by mTLS. Called before `run`."""
        for address, one in zip(self._addresses, self._each, strict=True):
            one.secure(_At(credentials, address, lambda: self.connected))

    def update(self, registration: WorkloadRegistration) -> None:
        """Register this from now on, everywhere."""
        for one in self._each:
            one.update(registration)

    def report_calls(self, hosts: Iterable[str]) -> None:
        """Tell all of them which hosts the workload calls."""
        called = tuple(hosts)
        for one in self._each:
            one.report_calls(called)

    async def named(self) -> str:
        """Wait for the first registration; return the workload's name."""
        await self._named.wait()
        return self._first.registration.name

    async def leave(self, timeout: float) -> bool:  # noqa: ASYNC109  the wait's bound is part of the contract
        """Deregister everywhere; return whether every proxy of those that are there has dropped the workload."""
        there = self.connected
        known = [one.connected for one in self._each]
        left = await asyncio.gather(*(one.leave(timeout) for one in self._each))
        return there and all(done for done, counts in zip(left, known, strict=True) if counts)

    async def run(self) -> None:
        """Hold the registrations until they have left."""
        async with asyncio.TaskGroup() as group:
            running = await self._begin(group)
            self._named.set()
            name = self._first.registration.name
            for one in self._each:
                if one is not self._first:
                    one.update(replace(one.registration, name=name))
                    group.create_task(one.run())
            await running

    async def _begin(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Register with the first that answers: two at once might give two names."""
        while True:
            for one in self._each:
                running = group.create_task(one.run())
                try:
                    async with asyncio.timeout(_FIRST_SECONDS):
                        await one.named()
                except TimeoutError:
                    running.cancel()
                    await asyncio.wait((running,))
                    continue
                self._first = one
                return running
