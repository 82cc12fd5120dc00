"""Structure sharing: make the next version of a collection out of the last one, and tell two versions apart.

Used by `mesh` only. Nothing is changed in place: a version stays as it is for whoever holds it, and where nothing
is different the very same object comes back. What did not change is recognised by identity.

Copying is cheap but not free: a dictionary of 10,000 entries takes a millisecond, because each entry's reference count
is touched. So a large mapping is kept in parts, and a change copies one part. Where all items must be looked at
(`turnover`), the loops run inside the interpreter's C code.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress, count
from operator import is_, is_not, itemgetter
from typing import Any, Generic, TypeVar, overload

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
ValueT_co = TypeVar("ValueT_co", covariant=True)
DefaultT = TypeVar("DefaultT")

Order = tuple[Any, ...]
"""A sort key: unique in its collection, and comparable with the others there."""

FEW = 64
"""So many changes are placed one by one; more, and sorting everything is quicker."""
LARGE = 1024
"""A mapping with more entries is kept in parts."""
PARTS = 257
"""Prime, because some keys are addresses of objects, which are multiples of a power of two."""


def kept(old: ValueT | None, new: ValueT) -> ValueT:
    """Return `old` when it is equal to `new`: the same object for the same content."""
    return old if old is not None and old == new else new


# --- sequences -----------------------------------------------------------------------------------------------


def turnover(old: Sequence[ValueT], new: Sequence[ValueT]) -> tuple[Sequence[ValueT], Sequence[ValueT]]:
    """Return the items (by identity) that `old` has more of than `new`, and those that `new` has more of."""
    if old is new or not old:
        return (), () if old is new else new
    if len(old) == len(new):
        # Most often items were replaced where they stand.
        pairs = list(compress(zip(old, new, strict=True), map(is_not, old, new)))
        before, after = [one for one, _ in pairs], [other for _, other in pairs]
    else:
        most = min(len(old), len(new))
        start = next(compress(count(), map(is_not, old, new)), most)
        end = min(next(compress(count(), map(is_not, reversed(old), reversed(new))), most), most - start)
        before, after = list(old[start : len(old) - end]), list(new[start : len(new) - end])
    return _surplus(before, after), _surplus(after, before)


def _surplus(items: list[ValueT], others: list[ValueT]) -> list[ValueT]:
    available = Counter(map(id, others))
    surplus = []
    for item in items:
        if available[id(item)] > 0:
            available[id(item)] -= 1
        else:
            surplus.append(item)
    return surplus


@dataclass(frozen=True, slots=True)
class Ordered(Generic[ValueT]):
    """Values in the order of their keys."""

    keys: tuple[Order, ...] = ()
    values: tuple[ValueT, ...] = ()

    def get(self, key: Order) -> ValueT | None:
        """Return the value of a key."""
        place = bisect_left(self.keys, key)
        return self.values[place] if place < len(self.keys) and self.keys[place] == key else None

    def patched(self, changes: Mapping[Order, ValueT | None]) -> Ordered[ValueT]:
        """Return this with some values replaced (None: removed); itself if none differs."""
        if not self.keys:
            items = [(key, value) for key, value in changes.items() if value is not None]
            return Ordered.of(items) if items else self
        real = {key: value for key, value in changes.items() if self.get(key) is not value}
        if not real:
            return self
        if len(real) > FEW:
            merged = dict(zip(self.keys, self.values, strict=True)) | real
            return Ordered.of([(key, value) for key, value in merged.items() if value is not None])
        keys, values = self.keys, self.values
        for key, value in real.items():
            place = bisect_left(keys, key)
            known = place < len(keys) and keys[place] == key
            after = place + 1 if known else place
            if value is None:
                keys, values = keys[:place] + keys[after:], values[:place] + values[after:]
            else:
                # Concatenation copies once, unpacking three times.
                values = values[:place] + (value,) + values[after:]  # noqa: RUF005
                keys = keys if known else keys[:place] + (key,) + keys[place:]  # noqa: RUF005
        return Ordered(keys, values)

    @classmethod
    def of(cls, items: list[tuple[Order, ValueT]]) -> Ordered[ValueT]:
        """Return these values in the order of their keys."""
        if len(items) > 1:
            items = sorted(items, key=itemgetter(0))
        return cls(tuple([key for key, _ in items]), tuple([value for _, value in items]))


# --- mappings ------------------------------------------------------------------------------------------------


class Parted(Mapping[KeyT, ValueT_co]):
    """A large mapping that nobody changes, kept in parts by the hashes of its keys, which it iterates over in order."""

    __slots__ = ("_length", "_order", "parts")

    def __init__(self, parts: tuple[dict[KeyT, ValueT_co], ...], length: int) -> None:
        self.parts = parts
        self._length = length
        self._order: tuple[KeyT, ...] | None = None

    @classmethod
    def of(cls, content: Mapping[KeyT, ValueT_co]) -> Parted[KeyT, ValueT_co]:
        """Divide a mapping."""
        parts: list[dict[KeyT, ValueT_co]] = [{} for _ in range(PARTS)]
        for key, value in content.items():
            parts[hash(key) % PARTS][key] = value
        return cls(tuple(parts), len(content))

    def patched(self, changes: Mapping[KeyT, Any]) -> Parted[KeyT, ValueT_co]:
        """Return this with some values replaced (None: removed)."""
        by_part: defaultdict[int, dict[KeyT, Any]] = defaultdict(dict)
        for key, value in changes.items():
            by_part[hash(key) % PARTS][key] = value
        parts = list(self.parts)
        length = self._length
        for number, found in by_part.items():
            parts[number] = _with(parts[number], found)
            length += len(parts[number]) - len(self.parts[number])
        return Parted(tuple(parts), length)

    def __getitem__(self, key: KeyT) -> ValueT_co:
        return self.parts[hash(key) % PARTS][key]

    @overload
    def get(self, key: KeyT, /) -> ValueT_co | None: ...
    @overload
    def get(self, key: KeyT, /, default: ValueT_co | DefaultT) -> ValueT_co | DefaultT: ...
    def get(self, key: KeyT, default: Any = None) -> Any:  # noqa: D102
        return self.parts[hash(key) % PARTS].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.parts[hash(key) % PARTS]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[KeyT]:
        if self._order is None:
            self._order = tuple(sorted(chain.from_iterable(self.parts)))  # type: ignore[type-var]
        return iter(self._order)

    def __repr__(self) -> str:
        return repr(dict(self))


def _with(old: Mapping[KeyT, ValueT], changes: Mapping[KeyT, ValueT | None]) -> dict[KeyT, ValueT]:
    new = dict(old)
    for key, value in changes.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = value
    return new


def patched(old: Mapping[KeyT, ValueT], changes: Mapping[KeyT, ValueT | None]) -> Mapping[KeyT, ValueT]:
    """Return a mapping with some values replaced (None: removed), in no particular order; `old` if none differs."""
    if not old:
        new = {key: value for key, value in changes.items() if value is not None}
        return (new if len(new) <= LARGE else Parted.of(new)) if new else old
    real = {key: value for key, value in changes.items() if old.get(key) is not value}
    if not real:
        return old
    if isinstance(old, Parted):
        return old.patched(real)
    new = _with(old, real)
    return new if len(new) <= LARGE else Parted.of(new)


def patched_in_order(old: Mapping[Any, ValueT], changes: Mapping[Any, ValueT | None]) -> Mapping[Any, ValueT]:
    """Return what `patched` does, its keys sorted as those of `old` are."""
    new = patched(old, changes)
    if new is old or isinstance(new, Parted) or all(key in old for key in changes):
        return new
    return {key: new[key] for key in sorted(new)}


def changed_keys(old: Mapping[KeyT, ValueT], new: Mapping[KeyT, ValueT]) -> frozenset[KeyT]:
    """Return the keys whose values are not the same object, those that only one of the two has included."""
    if old is new:
        return frozenset()
    if isinstance(old, Parted) and isinstance(new, Parted):
        parts = zip(old.parts, new.parts, strict=True)
        return frozenset(key for one, other in parts if one is not other for key in changed_keys(one, other))
    if len(old) == len(new) and all(map(is_, old, new)):
        return frozenset(compress(new, map(is_not, old.values(), new.values())))
    fresh = (key for key, value in new.items() if old.get(key) is not value)
    return frozenset((*fresh, *(old.keys() - new.keys())))
