"""Run a control plane: open the sources and servers, keep the state current, stop gracefully.

See the package's docstring for the flow. The only module that names concrete stores and registries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from lateen.api.audit import AuditLog
from lateen.api.control_plane import Security
from lateen.app.addresses import shown, split_address, with_port
from lateen.app.audit_file import NAME, AuditFile
from lateen.app.citadel import Citadel, Doorkeeper, certificate_handlers, open_citadel
from lateen.app.collecting import rare_collections
from lateen.app.control_plane import RunningControlPlane
from lateen.app.debounce import Debounce
from lateen.app.finding_log import FindingLog
from lateen.app.grpc_ports import grpc_ports
from lateen.app.http_servers import HttpServers, open_http_servers
from lateen.app.inputs import Inputs
from lateen.app.kept_keys import keep_keys, kept_keys_file, read_kept_keys
from lateen.app.learned import open_learned
from lateen.app.mesh_configs import MeshConfigs
from lateen.app.security_operations import SecurityOperations, TokenAccess
from lateen.app.settings import Listening, Settings, StartError
from lateen.app.state_folder import StateFile
from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.discovery.health_service import HealthDiscovery
from lateen.discovery.hub import Hub
from lateen.discovery.ports import Port
from lateen.discovery.server import serve as serve_grpc
from lateen.generate.generator import Generator
from lateen.keysets.downloads import Downloads
from lateen.keysets.fetcher import KeySetFetcher
from lateen.keysets.protocol import KeySets
from lateen.model.findings import has_errors
from lateen.registries.agents import AgentRegistry
from lateen.registries.attach import AttachOptions, attach_handler
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
    _check_addresses(settings)
    parts = _assemble(settings)
    plane, hub = parts.plane, parts.hub
    with rare_collections(), ExitStack() as opened:
        servers = open_http_servers(settings, opened)
        # After them: a port that nobody asked for gives way to theirs.
        ports = grpc_ports(settings)
        citadel = open_citadel(settings, parts.mesh_configs.in_force({}).trust_domain, opened)
        plane.certified = citadel.figures
        door = Doorkeeper(lambda: _trust_domains(plane, citadel), lambda: plane.listening.secure_grpc)
        options = AttachOptions(
            on_calls=plane.learned.note_calls,
            authenticate=door.authenticate,
            trust=citadel.board,
            settings=plane.proxy_settings,
            bootstrap=plane.bootstrap_of,
            configured=plane.first_state,
        )
        handlers = [
            attach_handler(parts.agents, plane.workload_left, options),
            parts.health.handler(door.identify),
            *certificate_handlers(citadel),
        ]
        grpc_server = serve_grpc(hub, ports, handlers, certificates=citadel.server_certificate, identify=door.identify)
        async with parts.downloads, grpc_server as numbers:
            plane.listening = _listening(ports, numbers, servers)
            await citadel.open_for(plane.listening)
            plane.accepting = True
            async with asyncio.TaskGroup() as group:
                jobs = [*parts.jobs(), citadel.run(), _announce(plane, on_ready), _settle(plane, hub)]
                watching = [group.create_task(job) for job in jobs]
                servers.serve(group, plane, _security(settings, citadel), citadel, stop)
                await stop.wait()
                _LOG.info("stopping")
                for task in watching:
                    task.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a control plane is made of, apart from its servers."""

    mesh_configs: MeshConfigs
    stores: tuple[Store, ...]
    agents: AgentRegistry
    hub: Hub
    health: HealthDiscovery
    generator: Generator
    plane: RunningControlPlane
    publisher: Publisher
    downloads: Downloads
    key_sets: KeySetFetcher
    kept_keys: StateFile | None

    def jobs(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what runs for as long as the control plane does."""
        yield from (self.publisher.watch_store(store) for store in self.stores)
        yield self.publisher.watch_registry(self.agents)
        yield self.publisher.watch_key_sets(self.key_sets)
        yield self.publisher.watch_health(self.health)
        yield self.publisher.publish()
        yield self.key_sets.run()
        if self.kept_keys is not None:
            yield keep_keys(self.kept_keys, self.key_sets)
        yield self.hub.run()
        yield _say_skipped_patches(self.hub, self.generator)
        yield self.plane.learned.run()


def _assemble(settings: Settings) -> _Parts:
    """Make the parts. StartError when a file or folder that they need will not do."""
    mesh_configs = MeshConfigs(read_mesh_config(settings.mesh_config))
    memory, directories = _open_stores(settings)
    agents = AgentRegistry()
    inputs = Inputs(read_only=[store.name for store in directories], writable=memory.name, registries=[agents.name])
    generator = Generator()
    learned = open_learned(settings.state)
    downloads = Downloads(plain_hosts=settings.plain_key_hosts)
    kept_keys = kept_keys_file(settings.state)
    key_sets = KeySetFetcher(downloads.get, refresh=settings.key_refresh, known=read_kept_keys(kept_keys))
    hub = Hub(generator.generate, generator.scope_of, generator.keep, learned, agents.gone, patience=SETTLE_SECONDS)
    health = HealthDiscovery(hub)
    plane = RunningControlPlane(
        inputs=inputs,
        hub=hub,
        agents=agents,
        rebuilt=lambda: generator.rebuilt,
        memory=memory,
        mesh_configs=mesh_configs,
        learned=learned,
        key_sets=key_sets,
        health=health.reports,
    )
    debounce = Debounce(quiet=settings.debounce_quiet, maximum=settings.debounce_max)
    return _Parts(
        mesh_configs=mesh_configs,
        stores=(*directories, memory),
        agents=agents,
        hub=hub,
        health=health,
        generator=generator,
        plane=plane,
        publisher=Publisher(plane, inputs, debounce, hub),
        downloads=downloads,
        key_sets=key_sets,
        kept_keys=kept_keys,
    )


def _listening(ports: Sequence[Port], numbers: Sequence[int], servers: HttpServers) -> Listening:
    """Return where everything listens, now that free ports have numbers."""
    hosts = (split_address(port.address, "")[0] for port in ports)
    grpc, secure, join = (with_port(host, number) for host, number in zip(hosts, numbers, strict=True))
    return Listening(
        grpc=grpc, secure_grpc=secure, join=join, http=shown(servers.api), monitoring=shown(servers.monitoring)
    )


def _check_addresses(settings: Settings) -> None:
    """Raise StartError for an address that is none: wrong usage, whatever else is wrong."""
    for address, flag in (
        (settings.grpc, "--grpc"),
        (settings.secure_grpc, "--secure-grpc"),
        (settings.join, "--join"),
        (settings.http, "--http"),
        (settings.monitoring, "--monitoring"),
    ):
        if address:
            split_address(address, flag)


def _trust_domains(plane: RunningControlPlane, citadel: Citadel) -> frozenset[str]:
    """Return the trust domains whose certificates count: the mesh's, and what it was called before."""
    aliases = plane.state.mesh_config.trust_domain_aliases if plane.state is not None else ()
    return frozenset((citadel.authority.trust_domain, *aliases))


def _security(settings: Settings, citadel: Citadel) -> Security:
    """Return what protects the API. The audit log is kept beside the certificate authority, if that is kept."""
    file = AuditFile(settings.ca.parent / NAME) if settings.ca is not None else None
    return Security(
        access=TokenAccess(citadel),
        audit=AuditLog(file.write if file is not None else None),
        operations=SecurityOperations(citadel),
    )


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

    async def watch_health(self, health: HealthDiscovery) -> None:
        """Take what gateways found sick until cancelled. As endpoints that come and go, it does not wait for quiet."""
        async for sick in health.watch():
            if self._inputs.take_sick(sick):
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
                distributed, worked = self._hub.distributed, self._worked()
                if await self._plane.rebuild():
                    # To bring a state to all proxies is more work than to build it; all this thread does then counts.
                    await distributed.wait()
                self._debounce.acted(clock(), self._worked() - worked)

    def _worked(self) -> float:
        """Return the seconds of work of this thread, and of builds beside it."""
        return time.thread_time() + self._plane.built_apart


async def _say_skipped_patches(hub: Hub, generator: Generator) -> None:
    """Log each patch of an EnvoyFilter that could not be applied, once for each version of the EnvoyFilter."""
    log = FindingLog(end="no patch is skipped any more")
    while True:
        await hub.distributed.wait()
        log.update(generator.skipped_patches())


async def _announce(plane: RunningControlPlane, on_ready: Callable[[Listening], None] | None) -> None:
    await plane.first_state()
    listening = plane.listening
    _LOG.info("control plane ready", **asdict(listening))
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
