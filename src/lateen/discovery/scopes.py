"""Snapshots by scope: generated once for all the proxies that are served the same.

Used by `hub` only. Knows neither streams nor the event loop. Objects are kept wherever their content did not change
(the snapshot, or the map of a kind), because sessions tell "nothing to do" by identity before they look closer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

import structlog

from lateen.discovery.subscriptions import Resources, compare
from lateen.envoy.resources import Resource, Snapshot
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy

log = structlog.get_logger()

Generate: TypeAlias = Callable[[MeshState, Proxy], Snapshot]
ScopeOf: TypeAlias = Callable[[MeshState, Proxy], Hashable]

_MAX_COMPARISONS = 64


class Scope:
    """What one scope of proxies is served now."""

    def __init__(self, snapshot: Snapshot, number: int) -> None:
        self.snapshot = snapshot
        self.number = number
        """Number of the state that the snapshot stands for, counted by the hub; a snapshot may outlive its state."""

    def accept(self, snapshot: Snapshot, number: int) -> None:
        """Take what was generated from a newer state, keeping the objects whose content is the same."""
        self.number = number
        if snapshot.version != self.snapshot.version:
            known = self.snapshot.resources
            resources = {kind: _same_or(known.get(kind), made) for kind, made in snapshot.resources.items()}
            self.snapshot = Snapshot(version=snapshot.version, resources=resources)


def _same_or(known: Mapping[str, Resource] | None, made: Mapping[str, Resource]) -> Mapping[str, Resource]:
    return made if known is None or compare(known, made) else known


class Scopes:
    """The scopes that have streams, by the key that `scope_of` gives."""

    def __init__(self, generate: Generate, scope_of: ScopeOf) -> None:
        self._generate = generate
        self._scope_of = scope_of
        self._scopes: dict[Hashable, Scope] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def scope(self, state: MeshState, number: int, proxy: Proxy) -> Scope | None:
        """Return the proxy's scope, brought to this state unless it is there or further already.

        Generation is our own code on valid input: if it raises, that is a bug, which is logged here with its trace.
        It must not take other proxies down with it, so the scope stays at its last good snapshot; None without one.
        """
        scope: Scope | None = None
        try:
            key = self._scope_of(state, proxy)
            scope = self._scopes.get(key)
            if scope is not None and scope.number >= number:
                return scope
            snapshot = self._generate(state, proxy)
        except Exception:
            log.exception("generation failed", proxy=proxy.id, state=state.version)
            return scope
        if scope is None:
            scope = self._scopes[key] = Scope(snapshot, number)
        else:
            scope.accept(snapshot, number)
        return scope

    def keep(self, used: set[Scope]) -> None:
        """Drop the scopes that nobody uses."""
        self._scopes = {key: scope for key, scope in self._scopes.items() if scope in used}


class Comparisons:
    """A memo of `compare`: the streams of a scope, woken by the same publication, all ask the same.

    Small, and emptied with each publication, because it keeps the maps alive that it compared.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Resources, Resources, frozenset[str]]] = {}

    def __call__(self, base: Resources, target: Resources) -> frozenset[str]:
        """Return `compare(base, target)`."""
        key = (id(base), id(target))
        if key not in self._known:
            if len(self._known) == _MAX_COMPARISONS:
                del self._known[next(iter(self._known))]
            # The maps stay in the entry, so that their ids cannot be given to others.
            self._known[key] = (base, target, compare(base, target))
        return self._known[key][2]

    def forget(self) -> None:
        """Start anew."""
        self._known.clear()
