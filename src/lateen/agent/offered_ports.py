"""Where the app is to listen for each declared port: chosen by the agent, and kept free until the app starts.

Used by `membership` and `app_life`. Must not know: where the app listens in the end.
"""

from __future__ import annotations

import socket

from lateen.agent.addresses import reserve_app_ports
from lateen.agent.settings import RUN, AgentSettings


class OfferedPorts:
    """Declared port -> port for the app. Where connections are intercepted, and beside a strange app, both are one."""

    def __init__(self, ip: str, *, intercepts: bool) -> None:
        self._ip = ip
        self._intercepts = intercepts
        self._reserved: tuple[socket.socket, ...] = ()
        self.by_declared: dict[int, int] = {}

    def choose(self, settings: AgentSettings) -> None:
        """Choose for the ports of these settings. The same workload gets the same ones when they are free."""
        self.release()
        declared = offered = [port for port, _ in settings.ports]
        if settings.mode == RUN and not self._intercepts:
            self._reserved = reserve_app_ports(f"{settings.namespace}/{settings.service}/{self._ip}", len(declared))
            offered = [reserved.getsockname()[1] for reserved in self._reserved]
        self.by_declared = dict(zip(declared, offered, strict=True))

    def release(self) -> None:
        """Let the app have them."""
        for reserved in self._reserved:
            reserved.close()
