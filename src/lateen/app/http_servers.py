"""The HTTP servers of a control plane: the API, the same on a Unix socket, and metrics and debug pages.

Opened by `app.running`: bound first, so that a taken port is said before anything else happens, served once there is
something to serve. On an address that others can reach they speak TLS, with the control plane's own certificate.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from lateen.api.application import api_application, monitoring_application
from lateen.api.control_plane import Security
from lateen.api.serving import serve
from lateen.api.unix_sockets import SocketError, unix_socket
from lateen.app.addresses import bind
from lateen.app.citadel import Citadel
from lateen.app.control_plane import RunningControlPlane
from lateen.app.settings import Settings, StartError
from lateen.model.loopback import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServers:
    """Sockets that are bound."""

    api: socket.socket
    local: socket.socket | None
    """Of this machine's user."""
    monitoring: socket.socket

    def serve(
        self,
        group: asyncio.TaskGroup,
        plane: RunningControlPlane,
        security: Security,
        citadel: Citadel,
        stop: asyncio.Event,
    ) -> None:
        """Serve until `stop` is set."""
        for bound, application in (
            (self.api, api_application(plane, loopback=_is_local(self.api), security=security)),
            (self.monitoring, monitoring_application(plane, loopback=_is_local(self.monitoring), security=security)),
        ):
            tls = None if _is_local(bound) else citadel.http_context()
            group.create_task(serve(application, bound, stop, tls=tls))
        if self.local is not None:
            group.create_task(serve(api_application(plane, loopback=True, security=security), self.local, stop))


def open_http_servers(settings: Settings, opened: ExitStack) -> HttpServers:
    """Bind the addresses, for as long as `opened` lasts. StartError says which flag to change."""
    api = opened.enter_context(bind(settings.http, "--http"))
    monitoring = opened.enter_context(bind(settings.monitoring, "--monitoring"))
    local = None
    if settings.api_socket is not None:
        try:
            local = opened.enter_context(unix_socket(settings.api_socket))
        except SocketError as error:
            raise StartError(f"--api-socket: {error}") from error
    return HttpServers(api=api, local=local, monitoring=monitoring)


def _is_local(bound: socket.socket) -> bool:
    return is_loopback(str(bound.getsockname()[0]))
