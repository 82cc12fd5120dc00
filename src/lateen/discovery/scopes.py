"""Snapshots by scope: generated once for all the proxies that are served the same.

Used by `hub` only. Knows neither streams nor the event loop. Objects are kept wherever their content did not change
(the snapshot, or the map of a kind), because sessions tell "nothing to do" by identity before they look closer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog

from lateen.discovery.figures import Figures
from lateen.envoy.resources import Resources, Snapshot
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy

log = structlog.get_logger()

Generate: TypeAlias = Callable[[MeshState, Proxy], Snapshot]
ScopeOf: TypeAlias = Callable[[MeshState, Proxy], Hashable]
"""Returns a key: proxies of equal keys are served the same, in one state."""
Keep: TypeAlias = Callable[[Iterable[Any]], None]
"""Takes the keys that are in use; whatever generation remembers of others it may forget."""
Compare: TypeAlias = Callable[[Resources, Resources], AbstractSet[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeStatus:
    """One scope, as the debug pages show it."""

    key: str
    proxies: int
    version: str
    resources: dict[str, int]
    """By kind."""
    bytes: int
    """Of all its resources, those that it shares with other scopes included."""


class Scope:
    """What one scope of proxies is served now."""

    def __init__(self, key: Hashable, snapshot: Snapshot, number: int) -> None:
        self.key = key
        self.users = 0
        """Streams that are served from it."""
        self.snapshot = snapshot
        self.number = number
        """Number of the state that the snapshot stands for, counted by the hub; a snapshot may outlive its state."""

    def status(self) -> ScopeStatus:
        """Return what the debug pages show."""
        maps = self.snapshot.resources
        return ScopeStatus(
            key=str(self.key),
            proxies=self.users,
            version=self.snapshot.version,
            resources={kind: len(resources) for kind, resources in maps.items()},
            bytes=sum(len(resource.body) for resources in maps.values() for resource in resources.values()),
        )

    def accept(self, snapshot: Snapshot, number: int, compare: Compare) -> None:
        """Take what was generated from a newer state, keeping the objects whose content is the same."""
        self.number = number
        # What is on demand may be other than it was without another version: it is made when somebody asks.
        if (snapshot.version, snapshot.on_demand) != (self.snapshot.version, self.snapshot.on_demand):
            known = self.snapshot.resources
            resources = {
                kind: known[kind] if kind in known and _is_same(known[kind], made, compare) else made
                for kind, made in snapshot.resources.items()
            }
            self.snapshot = Snapshot(version=snapshot.version, resources=resources, on_demand=snapshot.on_demand)


def _is_same(known: Resources, made: Resources, compare: Compare) -> bool:
    return known is made or not compare(known, made)


class Scopes:
    """The scopes that have streams, by the key that `scope_of` gives."""

    def __init__(self, generate: Generate, scope_of: ScopeOf, figures: Figures, compare: Compare) -> None:
        """`compare` may remember its answers: the streams of a scope will ask the same again."""
        self._generate = generate
        self._figures = figures
        self._compare = compare
        self._scope_of = scope_of
        self._scopes: dict[Hashable, Scope] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def scope(self, state: MeshState, number: int, proxy: Proxy, current: Scope | None = None) -> Scope | None:
        """Return the proxy's scope, brought to this state unless it is there or further already.

        `current` is the one that it is served from now: it mostly stays, and comparing keys is cheaper than hashing.

        Generation is our own code on valid input: if it raises, that is a bug, which is logged here with its trace.
        It must not take other proxies down with it, so the scope stays at its last good snapshot; None without one.
        """
        scope: Scope | None = None
        try:
            key = self._scope_of(state, proxy)
            scope = current if current is not None and current.key == key else self._scopes.get(key)
            if scope is not None and scope.number >= number:
                return scope
            began = time.perf_counter()
            snapshot = self._generate(state, proxy)
            self._figures.generate.observe(time.perf_counter() - began)
        except Exception:
            log.exception("generation failed", proxy=proxy.id, state=state.version)
            return scope
        if scope is None:
            scope = self._scopes[key] = Scope(key, snapshot, number)
        else:
            scope.accept(snapshot, number, self._compare)
        return scope

    def release(self, scope: Scope) -> None:
        """Note that a stream is no longer served from this scope; one that nobody uses is dropped."""
        scope.users -= 1
        if not scope.users and self._scopes.get(scope.key) is scope:
            del self._scopes[scope.key]

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._scopes.values())
