"""One agent's life: address, certificate, registration, Envoy, app, and the way back in order.

The order at start is: own address -> certificate (where the control plane gives any: it says who the workload is) ->
registration (it gives the workload's name) -> Envoy -> its listeners -> app -> ready. The app never runs without its
proxy, and gets traffic only when it accepts connections. The order at the end is data in `shutdown`. Everything runs
in one TaskGroup. Called by `lateen.agent.__main__`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from lateen.agent import calls, shutdown, workload
from lateen.agent.addresses import (
    OwnAddress,
    can_bind_privileged,
    pick_address,
    reserve_app_ports,
    split_host_port,
    take_address,
)
from lateen.agent.application import app_environment, wait_for_ports, wait_until_serving
from lateen.agent.attach import Attachment
from lateen.agent.certificates import Certificates
from lateen.agent.envoy_admin import EnvoyAdmin, RoutesState, gateway_ports
from lateen.agent.envoy_process import EnvoyOptions, EnvoySupervisor, check_envoy, find_envoy
from lateen.agent.errors import StartError
from lateen.agent.listening import ListeningPorts
from lateen.agent.private_folders import private_folder
from lateen.agent.processes import Child, Guard, start
from lateen.agent.settings import GATEWAY, RUN, SIDECAR, AgentSettings
from lateen.agent.shutdown import Cause, Stage
from lateen.agent.signals import Signals
from lateen.agent.status import Status, StatusServer
from lateen.envoy.bootstrap import BootstrapSettings, bootstrap, merged_bootstrap

LEAVE_SECONDS = 6.0
ENVOY_STOP_SECONDS = 5.0
_KILL_SECONDS = 2.0
_POLL_SECONDS = 0.05
_LISTENERS_SECONDS = 10.0
_INBOUND_SECONDS = 3.0
_HINT_SECONDS = 10.0
_QUICK_EXIT_SECONDS = 10.0


async def run(settings: AgentSettings) -> int:
    """Live until the app exits or a signal comes; return the exit code. StartError (in a group) when it cannot."""
    try:
        split_host_port(settings.control_plane)
    except ValueError as error:
        raise StartError(f"--control-plane: {error}", exit_code=2) from error
    signals = Signals()
    agent: Agent | None = None

    def pass_on(number: int) -> None:
        if agent is not None:
            agent.pass_on(number)

    with signals.installed(pass_on):
        binary = find_envoy(settings.envoy_path)
        await check_envoy(binary)
        address = own_address(settings)
        try:
            with private_folder() as folder:
                guard = Guard(folder)
                agent = Agent(settings, address, guard, signals, folder)
                try:
                    return await agent.live(binary)
                finally:
                    await agent.kill()
                    guard.close()
        finally:
            address.close()


def own_address(settings: AgentSettings) -> OwnAddress:
    """Take the given address, or pick one of our own."""
    listeners = (*(port for port, _ in settings.ports), *(upstream.local_port for upstream in settings.upstreams))
    if settings.address:
        return take_address(settings.address, listeners)
    name = settings.name if settings.mode == GATEWAY else settings.service
    return pick_address(f"{settings.namespace}/{name}/{settings.version}", listeners)


class Agent:
    """The pieces of one agent and the flow between them. Single use."""

    def __init__(
        self, settings: AgentSettings, address: OwnAddress, guard: Guard, signals: Signals, folder: Path
    ) -> None:
        self._settings = settings
        self._address = address
        self._guard = guard
        self._signals = signals
        self._folder = folder
        """Private to this agent, and gone with it; Envoy's working directory."""
        self._log = structlog.get_logger()
        self._everything = settings.mode == GATEWAY
        """A gateway drains all its traffic; a sidecar leaves the app's own calls alone."""
        declared = [port for port, _ in settings.ports]
        if settings.mode == RUN:
            self._reserved = reserve_app_ports(f"{settings.namespace}/{settings.service}/{address.ip}", len(declared))
            offered = [reserved.getsockname()[1] for reserved in self._reserved]
        else:
            self._reserved = ()
            offered = declared
        self._offered = dict(zip(declared, offered, strict=True))
        self._privileged = settings.mode != GATEWAY or can_bind_privileged(address.ip)
        self._admin = EnvoyAdmin(host=address.private_ip, port=address.ports.admin)
        self._certificates = Certificates(settings.control_plane, workload.wish(settings), folder)
        self._attachment = Attachment(
            settings.control_plane,
            workload.registration(settings, address.ip, self._offered),
            read_token=self._read_token,
        )
        self._envoy: EnvoySupervisor | None = None
        self._app: Child | None = None
        self._background: list[asyncio.Task[None]] = []
        self._unready = "waiting for the control plane"

    async def live(self, binary: str) -> int:
        """Start, serve, go away in order; return the exit code."""
        server = StatusServer(Status(envoy=self._admin, unready=lambda: self._unready, metrics=self._metrics))
        async with (
            asyncio.TaskGroup() as group,
            server.serve(self._address.metrics_socket, self._address.ready_socket),
        ):
            cause = await self._until_end(group, binary)
            self._unready = "draining"
            self._log.info("going away", cause=cause.value)
            await shutdown.go(cause, self._actions(), self._signals.hurry)
            for task in self._background:
                task.cancel()
        if self._app is not None:
            return await self._app.exit_code()
        return 0 if self._settings.mode != RUN else 128 + self._signals.number

    def pass_on(self, number: int) -> None:
        """Give a signal to the app."""
        if self._app is not None:
            self._app.send(number)

    async def kill(self) -> None:
        """End at once what is still there: the last resort after an error.

        Waits for its end too: asyncio complains about a child that ends after the loop.
        """
        for reserved in self._reserved:
            reserved.close()
        for child in (self._app, self._envoy.child if self._envoy else None):
            if child is not None and child.running:
                await child.stop(signal.SIGKILL, _KILL_SECONDS)

    async def _until_end(self, group: asyncio.TaskGroup, binary: str) -> Cause:
        stop = self._signals.stop
        if await shutdown.unless(stop, lambda: self._start(group, binary)):
            app = self._app
            if app is None:
                await stop.wait()
            elif await shutdown.unless(stop, lambda: _finished(app)):
                return Cause.APP_EXITED
        return Cause.SIGNAL

    def _spawn(self, group: asyncio.TaskGroup, job: Coroutine[Any, Any, None]) -> None:
        self._background.append(group.create_task(job))

    async def _join(self, group: asyncio.TaskGroup) -> workload.ControlPlane:
        """Get a certificate, if the control plane gives any, and register."""
        certificates = self._certificates

        def waiting(what: str) -> None:
            self._unready = f"waiting for {what}"

        plain = await certificates.first(waiting)
        if plain is None:
            self._spawn(group, certificates.run())
            self._attachment.secure(certificates)
        self._spawn(group, self._attachment.run())
        self._unready = "waiting for the control plane"
        await self._attachment.named()
        identity = "" if plain else certificates.server
        return workload.ControlPlane(address=self._attachment.control_plane, identity=identity)

    async def _start(self, group: asyncio.TaskGroup, binary: str) -> None:
        settings = self._settings
        control_plane = await self._join(group)
        name = self._attachment.registration.name
        self._unready = "waiting for envoy"
        bootstrapped = workload.bootstrap_settings(
            settings, name, self._address, control_plane, privileged=self._privileged
        )
        supervisor = EnvoySupervisor(
            EnvoyOptions(
                binary=binary,
                config=_write_bootstrap(self._folder, bootstrapped, self._attachment.bootstrap),
                log_level=settings.envoy_log_level,
                concurrency=settings.concurrency,
                drain_seconds=settings.drain_seconds,
            ),
            self._guard.watch,
        )
        self._envoy = supervisor
        self._spawn(group, supervisor.run())
        if settings.mode != GATEWAY:
            self._spawn(group, calls.report(self._admin.outbound_use, self._attachment))
        await self._proxy_serves()
        await self._routes_accepted()
        supervisor.was_live = True
        if settings.print_addresses:
            bound = gateway_ports(
                tuple(at for at in await self._admin.listeners() if at.port != self._address.ports.prometheus),
                workload.gateway_port_map(bootstrapped.proxy),
            )
            sys.stdout.write(workload.addresses_line(settings, name, self._address, bound) + "\n")
            sys.stdout.flush()
        if settings.mode == RUN:
            await self._start_app()
        if settings.mode == GATEWAY or not settings.ports:
            await self._ready({})
        elif settings.mode == SIDECAR:
            self._unready = "the app does not accept connections yet"
            self._spawn(group, self._follow_ports())
        else:
            self._unready = "the app does not accept connections yet"
            self._spawn(group, self._follow_app())

    async def _proxy_serves(self) -> None:
        """Wait until Envoy is live and listens where it must.

        Envoy lives only after the control plane's first answer. A listener may still be missing then (the answer was
        made before our registration counted), so it is waited for; but not for ever, since configuration may leave it
        out on purpose.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        warned = False
        while not (await self._admin.is_live() and await self._admin.has_listener_config()):
            if not warned and clock() - began > _LISTENERS_SECONDS:
                warned = True
                self._log.warning("envoy still waits for its configuration from the control plane")
            await asyncio.sleep(_POLL_SECONDS)
        missing = workload.expected_listeners(self._settings, self._address)
        deadline = clock() + _LISTENERS_SECONDS
        while missing := missing - {(at.address, at.port) for at in await self._admin.listeners()}:
            if clock() > deadline:
                self._log.warning("the control plane configured no listener here", missing=sorted(missing))
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _routes_accepted(self) -> None:
        """Wait until Envoy has routes for the app's calls, or each of them would get 404. Says once why it waits."""
        if not workload.http_proxy(self._settings, self._address):
            return
        clock = asyncio.get_running_loop().time
        began = clock()
        told = RoutesState.USABLE
        while (state := await self._admin.routes_state(workload.OUTBOUND_ROUTES)) is not RoutesState.USABLE:
            if state is RoutesState.REJECTED and told is not state:
                told = state
                self._unready = "envoy rejected its first routes"
                proxy = f"{self._attachment.registration.name}.{self._settings.namespace}"
                todo = f"correct the object that Envoy's line above and `lateen proxy-status {proxy}` complain about"
                self._log.warning("envoy rejected its first routes: waiting for better ones", todo=todo)
            elif told is RoutesState.USABLE and clock() - began > _LISTENERS_SECONDS:
                told = state
                self._log.warning("envoy still waits for its routes from the control plane")
            await asyncio.sleep(_POLL_SECONDS)
        self._unready = "waiting for envoy"

    async def _start_app(self) -> None:
        command = self._settings.command
        proxy = workload.http_proxy(self._settings, self._address)
        env = app_environment(os.environ, self._offered, proxy)
        for reserved in self._reserved:
            reserved.close()
        try:
            self._app = await start(command, env=env)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            raise StartError(f"cannot start {command[0]!r}: {error.strerror}", exit_code=code) from error
        self._guard.watch(self._app)

    async def _follow_app(self) -> None:
        """Report the app ready once it accepts connections; say what is wrong when it does not, or exits early."""
        app = self._app
        assert app is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        serving: dict[int, int] = {}

        async def found() -> None:
            serving.update(await wait_until_serving(self._offered, ListeningPorts(app.pid)))

        exited = asyncio.Event()

        async def note_exit() -> None:
            await app.exit_code()
            exited.set()

        async with asyncio.TaskGroup() as group:
            noting = group.create_task(note_exit())
            try:
                async with asyncio.timeout(_HINT_SECONDS):
                    ready = await shutdown.unless(exited, found)
            except TimeoutError:
                self._log.warning("the app does not accept connections yet", hint=self._hint())
                ready = await shutdown.unless(exited, found)
            noting.cancel()
        if ready:
            await self._ready(serving)
        elif await app.exit_code() and clock() - began < _QUICK_EXIT_SECONDS and not self._signals.stop.is_set():
            self._log.warning("the app exited before it accepted connections", hint=self._hint())

    def _hint(self) -> str:
        wanted = ", ".join(f"127.0.0.1:{port} (for {declared})" for declared, port in self._offered.items())
        declared = next(iter(self._offered))
        return (
            f"it should listen on the port in PORT: {wanted}; or on 127.0.0.1:{declared}, not on 0.0.0.0:{declared}, "
            f"because its sidecar listens on {self._address.ip}:{declared}"
        )

    async def _follow_ports(self) -> None:
        """Sidecar alone: ready while all ports accept connections. The app is someone else's to start and restart."""
        ports = tuple(self._offered.values())
        while True:
            await wait_for_ports(ports, accepting=True)
            await self._ready(self._offered)
            await wait_for_ports(ports, accepting=False, pause=2.0)
            self._unready = "the app does not accept connections"
            self._log.warning(self._unready)
            self._attachment.update(replace(self._attachment.registration, ready=False))

    async def _ready(self, app_ports: Mapping[int, int]) -> None:
        """Tell the control plane; but first let our own Envoy learn where the app is, or the first requests fail."""
        known = workload.with_app_ports(self._attachment.registration, app_ports)
        self._attachment.update(known)
        clock = asyncio.get_running_loop().time
        deadline = clock() + _INBOUND_SECONDS
        while not await self._admin.has_inbound(app_ports):
            if clock() > deadline:
                self._log.warning("envoy has no inbound cluster for the app yet", ports=dict(app_ports))
                break
            await asyncio.sleep(_POLL_SECONDS)
        self._attachment.update(replace(self._attachment.registration, ready=True))
        self._unready = ""
        self._log.info("ready", address=self._address.ip, app_ports=dict(app_ports))

    def _actions(self) -> dict[Stage, Any]:
        deadline: list[float] = []

        async def leave() -> None:
            if not await self._attachment.leave(LEAVE_SECONDS) and self._attachment.was_registered:
                self._log.warning("not every proxy confirmed that it stopped sending to this workload")

        async def in_flight() -> None:
            clock = asyncio.get_running_loop().time
            if not deadline:
                deadline.append(clock() + self._settings.drain_seconds)
            quiet = 0
            while quiet < 2 and clock() < deadline[0]:
                active = await self._admin.in_flight(everything=self._everything)
                quiet = quiet + 1 if active == 0 else 0
                await asyncio.sleep(_POLL_SECONDS)
            if quiet < 2:
                self._log.warning(
                    "requests are still under way after the drain time", seconds=self._settings.drain_seconds
                )

        return {
            Stage.LEAVE: leave,
            Stage.DRAIN: lambda: self._admin.drain(everything=self._everything),
            Stage.IN_FLIGHT: in_flight,
            Stage.STOP_LISTENING: lambda: self._admin.stop_listening(everything=self._everything),
            Stage.STOP_APP: self._stop_app,
            Stage.STOP_ENVOY: self._stop_envoy,
        }

    async def _stop_app(self) -> None:
        if self._app is None:
            return
        app = self._app
        app.send(self._signals.number)
        try:
            async with asyncio.timeout(self._settings.app_stop_seconds):
                await shutdown.unless(self._signals.hurry, app.group_gone)
        except TimeoutError:
            self._log.warning("the app did not stop in time, killing it", seconds=self._settings.app_stop_seconds)
        if not app.group_is_empty():
            await app.stop(signal.SIGKILL, 1.0)

    async def _stop_envoy(self) -> None:
        if self._envoy is not None:
            await self._admin.be_quiet()
            await self._envoy.stop(ENVOY_STOP_SECONDS if not self._signals.hurry.is_set() else 0.5)

    def _read_token(self) -> str:
        path = self._settings.token_file
        return Path(path).read_text().strip() if path else ""

    def _metrics(self) -> dict[str, float]:
        metrics = {
            "lateen_agent_control_plane_connected": float(self._attachment.connected),
            "lateen_agent_control_plane_reconnects_total": float(self._attachment.reconnects),
            "lateen_agent_envoy_restarts_total": float(self._envoy.restarts if self._envoy else 0),
            "lateen_agent_workload_ready": float(not self._unready),
            "lateen_agent_certificate_renewals_total": float(self._certificates.renewals),
        }
        if expires := self._certificates.expires:
            metrics["lateen_agent_certificate_expiration_timestamp_seconds"] = expires
        return metrics


async def _finished(app: Child) -> None:
    await app.exit_code()


def _write_bootstrap(folder: Path, settings: BootstrapSettings, patch: Mapping[str, Any]) -> Path:
    config = folder / "envoy.json"
    config.write_text(json.dumps(merged_bootstrap(bootstrap(settings), patch)))
    return config
