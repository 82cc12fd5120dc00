"""The running control plane: the published state, and the ways to change it. What the API sees of the process.

Made by `app/running.py`. One instance, one event loop: its methods are called from tasks of that loop only, so
whatever runs between two awaits is atomic. Must not know: HTTP, gRPC, how stores and registries watch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from lateen.analysis.missing_keys import missing_keys
from lateen.analysis.references import analyse
from lateen.api.control_plane import ReadOnlyObjectError
from lateen.api.figures import Shared
from lateen.app.citadel import CertificateFigures
from lateen.app.dns_names import DnsNames
from lateen.app.inputs import Inputs
from lateen.app.learned import Learned
from lateen.app.mesh_configs import MeshConfigs
from lateen.app.settings import Listening
from lateen.config.kinds import document_kind
from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.discovery.figures import Figures, Histogram
from lateen.discovery.health_reports import HealthReports
from lateen.discovery.hub import Hub
from lateen.discovery.ledger import ProxyStatus
from lateen.discovery.scopes import ScopeStatus
from lateen.discovery.sharing import MemoryPart
from lateen.envoy.resources import Snapshot
from lateen.generate.envoy_filters.bootstrap import bootstrap_patch
from lateen.keysets.protocol import KeySets
from lateen.mesh.build import build_state
from lateen.mesh.elections import workload_named
from lateen.mesh.proxy_settings import PROXY_CONFIG, proxy_settings
from lateen.mesh.state import MeshState
from lateen.mesh.workload_groups import WORKLOAD_GROUP
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.proxies import Proxy
from lateen.model.proxy_settings import ProxySettings
from lateen.model.workloads import WorkloadRegistration
from lateen.preflight.flight import preflight
from lateen.registries.agents import AgentRegistry
from lateen.stores.protocol import Store

_LOG = structlog.get_logger(__name__)
MANY = 1000
"""So many objects and workloads that changed at once are built in a thread: inline they hold the loop for 50 ms."""
PUBLISH_SECONDS = 30.0
"""Longest wait for a change to be built and published."""
KEYS_SECONDS = 5.0
"""Longest wait for keys that are asked for the first time."""
LEAVE_SECONDS = 5.0
"""Longest wait until every proxy dropped a workload that leaves; its agent drains after that."""


class RunningControlPlane:
    """The published state and the ways to change it: what the API needs of a control plane."""

    def __init__(
        self,
        *,
        inputs: Inputs,
        hub: Hub,
        agents: AgentRegistry,
        rebuilt: Callable[[], int],
        memory: Store,
        mesh_configs: MeshConfigs,
        learned: Learned,
        key_sets: KeySets,
        health: HealthReports,
    ) -> None:
        """`rebuilt` tells how many parts of snapshots generation has made."""
        self.listening = Listening(grpc="", http="", monitoring="")
        self.accepting = False
        """Set by the composition root once proxies can connect."""
        self.build_times = Histogram()
        """Seconds that it took to build each state."""
        self._inputs = inputs
        self._hub = hub
        self._agents = agents
        self._rebuilt = rebuilt
        self._memory = memory
        self._mesh_configs = mesh_configs
        self._key_sets = key_sets
        self._groups: Mapping[ObjectKey, ConfigObject[Any]] = {}
        """WorkloadGroups that the registry of agents has been given."""
        self._keys_asked: frozenset[str] = frozenset()
        self._keys_until = 0.0
        """Until when changes wait for keys that are asked for the first time, by the loop's clock."""
        self.certified: Callable[[], CertificateFigures] = CertificateFigures
        """Set by the composition root once there is a certificate authority."""
        self.learned = learned
        """What workloads were seen calling."""
        self.health = health
        """What gateways say of plain endpoints."""
        self._state: MeshState | None = None
        self._dns_names = DnsNames()
        self._built = 0
        """Generation of the inputs that the last attempt to build saw, whether it succeeded or not."""
        self._failure: Exception | None = None
        self.built_apart = 0.0
        """Seconds that builds took in other threads."""
        self._building = asyncio.Lock()
        """One build at a time: an older one must not end after a newer one."""
        self._published = asyncio.Condition()
        self._looking = asyncio.Lock()
        self._analysed: tuple[int, tuple[Finding, ...]] = (-1, ())
        self._tried: tuple[Mapping[ObjectKey, ConfigObject[Any]] | None, tuple[Finding, ...]] = (None, ())
        """The configuration that preflight was about, and what came of it."""

    @property
    def ready(self) -> bool:
        """Whether the first state is published and proxies are accepted."""
        return self.accepting and self._state is not None

    @property
    def state(self) -> MeshState | None:
        """The newest published state, None before the first."""
        return self._state

    def bootstrap_of(self, registration: WorkloadRegistration) -> dict[str, Any]:
        """Return what EnvoyFilters say of the bootstrap of a workload's Envoy; nothing before the first state."""
        return bootstrap_patch(self._state, registration) if self._state is not None else {}

    @property
    def grpc_address(self) -> str:
        """`HOST:PORT` of plaintext xDS."""
        return self.listening.grpc

    @property
    def http_address(self) -> str:
        """`HOST:PORT` of the API."""
        return self.listening.http

    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]:
        """Return every object in force, sorted by key."""
        return self._inputs.objects()

    def read_only(self, key: ObjectKey) -> Origin | None:
        """Return where a directory holds this object."""
        return self._inputs.managed(key)

    def findings(self) -> tuple[Finding, ...]:
        """Return the stores' findings and the cross-resource ones that `look_again` last found."""
        keys = self._inputs.token_rules(), self._key_sets.key_sets, self._key_sets.problems
        return (*self._inputs.findings(), *self._mesh_configs.findings, *self._analysed[1], *missing_keys(*keys))

    async def look_again(self) -> None:
        """Look for cross-resource findings if the state in force changed since; in a thread, as it takes a while.

        What Envoy would reject is tried again when the configuration changed, not when a workload did.
        """
        async with self._looking:  # whoever asks meanwhile finds it done
            state, built, union = self._state, self._built, self._inputs.objects()
            if state is None or self._analysed[0] == built:
                return
            objects = tuple(union.values())
            between = await asyncio.to_thread(analyse, state, objects)
            if self._tried[0] is not union:
                self._tried = (union, (await asyncio.to_thread(preflight, state, objects)).findings)
            self._analysed = (built, (*between, *self._tried[1]))

    async def preview(
        self, objects: Sequence[ConfigObject[Any]], positions: Mapping[ObjectKey, Positions]
    ) -> tuple[Finding, ...]:
        """Return the cross-resource findings about these objects, as if they were in force."""
        keys = {(document_kind(found.key.kind), found.key.namespace, found.key.name) for found in objects}
        union = self._inputs.objects().patched({found.key: found for found in objects})
        mesh_config = self._mesh_configs.in_force(self._inputs.objects())
        catalogues, key_sets = self._inputs.catalogues(), self._inputs.key_sets()
        sick = self._inputs.sick()
        state = await asyncio.to_thread(
            build_state, union.values(), catalogues, mesh_config, previous=self._state, key_sets=key_sets, sick=sick
        )
        given = tuple(union.values())
        about = frozenset(found.key for found in objects)
        # In a thread: in a large mesh this takes a second, and the streams to the proxies move on meanwhile.
        between = await asyncio.to_thread(analyse, state, given, positions)
        rejected = await asyncio.to_thread(preflight, state, given, positions, about=about)
        findings = (*between, *rejected.findings)
        return tuple(found for found in findings if (found.kind, found.namespace, found.name) in keys)

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        """Store the objects; return the version of a published state that holds them."""
        for found in objects:
            if origin := self.read_only(found.key):
                raise ReadOnlyObjectError(found.key, origin)
        await self._memory.put(objects)
        return await self._publish_memory()

    async def remove(self, key: ObjectKey) -> str:
        """Delete the object; return the version of a published state without it. KeyError when unknown."""
        if origin := self.read_only(key):
            raise ReadOnlyObjectError(key, origin)
        if not await self._memory.delete(key):
            raise KeyError(key)
        return await self._publish_memory()

    async def _publish_memory(self) -> str:
        # Somebody waits for this change, so it does not go the way of the watch and its quiet time.
        async for content in self._memory.watch():
            self._inputs.take_content(self._memory.name, content)
            break
        await self.rebuild()
        if self._failure is not None:
            raise self._failure
        assert self._state is not None
        return self._state.version

    def proxies(self) -> Sequence[ProxyStatus]:
        """Return the connected proxies."""
        return self._hub.proxies()

    def snapshot_for(self, proxy_id: str) -> tuple[Proxy, Snapshot] | None:
        """Return what a connected proxy is served."""
        return self._hub.snapshot_for(proxy_id)

    @property
    def certificates(self) -> CertificateFigures:
        """What the certificate authority counted."""
        return self.certified()

    @property
    def figures(self) -> Figures:
        """What discovery counted."""
        return self._hub.figures

    @property
    def sharing(self) -> Mapping[str, Shared]:
        """How often an answer was shared, by what it is about."""
        sharing = self._hub.sharing
        return {"differences": sharing.differences, "comparisons": sharing.comparisons, "responses": sharing.bodies}

    @property
    def rebuilt(self) -> int:
        """How many parts of snapshots were generated."""
        return self._rebuilt()

    @property
    def dns_names_left_out(self) -> int:
        """Names of services that a sidecar is not told of; of the one that most are."""
        return self._dns_names.count

    def scopes(self) -> Sequence[ScopeStatus]:
        """Return the scopes and what they are served."""
        return self._hub.scopes()

    def memory(self) -> Mapping[str, MemoryPart]:
        """Return what is kept, by part."""
        return self._hub.memory()

    async def wait_synced(self, version: str, seconds: float) -> Sequence[ProxyStatus]:
        """Wait until each connected proxy acknowledged or rejected that state, at most so many seconds."""
        return await self._hub.wait_synced(version, seconds)

    def is_synced(self, version: str) -> bool:
        """Whether every connected proxy has answered this state, or a later one."""
        return self._hub.is_synced(version)

    async def first_state(self) -> None:
        """Wait until a state is published."""
        async with self._published:
            await self._published.wait_for(lambda: self._state is not None)

    def proxy_settings(self, workload: WorkloadRegistration) -> ProxySettings:
        """Return what the proxy of a workload that registers begins with."""
        mesh_config = self._mesh_configs.in_force(self._inputs.objects())
        return proxy_settings(workload, self._inputs.of_workloads(PROXY_CONFIG).values(), mesh_config)

    def _bring_groups(self) -> None:
        """Let registered workloads follow their groups; what changes of them comes back as another catalogue."""
        groups = self._inputs.of_workloads(WORKLOAD_GROUP)
        if groups is not self._groups:
            self._groups = groups
            self._agents.take_groups({(key.namespace, key.name): found.spec for key, found in groups.items()})

    async def rebuild(self) -> bool:
        """Build the state of the newest inputs and publish it; whether there was anything to publish."""
        if self._built == self._inputs.generation:
            return False
        self._bring_groups()
        await self._fetch_keys()
        async with self._building:
            if self._built == self._inputs.generation:
                return False  # somebody else built it meanwhile
            published = await self._build()
        async with self._published:
            self._published.notify_all()
        return published

    async def _build(self) -> bool:
        """Build and publish; in a thread when much changed, so that streams and health answers move on meanwhile.

        Not for a small change: handing it to a thread and back takes longer than building it.
        """
        published = False
        generation = self._inputs.generation
        try:
            objects = self._inputs.objects()
            mesh_config = self._mesh_configs.in_force(objects)
            began = time.perf_counter()
            catalogues, key_sets = self._inputs.catalogues(), self._inputs.key_sets()
            many, self._inputs.moved = self._inputs.moved >= MANY, 0
            build = partial(
                build_state,
                objects.values(),
                catalogues,
                mesh_config,
                previous=self._state,
                key_sets=key_sets,
                sick=self._inputs.sick(),
            )
            state = await asyncio.to_thread(build) if many else build()
            took = time.perf_counter() - began
            self.built_apart += took if many else 0.0
            self.build_times.observe(took)
            if self._state is None or state.version != self._state.version:
                self._hub.publish(state)
                published = True
            self._state, self._failure = state, None
            self._dns_names.update(state)
        except Exception as error:  # noqa: BLE001  logged, and raised again to whoever waits
            # One document that trips a bug of ours must not stop the mesh: the last good state stays in force.
            _LOG.exception("state failed to build", generation=generation)
            self._failure = error
        self._built = generation
        return published

    async def _fetch_keys(self) -> None:
        """Wait for keys that are asked for the first time: without them, valid tokens would be refused meanwhile.

        Not for long: other changes wait as well. Keys that come later are a change of their own.
        """
        sources = self._inputs.key_sources
        self._key_sets.want(sources)
        if sources.keys() - self._keys_asked:
            self._keys_until = asyncio.get_running_loop().time() + KEYS_SECONDS
        self._keys_asked = frozenset(sources)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._keys_until):
                await self._key_sets.answered()
        self._inputs.take_key_sets(self._key_sets.key_sets)

    async def workload_left(self, workload: str) -> bool:
        """Wait until every proxy dropped `name.namespace`; whether all did in time. The registry lists it no more as
        ready, and forgets it when its own proxy is gone: at once if there is none."""
        if not self._hub.is_connected(workload):
            self._agents.gone(workload)
        try:
            async with asyncio.timeout(PUBLISH_SECONDS), self._published:
                await self._published.wait_for(lambda: self._without(workload))
        except TimeoutError:
            return False
        assert self._state is not None
        version = self._state.version
        return await self._hub.until_synced(version, LEAVE_SECONDS)

    def _without(self, workload: str) -> bool:
        if self._state is None:
            return False
        name, _, namespace = workload.partition(".")  # a name has no dot
        found = workload_named(self._state.workloads, namespace, name)
        return found is None or not found.ready
