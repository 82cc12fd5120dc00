"""Structure sharing: make the next version of a collection out of the last one, and tell two versions apart.

Used by `mesh`, and by the sources of its inputs, so that one change costs what it is about all the way from its source
to the state. Nothing is changed in place: a version stays as it is for whoever holds it, and where nothing is different
the very same object comes back. What did not change is recognised by identity.

Copying is cheap but not free: a dictionary of 10,000 entries takes a millisecond, because each entry's reference count
is touched. So whatever can be large is kept in parts, `Parted` by hash and `Ordered` in runs of neighbours. A change
copies one part, and two versions are told apart by the parts that are not the same object. Where all items must be
looked at (`turnover` of plain sequences), the loops run inside the interpreter's C code.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, ValuesView
from itertools import chain, compress, count
from math import ceil
from operator import eq, is_, is_not, itemgetter
from typing import Any, TypeVar, overload

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
ValueT_co = TypeVar("ValueT_co", covariant=True)
DefaultT = TypeVar("DefaultT")

Order = tuple[Any, ...]
"""A sort key: unique in its collection, and comparable with the others there."""

LARGE = 1024
"""A mapping with more entries is kept in parts."""
PARTS = 257
"""Prime, because some keys are addresses of objects, which are multiples of a power of two."""
RUN = 256
"""Values in one part of an order, about."""


def kept(old: ValueT | None, new: ValueT) -> ValueT:
    """Return `old` when it is equal to `new`: the same object for the same content."""
    return old if old is not None and old == new else new


class InParts(Collection[ValueT_co]):
    """A collection that nobody changes; where two versions of it have the same content, they have the same part."""

    __slots__ = ()

    parts: tuple[Any, ...]
    """Tuples of values, or mappings to them."""


def lasting(items: Iterable[ValueT]) -> Collection[ValueT]:
    """Return a collection of these that nobody changes: the same one if it is kept in parts."""
    return items if isinstance(items, InParts) else tuple(items)


def turnover(old: Collection[ValueT], new: Collection[ValueT]) -> tuple[Sequence[ValueT], Sequence[ValueT]]:
    """Return the items (by identity) that `old` has more of than `new`, and those that `new` has more of.

    Of two versions of a collection in parts only the parts that differ are looked at.
    """
    if not old or not new:
        return tuple(old), tuple(new)
    if not isinstance(old, InParts) or not isinstance(new, InParts):
        return _turnover(tuple(old), tuple(new))
    gone, come = _turnover(old.parts, new.parts)
    return _turnover(_contents(gone), _contents(come))


def _contents(parts: Sequence[Any]) -> list[Any]:
    return list(chain.from_iterable(part.values() if isinstance(part, dict) else part for part in parts))


def _turnover(old: Sequence[ValueT], new: Sequence[ValueT]) -> tuple[Sequence[ValueT], Sequence[ValueT]]:
    if old is new:
        return (), ()
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


# --- orders --------------------------------------------------------------------------------------------------


class Ordered(InParts[ValueT], Sequence[ValueT]):
    """Values in the order of their keys."""

    __slots__ = ("_firsts", "_keys", "_length", "_values", "parts")

    def __init__(self, keys: tuple[tuple[Order, ...], ...] = (), parts: tuple[tuple[ValueT, ...], ...] = ()) -> None:
        """`keys`: those of each part."""
        self._keys = keys
        self.parts = parts
        self._firsts = [part[0] for part in keys]
        self._length = sum(map(len, parts))
        self._values: tuple[ValueT, ...] | None = None

    @classmethod
    def of(cls, items: Iterable[tuple[Order, ValueT]]) -> Ordered[ValueT]:
        """Return these values in the order of their keys."""
        pairs = sorted(items, key=itemgetter(0))
        return cls(tuple(_runs([key for key, _ in pairs])), tuple(_runs([value for _, value in pairs])))

    @property
    def values(self) -> tuple[ValueT, ...]:
        """All values as one tuple, which is made when it is first asked for."""
        if self._values is None:
            self._values = tuple(chain.from_iterable(self.parts))
        return self._values

    def get(self, key: Order) -> ValueT | None:
        """Return the value of a key."""
        number = bisect_right(self._firsts, key) - 1
        if number < 0:
            return None
        keys = self._keys[number]
        place = bisect_left(keys, key)
        return self.parts[number][place] if place < len(keys) and keys[place] == key else None

    def patched(self, changes: Mapping[Order, ValueT | None]) -> Ordered[ValueT]:
        """Return this with some values replaced (None: removed); itself if none differs."""
        if not self._length:
            items = [(key, value) for key, value in changes.items() if value is not None]
            return Ordered.of(items) if items else self
        by_part: defaultdict[int, list[tuple[Order, ValueT | None]]] = defaultdict(list)
        for key, value in changes.items():
            if self.get(key) is not value:
                by_part[max(bisect_right(self._firsts, key) - 1, 0)].append((key, value))
        if not by_part:
            return self
        keys, parts = list(self._keys), list(self.parts)
        for number in sorted(by_part, reverse=True):  # from the end, because parts may become several, or none
            new_keys, new_values = _placed(keys[number], parts[number], by_part[number])
            keys[number : number + 1] = _runs(new_keys)
            parts[number : number + 1] = _runs(new_values)
        new = Ordered(tuple(keys), tuple(parts))
        if len(parts) > 2 + 4 * len(new) // RUN:
            # Much was removed, and many small parts are left.
            return Ordered.of(zip(chain.from_iterable(keys), chain.from_iterable(parts), strict=True))
        return new

    @overload
    def __getitem__(self, index: int) -> ValueT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ValueT]: ...
    def __getitem__(self, index: int | slice) -> ValueT | Sequence[ValueT]:
        return self.values[index]

    def __iter__(self) -> Iterator[ValueT]:
        return chain.from_iterable(self.parts)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        """Whether the values are equal. Tuples compare what is the same object without looking into it."""
        if not isinstance(other, Ordered):
            return NotImplemented
        if self._length != other._length:
            return False
        aligned = len(self.parts) == len(other.parts) and all(map(eq, map(len, self.parts), map(len, other.parts)))
        return self.parts == other.parts if aligned else self.values == other.values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.values)


def _runs(items: list[ValueT]) -> list[tuple[ValueT, ...]]:
    """Divide what became too long for one part."""
    if len(items) <= 2 * RUN:
        return [tuple(items)] if items else []
    length = ceil(len(items) / ceil(len(items) / RUN))
    return [tuple(items[start : start + length]) for start in range(0, len(items), length)]


def _placed(
    keys: tuple[Order, ...], values: tuple[ValueT, ...], changes: Iterable[tuple[Order, ValueT | None]]
) -> tuple[list[Order], list[ValueT]]:
    """Return the keys and values of a part after changes that are none in vain."""
    new_keys, new_values = list(keys), list(values)
    for key, value in changes:
        place = bisect_left(new_keys, key)
        if value is None:
            del new_keys[place], new_values[place]
        elif place < len(new_keys) and new_keys[place] == key:
            new_values[place] = value
        else:
            new_keys.insert(place, key)
            new_values.insert(place, value)
    return new_keys, new_values


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
        """Return this with some values replaced (None: removed); itself if none differs."""
        by_part: defaultdict[int, dict[KeyT, Any]] = defaultdict(dict)
        for key, value in changes.items():
            number = hash(key) % PARTS
            if self.parts[number].get(key) is not value:
                by_part[number][key] = value
        if not by_part:
            return self
        parts = list(self.parts)
        length = self._length
        for number, found in by_part.items():
            parts[number] = _with(parts[number], found)
            length += len(parts[number]) - len(self.parts[number])
        return Parted(tuple(parts), length)

    def values(self) -> PartedValues[ValueT_co]:
        """Return the values, in the order of their keys."""
        return PartedValues(self)

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

    def __eq__(self, other: object) -> bool:
        """As of any mapping; parts that are the same object are equal without a look inside."""
        return self.parts == other.parts if isinstance(other, Parted) else super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(dict(self))


class PartedValues(ValuesView[ValueT_co], InParts[ValueT_co]):
    """The values of a mapping that is kept in parts."""

    __slots__ = ("parts",)

    def __init__(self, mapping: Parted[Any, ValueT_co]) -> None:
        super().__init__(mapping)
        self.parts = mapping.parts


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
    if isinstance(old, Parted):
        return old.patched(changes)
    if not old:
        new = {key: value for key, value in changes.items() if value is not None}
        return (new if len(new) <= LARGE else Parted.of(new)) if new else old
    real = {key: value for key, value in changes.items() if old.get(key) is not value}
    if not real:
        return old
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
