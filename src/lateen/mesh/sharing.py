"""Structure sharing: make the next version of a collection out of the last one, and tell two versions apart.

Used by `mesh` only. Nothing is changed in place: a version stays as it is for whoever holds it, and where nothing
is different the very same object comes back. What did not change is recognised by identity, which is what keeps a
comparison of 10,000 items below a millisecond: the loops over all items below run inside the interpreter's C code.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count
from operator import is_, is_not, itemgetter
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

Order = tuple[Any, ...]
"""A sort key: unique in its collection, and comparable with the others there."""

FEW = 64
"""So many changes are placed one by one; more, and sorting everything is quicker."""


def kept(old: ValueT | None, new: ValueT) -> ValueT:
    """Return `old` when it is equal to `new`: the same object for the same content."""
    return old if old is not None and old == new else new


def turnover(old: Sequence[ValueT], new: Sequence[ValueT]) -> tuple[list[ValueT], list[ValueT]]:
    """Return the items (by identity) that `old` has more of than `new`, and those that `new` has more of."""
    if old is new:
        return [], []
    start = next(compress(count(), map(is_not, old, new)), min(len(old), len(new)))
    if start == len(old) == len(new):
        return [], []
    if len(old) == len(new):
        # Most often items were replaced where they stand.
        places = list(map(is_not, old, new))
        before, after = list(compress(old, places)), list(compress(new, places))
    else:
        most = min(len(old), len(new)) - start
        end = min(next(compress(count(), map(is_not, reversed(old), reversed(new))), most), most)
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


def changed_keys(old: Mapping[KeyT, ValueT], new: Mapping[KeyT, ValueT]) -> frozenset[KeyT]:
    """Return the keys whose values are not the same object, those that only one of the two has included."""
    if old is new:
        return frozenset()
    if len(old) == len(new) and all(map(is_, old, new)):
        return frozenset(compress(new, map(is_not, old.values(), new.values())))
    fresh = (key for key, value in new.items() if old.get(key) is not value)
    return frozenset((*fresh, *(old.keys() - new.keys())))


def patched(old: Mapping[KeyT, ValueT], changes: Mapping[KeyT, ValueT | None]) -> Mapping[KeyT, ValueT]:
    """Return a mapping with some values replaced (None: removed), in no particular order; `old` if none differs."""
    real = {key: value for key, value in changes.items() if old.get(key) is not value}
    if not real:
        return old
    new = dict(old)
    for key, value in real.items():
        if value is None:
            del new[key]
        else:
            new[key] = value
    return new


def patched_in_order(old: Mapping[Any, ValueT], changes: Mapping[Any, ValueT | None]) -> Mapping[Any, ValueT]:
    """Return what `patched` does, its keys sorted as those of `old` are."""
    new = patched(old, changes)
    if new is old or all(key in old for key in changes):
        return new
    return {key: new[key] for key in sorted(new)}


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
        real = {key: value for key, value in changes.items() if self.get(key) is not value}
        if not real:
            return self
        if len(real) > FEW:
            merged = dict(zip(self.keys, self.values, strict=True)) | real
            return Ordered.of((key, value) for key, value in merged.items() if value is not None)
        keys, values = list(self.keys), list(self.values)
        for key, value in real.items():
            place = bisect_left(keys, key)
            known = place < len(keys) and keys[place] == key
            if value is None:
                del keys[place], values[place]
            elif known:
                values[place] = value
            else:
                keys.insert(place, key)
                values.insert(place, value)
        return Ordered(tuple(keys), tuple(values))

    @classmethod
    def of(cls, items: Iterable[tuple[Order, ValueT]]) -> Ordered[ValueT]:
        """Return these values in the order of their keys."""
        pairs = sorted(items, key=itemgetter(0))
        return cls(tuple(key for key, _ in pairs), tuple(value for _, value in pairs))
