"""Where an agent's app and Envoy live, and how its connections reach Envoy: one of three places, with the same words.

`Place` is the machine itself, with nothing intercepted (`--intercept proxy` and `none`); the other two are in
`transparent`, which is loaded only where it is used: there are many agents on a machine. `lifecycle` opens one for its
life, and asks it instead of asking which it is. Must not know: the control plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeAlias

from lateen.agent.http1 import Connect
from lateen.agent.settings import TRANSPARENT, AgentSettings
from lateen.model.proxies import Interception

Enter: TypeAlias = Callable[[], None]
"""Called in a child between fork and exec."""


class Place:
    """This machine, and nothing of it intercepted."""

    interception = Interception.NONE
    addresses: tuple[str, ...] = ()
    """Where the workload is reached; empty lets the agent choose a loopback address."""
    outside = ""
    """See `BootstrapSettings.outside_network`."""
    answers_dns = False
    """Whether the names of services are answered to the app."""
    connect: Connect = staticmethod(asyncio.open_connection)
    """Reach Envoy, and what listens on loopback beside it."""
    connect_app: Connect = staticmethod(asyncio.open_connection)
    """Reach the app as Envoy will, or as clients will when Envoy does not stand before it; never through Envoy."""

    @property
    def intercepts(self) -> bool:
        """Whether the app gets its ports to itself, and needs to know of no proxy."""
        return self.interception is not Interception.NONE

    @property
    def app_port_known(self) -> bool:
        """Whether Envoy is to call the app on loopback, at the port that the agent says."""
        return self.interception is not Interception.TPROXY

    def inside(self) -> AbstractContextManager[None]:
        """Make sockets where Envoy and the app are, in a block that never awaits."""
        return nullcontext()

    async def told_ports(self, found: Mapping[int, int]) -> dict[int, int]:
        """Return by declared port where Envoy is to call the app on loopback; 0 is where its caller dialled."""
        return dict(found) if self.app_port_known else {}

    def prepare(self, folder: Path) -> None:
        """Write what is needed to the agent's private folder, before anything starts."""

    def envoy_entrance(self) -> Enter | None:
        """Return what Envoy's process does first."""
        return None

    def app_entrance(self) -> Enter | None:
        """Return what the app's process does first."""
        return None

    def capture(self, folder: Path) -> None:
        """Begin to intercept: Envoy listens."""

    def release(self) -> None:
        """Intercept no more: Envoy has ended. May be called twice."""

    async def serve(self) -> None:
        """Do what the app needs for its whole life."""


def hops(settings: AgentSettings) -> tuple[bool, bool]:
    """Return whether outbound, and whether inbound connections go through the sidecar."""
    return settings.hops != "inbound", settings.hops != "outbound"


@contextmanager
def place(settings: AgentSettings) -> Iterator[Place]:
    """Open the place for the block; afterwards nothing of it is left. StartError when it cannot be."""
    if settings.interception not in TRANSPARENT:
        yield Place()
        return
    from lateen.agent.interception.transparent import transparent_place

    with transparent_place(settings) as made:
        yield made
