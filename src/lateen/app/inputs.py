"""Inputs: the latest content of every store and registry, and their union. Pure; one writer, the composition root.

Each source hands over its whole content again whenever it changes, so only the newest counts. What it has in common
with the one before is the same object, so that taking it costs what is different. Where two stores hold an object of
the same key the earlier store wins: directories in the order given, then the store that the API writes.
Must not know: how a source watches, or what is built from the union.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Protocol

from lateen.config.codes import DUPLICATE_OBJECT, Subject
from lateen.config.key_sets import key_sources
from lateen.config.objects import ConfigObject
from lateen.mesh.policies import REQUEST_AUTHENTICATION
from lateen.mesh.proxy_settings import PROXY_CONFIG
from lateen.mesh.sharing import Parted, changed_keys, patched
from lateen.mesh.workload_groups import WORKLOAD_GROUP
from lateen.model.catalogues import Catalogue
from lateen.model.findings import Finding
from lateen.model.health import HealthTarget
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin


class Content(Protocol):
    """What a store holds at a moment (`stores.protocol.StoreContent`). Contents that hold the same are equal."""

    @property
    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]: ...  # noqa: D102
    @property
    def findings(self) -> tuple[Finding, ...]: ...  # noqa: D102


class Inputs:
    """Latest values by source. `generation` grows by one with every change."""

    def __init__(self, *, read_only: Iterable[str], writable: str, registries: Iterable[str]) -> None:
        """`read_only`: names of the directory stores in order of precedence; `writable`: the store of the API."""
        self._read_only = tuple(read_only)
        self._stores = (*self._read_only, writable)
        self._registries = tuple(registries)
        self._contents: dict[str, Content] = {}
        self._catalogues: dict[str, Catalogue] = {}
        self._union: Parted[ObjectKey, ConfigObject[Any]] = Parted.of({})
        self._shadowed: Mapping[ObjectKey, tuple[Finding, ...]] = {}
        """Findings about hidden objects, by key."""
        self._token_rules: dict[ObjectKey, ConfigObject[Any]] = {}
        """RequestAuthentications of the union."""
        self._of_workloads: dict[str, dict[ObjectKey, ConfigObject[Any]]] = {WORKLOAD_GROUP: {}, PROXY_CONFIG: {}}
        """Of the union, by kind: what registering workloads are told. Each dictionary is replaced, never changed."""
        self._key_sets: Mapping[str, str] = {}
        self._sick: frozenset[HealthTarget] = frozenset()
        self.key_sources: Mapping[str, float] = {}
        """Where keys of tokens are to be fetched, with the seconds that each may take."""
        self.generation = 0
        self.moved = 0
        """How many objects and workloads were other ones, since somebody set it to zero: what a build will cost."""

    @property
    def complete(self) -> bool:
        """Whether every source has spoken at least once. A state built before would drop what is still loading."""
        return self._contents.keys() >= set(self._stores) and self._catalogues.keys() >= set(self._registries)

    def take_content(self, store: str, content: Content) -> bool:
        """Replace a store's content; return whether that changed anything."""
        assert store in self._stores, store
        known = self._contents.get(store)
        if known == content:
            return False
        self._contents[store] = content
        keys = changed_keys(known.objects if known is not None else {}, content.objects)
        self._merge(keys)
        self.moved += len(keys)
        self.generation += 1
        return True

    def take_catalogue(self, catalogue: Catalogue) -> bool:
        """Replace a registry's catalogue; return whether that changed anything."""
        known = self._catalogues.get(catalogue.name)
        if known == catalogue:
            return False
        before = (0, 0) if known is None else (len(known.services), len(known.workloads))
        self.moved += abs(len(catalogue.services) - before[0]) + abs(len(catalogue.workloads) - before[1])
        self._catalogues[catalogue.name] = catalogue
        self.generation += 1
        return True

    def take_key_sets(self, key_sets: Mapping[str, str]) -> bool:
        """Replace the keys that were fetched; return whether that changed anything."""
        if self._key_sets == key_sets:
            return False
        self._key_sets = key_sets
        self.generation += 1
        return True

    def take_sick(self, sick: frozenset[HealthTarget]) -> bool:
        """Replace the plain endpoints that are sick; return whether that changed anything."""
        if self._sick == sick:
            return False
        self._sick = sick
        self.generation += 1
        return True

    def sick(self) -> frozenset[HealthTarget]:
        """Return the plain endpoints that gateways found to be sick."""
        return self._sick

    def key_sets(self) -> Mapping[str, str]:
        """Return the latest keys, by source."""
        return self._key_sets

    def token_rules(self) -> tuple[ConfigObject[Any], ...]:
        """Return the RequestAuthentications of the union, sorted by key."""
        return tuple(self._token_rules[key] for key in sorted(self._token_rules))

    def of_workloads(self, kind: str) -> Mapping[ObjectKey, ConfigObject[Any]]:
        """Return the WorkloadGroups or ProxyConfigs of the union: the same object while they do not change."""
        return self._of_workloads[kind]

    def objects(self) -> Parted[ObjectKey, ConfigObject[Any]]:
        """Return the union of all stores, sorted by key."""
        return self._union

    def catalogues(self) -> tuple[Catalogue, ...]:
        """Return the latest catalogue of every registry, by name."""
        return tuple(self._catalogues[name] for name in sorted(self._catalogues))

    def findings(self) -> tuple[Finding, ...]:
        """Return what the stores found in their documents, and objects that another store's object hides."""
        found = [self._contents[name].findings for name in self._stores if name in self._contents]
        return tuple(chain(*found, *(self._shadowed[key] for key in sorted(self._shadowed))))

    def managed(self, key: ObjectKey) -> Origin | None:
        """Return where a read-only store holds this object, None when none does."""
        return next((found.origin for found in self._of_key(key, self._read_only)), None)

    def _of_key(self, key: ObjectKey, stores: Iterable[str]) -> Iterator[ConfigObject[Any]]:
        """Yield the objects of a key, that which counts first."""
        for name in stores:
            content = self._contents.get(name)
            found = None if content is None else content.objects.get(key)
            if found is not None:
                yield found

    def _merge(self, keys: Iterable[ObjectKey]) -> None:
        """Say anew which objects of these keys count."""
        union: dict[ObjectKey, ConfigObject[Any] | None] = {}
        shadowed: dict[ObjectKey, tuple[Finding, ...] | None] = {}
        for key in keys:
            found = list(self._of_key(key, self._stores))
            union[key] = found[0] if found else None
            shadowed[key] = tuple(_shadowed(item, found[0].origin) for item in found[1:]) or None
        self._union = self._union.patched(union)
        self._note_token_rules({key: found for key, found in union.items() if key.kind == REQUEST_AUTHENTICATION})
        for kind, known in self._of_workloads.items():
            if of_kind := {key: found for key, found in union.items() if key.kind == kind}:
                self._of_workloads[kind] = {key: one for key, one in (known | of_kind).items() if one is not None}
        self._shadowed = patched(self._shadowed, shadowed)

    def _note_token_rules(self, changed: Mapping[ObjectKey, ConfigObject[Any] | None]) -> None:
        if not changed:
            return
        for key, found in changed.items():
            if found is None:
                self._token_rules.pop(key, None)
            else:
                self._token_rules[key] = found
        self.key_sources = key_sources(rule for found in self._token_rules.values() for rule in found.spec.jwt_rules)


def _shadowed(hidden: ConfigObject[Any], origin: Origin) -> Finding:
    key = hidden.key
    return DUPLICATE_OBJECT.finding(
        f"{key} is also in {origin}, which wins; remove one of the two",
        file=hidden.origin.source,
        place=(hidden.origin.line, 0),
        subject=Subject(kind=key.kind, namespace=key.namespace, name=key.name),
    )
