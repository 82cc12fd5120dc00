"""What generation remembers: values by key, each with what was read to make it.

Passes ask a `View` their questions, and the view notes each here; so whoever made a value need not say what it
depends on, and cannot forget to. When the answers to some questions change, exactly the values that were made from
them are dropped, and those that were made from these. Knows nothing of meshes: a read is any hashable.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeAlias, TypeVar

Read: TypeAlias = tuple[str, Hashable]
"""A question that has an answer in every state: what kind it is, and about what."""

PIECE = "piece"
"""The kind of a read of another value in the memo, by its key."""

ValueT = TypeVar("ValueT")


class Memo:
    """Values by key, and who read what. `recording` off: values are remembered, reads are not."""

    def __init__(self, *, recording: bool) -> None:
        self._recording = recording
        self._noted: set[Read] | None = None
        """Reads of the value that is being made."""
        self._values: dict[Hashable, Any] = {}
        self._reads: dict[Hashable, tuple[Read, ...]] = {}
        self._readers: dict[Read, set[Hashable]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def note(self, read: Read) -> None:
        """Say that the value being made depends on this."""
        if self._noted is not None:
            self._noted.add(read)

    def value(self, key: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """Return the value of a key, made now if it is not known."""
        if key not in self._values:
            outer, self._noted = self._noted, set() if self._recording else None
            try:
                made = make()
                if self._noted is not None:
                    self._enter(key, self._noted)
            finally:
                self._noted = outer
            self._values[key] = made
        if self._noted is not None:
            self._noted.add((PIECE, key))
        found: ValueT = self._values[key]
        return found

    def drop(self, changed: Iterable[Read]) -> set[Hashable]:
        """Drop every value made from these reads, directly or through others, and return their keys."""
        dropped: set[Hashable] = set()
        pending = list(changed)
        while pending:
            for key in self._readers.pop(pending.pop(), ()):
                if key not in dropped:
                    dropped.add(key)
                    self.forget(key)
                    pending.append((PIECE, key))
        return dropped

    def forget(self, key: Hashable) -> None:
        """Drop one value; values made from it stay."""
        self._values.pop(key, None)
        for read in self._reads.pop(key, ()):
            readers = self._readers.get(read)
            if readers is not None:
                readers.discard(key)
                if not readers:
                    del self._readers[read]

    def knows(self, key: Hashable) -> bool:
        """Whether the value of a key is known."""
        return key in self._values

    def is_read(self, read: Read) -> bool:
        """Whether a value was made from this."""
        return read in self._readers

    def reads_of(self, kind: str) -> list[Hashable]:
        """Return what the reads of a kind are about."""
        return [about for known, about in self._readers if known == kind]

    def _enter(self, key: Hashable, reads: set[Read]) -> None:
        self._reads[key] = tuple(reads)
        for read in reads:
            self._readers.setdefault(read, set()).add(key)
