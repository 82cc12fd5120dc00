"""The contract of a configuration store: what it holds, and how it tells that something changed.

Implemented by `stores.memory` and `stores.directory`; used by `app` and `api`. A store knows nothing of the mesh:
it holds objects, each valid by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lateen.config.objects import ConfigObject
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey


class ReadOnlyStore(Exception):  # noqa: N818 - a refusal, named after what the store is
    """The store does not take writes: its content is changed where it lives. The message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContent:
    """Everything that a store holds at a moment."""

    objects: tuple[ConfigObject[Any], ...]
    """No two share a key."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with documents that the store could not take, or took with warnings."""
    revision: str
    """Content hash over objects, their places and the findings."""


class Store(Protocol):
    """Where configuration lives."""

    @property
    def name(self) -> str:
        """How messages call it: `memory`, `directory /etc/lateen`."""

    def watch(self) -> AsyncIterator[StoreContent]:
        """Yield the whole content at once, and again after each change, for as long as the caller iterates.

        Level-triggered: changes that come while the caller is busy are seen as one, and only the newest
        content is yielded. Any number of watchers may run.
        """

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        """Create or replace objects, all at once; return the new revision. Raises ReadOnlyStore."""

    async def delete(self, key: ObjectKey) -> bool:
        """Remove an object; False when there is none. Raises ReadOnlyStore."""


def unchanged(known: ConfigObject[Any] | None, item: ConfigObject[Any]) -> ConfigObject[Any]:
    """Return the known object when a new reading of it differs in nothing: whoever compares by identity sees that."""
    if known is None or (known.key, known.digest, known.origin, known.created) != (
        item.key,
        item.digest,
        item.origin,
        item.created,
    ):
        return item
    return known


def content(objects: Sequence[ConfigObject[Any]], findings: Sequence[Finding] = ()) -> StoreContent:
    """Return a StoreContent with its revision."""
    digest = hashlib.sha256()
    for item in objects:
        digest.update(f"{item.key}\0{item.digest}\0{item.created}\0{item.origin}\n".encode())
    for finding in findings:
        digest.update(f"{finding}\n".encode())
    return StoreContent(objects=tuple(objects), findings=tuple(findings), revision=digest.hexdigest()[:32])
