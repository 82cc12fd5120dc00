"""What streams at the same place share: names, comparisons, differences and serialised responses. Pure.

Made by the hub, one for all its streams; asked by `subscriptions`, `protocol` (a session alone has one of its own)
and `server`.

A thousand replicas that hold the same map and are brought to the same next one all ask the same question, so it is
answered once: the first of them makes the difference and the bytes, the others get references. Two things make them
"the same": maps are compared by identity (the hub keeps the objects of what did not change), and equal sets of names
are made one object. An answer keeps the maps alive that it is about, so that their ids cannot be given to others;
therefore all memos are bounded, and emptied with each publication.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from lateen.discovery.values import Response
from lateen.envoy.resources import Resource, Resources
from lateen.mesh.sharing import changed_keys

Encode: TypeAlias = Callable[[Response], bytes]

MAX_ANSWERS = 4096
"""Answers remembered of each question; they are references, so this bounds only what old maps they keep alive."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""Serialised responses remembered, in bytes; the newest one is, whatever its size."""

ValueT = TypeVar("ValueT")


def compare(base: Resources, target: Resources) -> frozenset[str]:
    """Return the names whose resource differs between two maps, the missing ones included."""
    pairs = ((name, base.get(name), target.get(name)) for name in changed_keys(base, target))
    return frozenset(name for name, old, new in pairs if old is None or new is None or old.version != new.version)


@dataclass(frozen=True, slots=True)
class Difference:
    """What brings a client from what it holds to a map, in the order of names."""

    resources: tuple[Resource, ...]
    gone: tuple[str, ...]
    """It holds these and they are no more."""
    unknown: tuple[str, ...]
    """It asked for these and they do not exist."""
    kept: tuple[str, ...] = ()
    """It holds these, is told of them no more, and keeps them as if it had asked for them."""

    @property
    def leads_to(self) -> Iterator[str]:
        """Clusters that the resources lead to and that must be told with them."""
        return chain.from_iterable(resource.leads_to for resource in self.resources)


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """How much of something is kept."""

    count: int
    bytes: int
    """Of the content that it holds itself; 0 where it only refers to others' content."""


class Memo(Generic[ValueT]):
    """Answers by key, the oldest forgotten first. Each keeps the objects alive whose ids are in its key."""

    def __init__(self, limit: int = MAX_ANSWERS) -> None:
        self._known: dict[Hashable, tuple[ValueT, object]] = {}
        self._limit = limit
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable, kept: object, make: Callable[[], ValueT]) -> ValueT:
        """Return the answer, making it when it is not known; `kept` is what the ids in the key are of."""
        known = self._known.get(key)
        if known is not None:
            self.hits += 1
            return known[0]
        self.misses += 1
        made = make()
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        self._known[key] = (made, kept)
        return made

    def forget(self) -> None:
        """Start anew; the counts go on."""
        self._known.clear()


class Bodies:
    """Serialised responses without their nonce, bounded by their bytes."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[bytes, Response]] = {}
        self.size = 0
        """Bytes remembered."""
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, encode: Encode, response: Response) -> bytes:
        """Return `encode(response)`, which must not depend on the nonce. Responses with the same tuple share it."""
        key = (encode, response.kind, response.version, id(response.resources), response.removed)
        known = self._known.get(key)
        if known is not None:
            self.hits += 1
            return known[0]
        self.misses += 1
        body = encode(response)
        self._known[key] = (body, response)
        self.size += len(body)
        while self.size > MAX_BODY_BYTES and len(self._known) > 1:
            self.size -= len(self._known.pop(next(iter(self._known)))[0])
        return body

    def forget(self) -> None:
        """Start anew; the counts go on."""
        self._known.clear()
        self.size = 0


class Sharing:
    """The memos, and the sets of names that streams share."""

    def __init__(self) -> None:
        self.comparisons = Memo[frozenset[str]]()
        self.differences = Memo[Difference]()
        self.selections = Memo[tuple[Resource, ...]]()
        self.sizes = Memo[int]()
        self.bodies = Bodies()
        self._names: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()
        """By hash. Two different sets of one hash are only not shared."""

    def compare(self, base: Resources, target: Resources) -> frozenset[str]:
        """Return `compare(base, target)`."""
        return self.comparisons.get((id(base), id(target)), (base, target), lambda: compare(base, target))

    def names(self, names: AbstractSet[str]) -> frozenset[str]:
        """Return an equal set, the same object for all who ask while one of them keeps it."""
        made = frozenset(names)
        known = self._names.setdefault(hash(made), made)
        return known if known is made or known == made else made

    def known_names(self) -> MemoryPart:
        """Return how many different sets of names streams have, and their characters."""
        known = list(self._names.values())
        return MemoryPart(len(known), sum(len(name) for names in known for name in names))

    def forget(self) -> None:
        """Forget what was about the snapshots before a publication."""
        for memo in (self.comparisons, self.differences, self.selections, self.sizes, self.bodies):
            memo.forget()
