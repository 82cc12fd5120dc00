"""One client's subscription to one kind of resource, and what it holds of it. Both variants use the same.

Used by `protocol` only; pure. A subscription keeps a *reference* to the map that the client was last brought to (the
same object for every client of a scope) and a small dict of the names where the client differs from it. So a
thousand replicas cost a thousand references, not a thousand copies, and what a client lacks is found from what
changed between two maps, not from all it holds. The names it asked for are shared in the same way (`sharing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from lateen.discovery.sharing import Difference, Resources, Sharing
from lateen.discovery.values import WILDCARD, PeerError
from lateen.envoy.resources import Snapshot

MAX_NAMES = 100_000
"""Names that one client may subscribe to of one kind, so that a client that only ever adds stays bounded."""

ABSENT = ""
"""Held version of a resource that the client knows to be missing."""
NOTHING: Resources = MappingProxyType({})
"""What a client holds at first: one object, so that the answers to all first requests can be shared."""


class Subscription:
    """Names of one kind that one client wants, and the versions it has been sent."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.wildcard = False
        self.names: AbstractSet[str] = frozenset()
        """A frozenset that others share, or a set of our own once it was changed."""
        self.owed = True
        """Whether an answer is due even if there is nothing new in it; the first request always gets one."""
        self.at: Snapshot | None = None
        """Snapshot of the newest response, or of the newest check that found nothing to send."""
        self.base: Resources = NOTHING
        self.fresh = True
        """Whether nothing was sent yet: each name is due, as if it stood in `exceptions`."""
        self.exceptions: dict[str, str | None] = {}
        """Where the client differs from `base`: the version it holds, or None when it must be told whatever is true."""

    def is_at(self, snapshot: Snapshot) -> bool:
        """Whether the client was sent all that this snapshot means to it."""
        return self.at is snapshot and not self.exceptions and not self.owed

    def wants(self, name: str) -> bool:
        """Whether this resource goes to the client."""
        return self.wildcard or name in self.names

    def add(self, names: Iterable[str]) -> None:
        """Subscribe to names. Each is due again, even if it was sent: the client may have dropped it."""
        added = set(names)
        if WILDCARD in added:
            added.discard(WILDCARD)
            self._start_wildcard()
        if not added <= self.names:
            self._own_names().update(added)
        if not self.fresh:
            self.exceptions.update(dict.fromkeys(added))
        elif self.exceptions:
            for name in added:
                self.exceptions.pop(name, None)
        if len(self.names) > MAX_NAMES:
            raise PeerError(f"more than {MAX_NAMES} names subscribed of {self.kind}")

    def remove(self, names: Iterable[str]) -> None:
        """Unsubscribe from names.

        A name that the wildcard still covers is due again, because the client cannot know whether it does (xDS
        protocol, "Unsubscribing from resources").
        """
        names = tuple(names)
        known = {name for name in names if name != WILDCARD and name in self.names}
        if known:
            self._own_names().difference_update(known)
        for name in known:
            self.exceptions.pop(name, None)
            if self.wildcard and WILDCARD not in names:
                self.exceptions[name] = None
        if WILDCARD in names and self.wildcard:
            self.wildcard = False
            self.exceptions = {name: held for name, held in self.exceptions.items() if name in self.names}

    def replace(self, names: Iterable[str], *, wildcard: bool) -> bool:
        """Subscribe to exactly these names (state of the world); return whether something was added."""
        wanted = set(names) - {WILDCARD}
        added = wanted - self.names
        self.remove(self.names - wanted)
        if self.wildcard and not wildcard:
            self.remove((WILDCARD,))
        grown = bool(added) or (wildcard and not self.wildcard)
        self.add((*added, WILDCARD) if wildcard else added)
        return grown

    def presume(self, versions: Mapping[str, str]) -> None:
        """Take the client's word for what it holds from an earlier stream (delta `initial_resource_versions`)."""
        for name, version in versions.items():
            if self.wants(name):
                self.exceptions[name] = version

    def mark_due(self, name: str) -> None:
        """Have a resource sent again if the client names it."""
        if name not in self.names:
            return
        if self.fresh:
            self.exceptions.pop(name, None)
        else:
            self.exceptions[name] = None

    def difference(self, target: Resources, sharing: Sharing) -> Difference:
        """Return what the client lacks to hold `target`: the same object for all clients at the same place."""
        moves = self.base is not target
        names = None
        if self.fresh or (moves and not self.wildcard):
            names = self.names = sharing.names(self.names)
        exceptions = frozenset(self.exceptions.items()) if self.exceptions else None
        key = (id(self.base), id(target), self.fresh, self.wildcard, names, exceptions)
        return sharing.differences.get(key, (self.base, target), lambda: self._difference(target, sharing))

    def _difference(self, target: Resources, sharing: Sharing) -> Difference:
        candidates: AbstractSet[str] = self.exceptions.keys()
        if self.fresh:
            candidates = candidates | self.names
        if self.base is not target:
            changed = sharing.compare(self.base, target)
            candidates = candidates | (changed if self.wildcard else changed & self.names)
        resources, gone, unknown = [], [], []
        for name in sorted(candidates):
            held = self._held(name)
            if name not in target:
                if held is None:
                    unknown.append(name)
                elif held != ABSENT:
                    gone.append(name)
            elif held != target[name].version:
                resources.append(target[name])
        return Difference(tuple(resources), tuple(gone), tuple(unknown))

    def holds(self, name: str) -> bool:
        """Whether the client was sent a version of this resource and not its removal."""
        return self.wants(name) and bool(self._held(name))

    def bring_to(self, target: Resources, *, keeping: Iterable[str] = ()) -> None:
        """Note that the client was sent all that it lacks of `target`, but not that the names in `keeping` are gone."""
        self.exceptions = {name: self._held(name) for name in keeping}
        self.base = target
        self.owed = self.fresh = False

    def size(self, sharing: Sharing) -> int:
        """Return how many resources the client holds."""
        if self.wildcard or not self.names:
            return len(self.base) if self.wildcard else 0
        names, base = sharing.names(self.names), self.base
        self.names = names
        return sharing.sizes.get((id(base), names), base, lambda: sum(name in base for name in names))

    def _own_names(self) -> set[str]:
        """Return the names to be changed. Copied from a shared set once, not for each name that comes."""
        if not isinstance(self.names, set):
            self.names = set(self.names)
        return self.names

    def _start_wildcard(self) -> None:
        """Want everything. What was in `base` and not named was never sent, or the client has forgotten it."""
        if not self.wildcard:
            if not self.fresh:
                self.exceptions = {name: self._held(name) for name in self.names}
            self.wildcard, self.base = True, NOTHING

    def _held(self, name: str) -> str | None:
        if name in self.exceptions:
            return self.exceptions[name]
        if self.fresh and name in self.names:
            return None
        return self.base[name].version if name in self.base else ABSENT
