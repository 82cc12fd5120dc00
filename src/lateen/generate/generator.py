"""Generator: snapshots of one state after the other, at the price of what changed between them.

Made by whoever owns the hub. `generate` gives what `snapshot.generate` gives, byte for byte, and keeps what it made:

- what proxies of one `OutboundScope` share (clusters, endpoints, routes, intercepted listeners) is one assembly;
- what is a workload's own (inbound, listeners at its address) is a small second one, shared by its replicas;
- resources that did not change are the same objects as before, maps of a kind in which nothing changed as well, and so
  is a snapshot in which nothing did.

Memory is bounded by what is asked for: a scope that nobody asked for during two states is forgotten.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lateen.analysis.reports import Report
from lateen.config.codes import PATCH_NOT_APPLIED
from lateen.envoy.endpoints import EndpointEntries
from lateen.envoy.resources import EXTENSION, VIRTUAL_HOST, OnDemand, Resource, Snapshot, snapshot_version
from lateen.generate.assembly import Assembly, union
from lateen.generate.authorization_entries import PolicyEntries
from lateen.generate.changes import StateChanges, state_changes
from lateen.generate.envoy_filters.selection import PatchSet, Selection
from lateen.generate.envoy_filters.snapshots import PatchCache, PatchedSnapshots
from lateen.generate.memo import Memo, Read
from lateen.generate.scopes import OutboundScope, Scope, Selectors, objects_that_select, policies_of, scope_of
from lateen.generate.snapshot import ASKED_FOR, extensions_asked_for, own_parts, shared_parts
from lateen.generate.view import INSTANCES, View, next_view, view_of
from lateen.mesh.queries import ServiceInstance, instances_of
from lateen.mesh.state import MeshState
from lateen.mesh.workload_groups import as_grouped
from lateen.model.findings import Finding
from lateen.model.proxies import Proxy

_KEPT_STATES = 2
"""For how many states a scope that nobody asks for is kept."""


@dataclass(slots=True, kw_only=True)
class _Shared:
    """What an outbound scope is served."""

    view: View
    assembly: Assembly
    number: int
    """Of the state that it is at."""
    narrowed: dict[int, tuple[Read, ...]] = field(default_factory=dict)
    """Reads that changed in this view though not in the state, by number of the state."""


@dataclass(slots=True, kw_only=True)
class _Own:
    """What a scope is served besides, and both together."""

    base: _Shared
    view: View
    assembly: Assembly
    number: int
    parts: tuple[Mapping[str, Mapping[str, Resource]], ...] = ()
    """The maps that the snapshot was made of."""
    snapshot: Snapshot | None = None


class Generator:
    """Snapshots by state and proxy."""

    def __init__(self) -> None:
        self._state: MeshState | None = None
        self._number = 0
        self._changes: dict[int, StateChanges] = {}
        """What became different with each of the last states."""
        self._selectors = Selectors()
        self._policy_selectors = Selectors()
        self._instances: dict[int, tuple[Proxy, tuple[ServiceInstance, ...]]] = {}
        """By id of the proxy, in this state."""
        self._endpoint_entries = EndpointEntries()
        self._policy_entries = PolicyEntries()
        self._shared: dict[OutboundScope, _Shared] = {}
        self._own: dict[Scope, _Own] = {}
        """By scope without its patches."""
        self._filters = Selection()
        self._patches = PatchCache()
        self._patched: dict[Scope, PatchedSnapshots] = {}

    @property
    def rebuilt(self) -> int:
        """How many parts were made since the scopes that are known were first asked for."""
        assemblies = [known.assembly for known in self._shared.values()] + [own.assembly for own in self._own.values()]
        return sum(assembly.rebuilt for assembly in assemblies)

    @property
    def scopes(self) -> tuple[int, int]:
        """How many outbound scopes and how many scopes are known."""
        return len(self._shared), len(self._own)

    def skipped_patches(self) -> tuple[Finding, ...]:
        """Return the patches of EnvoyFilters in force that could not be applied to what was generated."""
        filters = self._state.envoy_filters if self._state is not None else ()
        report = Report({})
        for patch, why in self._patches.skipped(filters).items():
            path = ("spec", "configPatches", patch.index)
            report.add(PATCH_NOT_APPLIED, patch.source, path, f"the patch is skipped: {why}")
        return tuple(report.findings)

    def scope_of(self, state: MeshState, proxy: Proxy) -> Scope:
        """Return the scope of a proxy: in one state, equal scopes have one snapshot."""
        proxy = as_grouped(state, proxy)
        scope = self._unpatched_scope(state, proxy)
        patch_set = self._filters.patch_set(state, proxy)
        return scope if patch_set is None else replace(scope, patches=patch_set.keys)

    def _unpatched_scope(self, state: MeshState, proxy: Proxy) -> Scope:
        self._advance(state)
        return scope_of(state, proxy, self._selectors, self._policy_selectors, self._instances_of(state, proxy))

    def generate(self, state: MeshState, proxy: Proxy) -> Snapshot:
        """Return every resource of a proxy in this state."""
        proxy = as_grouped(state, proxy)
        scope = self._unpatched_scope(state, proxy)
        shared = self._up_to_date(state, scope.outbound)
        own = self._own_up_to_date(shared, scope, proxy)
        snapshot = self._together(shared, own)
        patch_set = self._filters.patch_set(state, proxy)
        return snapshot if patch_set is None else self._with_patches(snapshot, scope, patch_set)

    def _with_patches(self, snapshot: Snapshot, scope: Scope, patch_set: PatchSet) -> Snapshot:
        """Apply EnvoyFilters, remembering for each scope what they came to."""
        scope = replace(scope, patches=patch_set.keys)
        known = self._patched.get(scope)
        if known is None:
            known = self._patched[scope] = PatchedSnapshots(patch_set, self._patches)
        known.use(patch_set)
        known.number = self._number
        return known.update(snapshot)

    def keep(self, used: Iterable[Scope]) -> None:
        """Forget every scope but these."""
        wanted = set(used)
        self._patched = {scope: patched for scope, patched in self._patched.items() if scope in wanted}
        wanted = {replace(scope, patches=()) if scope.patches else scope for scope in wanted}
        self._own = {scope: own for scope, own in self._own.items() if scope in wanted}
        outbound = {scope.outbound for scope in wanted}
        self._shared = {scope: shared for scope, shared in self._shared.items() if scope in outbound}

    def _advance(self, state: MeshState) -> None:
        """Note what is different in a state that was not asked about before."""
        if state is self._state:
            return
        self._number += 1
        self._instances.clear()
        if self._state is None:
            self._selectors = Selectors(objects_that_select(state))
            self._policy_selectors = Selectors(policies_of(state))
        else:
            changes = self._changes[self._number] = state_changes(self._state, state)
            self._changes.pop(self._number - _KEPT_STATES - 1, None)
            self._selectors.replace(changes.gone, changes.fresh)
            self._policy_selectors.replace(*changes.policies)
        self._state = state
        oldest = self._number - _KEPT_STATES
        self._shared = {scope: shared for scope, shared in self._shared.items() if shared.number >= oldest}
        self._own = {scope: own for scope, own in self._own.items() if own.number >= oldest}
        self._patched = {scope: patched for scope, patched in self._patched.items() if patched.number >= oldest}
        self._patches.age()

    def _instances_of(self, state: MeshState, proxy: Proxy) -> tuple[ServiceInstance, ...]:
        known = self._instances.get(id(proxy))
        if known is None or known[0] is not proxy:
            # The proxy stays in the entry, so that its id cannot be given to another.
            known = self._instances[id(proxy)] = (proxy, instances_of(state, proxy))
        return known[1]

    def _since(self, number: int) -> list[int]:
        return list(range(number + 1, self._number + 1))

    def _up_to_date(self, state: MeshState, scope: OutboundScope) -> _Shared:
        shared = self._shared.get(scope)
        if shared is not None and shared.number == self._number:
            return shared
        found = next_view(shared.view, state) if shared is not None else None
        if shared is None or found is None:
            memo = Memo(recording=True)
            view = view_of(
                state, scope.proxy(), on_demand=scope.asks_on_demand, memo=memo, entries=self._endpoint_entries
            )
            view = replace(view, policy_entries=self._policy_entries)
            known, shared = shared, _Shared(view=view, assembly=Assembly(shared_parts, memo), number=self._number)
            shared.assembly.update(view, ())
            if known is not None:
                shared.assembly.adopt(known.assembly.maps)
            self._shared[scope] = shared
            return shared
        view, narrowed = found
        passed = [self._changes[number] for number in self._since(shared.number)]
        changed = {read for changes in passed for read in changes.reads_of(view.memo)}
        gateways = {gateway for changes in passed for gateway in changes.gateways}
        changed.update(narrowed, view.replaced_gateways(shared.view, gateways))
        shared.assembly.update(view, changed)
        shared.view, shared.number = view, self._number
        shared.narrowed[self._number] = narrowed
        shared.narrowed.pop(self._number - _KEPT_STATES - 1, None)
        return shared

    def _own_up_to_date(self, shared: _Shared, scope: Scope, proxy: Proxy) -> _Own:
        own = self._own.get(scope)
        if own is not None and own.number == self._number:
            return own
        instances = self._instances_of(shared.view.state, proxy)
        if own is None or own.base is not shared:
            memo = Memo(recording=True)
            view = shared.view.seen_by(proxy, memo, instances)
            known, own = own, _Own(base=shared, view=view, assembly=Assembly(own_parts, memo), number=self._number)
            own.assembly.update(view, ())
            if known is not None:
                own.assembly.adopt(known.assembly.maps)
                if known.number == self._number - 1:
                    # An older snapshot may be equal again, of objects that the shared parts have made anew since.
                    own.parts, own.snapshot = known.parts, known.snapshot
            self._own[scope] = own
            return own
        view = shared.view.seen_by(proxy, own.view.memo, instances)
        changed: set[Read] = set()
        for number in self._since(own.number):
            changed.update(self._changes[number].reads_of(view.memo), shared.narrowed.get(number, ()))
        if instances != own.view.served:
            changed.add(INSTANCES)
        own.assembly.update(view, changed)
        own.view, own.number = view, self._number
        return own

    def _together(self, shared: _Shared, own: _Own) -> Snapshot:
        """Return the snapshot of both, with every object of the last one that still holds."""
        shared_maps, own_maps, hosts = shared.assembly.maps, own.assembly.maps, shared.assembly.hosts
        parts = (shared_maps, own_maps)
        known = own.snapshot
        same_hosts = known is not None and known.on_demand.get(VIRTUAL_HOST) is hosts
        if known is not None and same_hosts and all(map(operator.is_, parts, own.parts)):
            return known
        asked_for = ASKED_FOR if shared.view.on_demand else frozenset()
        resources: dict[str, Mapping[str, Resource]] = {}
        for kind in {**shared_maps, **own_maps}:
            of_kind = [part.get(kind) for part in parts]
            before = [part.get(kind) for part in own.parts]
            if kind in asked_for:
                if kind in own_maps:
                    resources[kind] = own_maps[kind]
            elif known is not None and all(map(operator.is_, of_kind, before)):
                resources[kind] = known.resources[kind]
            else:
                resources[kind] = union(*of_kind)
        on_demand: dict[str, OnDemand] = {kind: shared_maps[kind] for kind in asked_for if kind in shared_maps}
        if hosts is not None:
            on_demand[VIRTUAL_HOST] = hosts
        on_demand[EXTENSION] = extensions_asked_for()
        digest = hosts.digest if hosts is not None else 0
        version = snapshot_version(shared.assembly.total + own.assembly.total + digest)
        if known is None or known.version != version or known.on_demand != on_demand:
            known = Snapshot(version=version, resources=resources, on_demand=on_demand)
        own.parts, own.snapshot = parts, known
        return known
