"""One agent's life: address, certificate, registration, Envoy, app, and the way back in order.

The order at start is: own address -> membership (certificate and registration) -> Envoy -> its listeners -> app ->
ready. The app never runs without its proxy, and gets traffic only when it accepts connections. The order at the end is
data in `shutdown`. Everything runs in one TaskGroup. This module holds the pieces together, and each step is one of
theirs. Called by `lateen.agent.__main__`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import Any

from lateen.agent import calls, envoy_readiness, reporting, shutdown, workload
from lateen.agent.addresses import OwnAddress, pick_address, split_control_planes, take_address
from lateen.agent.app_life import AppLife
from lateen.agent.app_pages import Pages
from lateen.agent.application import check_program
from lateen.agent.control import ControlServer
from lateen.agent.envoy_admin import EnvoyAdmin, gateway_ports
from lateen.agent.envoy_life import EnvoyLife
from lateen.agent.envoy_process import EnvoyOptions, check_envoy, find_envoy
from lateen.agent.errors import StartError
from lateen.agent.interception.places import Place, place
from lateen.agent.leaving import Leaving
from lateen.agent.log import get_log
from lateen.agent.membership import Membership, keeper_of
from lateen.agent.notifying import Notifier
from lateen.agent.offered_ports import OfferedPorts
from lateen.agent.premises import Premises
from lateen.agent.private_folders import private_folder
from lateen.agent.processes import Guard
from lateen.agent.readiness import Readiness
from lateen.agent.settings import GATEWAY, RUN, AgentSettings
from lateen.agent.shutdown import Cause
from lateen.agent.signals import Signals
from lateen.agent.status import Status, StatusServer

_KILL_SECONDS = 2.0


async def run(settings: AgentSettings) -> int:
    """Live until the app exits or a signal comes; return the exit code. StartError (in a group) when it cannot."""
    try:
        split_control_planes(settings.control_plane)
    except ValueError as error:
        raise StartError(f"--control-plane: {error}", exit_code=2) from error
    signals = Signals()
    agent: Agent | None = None

    def pass_on(number: int) -> None:
        if agent is not None:
            agent.pass_on(number)

    with signals.installed(pass_on):
        check_program(settings.command)
        binary = find_envoy(settings.envoy_path)
        with place(settings) as where:
            with where.inside():
                address = own_address(settings, where)
            try:
                with private_folder() as folder:
                    where.prepare(folder)
                    guard = Guard(folder)
                    ports = OfferedPorts(address.ip, intercepts=where.intercepts)
                    premises = Premises(address=address, where=where, ports=ports, guard=guard, folder=folder)
                    agent = Agent(settings, premises, signals)
                    try:
                        return await agent.live(binary)
                    finally:
                        await agent.kill()
                        where.release()
                        guard.close()
            finally:
                address.close()


def own_address(settings: AgentSettings, where: Place) -> OwnAddress:
    """Take the given address, or that of the place, or pick one of our own."""
    if where.intercepts:
        # The app has its ports itself; Envoy listens on two of its own.
        return take_address(where.addresses[0], ())
    listeners = (*(port for port, _ in settings.ports), *(upstream.local_port for upstream in settings.upstreams))
    if settings.address:
        return take_address(settings.address, listeners)
    name = settings.name if settings.mode == GATEWAY else settings.service or settings.workload_group
    picked = pick_address(f"{settings.namespace}/{name}/{settings.version}", listeners)
    if workload.is_out_of_reach(settings, picked.ip):
        get_log().warning(
            "no other machine reaches this workload: its address is of the loopback",
            address=picked.ip,
            todo="--address IP, one of this machine's that they reach",
        )
    return picked


class Agent:
    """The pieces of one agent and the flow between them. Single use."""

    def __init__(
        self,
        settings: AgentSettings,
        premises: Premises,
        signals: Signals,
    ) -> None:
        self._premises = premises
        self._address, self._where = address, where = premises.address, premises.where
        self._signals = signals
        self._readiness = Readiness()
        self._notifier = Notifier()
        self._keeper = keeper_of(settings, address, where)
        self._admin = EnvoyAdmin(host=address.private_ip, port=address.ports.admin, connect=where.connect)
        self._member = Membership(settings, premises, self._keeper, self._readiness)
        self._app = AppLife(self._member, premises, self._admin, self._readiness, self._notifier, signals)
        self._envoy: EnvoyLife | None = None
        self._background: list[asyncio.Task[None]] = []

    async def live(self, binary: str) -> int:
        """Start, serve, go away in order; return the exit code."""
        log = get_log()
        pages = Pages(self._where.connect_app, lambda: (self._member.settings, self._app.ports))
        metrics = lambda: reporting.metrics(self._member, self._readiness, self._envoy, self._app, pages)  # noqa: E731
        unready = lambda: self._readiness.reason  # noqa: E731
        server = StatusServer(
            Status(envoy=self._admin, live=self._is_live, unready=unready, metrics=metrics, pages=pages)
        )
        status = lambda: reporting.status(self._member, self._address, self._readiness, self._envoy)  # noqa: E731
        control = ControlServer(status=status, restart=self._restart)
        async with (
            asyncio.TaskGroup() as group,
            server.serve(self._address.metrics_socket, self._address.ready_socket),
            control.serve(self._keeper.folder) if self._keeper else nullcontext(),
        ):
            self._spawn(group, self._notifier.watch(self._is_well))
            cause = await self._until_end(group, binary)
            self._readiness.reason = "draining"
            leaving = Leaving(self._member, self._admin, self._app, self._envoy, self._where, self._signals)
            self._notifier.stopping(cause.value, leaving.longest)
            log.info("going away", cause=cause.value)
            await shutdown.go(cause, leaving.actions(), self._signals.hurry)
            for task in self._background:
                task.cancel()
        if self._app.child is not None:
            return await self._app.child.exit_code()
        return 0 if self._member.settings.mode != RUN else 128 + self._signals.number

    def pass_on(self, number: int) -> None:
        """Give a signal to the app."""
        self._app.pass_on(number)

    async def kill(self) -> None:
        """End at once what is still there: the last resort after an error.

        Waits for its end too: asyncio complains about a child that ends after the loop.
        """
        self._premises.ports.release()
        for child in (self._app.child, *(self._envoy.supervisor.children if self._envoy else ())):
            if child is not None and child.running:
                await child.stop(signal.SIGKILL, _KILL_SECONDS)
        if self._envoy:
            self._envoy.supervisor.forget()

    async def _until_end(self, group: asyncio.TaskGroup, binary: str) -> Cause:
        stop = self._signals.stop
        if not await shutdown.unless(stop, lambda: self._start(group, binary)):
            return Cause.SIGNAL
        return Cause.APP_EXITED if await shutdown.unless(stop, self._app.ended) else Cause.SIGNAL

    def _spawn(self, group: asyncio.TaskGroup, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = group.create_task(job)
        self._background.append(task)
        return task

    async def _start(self, group: asyncio.TaskGroup, binary: str) -> None:
        def spawn(job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            return self._spawn(group, job)

        # Beside the joining: either takes a tenth of a second.
        checking = spawn(check_envoy(binary))
        await self._member.join(spawn)
        await checking
        life = self._envoy = self._envoy_life(binary)
        self._member.begun = True
        self._readiness.reason = "waiting for envoy"
        spawn(self._where.serve())
        spawn(life.run())
        settings = self._member.settings
        if settings.mode != GATEWAY:
            spawn(calls.report(self._admin.outbound_use, self._member.attachment))
        await envoy_readiness.listening(life, self._admin, settings, self._address, self._where)
        if workload.http_proxy(settings, self._address):
            proxy = f"{self._member.attachment.registration.name}.{settings.namespace}"
            await envoy_readiness.routes_accepted(self._admin, proxy, self._readiness)
        life.supervisor.was_live = True
        self._where.capture(self._premises.folder)
        if settings.print_addresses:
            await self._print_addresses()
        await self._app.begin(spawn)

    def _envoy_life(self, binary: str) -> EnvoyLife:
        settings = self._member.settings
        drain = settings.drain_seconds if settings.envoy_drain_seconds is None else settings.envoy_drain_seconds
        return EnvoyLife(
            EnvoyOptions(
                binary=binary,
                folder=self._premises.folder,
                log_level=settings.envoy_log_level,
                concurrency=settings.concurrency,
                drain_seconds=drain,
                environment=settings.environment,
                enter=self._where.envoy_entrance(),
            ),
            self._admin,
            self._keeper,
            self._member.wanted,
            connected=lambda: self._member.attachment.connected,
            watch=self._premises.guard.watch,
            fetch=self._member.fetch_secrets,
        )

    async def _print_addresses(self) -> None:
        """Say on stdout, in one line, where everything is."""
        settings, name = self._member.settings, self._member.wanted.name
        proxy = workload.proxy_of(settings, name, self._address, privileged=self._member.privileged)
        listeners = await self._admin.listeners()
        bound = gateway_ports(
            tuple(at for at in listeners if at.port != self._address.ports.prometheus),
            workload.gateway_port_map(proxy),
        )
        sys.stdout.write(workload.addresses_line(settings, name, self._address, bound) + "\n")
        sys.stdout.flush()

    async def _restart(self) -> str:
        if self._envoy is not None and await self._envoy.relieve():
            return ""
        refused = self._envoy.supervisor.refused if self._envoy else ""
        return refused or "no new envoy took over: the old one goes on; the agent's log says why"

    async def _is_live(self) -> bool:
        return self._envoy is not None and await self._envoy.serves()

    async def _is_well(self) -> bool:
        return self._envoy is None or await self._envoy.answers()
