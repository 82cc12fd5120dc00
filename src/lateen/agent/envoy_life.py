"""One workload's Envoy over its whole life: what it starts with, when it is relieved, and what is kept of it.

Envoy speaks with the control plane itself, and an Envoy that is up needs nobody. The problem is one that starts while
the control plane is away: it knows nothing, and rightly waits. So whenever Envoy has taken new configuration we keep
what is then in force (`last_good`), and start from that when the control plane cannot be had. When it is back, an
Envoy that follows it relieves the other by a hot restart, which loses no request; it takes over only once it has its
configuration.

What we chose not to do: to stand between Envoy and the control plane and keep what passes (Istio's way). It would
make the agent grow with the mesh, and put it into the path of every change, for the one hour in a year in which it is
needed.

Used by `lifecycle`. Must not know: the app, or how the workload is registered.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from lateen.agent.backoff import pauses
from lateen.agent.envoy_admin import EnvoyAdmin
from lateen.agent.envoy_process import Crash, EnvoyOptions, EnvoySupervisor
from lateen.agent.keeping import Keeper, KeptConfiguration
from lateen.agent.last_good import DumpError, LastGood, is_at_rest, last_good, wanted_secrets, with_app_ports
from lateen.agent.log import get_log
from lateen.agent.processes import Child, give_back_memory
from lateen.agent.secret_files import kept_secret_file
from lateen.agent.table_ports import with_table_port
from lateen.private_files import write_private

_NOISE_BYTES = 100
"""Pings are answered with 17 bytes; a change of anything takes more than this."""


_TRIES = 3
"""An older control plane never gives secrets: after so many tries the next change is waited for."""


class Source(Enum):
    """What an Envoy was started with."""

    STREAM = "the control plane"
    LAST_GOOD = "the last good configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeTimes:
    """Times in seconds; tests shorten them."""

    look: float = 5.0
    """Between looks for new configuration. A look is one small question to Envoy."""
    govern: float = 0.5
    patience: float = 3.0
    """So long a starting Envoy may wait for a control plane that the agent cannot reach either."""
    settle: float = 10.0
    """Between the control plane's return and the relief: other workloads come back to it too, some later than we, and
    an Envoy that asks too early is told of services without them."""
    relief: float = 60.0
    """So long a new Envoy may take to follow the control plane; later it is tried again."""
    again: float = 5.0
    """Before a relief that failed is tried again; then twice as long each time, up to `relief`."""


@dataclass(slots=True)
class Wanted:
    """What Envoy should serve by; the control plane's part may come later."""

    settings: str = ""
    """The agent's settings as JSON, with what the control plane said of them."""
    bootstrap: dict[str, Any] | None = None
    """Of an Envoy that follows the control plane; None until it said who we are."""
    name: str = ""
    app_ports: Mapping[int, int] = field(default_factory=dict)
    kept: KeptConfiguration | None = None
    """The last good configuration from when it is read until it is used: it can be large, and is read once a start."""


FetchSecrets = Callable[[Mapping[str, Any], Iterable[str]], Awaitable[dict[str, bytes]]]
"""Gets secrets of the proxy of a node by their names, as far as they are to be had."""


async def _no_secrets(_node: Mapping[str, Any], _names: Iterable[str]) -> dict[str, bytes]:
    return {}


class EnvoyLife:
    """Supervises Envoy and chooses its configuration. `run` until `stop`."""

    def __init__(
        self,
        options: EnvoyOptions,
        admin: EnvoyAdmin,
        keeper: Keeper | None,
        wanted: Wanted,
        *,
        connected: Callable[[], bool],
        watch: Callable[[Child], None],
        fetch: FetchSecrets = _no_secrets,
        times: LifeTimes = LifeTimes(),
    ) -> None:
        """`connected`: whether the control plane is there and holds the registration; `fetch` gets secrets from it.

        Without a keeper nothing is kept.
        """
        self._fetch = fetch
        self._folder = options.folder
        self._admin = admin
        self._keeper = keeper
        self._connected = connected
        self._times = times
        self._log = get_log()
        self._seen = 0
        """Bytes from the control plane when its configuration was kept last."""
        self._tries = 0
        """How often in a row not all secrets were to be had."""
        self._away = 0.0
        """When the control plane was seen to be away last, by the loop's clock."""
        self._source = self._coming = Source.STREAM
        """What the Envoy that serves was started with, and the one that was started last."""
        self._unseen = False
        """Whether the Envoy that serves has no admin page any more: it closed that for one that did not come up."""
        self._leaving = False
        self.wanted = wanted
        self.kept_at = 0.0
        """When the last good configuration was kept, in seconds since 1970; 0 when there is none."""
        self.supervisor = EnvoySupervisor(options, self._configuration, admin.serves, watch, self._report)

    @property
    def source(self) -> Source:
        """What the Envoy that serves was started with."""
        return self._source

    @property
    def stands_alone(self) -> bool:
        """Whether the Envoy that serves follows no control plane."""
        return self._source is Source.LAST_GOOD

    async def serves(self) -> bool:
        """Whether an Envoy serves. One that is being relieved has no admin page: it counts while it runs."""
        child = self.supervisor.child
        if child is not None and (self.supervisor.relieving or self._unseen):
            return child.running
        return await self._admin.is_live()

    async def answers(self) -> bool:
        """Whether Envoy answers, as far as there is one to ask: one that starts is the supervisor's business."""
        child = self.supervisor.child
        return child is None or not child.running or self._unseen or await self._admin.answers()

    async def run(self) -> None:
        """Run Envoy until `stop`. StartError when it never comes up."""
        async with asyncio.TaskGroup() as group:
            besides = [group.create_task(job) for job in (self._have_patience(), self._change_over())]
            if self._keeper:
                besides.append(group.create_task(self._keep(self._keeper)))
            await self.supervisor.run()
            for task in besides:
                task.cancel()

    async def leave(self) -> None:
        """The workload leaves: what comes now is not what its next start should serve by, and no Envoy follows.

        One that is about to follow has the admin page and no request: who asked it would take the old one for idle.
        """
        self._leaving = True
        await self.supervisor.hold()

    async def relieve(self) -> bool:
        """Have a new Envoy take over, of today's binary, bootstrap and configuration, without a lost request."""
        took_over, starts = False, self.supervisor.starts
        try:
            async with asyncio.timeout(self._times.relief):
                took_over = await self.supervisor.relieve()
        except TimeoutError:
            self._log.warning("the new envoy gets no configuration: the old one goes on", seconds=self._times.relief)
        finally:
            self.wanted.kept = None
        if took_over:
            self._source, self._unseen = self._coming, False
            self._log.info("a new envoy has taken over", configuration=self._source.value)
        elif not self.supervisor.relieving and self.supervisor.starts > starts:
            # Nobody is to take it for gone while it is asked.
            self._unseen = True
            self._unseen = not await self._admin.answers()
        return took_over

    def _wish(self) -> Source:
        """Return what an Envoy that starts now should start with; the last good configuration is then at hand."""
        if self.wanted.bootstrap is not None and (self._connected() or not self._has_kept()):
            return Source.STREAM
        return Source.LAST_GOOD if self._has_kept() else Source.STREAM

    def _has_kept(self) -> bool:
        """Whether there is a last good configuration; takes it to hand."""
        if self.wanted.kept is None and self._keeper:
            self.wanted.kept = self._keeper.configuration()
        return self.wanted.kept is not None

    def _configuration(self) -> Path:
        """Write what the next Envoy starts with."""
        self._coming, self._seen = self._wish(), 0
        if not self.supervisor.relieving:
            self._source, self._unseen = self._coming, False
        path = self._folder / "envoy.json"
        kept, self.wanted.kept = self.wanted.kept, None
        if kept is not None and self._coming is Source.LAST_GOOD:
            self.kept_at = kept.saved_at
            moved = {old: self.wanted.app_ports.get(port, old) for port, old in kept.app_ports.items()}
            content = with_app_ports(kept.bootstrap, moved)
            self._restore_secrets()
            self._log.warning(
                "the control plane is away: envoy starts with the last good configuration",
                age_seconds=round(kept.age),
                missing=list(kept.missing),
            )
        else:
            assert self.wanted.bootstrap is not None
            content = self.wanted.bootstrap
        content = with_table_port(content, self.supervisor.next_epoch)
        write_private(path, json.dumps(content).encode(), durable=False)
        return path

    def _report(self, crash: Crash) -> str:
        """Keep what is known of a crash; return where."""
        if self._keeper is None:
            return ""
        head = f"envoy was ended by {crash.signal} after {crash.seconds:.1f} s\nconfiguration: {self._source.value}\n"
        return self._keeper.keep_crash(head + "".join(f"{line}\n" for line in crash.lines), now=time.time())

    def _restore_secrets(self) -> None:
        """Put what was kept of the control plane's secrets where the last good configuration reads it."""
        for name, secret in (self._keeper.secrets() if self._keeper else {}).items():
            path = self._folder / kept_secret_file(name)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(path, secret, durable=False)

    # --- choosing ----------------------------------------------------------------------------------------------

    async def _have_patience(self) -> None:
        """Begin with the last good configuration when an Envoy, also one that is to relieve, waits for another."""
        clock = asyncio.get_running_loop().time
        waiting = self._away = clock()
        while not self._leaving:
            await asyncio.sleep(self._times.govern)
            if not self._connected() or self.wanted.bootstrap is None:
                self._away = clock()
            if await self.supervisor.is_up() or self._connected() or self._coming is Source.LAST_GOOD:
                waiting = clock()
            elif clock() - waiting > self._times.patience and not self._leaving:
                waiting = clock()
                if self._has_kept():
                    await self.supervisor.begin_again()

    async def _change_over(self) -> None:
        """Relieve an Envoy that stands alone once the control plane is back, and one that nobody can ask any more."""
        clock = asyncio.get_running_loop().time
        waits = pauses(self._times.again, self._times.relief)
        while not self._leaving:
            await asyncio.sleep(self._times.govern)
            back = self._source is Source.LAST_GOOD and clock() - self._away > self._times.settle
            blind = self._unseen and (self._connected() or self._has_kept())
            if not back and not blind:
                waits = pauses(self._times.again, self._times.relief)
            elif not await self.relieve():
                await asyncio.sleep(next(waits))

    # --- keeping -----------------------------------------------------------------------------------------------

    async def _keep(self, keeper: Keeper) -> None:
        """Keep what is in force whenever something came and nothing comes any more.

        Only while the workload is registered: without that, as when its app takes long to end after it has left, what
        is in force has no way to the app.
        """
        before = -1
        while not self._leaving:
            await asyncio.sleep(self._times.look)
            if self._source is not Source.STREAM or not self._connected():
                continue
            received = await self._admin.received()
            quiet, before = abs(received - before) < _NOISE_BYTES, received
            if received < 0 or not quiet or 0 <= received - self._seen < _NOISE_BYTES:
                continue
            if await self._keep_now(keeper):
                self._seen = received

    async def _keep_now(self, keeper: Keeper) -> bool:
        """Keep what Envoy shows; return whether there is nothing more to wait for."""
        dump, bootstrap = await self._admin.config_dump(), self.wanted.bootstrap
        live = await self._admin.is_live()
        if dump is None or bootstrap is None or not live or self._leaving or not self._connected():
            return False
        try:
            secrets, complete = await self._secrets(keeper, bootstrap["node"], wanted_secrets(dump))
            files = {name: kept_secret_file(name) for name in secrets}
            found: LastGood = await asyncio.to_thread(last_good, bootstrap, dump, files)
            at_rest = is_at_rest(dump) and complete
        except DumpError as error:
            self._log.warning("cannot keep the last good configuration", reason=str(error)[:300])
            return True
        kept = KeptConfiguration(
            bootstrap=found.bootstrap,
            saved_at=time.time(),
            name=self.wanted.name,
            settings=self.wanted.settings,
            app_ports=dict(self.wanted.app_ports),
            missing=found.missing,
        )
        # Before the configuration that reads them.
        await asyncio.to_thread(keeper.keep_secrets, secrets)
        await asyncio.to_thread(keeper.keep_configuration, kept)
        self.kept_at = kept.saved_at
        give_back_memory()
        return at_rest

    async def _secrets(
        self, keeper: Keeper, node: Mapping[str, Any], wanted: Iterable[str]
    ) -> tuple[dict[str, bytes], bool]:
        """Return the secrets that Envoy got from the control plane, and whether those are all, and of today.

        One that is not to be had today is better of yesterday than not at all.
        """
        if not (names := frozenset(wanted)):
            return {}, True
        found = await self._fetch(node, names)
        self._tries = 0 if names <= found.keys() else self._tries + 1
        kept = keeper.secrets() if names - found.keys() else {}
        return {**{name: kept[name] for name in names & kept.keys()}, **found}, self._tries % _TRIES == 0
