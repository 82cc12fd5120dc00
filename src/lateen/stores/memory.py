"""A store in memory: what `lateen apply` writes to when nothing else is configured. Lost when the process ends.

Used by `app`. Single-threaded: everything happens on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lateen.config.objects import ConfigObject
from lateen.model.names import ObjectKey
from lateen.stores.protocol import StoreContent, changed, content


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class MemoryStore:
    """Objects by key. Those that come without a creation time get one, as a Kubernetes API server would give it:
    older objects win conflicts, and replacing an object does not make it younger.
    """

    def __init__(self, objects: Sequence[ConfigObject[Any]] = (), *, clock: Callable[[], str] = _now) -> None:
        self._clock = clock
        self._content = content()
        self._changed = asyncio.Event()
        self._put(objects)

    @property
    def name(self) -> str:
        """`memory`."""
        return "memory"

    async def watch(self) -> AsyncIterator[StoreContent]:
        """Yield the content at once and after each change (see Store.watch)."""
        seen: StoreContent | None = None
        while True:
            newest, changed = self._content, self._changed
            if newest is seen:
                await changed.wait()
            else:
                seen = newest
                yield newest

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        """Create or replace objects, all at once; return the new revision. Of two with one key the last counts."""
        return self._put(objects)

    async def delete(self, key: ObjectKey) -> bool:
        """Remove an object; False when there is none."""
        if key not in self._content.objects:
            return False
        self._publish({key: None})
        return True

    def _put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        changes: dict[ObjectKey, ConfigObject[Any] | None] = {}
        for item in objects:
            current = changes.get(item.key) or self._content.objects.get(item.key)
            created = item.created or (current.created if current else self._clock())
            changes[item.key] = item if item.created == created else replace(item, created=created)
        self._publish(changes)
        return self._content.revision

    def _publish(self, changes: Mapping[ObjectKey, ConfigObject[Any] | None]) -> None:
        newest = changed(self._content, changes)
        if newest is self._content:
            return
        self._content = newest
        # Every watcher waits on the event it saw: setting it wakes them all, and the next wait is on a new one.
        self._changed.set()
        self._changed = asyncio.Event()
