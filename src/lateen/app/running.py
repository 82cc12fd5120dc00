"""Run a control plane: open the sources and servers, keep the state current, stop gracefully.

See the package's docstring for the flow. The only module that names concrete stores and registries.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from lateen.api.application import api_application, monitoring_application
from lateen.api.guards import is_loopback
from lateen.api.serving import serve as serve_http
from lateen.app.addresses import bind, free_port_checked, shown, split_address, with_port
from lateen.app.collecting import rare_collections
from lateen.app.control_plane import RunningControlPlane
from lateen.app.debounce import Debounce
from lateen.app.finding_log import FindingLog
from lateen.app.inputs import Inputs
from lateen.app.kept_keys import keep_keys, kept_keys_file, read_kept_keys
from lateen.app.learned import open_learned
from lateen.app.mesh_configs import MeshConfigs
from lateen.app.settings import Listening, Settings, StartError
from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.discovery.hub import Hub
from lateen.discovery.server import serve as serve_grpc
from lateen.generate.generator import Generator
from lateen.keysets.downloads import Downloads
from lateen.keysets.fetcher import KeySetFetcher
from lateen.keysets.protocol import KeySets
from lateen.model.findings import has_errors
from lateen.registries.agents import AgentRegistry
from lateen.registries.attach import attach_handler
from lateen.registries.protocol import Registry
from lateen.stores.directory import DirectoryStore
from lateen.stores.memory import MemoryStore
from lateen.stores.protocol import Store

_LOG = structlog.get_logger(__name__)

SETTLE_SECONDS = 3.0
"""After the first state. An agent tries again at least every second (`agent.attach.AttachTimes`)."""


async def run_control_plane(
    settings: Settings,
    *,
    on_ready: Callable[[Listening], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run a control plane until `stop` is set or the task is cancelled. Raises StartError when it cannot start.

    `on_ready` is called once, when the first state is published and proxies are accepted.
    """
    stop = stop or asyncio.Event()
    mesh_configs = MeshConfigs(read_mesh_config(settings.mesh_config))
    memory, directories = _open_stores(settings)
    stores: tuple[Store, ...] = (*directories, memory)
    agents = AgentRegistry()
    inputs = Inputs(read_only=[store.name for store in directories], writable=memory.name, registries=[agents.name])
    generator = Generator()
    learned = open_learned(settings.state)
    downloads = Downloads(plain_hosts=settings.plain_key_hosts)
    kept_keys = kept_keys_file(settings.state)
    key_sets = KeySetFetcher(downloads.get, refresh=settings.key_refresh, known=read_kept_keys(kept_keys))
    hub = Hub(generator.generate, generator.scope_of, generator.keep, learned)
    plane = RunningControlPlane(
        inputs=inputs,
        hub=hub,
        rebuilt=lambda: generator.rebuilt,
        memory=memory,
        mesh_configs=mesh_configs,
        learned=learned,
        key_sets=key_sets,
    )
    debounce = Debounce(quiet=settings.debounce_quiet, maximum=settings.debounce_max)
    publisher = Publisher(plane, inputs, debounce, hub)
    with rare_collections(), ExitStack() as sockets:
        http = sockets.enter_context(bind(settings.http, "--http"))
        monitoring = sockets.enter_context(bind(settings.monitoring, "--monitoring"))
        grpc_address = free_port_checked(settings.grpc, "--grpc")
        handlers = [attach_handler(agents, plane.workload_left, learned.note_calls)]
        async with downloads, serve_grpc(hub, [grpc_address], handlers) as grpc_ports:
            grpc_host, _ = split_address(settings.grpc, "--grpc")
            plane.listening = Listening(
                grpc=with_port(grpc_host, grpc_ports[0]), http=shown(http), monitoring=shown(monitoring)
            )
            plane.accepting = True
            async with asyncio.TaskGroup() as group:
                watching = [
                    *(group.create_task(publisher.watch_store(store)) for store in stores),
                    group.create_task(publisher.watch_registry(agents)),
                    group.create_task(key_sets.run()),
                    group.create_task(publisher.watch_key_sets(key_sets)),
                    *([group.create_task(keep_keys(kept_keys, key_sets))] if kept_keys is not None else ()),
                    group.create_task(publisher.publish()),
                    group.create_task(hub.run()),
                    group.create_task(_announce(plane, on_ready)),
                    group.create_task(_settle(plane, hub)),
                    group.create_task(learned.run()),
                ]
                group.create_task(serve_http(api_application(plane, loopback=_is_local(http)), http, stop))
                local = _is_local(monitoring)
                group.create_task(serve_http(monitoring_application(plane, loopback=local), monitoring, stop))
                await stop.wait()
                _LOG.info("stopping")
                for task in watching:
                    task.cancel()


class Publisher:
    """Keeps the published state current: takes what the sources hand over, and builds when the debounce says so."""

    def __init__(self, plane: RunningControlPlane, inputs: Inputs, debounce: Debounce, hub: Hub) -> None:
        self._plane = plane
        self._hub = hub
        self._inputs = inputs
        self._debounce = debounce
        self._woken = asyncio.Event()
        self._finding_log = FindingLog()

    async def watch_store(self, store: Store) -> None:
        """Take a store's contents until cancelled."""
        async for content in store.watch():
            if self._inputs.take_content(store.name, content):
                self._finding_log.update(self._inputs.findings())
                self._wake()

    async def watch_registry(self, registry: Registry) -> None:
        """Take a registry's catalogues until cancelled. Endpoints that come and go do not wait for quiet."""
        async for catalogue in registry.watch():
            if self._inputs.take_catalogue(catalogue):
                self._wake(urgent=True)

    async def watch_key_sets(self, key_sets: KeySets) -> None:
        """Take keys of tokens until cancelled. They do not wait for quiet either: nobody is editing them."""
        async for newest in key_sets.watch():
            if self._inputs.take_key_sets(newest):
                self._wake(urgent=True)

    def _wake(self, *, urgent: bool = False) -> None:
        # The first state is urgent too: readiness waits for it, and nothing is being edited yet.
        urgent = urgent or self._plane.state is None
        self._debounce.changed(asyncio.get_running_loop().time(), urgent=urgent)
        self._woken.set()

    async def publish(self) -> None:
        """Build and publish whenever a change is due, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = self._debounce.due if self._inputs.complete else None
            try:
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            if self._inputs.complete and self._debounce.take(clock()):
                distributed, worked = self._hub.distributed, time.thread_time()
                if await self._plane.rebuild():
                    # To bring a state to all proxies is more work than to build it; all this thread does then counts.
                    await distributed.wait()
                self._debounce.acted(clock(), time.thread_time() - worked)


async def _announce(plane: RunningControlPlane, on_ready: Callable[[Listening], None] | None) -> None:
    await plane.first_state()
    listening = plane.listening
    _LOG.info("control plane ready", grpc=listening.grpc, http=listening.http, monitoring=listening.monitoring)
    if on_ready is not None:
        on_ready(listening)


async def _settle(plane: RunningControlPlane, hub: Hub) -> None:
    """Let the agents of an earlier control plane register again before proxies that run are told anything new."""
    await plane.first_state()
    await asyncio.sleep(SETTLE_SECONDS)
    hub.settle()


def read_mesh_config(file: Path | None) -> MeshConfig | None:
    """Return the MeshConfig of a file, None without one. Raises StartError with every error of the file."""
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StartError(f"--mesh-config {file} cannot be read: {error.strerror}", exit_code=2) from error
    mesh_config, findings = parse_mesh_config(content, str(file))
    if has_errors(findings):
        raise StartError("\n".join(str(finding) for finding in findings))
    return mesh_config


def _open_stores(settings: Settings) -> tuple[MemoryStore, list[DirectoryStore]]:
    if settings.store != "memory:":
        raise StartError(f"--store {settings.store!r} is not available in this version: use memory:", exit_code=2)
    try:
        return MemoryStore(), [DirectoryStore(folder) for folder in dict.fromkeys(settings.config_dirs)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StartError(f"--config: {error}", exit_code=2) from error


def _is_local(bound: socket.socket) -> bool:
    return is_loopback(str(bound.getsockname()[0]))
