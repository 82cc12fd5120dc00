"""Inputs: the latest content of every store and registry, and their union. Pure; one writer, the composition root.

Each source hands over its whole content again whenever it changes, so only the newest counts. Where two stores hold
an object of the same key the earlier store wins: directories in the order given, then the store that the API writes.
Must not know: how a source watches, or what is built from the union.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from lateen.config.codes import DUPLICATE_OBJECT, Subject
from lateen.config.objects import ConfigObject
from lateen.model.catalogues import Catalogue
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin


class Content(Protocol):
    """What a store holds at a moment (`stores.protocol.StoreContent`). Equal revisions mean equal contents."""

    @property
    def objects(self) -> tuple[ConfigObject[Any], ...]: ...  # noqa: D102
    @property
    def findings(self) -> tuple[Finding, ...]: ...  # noqa: D102
    @property
    def revision(self) -> str: ...  # noqa: D102


class Inputs:
    """Latest values by source. `generation` grows by one with every change."""

    def __init__(self, *, read_only: Iterable[str], writable: str, registries: Iterable[str]) -> None:
        """`read_only`: names of the directory stores in order of precedence; `writable`: the store of the API."""
        self._read_only = tuple(read_only)
        self._stores = (*self._read_only, writable)
        self._registries = tuple(registries)
        self._contents: dict[str, Content] = {}
        self._catalogues: dict[str, Catalogue] = {}
        self._union: dict[ObjectKey, ConfigObject[Any]] = {}
        self._shadowed: tuple[Finding, ...] = ()
        self._managed: dict[ObjectKey, Origin] = {}
        self.generation = 0

    @property
    def complete(self) -> bool:
        """Whether every source has spoken at least once. A state built before would drop what is still loading."""
        return self._contents.keys() >= set(self._stores) and self._catalogues.keys() >= set(self._registries)

    def take_content(self, store: str, content: Content) -> bool:
        """Replace a store's content; return whether that changed anything."""
        assert store in self._stores, store
        known = self._contents.get(store)
        if known is not None and known.revision == content.revision and known.findings == content.findings:
            return False
        self._contents[store] = content
        self._merge()
        self.generation += 1
        return True

    def take_catalogue(self, catalogue: Catalogue) -> bool:
        """Replace a registry's catalogue; return whether that changed anything."""
        if self._catalogues.get(catalogue.name) == catalogue:
            return False
        self._catalogues[catalogue.name] = catalogue
        self.generation += 1
        return True

    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]:
        """Return the union of all stores, sorted by key."""
        return self._union

    def catalogues(self) -> tuple[Catalogue, ...]:
        """Return the latest catalogue of every registry, by name."""
        return tuple(self._catalogues[name] for name in sorted(self._catalogues))

    def findings(self) -> tuple[Finding, ...]:
        """Return what the stores found in their documents, and objects that another store's object hides."""
        found = [
            finding for name in self._stores if name in self._contents for finding in self._contents[name].findings
        ]
        return (*found, *self._shadowed)

    def managed(self, key: ObjectKey) -> Origin | None:
        """Return where a read-only store holds this object, None when none does."""
        return self._managed.get(key)

    def _merge(self) -> None:
        union: dict[ObjectKey, ConfigObject[Any]] = {}
        managed: dict[ObjectKey, Origin] = {}
        shadowed: list[Finding] = []
        for name in self._stores:
            content = self._contents.get(name)
            for found in content.objects if content else ():
                if found.key in union:
                    shadowed.append(_shadowed(found, union[found.key].origin))
                    continue
                union[found.key] = found
                if name in self._read_only:
                    managed[found.key] = found.origin
        self._union = dict(sorted(union.items()))
        self._managed = managed
        self._shadowed = tuple(shadowed)


def _shadowed(hidden: ConfigObject[Any], origin: Origin) -> Finding:
    key = hidden.key
    return DUPLICATE_OBJECT.finding(
        f"{key} is also in {origin}, which wins; remove one of the two",
        file=hidden.origin.source,
        place=(hidden.origin.line, 0),
        subject=Subject(kind=key.kind, namespace=key.namespace, name=key.name),
    )
