"""The contract of a configuration store: what it holds, and how it tells that something changed.

Implemented by `stores.memory` and `stores.directory`; used by `app` and `api`. A store knows nothing of the mesh:
it holds objects, each valid by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lateen.config.objects import ConfigObject
from lateen.mesh.sharing import patched
from lateen.mesh.versions import fingerprint, shifted, version
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey


class ReadOnlyStore(Exception):  # noqa: N818 - a refusal, named after what the store is
    """The store does not take writes: its content is changed where it lives. The message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContent:
    """Everything that a store holds at a moment. Made by `content` and `changed`."""

    objects: Mapping[ObjectKey, ConfigObject[Any]] = field(default_factory=dict)
    """In no particular order. What is in two contents of a store unchanged is the same object."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with documents that the store could not take, or took with warnings."""
    fingerprint: int = 0
    """Of the objects and their places (see `mesh.versions`)."""

    @property
    def revision(self) -> str:
        """Content hash over objects, their places and the findings."""
        said = "\n".join(map(str, self.findings)).encode()
        return version(self.fingerprint, fingerprint(b"findings", said))


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


def content(objects: Iterable[ConfigObject[Any]] = (), findings: Iterable[Finding] = ()) -> StoreContent:
    """Return the content of a store that holds these."""
    return changed(StoreContent(), {item.key: item for item in objects}, tuple(findings))


def changed(
    known: StoreContent, objects: Mapping[ObjectKey, ConfigObject[Any] | None], findings: tuple[Finding, ...] = ()
) -> StoreContent:
    """Return the content after objects came, changed or went (None), and with these findings.

    It is the known content itself if that is the same. What this costs depends on what is different only.
    """
    turns = {key: (before := known.objects.get(key), item and unchanged(before, item)) for key, item in objects.items()}
    now = patched(known.objects, {key: after for key, (_, after) in turns.items()})
    if now is known.objects and findings == known.findings:
        return known
    return StoreContent(
        objects=now,
        findings=findings,
        fingerprint=shifted(known.fingerprint, _object_fingerprint, turns.values()),
    )


def _object_fingerprint(item: ConfigObject[Any]) -> int:
    return fingerprint(b"held", f"{item.key}\0{item.digest}\0{item.created}\0{item.origin}".encode())
