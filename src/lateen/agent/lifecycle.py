"""One agent's life: address, certificate, registration, Envoy, app, and the way back in order.

The order at start is: own address -> certificate (where the control plane gives any: it says who the workload is) ->
registration (it gives the workload's name) -> Envoy -> its listeners -> app -> ready. The app never runs without its
proxy, and gets traffic only when it accepts connections. The order at the end is data in `shutdown`. Everything runs
in one TaskGroup. Called by `lateen.agent.__main__`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lateen.agent import calls, shutdown, workload
from lateen.agent.addresses import (
    OwnAddress,
    can_bind_privileged,
    pick_address,
    reserve_app_ports,
    split_control_planes,
    take_address,
)
from lateen.agent.app_pages import Pages
from lateen.agent.application import app_environment, wait_for_ports, wait_until_serving
from lateen.agent.attach import Attachment
from lateen.agent.certificates import Certificates
from lateen.agent.control import ControlServer
from lateen.agent.envoy_admin import EnvoyAdmin, RoutesState, gateway_ports
from lateen.agent.envoy_life import EnvoyLife, Wanted
from lateen.agent.envoy_process import EnvoyOptions, check_envoy, find_envoy
from lateen.agent.errors import StartError
from lateen.agent.interception.places import Place, place
from lateen.agent.joining import shown
from lateen.agent.keeping import Keeper, forget_the_old, state_folder, workload_keeper
from lateen.agent.listening import ListeningPorts
from lateen.agent.notifying import Notifier
from lateen.agent.private_folders import private_folder
from lateen.agent.probes import Tally, Verdict
from lateen.agent.processes import Child, Guard, give_back_memory, start
from lateen.agent.settings import GATEWAY, RUN, SIDECAR, AgentSettings, SettingsError
from lateen.agent.shutdown import Cause, Stage
from lateen.agent.signals import Signals
from lateen.agent.status import Status, StatusServer
from lateen.envoy.bootstrap import bootstrap, merged_bootstrap
from lateen.model.probes import Probe
from lateen.model.probes import shown as shown_probe

if TYPE_CHECKING:
    from lateen.agent.attachments import Attachments
    from lateen.model.workloads import WorkloadRegistration

LEAVE_SECONDS = 6.0
ENVOY_STOP_SECONDS = 5.0
_JOB_LEAVE_SECONDS = 0.5
_KILL_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0
"""So long a workload that was here before waits for the control plane before it goes on without."""
_POLL_SECONDS = 0.05
_LISTENERS_SECONDS = 10.0
_INBOUND_SECONDS = 3.0
_HINT_SECONDS = 10.0
_QUICK_EXIT_SECONDS = 10.0


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
        binary = find_envoy(settings.envoy_path)
        await check_envoy(binary)
        with place(settings) as where:
            with where.inside():
                address = own_address(settings, where)
            try:
                with private_folder() as folder:
                    where.prepare(folder)
                    guard = Guard(folder)
                    agent = Agent(settings, address, guard, signals, folder, where)
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
    return pick_address(f"{settings.namespace}/{name}/{settings.version}", listeners)


def keeper_of(settings: AgentSettings, address: OwnAddress, where: Place) -> Keeper | None:
    """Return where this workload keeps what it needs without a control plane; None when it has no such place."""
    parent = state_folder(settings.state_folder)
    if parent is None:
        structlog.get_logger().info("keeps nothing: there is no home folder; --state DIR says where to")
        return None
    forget_the_old(parent, now=time.time())
    return workload_keeper(
        parent,
        settings,
        address.ip,
        ports=asdict(address.ports),
        interception=where.interception.value,
        addresses=where.addresses,
    )


class Agent:
    """The pieces of one agent and the flow between them. Single use."""

    def __init__(
        self,
        settings: AgentSettings,
        address: OwnAddress,
        guard: Guard,
        signals: Signals,
        folder: Path,
        where: Place,
    ) -> None:
        self._settings = settings
        self._where = where
        self._address = address
        self._guard = guard
        self._signals = signals
        self._folder = folder
        """Private to this agent, and gone with it; Envoy's working directory."""
        self._log = structlog.get_logger()
        self._everything = settings.mode == GATEWAY
        """A gateway drains all its traffic; a sidecar leaves the app's own calls alone."""
        self._reserved: tuple[socket.socket, ...] = ()
        self._offered: dict[int, int] = {}
        self._offer_ports()
        self._privileged = settings.mode != GATEWAY or can_bind_privileged(address.ip)
        self._admin = EnvoyAdmin(host=address.private_ip, port=address.ports.admin, connect=where.connect)
        self._keeper = keeper_of(settings, address, where)
        self._certificates = Certificates(settings.control_plane, workload.wish(settings), folder, keeper=self._keeper)
        registration = workload.registration(settings, address.ip, self._offered if where.app_port_known else {})
        self._attachment = self._attachment_of(registration)
        self._envoy: EnvoyLife | None = None
        self._app: Child | None = None
        self._background: list[asyncio.Task[None]] = []
        self._unready = "waiting for the control plane"
        self._app_ports: dict[int, int] = {}
        """Declared port -> where the app was found to listen."""
        self._tally: Tally | None = None
        self._pages: Pages | None = None
        self._notifier = Notifier()

    def _attachment_of(self, registration: WorkloadRegistration) -> Attachment | Attachments:
        several = split_control_planes(self._settings.control_plane)
        if len(several) == 1:
            return Attachment(self._settings.control_plane, registration, read_token=self._read_token)
        # Most have one, and are to stay small.
        from lateen.agent.attachments import Attachments

        return Attachments(several, registration)

    async def _fetch_secrets(self, node: Mapping[str, Any], names: Iterable[str]) -> dict[str, bytes]:
        # Most never have any.
        from lateen.agent.secret_fetching import fetch_secrets

        return await fetch_secrets(self._attachment.routes, node, names)

    def _offer_ports(self) -> None:
        """Choose where the app is to listen for each declared port."""
        settings = self._settings
        for reserved in self._reserved:
            reserved.close()
        declared = offered = [port for port, _ in settings.ports]
        if settings.mode == RUN and not self._where.intercepts:
            self._reserved = reserve_app_ports(
                f"{settings.namespace}/{settings.service}/{self._address.ip}", len(declared)
            )
            offered = [reserved.getsockname()[1] for reserved in self._reserved]
        self._offered = dict(zip(declared, offered, strict=True))

    def _follow_control_plane(self) -> None:
        """Take over what the control plane said of the proxy and of the workload's group."""
        ports = self._settings.ports
        try:
            self._settings = workload.as_told(self._settings, self._attachment.told)
        except SettingsError as error:
            raise StartError(f"what the control plane says of this workload cannot be: {error}") from error
        if workload.declines_probe(self._settings, self._attachment.told):
            self._log.warning(
                "the control plane names a command as probe: not run here",
                todo="--allow-exec-probe allows it, --probe names another; till then a connection to each port counts",
            )
        if self._settings.ports != ports:
            self._offer_ports()
            app_ports = self._offered if self._where.app_port_known else {}
            known = workload.registration(self._settings, self._address.ip, app_ports)
            self._attachment.update(replace(self._attachment.registration, ports=known.ports))

    async def live(self, binary: str) -> int:
        """Start, serve, go away in order; return the exit code."""
        pages = Pages(self._where.connect_app, lambda: (self._settings, {**self._offered, **self._app_ports}))
        server = StatusServer(
            Status(envoy=self._admin, unready=lambda: self._unready, metrics=self._metrics, pages=pages)
        )
        self._pages = pages
        control = ControlServer(status=self._status, restart=self._restart)
        async with (
            asyncio.TaskGroup() as group,
            server.serve(self._address.metrics_socket, self._address.ready_socket),
            control.serve(self._keeper.folder) if self._keeper else nullcontext(),
        ):
            self._spawn(group, self._notifier.watch(self._is_well))
            cause = await self._until_end(group, binary)
            self._unready = "draining"
            self._notifier.say("STOPPING=1", f"STATUS={cause.value}: draining")
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
        for child in (self._app, *(self._envoy.supervisor.children if self._envoy else ())):
            if child is not None and child.running:
                await child.stop(signal.SIGKILL, _KILL_SECONDS)
        if self._envoy:
            self._envoy.supervisor.forget()

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

    async def _join(self, group: asyncio.TaskGroup, wanted: Wanted) -> None:
        """Get a certificate, if the control plane gives any, register, and say what Envoy is started with."""
        certificates = self._certificates

        def waiting(what: str) -> None:
            if self._envoy is None:
                self._unready = f"waiting for {what}"

        plain = await certificates.first(waiting)
        if plain is None:
            self._spawn(group, certificates.run())
            self._attachment.secure(certificates)
        self._spawn(group, self._attachment.run())
        waiting("the control plane")
        wanted.name = await self._attachment.named()
        if self._envoy is None:
            # What it says of a proxy acts when that starts.
            self._follow_control_plane()
            wanted.settings = self._settings.to_json()
            wanted.app_ports = dict(self._offered)
        identity = "" if plain else certificates.server
        addresses = (self._attachment.control_plane,) if plain else certificates.addresses
        control_plane = workload.ControlPlane(address=addresses[0], identity=identity, others=addresses[1:])
        made = workload.bootstrap_settings(
            self._settings,
            wanted.name,
            self._address,
            control_plane,
            privileged=self._privileged,
            place=self._where,
        )
        wanted.bootstrap = merged_bootstrap(bootstrap(made), self._attachment.bootstrap)

    async def _join_or_remember(self, group: asyncio.TaskGroup, wanted: Wanted) -> None:
        """Join the mesh; or, when the control plane is away and this workload was here before, go on without."""
        joining = group.create_task(self._join(group, wanted))
        self._background.append(joining)
        kept = self._keeper.configuration() if self._keeper else None
        if kept is None:
            # A first start has nothing to serve by.
            await asyncio.wait((joining,))
            return
        await asyncio.wait((joining,), timeout=_PATIENCE_SECONDS)
        if joining.done():
            return
        self._settings = workload.as_remembered(self._settings, kept.settings)
        self._offer_ports()
        wanted.name, wanted.settings, wanted.app_ports = kept.name, kept.settings, dict(self._offered)
        expires = self._certificates.restore()
        self._log.warning(
            "the control plane is away: serving by the last good configuration",
            age_seconds=round(kept.age),
            certificate_expires=shown(expires) if expires else "",
        )

    async def _start(self, group: asyncio.TaskGroup, binary: str) -> None:
        wanted = Wanted()
        await self._join_or_remember(group, wanted)
        settings, name = self._settings, wanted.name
        drain = settings.drain_seconds if settings.envoy_drain_seconds is None else settings.envoy_drain_seconds
        life = EnvoyLife(
            EnvoyOptions(
                binary=binary,
                folder=self._folder,
                log_level=settings.envoy_log_level,
                concurrency=settings.concurrency,
                drain_seconds=drain,
                environment=settings.environment,
                enter=self._where.envoy_entrance(),
            ),
            self._admin,
            self._keeper,
            wanted,
            connected=lambda: self._attachment.connected,
            watch=self._guard.watch,
            fetch=self._fetch_secrets,
        )
        self._unready = "waiting for envoy"
        self._envoy = life
        self._spawn(group, self._where.serve())
        self._spawn(group, life.run())
        if settings.mode != GATEWAY:
            self._spawn(group, calls.report(self._admin.outbound_use, self._attachment))
        await self._proxy_serves(life)
        await self._routes_accepted()
        life.supervisor.was_live = True
        self._where.capture(self._folder)
        if settings.print_addresses:
            bound = gateway_ports(
                tuple(at for at in await self._admin.listeners() if at.port != self._address.ports.prometheus),
                workload.gateway_port_map(
                    workload.proxy_of(settings, name, self._address, privileged=self._privileged)
                ),
            )
            sys.stdout.write(workload.addresses_line(settings, name, self._address, bound) + "\n")
            sys.stdout.flush()
        if settings.mode == RUN:
            await self._start_app()
        if settings.mode == GATEWAY or not (settings.ports or settings.probe):
            await self._ready({})
        elif settings.probe and (settings.mode == SIDECAR or not settings.ports):
            self._spawn(group, self._follow_probe(settings.probe, dict(self._offered)))
        elif settings.mode == SIDECAR:
            self._unready = "the app does not accept connections yet"
            self._spawn(group, self._follow_ports())
        else:
            self._unready = "the app does not accept connections yet"
            self._spawn(group, self._follow_app())

    async def _proxy_serves(self, life: EnvoyLife) -> None:
        """Wait until Envoy is live and listens where it must.

        Envoy lives only after the control plane's first answer. A listener may still be missing then (the answer was
        made before our registration counted), so it is waited for; but not for ever, since configuration may leave it
        out on purpose.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        warned = False
        while not (await self._admin.is_live() and (life.stands_alone or await self._admin.has_listener_config())):
            if not warned and clock() - began > _LISTENERS_SECONDS:
                warned = True
                self._log.warning("envoy still waits for its configuration from the control plane")
            await asyncio.sleep(_POLL_SECONDS)
        missing = workload.expected_listeners(self._settings, self._address, self._where)
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
            self._app = await start(command, env=env, enter=self._where.app_entrance())
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
            serving.update(await wait_until_serving(self._offered, ListeningPorts(app.pid), self._where.connect_app))

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
            self._app_ports.update(serving)
            if self._settings.probe:
                await self._follow_probe(self._settings.probe, serving)
            else:
                await self._ready(serving)
        elif await app.exit_code() and clock() - began < _QUICK_EXIT_SECONDS and not self._signals.stop.is_set():
            self._log.warning("the app exited before it accepted connections", hint=self._hint())

    def _hint(self) -> str:
        wanted = ", ".join(f"127.0.0.1:{port} (for {declared})" for declared, port in self._offered.items())
        declared = next(iter(self._offered))
        if self._where.intercepts:
            return f"it should listen on 0.0.0.0:{declared}, or on the port in PORT"
        return (
            f"it should listen on the port in PORT: {wanted}; or on 127.0.0.1:{declared}, not on 0.0.0.0:{declared}, "
            f"because its sidecar listens on {self._address.ip}:{declared}"
        )

    async def _follow_ports(self) -> None:
        """Sidecar alone: ready while all ports accept connections. The app is someone else's to start and restart."""
        ports = tuple(self._offered.values())
        while True:
            await wait_for_ports(ports, self._where.connect_app, accepting=True)
            await self._ready(self._offered)
            await wait_for_ports(ports, self._where.connect_app, accepting=False, pause=2.0)
            self._unready = "the app does not accept connections"
            self._log.warning(self._unready)
            self._attachment.update(replace(self._attachment.registration, ready=False))

    async def _follow_probe(self, probe: Probe, app_ports: Mapping[int, int]) -> None:
        """Ready while the probe says so."""
        from lateen.agent import checks, watching

        self._unready = f"the probe {shown_probe(probe)} has not succeeded yet"
        target = checks.Target(connect=self._where.connect_app, ports=app_ports, enter=self._where.app_entrance())
        self._tally = tally = Tally()
        async for verdict, problem in watching.verdicts(probe, lambda: checks.check(probe, target), tally):
            if self._signals.stop.is_set():
                return
            if verdict is Verdict.READY:
                await self._ready(app_ports)
                continue
            self._unready = f"the probe {shown_probe(probe)} fails: {problem}"
            self._log.warning("the app is not ready", probe=shown_probe(probe), problem=problem)
            self._attachment.update(replace(self._attachment.registration, ready=False))

    async def _ready(self, app_ports: Mapping[int, int]) -> None:
        """Tell the control plane; but first let our own Envoy learn where the app is, or the first requests fail."""
        app_ports = await self._where.told_ports(app_ports)
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
        self._notifier.say("READY=1", "STATUS=serving")
        give_back_memory()
        self._log.info("ready", address=self._address.ip, app_ports=dict(app_ports))

    def _actions(self) -> dict[Stage, Any]:
        deadline: list[float] = []

        async def leave() -> None:
            # Nobody sends to a job: there is nothing to wait for, nor to say.
            patience = _JOB_LEAVE_SECONDS if self._settings.job else LEAVE_SECONDS
            if (
                not await self._attachment.leave(patience)
                and not self._settings.job
                and self._attachment.was_registered
            ):
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
        self._where.release()
        if self._envoy is not None:
            await self._admin.be_quiet()
            await self._envoy.supervisor.stop(ENVOY_STOP_SECONDS if not self._signals.hurry.is_set() else 0.5)

    async def _restart(self) -> str:
        if self._envoy is not None and await self._envoy.relieve():
            return ""
        refused = self._envoy.supervisor.refused if self._envoy else ""
        return refused or "no new envoy took over: the old one goes on; the agent's log says why"

    async def _is_well(self) -> bool:
        """Whether Envoy answers, as far as there is one: one that starts is the supervisor's business."""
        child = self._envoy.supervisor.child if self._envoy else None
        return child is None or not child.running or await self._admin.answers()

    def _status(self) -> dict[str, Any]:
        """What `lateen proxy status` shows of this agent."""
        life, child = self._envoy, self._envoy.supervisor.child if self._envoy else None
        registered = self._attachment.registration
        return {
            "workload": f"{registered.name or '-'}.{self._settings.namespace}",
            "address": self._address.ip,
            "pid": os.getpid(),
            "ready": not self._unready,
            "reason": self._unready,
            "controlPlane": self._settings.control_plane,
            "connected": self._attachment.connected,
            "configuration": life.source.name.lower() if life else "",
            "lastGoodAt": life.kept_at if life else 0.0,
            "certificateExpires": self._certificates.expires,
            "envoy": {
                "pid": child.pid if child else 0,
                "epoch": life.supervisor.epoch if life else 0,
                "restarts": life.supervisor.restarts if life else 0,
                "reliefs": life.supervisor.reliefs if life else 0,
            },
        }

    def _read_token(self) -> str:
        path = self._settings.token_file
        return Path(path).read_text().strip() if path else ""

    def _metrics(self) -> dict[str, float]:
        metrics = {
            "lateen_agent_control_plane_connected": float(self._attachment.connected),
            "lateen_agent_control_plane_reconnects_total": float(self._attachment.reconnects),
            "lateen_agent_envoy_restarts_total": float(self._envoy.supervisor.restarts if self._envoy else 0),
            "lateen_agent_envoy_reliefs_total": float(self._envoy.supervisor.reliefs if self._envoy else 0),
            "lateen_agent_configuration_last_good": float(self._envoy.stands_alone if self._envoy else False),
            "lateen_agent_workload_ready": float(not self._unready),
            "lateen_agent_certificate_renewals_total": float(self._certificates.renewals),
        }
        if self._pages is not None:
            metrics |= self._pages.metrics()
        if self._tally is not None:
            metrics["lateen_agent_probes_total"] = self._tally.checks
            metrics["lateen_agent_probe_failures_total"] = self._tally.failures
        if self._envoy and self._envoy.kept_at:
            metrics["lateen_agent_last_good_timestamp_seconds"] = self._envoy.kept_at
        if expires := self._certificates.expires:
            metrics["lateen_agent_certificate_expiration_timestamp_seconds"] = expires
        return metrics


async def _finished(app: Child) -> None:
    await app.exit_code()
