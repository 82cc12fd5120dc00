"""One workload's app over its life: it starts when its proxy serves, is ready when it accepts connections, and stops.

In mode `run` the app is our child. Beside a sidecar alone it is somebody else's, and only looked at. Used by
`lifecycle`. Must not know: certificates, or how Envoy is run.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace

from lateen.agent import shutdown, workload
from lateen.agent.application import app_environment, wait_for_ports, wait_until_serving
from lateen.agent.envoy_admin import EnvoyAdmin
from lateen.agent.envoy_readiness import POLL_SECONDS
from lateen.agent.errors import StartError
from lateen.agent.listening import ListeningPorts
from lateen.agent.log import get_log
from lateen.agent.membership import Membership, Spawn
from lateen.agent.notifying import Notifier
from lateen.agent.premises import Premises
from lateen.agent.probes import Tally, Verdict
from lateen.agent.processes import Child, give_back_memory, start
from lateen.agent.readiness import Readiness
from lateen.agent.settings import GATEWAY, RUN, SIDECAR
from lateen.agent.signals import Signals
from lateen.model.probes import Probe
from lateen.model.probes import shown as shown_probe

_INBOUND_SECONDS = 10.0
"""Of a control plane that is there, and slow; one that is away tells nobody of us either."""
_HINT_SECONDS = 10.0
_QUICK_EXIT_SECONDS = 10.0


class AppLife:
    """The app, and what is said of it. Single use."""

    def __init__(
        self,
        member: Membership,
        premises: Premises,
        admin: EnvoyAdmin,
        readiness: Readiness,
        notifier: Notifier,
        signals: Signals,
    ) -> None:
        self._member = member
        self._address = premises.address
        self._where = premises.where
        self._ports = premises.ports
        self._guard = premises.guard
        self._admin = admin
        self._readiness = readiness
        self._notifier = notifier
        self._signals = signals
        self._log = get_log()
        self._found: dict[int, int] = {}
        """Declared port -> where the app was found to listen."""
        self.child: Child | None = None
        self.tally: Tally | None = None
        """Of the probe, when there is one."""

    @property
    def ports(self) -> dict[int, int]:
        """Declared port -> where the app listens, as far as known, or where it should."""
        return {**self._ports.by_declared, **self._found}

    def pass_on(self, number: int) -> None:
        """Give a signal to the app."""
        if self.child is not None:
            self.child.send(number)

    # --- starting ----------------------------------------------------------------------------------------

    async def begin(self, spawn: Spawn) -> None:
        """Start the app, where it is ours to start, and say from now on whether it is ready."""
        settings = self._member.settings
        if settings.mode == RUN:
            await self._start()
        if settings.mode == SIDECAR:
            # Its app is another service, which may well be ordered after this one.
            self._notifier.say("READY=1", "STATUS=the proxy serves")
        if settings.mode == GATEWAY or not (settings.ports or settings.probe):
            await self._ready({})
        elif settings.probe and (settings.mode == SIDECAR or not settings.ports):
            spawn(self._follow_probe(settings.probe, dict(self._ports.by_declared)))
        else:
            self._readiness.reason = "the app does not accept connections yet"
            spawn(self._follow_ports() if settings.mode == SIDECAR else self._follow())

    async def _start(self) -> None:
        command = self._member.settings.command
        proxy = workload.http_proxy(self._member.settings, self._address)
        env = app_environment(os.environ, self._ports.by_declared, proxy)
        self._ports.release()
        try:
            self.child = await start(command, env=env, enter=self._where.app_entrance())
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            user = self._member.settings.app_user
            who = f" as {user}" if user else ""
            raise StartError(f"cannot start {command[0]!r}{who}: {error.strerror}", exit_code=code) from error
        self._guard.watch(self.child)

    # --- following ---------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Report the app ready once it accepts connections; say what is wrong when it does not, or exits early."""
        app = self.child
        assert app is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        serving = await self._first_ports(app)
        if serving is None:
            if await app.exit_code() and clock() - began < _QUICK_EXIT_SECONDS and not self._signals.stop.is_set():
                self._log.warning("the app exited before it accepted connections", hint=self._hint())
            return
        self._found.update(serving)
        if probe := self._member.settings.probe:
            await self._follow_probe(probe, serving)
        else:
            await self._ready(serving)

    async def _first_ports(self, app: Child) -> dict[int, int] | None:
        """Wait until the app accepts connections; return declared port -> its port, or None when it exited first."""
        serving: dict[int, int] = {}
        offered = self._ports.by_declared

        async def found() -> None:
            serving.update(await wait_until_serving(offered, ListeningPorts(app.pid), self._where.connect_app))

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
        return serving if ready else None

    def _hint(self) -> str:
        offered = self._ports.by_declared
        wanted = ", ".join(f"127.0.0.1:{port} (for {declared})" for declared, port in offered.items())
        declared = next(iter(offered))
        if self._where.intercepts:
            return f"it should listen on 0.0.0.0:{declared}, or on the port in PORT"
        return (
            f"it should listen on the port in PORT: {wanted}; or on 127.0.0.1:{declared}, not on 0.0.0.0:{declared}, "
            f"because its sidecar listens on {self._address.ip}:{declared}"
        )

    async def _follow_ports(self) -> None:
        """Sidecar alone: ready while all ports accept connections. The app is someone else's to start and restart."""
        offered = self._ports.by_declared
        ports = tuple(offered.values())
        while True:
            await wait_for_ports(ports, self._where.connect_app, accepting=True)
            await self._ready(offered)
            await wait_for_ports(ports, self._where.connect_app, accepting=False, pause=2.0)
            self._readiness.reason = "the app does not accept connections"
            self._log.warning(self._readiness.reason)
            self._unregister()

    async def _follow_probe(self, probe: Probe, app_ports: Mapping[int, int]) -> None:
        """Ready while the probe says so."""
        from lateen.agent import checks, watching

        self._readiness.reason = f"the probe {shown_probe(probe)} has not succeeded yet"
        target = checks.Target(connect=self._where.connect_app, ports=app_ports, enter=self._where.app_entrance())
        self.tally = tally = Tally()
        async for verdict, problem in watching.verdicts(probe, lambda: checks.check(probe, target), tally):
            if self._signals.stop.is_set():
                return
            if verdict is Verdict.READY:
                await self._ready(app_ports)
                continue
            self._readiness.reason = f"the probe {shown_probe(probe)} fails: {problem}"
            self._log.warning("the app is not ready", probe=shown_probe(probe), problem=problem)
            self._unregister()

    def _unregister(self) -> None:
        attachment = self._member.attachment
        attachment.update(replace(attachment.registration, ready=False))

    async def _ready(self, app_ports: Mapping[int, int]) -> None:
        """Tell the control plane; but first let our own Envoy learn where the app is, or the first requests fail."""
        app_ports = await self._where.told_ports(app_ports)
        attachment = self._member.attachment
        attachment.update(workload.with_app_ports(attachment.registration, app_ports))
        clock = asyncio.get_running_loop().time
        deadline = clock() + _INBOUND_SECONDS
        while not await self._admin.has_inbound(app_ports):
            if clock() > deadline:
                self._log.warning("envoy has no inbound cluster for the app yet", ports=dict(app_ports))
                break
            await asyncio.sleep(POLL_SECONDS)
        attachment.update(replace(attachment.registration, ready=True))
        self._readiness.reason = ""
        self._notifier.say("READY=1", "STATUS=serving")
        give_back_memory()
        self._log.info("ready", address=self._address.ip, app_ports=dict(app_ports))

    # --- stopping ----------------------------------------------------------------------------------------

    async def ended(self) -> None:
        """Wait until it exits by itself; for ever when it is not ours."""
        if self.child is None:
            await asyncio.Event().wait()
        else:
            await self.child.exit_code()

    async def stop(self) -> None:
        """Pass the signal on and wait for the whole process group; kill what stays too long."""
        if self.child is None:
            return
        app, patience = self.child, self._member.settings.app_stop_seconds
        app.send(self._signals.number)
        try:
            async with asyncio.timeout(patience):
                await shutdown.unless(self._signals.hurry, app.group_gone)
        except TimeoutError:
            self._log.warning("the app did not stop in time, killing it", seconds=patience)
        if not app.group_is_empty():
            await app.stop(signal.SIGKILL, 1.0)
