"""One client's subscription to one kind of resource, and what it holds of it. Both variants use the same.

Used by `protocol` only; pure. A wildcard stands for what a snapshot *tells*; what it has *on demand* goes to a client
that named it, or has it: a proxy never loses something that exists only because nobody asks for it any more (Envoy asks
for a name once, and would wait in vain).

A subscription keeps a *reference* to the maps that the client was last brought to (the same objects for every client of
a scope) and a small dict of the names where the client differs from them. So a thousand replicas cost a thousand
references, not a thousand copies, and what a client lacks is found from what changed between two maps, not from all it
holds. The names it asked for are shared in the same way (`sharing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from lateen.discovery.sharing import Difference, Sharing
from lateen.discovery.values import WILDCARD, PeerError
from lateen.envoy.resources import CLUSTER, EMPTY_OFFER, NOTHING, Offer, Resource, Snapshot

MAX_NAMES = 100_000
"""Names that one client may subscribe to of one kind, so that a client that only ever adds stays bounded."""

ABSENT = ""
"""Held version of a resource that the client knows to be missing."""


class Subscription:
    """Names of one kind that one client wants, and the versions it has been sent."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.wildcard = False
        self.names: AbstractSet[str] = frozenset()
        """A frozenset that others share, or a set of our own once it was changed."""
        self.asked = False
        """Whether the client has asked for this kind; until then, this is what we send with something else."""
        self.owed = False
        """Whether an answer is due even if there is nothing new in it; the first request always gets one."""
        self.at: Snapshot | None = None
        """Snapshot of the newest response, or of the newest check that found nothing to send."""
        self._news: set[str] = set()
        self._foreseen: set[str] = set()
        """Names that it is expected to ask for, and that were sent before."""
        self._suspects: set[str] = set()
        """Names that are sent each in a response of its own."""
        self.base: Offer = EMPTY_OFFER
        self.fresh = True
        """Whether nothing was sent yet: each name is due, as if it stood in `exceptions`."""
        self.exceptions: dict[str, str | None] = {}
        """Where the client differs from `base`: the version it holds, or None when it must be told whatever is true."""

    def ask(self) -> bool:
        """Note a request; return whether it is the stream's first of this kind."""
        first, self.asked = not self.asked, True
        self.owed = self.owed or first
        return first

    def is_at(self, snapshot: Snapshot) -> bool:
        """Whether the client was sent all that this snapshot means to it."""
        return self.at is snapshot and not self.exceptions and not self.owed

    def wants(self, name: str) -> bool:
        """Whether this resource goes to the client."""
        return self.wildcard or name in self.names

    def add(self, names: Iterable[str]) -> None:
        """Subscribe to names. Each is due again, even if it was sent: the client may have dropped it.

        Not so what was sent to it because it would ask (`imply`).
        """
        added = set(names)
        if WILDCARD in added:
            added.discard(WILDCARD)
            self._start_wildcard()
        if not added <= self.names:
            self._want(added)
        if not self.fresh:
            due = {name for name in added if name not in self._foreseen or not self._held(name)}
            self.exceptions.update(dict.fromkeys(due))
            self._foreseen -= added
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
        self._foreseen -= known
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
        """Have a resource sent again if the client names it and was not told that there is none."""
        if name not in self.names or self._held(name) == ABSENT:
            return
        if self.fresh:
            self.exceptions.pop(name, None)
        else:
            self.exceptions[name] = None

    def imply(self, names: Iterable[str], *, asked_for_later: bool = False) -> None:
        """Subscribe on the client's behalf to names that it needs with something else; those it has are not due.

        `asked_for_later`: it will subscribe to them too, and use what it was sent.
        """
        for name in names:
            if name in self.names or (self.wildcard and name in self.base.told):
                continue
            if not self._held(name):
                self.exceptions.setdefault(name, ABSENT)
            if asked_for_later:
                self._foreseen.add(name)
            self._want((name,))

    def expect_nothing(self) -> None:
        """Forget what was sent before it was asked for: it was not used, and is due when it is asked for."""
        self._foreseen.clear()

    def difference(self, target: Offer, sharing: Sharing) -> Difference:
        """Return what the client lacks to hold `target`: the same object for all clients at the same place."""
        base = self.base
        names = None
        by_name = not self.wildcard and base.told is not target.told
        if self.fresh or by_name or base.on_demand is not NOTHING or target.on_demand is not NOTHING:
            names = self.names = sharing.names(self.names)
        exceptions = frozenset(self.exceptions.items()) if self.exceptions else None
        ids = (id(base.told), id(base.on_demand), id(target.told), id(target.on_demand))
        key = (ids, self.fresh, self.wildcard, names, exceptions)
        return sharing.differences.get(key, (base, target), lambda: self._difference(target, sharing))

    def _difference(self, target: Offer, sharing: Sharing) -> Difference:
        resources, gone, unknown, kept = [], [], [], []
        for name in sorted(self._candidates(target, sharing)):
            held = self._held(name)
            found = target.told.get(name)
            if found is None and (held or name in self.names):
                found = target.on_demand.get(name)
                if found is not None and name not in self.names:
                    kept.append(name)
            if found is None:
                if held is None:
                    unknown.append(name)
                elif held != ABSENT:
                    gone.append(name)
            elif held != found.version:
                resources.append(found)
        return Difference(tuple(resources), tuple(gone), tuple(unknown), tuple(kept))

    def _candidates(self, target: Offer, sharing: Sharing) -> AbstractSet[str]:
        """Return the names that the client may lack something of."""
        candidates: AbstractSet[str] = self.exceptions.keys()
        if self.fresh or self.base.on_demand is not target.on_demand:
            candidates = candidates | self.names
        if self.base.told is not target.told:
            changed = sharing.compare(self.base.told, target.told)
            candidates = candidates | (changed if self.wildcard else changed & self.names)
        return candidates

    def suspect(self, names: Iterable[str]) -> None:
        """Send these once more, one by one: a response with all of them was rejected, and did not say for which."""
        for name in names:
            if name in self.names:
                self._suspects.add(name)
                self.exceptions[name] = ABSENT

    def admitted(self, difference: Difference) -> Difference:
        """Return as much of a difference as may go in one response."""
        if not self._suspects:
            return difference
        for resource in difference.resources:
            if resource.name in self._suspects:
                self._suspects.discard(resource.name)
                return Difference((resource,), (), (), difference.kept)
        self._suspects.clear()
        return difference

    def bring_to(self, target: Offer, difference: Difference, sent: Difference, *, removed: bool) -> None:
        """Note that the client was sent this much of the difference to `target`, and what is gone only if `removed`."""
        due = set() if removed else set(difference.gone)
        if sent is not difference:
            every = (*difference.gone, *difference.unknown, *(resource.name for resource in difference.resources))
            due.update(set(every) - {resource.name for resource in sent.resources})
        self.exceptions = {name: self._held(name) for name in due}
        if difference.kept:
            self._want(difference.kept)
        self.base = target
        self.owed = self.fresh = False

    def held(self) -> dict[str, Resource]:
        """Return what the client was brought to, by name."""
        told = self.base.told
        names: Iterable[str] = (*told, *sorted(self.names - told.keys())) if self.wildcard else sorted(self.names)
        found = ((name, self.base.get(name)) for name in names if name not in self.exceptions)
        return {name: resource for name, resource in found if resource is not None}

    def size(self, sharing: Sharing) -> int:
        """Return how many resources the client holds."""
        base = self.base
        if not self.names:
            return len(base.told) if self.wildcard else 0
        names = self.names = sharing.names(self.names)
        told = len(base.told) if self.wildcard else 0
        key = (id(base.told), id(base.on_demand), self.wildcard, names)
        return sharing.sizes.get(
            key,
            base,
            lambda: told + sum(base.get(name) is not None for name in names if not (told and name in base.told)),
        )

    def take_news(self) -> frozenset[str]:
        """Return the clusters that it has come to want by name since this was last asked; nothing of other kinds."""
        news, self._news = frozenset(self._news), set()
        return news

    def _want(self, names: Iterable[str]) -> None:
        self._own_names().update(names)
        if self.kind == CLUSTER:
            self._news.update(names)

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
            self.wildcard, self.base, self.at = True, EMPTY_OFFER, None

    def _held(self, name: str) -> str | None:
        if name in self.exceptions:
            return self.exceptions[name]
        if self.fresh and name in self.names:
            return None
        found = self.base.told.get(name)
        if found is None and name in self.names:
            found = self.base.on_demand.get(name)
        return found.version if found is not None else ABSENT
