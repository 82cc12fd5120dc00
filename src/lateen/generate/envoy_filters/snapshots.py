"""Snapshots with the patches of a proxy applied, kept up to date resource by resource.

`generate.snapshot` patches once; `generator` keeps a `PatchedSnapshots` for each scope. A resource that no patch is
about stays the same object, and what a patched one came to is remembered by its version, for every scope that has it.
What a proxy asks for is patched when it asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from lateen.config.envoy_filter import ApplyTo, EnvoyFilter, PatchContext, PatchOperation
from lateen.config.objects import ConfigObject
from lateen.envoy.filters import LOOKUP_FILTER
from lateen.envoy.messages import message_class
from lateen.envoy.resources import (
    CLUSTER,
    EXTENSION,
    LISTENER,
    ROUTE,
    VIRTUAL_HOST,
    OnDemand,
    Resource,
    Snapshot,
    content_hash,
    snapshot_version,
)
from lateen.generate.envoy_filters.clusters import cluster_context, may_touch, patch_cluster
from lateen.generate.envoy_filters.listeners import listener_context, patch_listener
from lateen.generate.envoy_filters.origins import note_origins
from lateen.generate.envoy_filters.patches import FilterPatch, Outcome, Run
from lateen.generate.envoy_filters.routes import (
    HostNames,
    added_host,
    patch_route_configuration,
    patch_virtual_host,
    turn_on,
)
from lateen.generate.envoy_filters.selection import PatchSet
from lateen.generate.on_demand import VirtualHosts
from lateen.mesh.sharing import changed_keys, patched


class PatchedResource(NamedTuple):
    """What became of a resource: None when it was removed."""

    resource: Resource | None
    outcome: Outcome = Outcome()


Maker: TypeAlias = Callable[[Resource, PatchSet], PatchedResource]


# --- one resource --------------------------------------------------------------------------------------------


def patched_resource(resource: Resource, patch_set: PatchSet) -> PatchedResource:
    """Return a resource with the patches of a proxy applied; the same object when none is about it."""
    make = _MAKERS.get(resource.kind)
    return make(resource, patch_set) if make is not None else PatchedResource(resource)


def _listener(resource: Resource, patch_set: PatchSet) -> PatchedResource:
    if not patch_set.of_listeners:
        return PatchedResource(resource)
    listener = message_class(LISTENER).FromString(resource.body)
    context = listener_context(listener, gateway=patch_set.gateway)
    run = Run(patch_set.of_listeners, context, patch_set.explicit)
    return _made(resource, listener, run, kept=patch_listener(listener, run))


def _route(resource: Resource, patch_set: PatchSet) -> PatchedResource:
    if not patch_set.of_routes:
        return PatchedResource(resource)
    configuration = message_class(ROUTE).FromString(resource.body)
    run = Run(patch_set.of_routes, _outbound(patch_set), patch_set.explicit)
    patch_route_configuration(configuration, run)
    return _made(resource, configuration, run, kept=True)


def _cluster(resource: Resource, patch_set: PatchSet) -> PatchedResource:
    context = PatchContext.GATEWAY if patch_set.gateway else cluster_context(resource.name)
    patches = tuple(
        patch for patch in patch_set.of_clusters if patch.is_in(context) and may_touch(patch, resource.name)
    )
    if not patches:
        return PatchedResource(resource)
    cluster = message_class(CLUSTER).FromString(resource.body)
    run = Run(patches, context, patch_set.explicit)
    return _made(resource, cluster, run, kept=patch_cluster(cluster, run))


_MAKERS: Mapping[str, Maker] = {LISTENER: _listener, ROUTE: _route, CLUSTER: _cluster}


def _outbound(patch_set: PatchSet) -> PatchContext:
    return PatchContext.GATEWAY if patch_set.gateway else PatchContext.SIDECAR_OUTBOUND


def _made(resource: Resource, message: object, run: Run, *, kept: bool) -> PatchedResource:
    outcome = run.outcome()
    if not kept:
        return PatchedResource(None, outcome)
    if not run.applied:
        return PatchedResource(resource, outcome)
    if message.name != resource.name:  # type: ignore[attr-defined]
        # What it is called is what others name it by: no patch changes that.
        message.name = resource.name  # type: ignore[attr-defined]
    note_origins(message, run.noted)
    body = message.SerializeToString(deterministic=True)  # type: ignore[attr-defined]
    version = content_hash(b"\0".join((body, *(name.encode() for name in resource.leads_to))))
    return PatchedResource(replace(resource, body=body, version=version), outcome)


# --- what is added -------------------------------------------------------------------------------------------

_ADDED = {ApplyTo.LISTENER: LISTENER, ApplyTo.CLUSTER: CLUSTER, ApplyTo.EXTENSION_CONFIG: EXTENSION}


def added_resources(patch_set: PatchSet) -> tuple[list[Resource], Outcome]:
    """Return the resources that patches add, each once however many add one of its name."""
    run = Run(patch_set.patches, PatchContext.ANY, patch_set.explicit)
    found: dict[tuple[str, str], Resource] = {}
    for patch in patch_set.patches:
        kind = _ADDED.get(patch.apply_to)
        if kind is None or patch.operation is not PatchOperation.ADD or not _is_here(patch, patch_set):
            continue
        name = patch.value.name
        if not name:
            run.failed(patch, "what is added needs a name")
        elif (kind, name) in found:
            run.failed(patch, f"another patch adds {name} already")
        else:
            found[kind, name] = _added(kind, patch)
            run.done(patch)
    return list(found.values()), run.outcome()


def _is_here(patch: FilterPatch, patch_set: PatchSet) -> bool:
    if patch.apply_to is ApplyTo.EXTENSION_CONFIG:
        # It has no side: whatever filter names it gets it.
        return True
    gateway = patch.match.context is PatchContext.GATEWAY
    return patch.match.context is PatchContext.ANY or gateway == patch_set.gateway


def _added(kind: str, patch: FilterPatch) -> Resource:
    message = message_class(kind)()
    message.CopyFrom(patch.value)
    note_origins(message, [patch])
    body = message.SerializeToString(deterministic=True)
    return Resource(kind=kind, name=patch.value.name, version=content_hash(body), body=body)


# --- what is asked for ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class PatchedOnDemand:
    """Resources that are found by name, patched as they are found. The same object as long as both stay the same."""

    base: OnDemand
    patch_set: PatchSet
    cache: PatchCache

    def get(self, name: str, /) -> Resource | None:
        """Return the resource of a name."""
        found = self.base.get(name)
        return self.cache.patched(found, self.patch_set).resource if found is not None else None


@dataclass(frozen=True, slots=True, eq=False)
class PatchedHosts:
    """The same for virtual hosts, which patches may be about by the names that they have when all are told."""

    base: VirtualHosts
    patch_set: PatchSet
    _made: dict[str, tuple[str, Resource]] = field(default_factory=dict)
    """By name, with the version of what it was made of."""

    def get(self, name: str, /) -> Resource | None:
        """Return the virtual host of `ROUTE CONFIGURATION/HOST HEADER`."""
        found = self.base.get(name)
        if found is None or not found.body:
            return found
        known = self._made.get(name)
        if known is None or known[0] != found.version:
            known = (found.version, patched_host(found, self.base.domains(name), self.patch_set).resource or found)
            if name in self._made or len(self._made) < _MOST_HOSTS:
                self._made[name] = known
        return known[1]


_MOST_HOSTS = 10_000
"""Of virtual hosts that are remembered: a Host header may say anything."""


def patched_host(resource: Resource, domains: tuple[str, ...], patch_set: PatchSet) -> PatchedResource:
    """Return a virtual host that was asked for with the patches applied; one that is removed answers 404."""
    configuration, _, asked = resource.name.partition("/")
    run = Run(patch_set.of_routes, PatchContext.SIDECAR_OUTBOUND, patch_set.explicit)
    host = message_class(VIRTUAL_HOST).FromString(resource.body)
    name, asked_domains = host.name, list(host.domains)
    added = added_host(configuration, asked, run)
    if added is not None:
        host = added
    names = HostNames({name, *domains, *(f"{one}:{_port(configuration)}" for one in domains)}, {name, *domains})
    if not patch_virtual_host(host, configuration, run, names):
        # Envoy waits for an answer: without one the request would hang.
        del host.routes[:]
    del host.domains[:]
    host.domains.extend(asked_domains)
    if not run.applied:
        return PatchedResource(resource, run.outcome())
    # Where a patch leads is not known here.
    turn_on(host, LOOKUP_FILTER)
    body = host.SerializeToString(deterministic=True)
    version = content_hash(b"\0".join((body, *(cluster.encode() for cluster in resource.leads_to))))
    return PatchedResource(replace(resource, body=body, version=version), run.outcome())


def _port(configuration: str) -> str:
    return configuration.partition(".")[0]


# --- whole snapshots -----------------------------------------------------------------------------------------


_Key = tuple[PatchSet, str, str, str, tuple[str, ...]]
"""Patches, kind, name, version, and where it leads: of equal bytes one leads a proxy that asks on demand on to
clusters, and tells another, which has them all, nothing."""


class PatchCache:
    """What resources came to, by their version and the patches; what was not used for two states is forgotten."""

    def __init__(self) -> None:
        self._young: dict[_Key, PatchedResource] = {}
        self._old: dict[_Key, PatchedResource] = {}
        self._skipped: dict[FilterPatch, str] = {}

    def note(self, outcome: Outcome) -> None:
        """Remember the patches that could not be applied."""
        self._skipped.update(outcome.failures)

    def skipped(self, in_force: Iterable[ConfigObject[EnvoyFilter]]) -> Mapping[FilterPatch, str]:
        """Return the patches of these EnvoyFilters that could not be applied, and why; others are forgotten."""
        sources = {id(source) for source in in_force}
        self._skipped = {patch: why for patch, why in self._skipped.items() if id(patch.source) in sources}
        return self._skipped

    def age(self) -> None:
        """Note that there is another state."""
        self._old, self._young = self._young, {}

    def patched(self, resource: Resource, patch_set: PatchSet) -> PatchedResource:
        """Return what a resource comes to."""
        key = (patch_set, resource.kind, resource.name, resource.version, resource.leads_to)
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key) or patched_resource(resource, patch_set)
            self._young[key] = found
            if found.outcome.failures:
                self.note(found.outcome)
        return found


class PatchedSnapshots:
    """The snapshots of one scope, one state after the other."""

    def __init__(self, patch_set: PatchSet, cache: PatchCache) -> None:
        self.patch_set = patch_set
        self.number = 0
        """Of the state that it was asked for last; `generator`'s business."""
        self._cache = cache
        self._maps: dict[str, tuple[Mapping[str, Resource], Mapping[str, Resource]]] = {}
        """By kind: as generated, and patched."""
        self._on_demand: dict[str, tuple[OnDemand, OnDemand]] = {}
        self._added = self._add(patch_set)
        self._last: tuple[Snapshot, Snapshot] | None = None

    def use(self, patch_set: PatchSet) -> None:
        """Apply other patches from now on; what comes to the same stays the same object."""
        if patch_set is self.patch_set:
            return
        self.patch_set = patch_set
        self._maps = {kind: ({}, after) for kind, (_, after) in self._maps.items()}
        self._on_demand.clear()
        self._added = self._add(patch_set)
        self._last = None

    def _add(self, patch_set: PatchSet) -> list[Resource]:
        added, outcome = added_resources(patch_set)
        self._cache.note(outcome)
        return added

    def update(self, base: Snapshot) -> Snapshot:
        """Return a snapshot with the patches applied, sharing with the last one what did not change."""
        if self._last is not None and self._last[0] is base:
            return self._last[1]
        kinds = dict.fromkeys((*base.resources, *(resource.kind for resource in self._added)))
        resources = {kind: self._map(kind, base.resources.get(kind, {})) for kind in kinds}
        made = Snapshot(
            version=snapshot_version(int(base.version, 16) + self.patch_set.digest),
            resources={kind: named for kind, named in resources.items() if named or kind in base.resources},
            on_demand={kind: self._asked(kind, offered) for kind, offered in base.on_demand.items()},
        )
        self._last = (base, made)
        return made

    def _map(self, kind: str, named: Mapping[str, Resource]) -> Mapping[str, Resource]:
        known = self._maps.get(kind)
        before, after = known if known is not None else ({}, {})
        if known is not None and before is named:
            return after
        changes: dict[str, Resource | None] = dict.fromkeys(after) if not before else {}
        for name in changed_keys(before, named):
            resource = named.get(name)
            changes[name] = self._cache.patched(resource, self.patch_set).resource if resource is not None else None
        for resource in self._added:
            if resource.kind == kind and resource.name not in named:
                changes[resource.name] = resource
        real = {name: one for name, one in changes.items() if _version(after.get(name)) != _version(one)}
        after = patched(after, real) if real else after
        self._maps[kind] = (named, after)
        return after

    def _asked(self, kind: str, offered: OnDemand) -> OnDemand:
        known = self._on_demand.get(kind)
        if known is not None and known[0] is offered:
            return known[1]
        made = offered
        if kind == CLUSTER and self.patch_set.of_clusters:
            made = PatchedOnDemand(offered, self.patch_set, self._cache)
        elif kind == VIRTUAL_HOST and self.patch_set.of_routes and isinstance(offered, VirtualHosts):
            made = PatchedHosts(offered, self.patch_set)
        self._on_demand[kind] = (offered, made)
        return made


def _version(resource: Resource | None) -> str | None:
    return resource.version if resource is not None else None


def patched_snapshot(base: Snapshot, patch_set: PatchSet | None) -> Snapshot:
    """Return a snapshot with the patches of a proxy applied."""
    return base if patch_set is None else PatchedSnapshots(patch_set, PatchCache()).update(base)
