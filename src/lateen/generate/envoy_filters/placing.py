"""Lists of filters and routes: where a patch puts another, or takes one away. Called by `listeners` and `routes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lateen.config.envoy_filter import PatchOperation
from lateen.envoy.messages import Message

Matches: TypeAlias = Callable[[Message], bool]


def put_before(items: Message, position: int, value: Message) -> None:
    """Put a copy of a message at a position of a repeated field."""
    items.add().CopyFrom(value)
    reorder(items, [*range(position), len(items) - 1, *range(position, len(items) - 1)])


def reorder(items: Message, order: list[int]) -> None:
    """Let the items of a repeated field be those at these positions."""
    if order == list(range(len(items))):
        return
    kept = [type(items[0])() for _ in order] if len(items) else []
    for copy, position in zip(kept, order, strict=True):
        copy.CopyFrom(items[position])
    del items[:]
    items.extend(kept)


def place(items: Message, value: Message, operation: PatchOperation, matches: Matches | None) -> bool:
    """Do one of the operations on a list that are about places; whether something was done.

    `matches`: which item is meant; None when the patch names none, which means the beginning or the end.
    """
    found = next((at for at, item in enumerate(items) if matches is not None and matches(item)), None)
    match operation:
        case PatchOperation.ADD:
            items.add().CopyFrom(value)
        case PatchOperation.INSERT_FIRST:
            put_before(items, 0, value)
        case PatchOperation.INSERT_AFTER if matches is None:
            items.add().CopyFrom(value)
        case PatchOperation.INSERT_BEFORE if matches is None:
            put_before(items, 0, value)
        case PatchOperation.INSERT_AFTER if found is not None:
            put_before(items, found + 1, value)
        case PatchOperation.INSERT_BEFORE if found is not None:
            put_before(items, found, value)
        case PatchOperation.REPLACE if found is not None:
            items[found].CopyFrom(value)
        case PatchOperation.REMOVE if found is not None and matches is not None:
            reorder(items, [at for at, item in enumerate(items) if not matches(item)])
        case _:
            return False
    return True
