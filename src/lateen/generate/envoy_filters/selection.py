"""Which patches act on a proxy: read once per EnvoyFilter, found once per sort of proxy.

Kept by `generator`; `snapshot` makes one for a single proxy. A mesh without EnvoyFilters costs one look at an empty
tuple per proxy.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

from lateen.config.envoy_filter import ApplyTo, EnvoyFilter
from lateen.config.objects import ConfigObject
from lateen.generate.envoy_filters.patches import (
    LISTENER_CLASS,
    ROUTE_CLASS,
    Compiled,
    FilterPatch,
    PatchKey,
    compiled,
)
from lateen.mesh.envoy_filters import envoy_filters_for
from lateen.mesh.state import MeshState
from lateen.model.names import ObjectKey
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType


@dataclass(frozen=True, eq=False)
class PatchSet:
    """The patches of a proxy, in the order in which they are applied; at least one. Compared by identity."""

    patches: tuple[FilterPatch, ...]
    gateway: bool
    explicit: bool
    """Whether the proxy is a sidecar without interception."""

    @cached_property
    def keys(self) -> tuple[PatchKey, ...]:
        """Which patches these are, in one state."""
        return tuple(patch.key for patch in self.patches)

    @cached_property
    def digest(self) -> int:
        """What they add to the version of a snapshot."""
        parts = (f"{patch.label}\0{patch.source.digest}\0{patch.index}" for patch in self.patches)
        return int.from_bytes(blake2b("\1".join(parts).encode(), digest_size=16).digest(), "big")

    def of(self, *apply_to: ApplyTo) -> tuple[FilterPatch, ...]:
        """Return the patches of some classes."""
        return tuple(patch for patch in self.patches if patch.apply_to in apply_to)

    @cached_property
    def of_listeners(self) -> tuple[FilterPatch, ...]:
        """Those about listeners, and about the routes that stand in them."""
        return self.of(*LISTENER_CLASS, *ROUTE_CLASS)

    @cached_property
    def of_routes(self) -> tuple[FilterPatch, ...]:
        """Those about routes, and those about HTTP filters that are turned on there."""
        return tuple(
            patch
            for patch in self.patches
            if patch.apply_to in ROUTE_CLASS
            or (self.explicit and patch.apply_to is ApplyTo.HTTP_FILTER)
            or patch.wants_on
        )

    @cached_property
    def of_clusters(self) -> tuple[FilterPatch, ...]:
        """Those about clusters."""
        return self.of(ApplyTo.CLUSTER)


@dataclass(slots=True)
class Selection:
    """The patch sets of the proxies of one state after the other."""

    _compiled: dict[ObjectKey, tuple[ConfigObject[EnvoyFilter], Compiled]] = field(default_factory=dict)
    _sets: dict[tuple[tuple[FilterPatch, ...], bool, bool], PatchSet] = field(default_factory=dict)
    _state: MeshState | None = None
    _known: dict[Hashable, PatchSet | None] = field(default_factory=dict)
    """By what of a proxy decides, in this state."""

    def patch_set(self, state: MeshState, proxy: Proxy) -> PatchSet | None:
        """Return the patches of a proxy, None when there are none. Equal answers are one object."""
        if not state.envoy_filters or proxy.capability is Capability.GRPC:
            return None
        self._advance(state)
        key = (
            proxy.namespace,
            proxy.type,
            proxy.interception,
            proxy.istio_version,
            tuple(sorted(proxy.labels.items())),
            tuple(sorted(proxy.metadata.items())),
        )
        if key not in self._known:
            self._known[key] = self._found(state, proxy)
        return self._known[key]

    def _advance(self, state: MeshState) -> None:
        known, self._state = self._state, state
        if known is not None and (known is state or _same(known, state)):
            return
        self._known.clear()
        present = {item.key: item for item in state.envoy_filters}
        self._compiled = {key: entry for key, entry in self._compiled.items() if present.get(key) is entry[0]}
        alive = {patch for _, entry in self._compiled.values() for patch in entry.patches}
        self._sets = {key: found for key, found in self._sets.items() if alive.issuperset(found.patches)}

    def _found(self, state: MeshState, proxy: Proxy) -> PatchSet | None:
        patches = tuple(
            patch
            for source in envoy_filters_for(state, proxy)
            for patch in self._read(source).patches
            if patch.suits(proxy)
        )
        if not patches:
            return None
        gateway = proxy.type is ProxyType.GATEWAY
        key = (patches, gateway, not gateway and proxy.interception is Interception.NONE)
        if key not in self._sets:
            self._sets[key] = PatchSet(*key)
        return self._sets[key]

    def _read(self, source: ConfigObject[EnvoyFilter]) -> Compiled:
        known = self._compiled.get(source.key)
        if known is None or known[0] is not source:
            known = self._compiled[source.key] = (source, compiled(source))
        return known[1]


def _same(old: MeshState, new: MeshState) -> bool:
    """Whether two states have the same EnvoyFilters, about the same proxies."""
    return old.envoy_filters is new.envoy_filters and old.mesh_config.root_namespace == new.mesh_config.root_namespace
