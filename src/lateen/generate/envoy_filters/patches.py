"""Patches: the parts of EnvoyFilters, read once, with the messages that they bring.

Called by `selection` and by whoever asks what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from lateen.config.envoy_filter import (
    ApplyTo,
    EnvoyConfigObjectMatch,
    EnvoyFilter,
    FilterClass,
    PatchContext,
    PatchOperation,
)
from lateen.config.objects import ConfigObject
from lateen.config.validation.envoy_filters import canonical_names
from lateen.config.validation.regexes import MAX_LENGTH
from lateen.envoy.filters import OFF_ON_DEMAND
from lateen.envoy.messages import Message
from lateen.envoy.patches import PatchProblem, read_value
from lateen.model.proxies import Proxy

INSERTS = frozenset((PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER, PatchOperation.INSERT_FIRST))
MERGES = frozenset((PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST))
_OFF = frozenset(OFF_ON_DEMAND)
_PLACES = frozenset((ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_ROUTE, ApplyTo.LISTENER_FILTER))
"""What has an order. Elsewhere inserting is adding."""

LISTENER_CLASS = frozenset(
    (
        ApplyTo.LISTENER,
        ApplyTo.FILTER_CHAIN,
        ApplyTo.LISTENER_FILTER,
        ApplyTo.NETWORK_FILTER,
        ApplyTo.HTTP_FILTER,
    )
)
ROUTE_CLASS = frozenset((ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE))

PatchKey: TypeAlias = tuple[str, str, int]
"""Namespace and name of the EnvoyFilter, and which of its patches."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FilterPatch:
    """One patch of an EnvoyFilter. Compared by identity: the same object of the mesh has the same patches."""

    source: ConfigObject[EnvoyFilter]
    index: int
    apply_to: ApplyTo
    operation: PatchOperation
    """As it acts: inserting where there is no order is adding."""
    match: EnvoyConfigObjectMatch
    value: Message
    """Never changed: what is put into a resource is a copy."""
    filter_class: FilterClass
    version: Any = None
    """Compiled expression for the proxy's version."""

    @property
    def key(self) -> PatchKey:
        """Which patch it is, in one state."""
        return (self.source.key.namespace, self.source.key.name, self.index)

    @property
    def label(self) -> str:
        """What metadata and findings call it: `EnvoyFilter default/lua (mesh.yaml:12)`."""
        return f"{self.source.key} ({self.source.origin})"

    def is_in(self, context: PatchContext) -> bool:
        """Whether it is about this side of a proxy."""
        return self.match.context in (context, PatchContext.ANY)

    @property
    def wants_on(self) -> frozenset[str]:
        """Which of the HTTP filters that are off by default it adds or changes: those are to be on for all routes."""
        if self.apply_to is not ApplyTo.HTTP_FILTER or self.operation is PatchOperation.REMOVE:
            return frozenset()
        if self.operation is not PatchOperation.MERGE:
            return _OFF.intersection(canonical_names(self.value.name))
        chain = self.match.listener.filter_chain if self.match.listener is not None else None
        found = chain.filter.sub_filter if chain is not None and chain.filter is not None else None
        return _OFF.intersection(canonical_names(found.name)) if found is not None else _OFF

    def suits(self, proxy: Proxy) -> bool:
        """Whether it is about this proxy, by what the proxy says of itself."""
        wanted = self.match.proxy
        if wanted is None:
            return True
        if wanted.proxy_version and (
            self.version is None or not proxy.istio_version or self.version.search(proxy.istio_version) is None
        ):
            return False
        return all(proxy.metadata.get(key) == value for key, value in wanted.metadata.items())


@dataclass(frozen=True, slots=True)
class Compiled:
    """The patches of an EnvoyFilter, and what is wrong with others of it, by their index."""

    patches: tuple[FilterPatch, ...] = ()
    problems: tuple[tuple[int, PatchProblem], ...] = ()


def compiled(source: ConfigObject[EnvoyFilter]) -> Compiled:
    """Read the patches of an EnvoyFilter. One that cannot be read is a problem and no patch; the others stay."""
    found: list[FilterPatch] = []
    problems: list[tuple[int, PatchProblem]] = []
    for index, item in enumerate(source.spec.config_patches):
        match = item.match or EnvoyConfigObjectMatch()
        if item.patch is None or item.apply_to is ApplyTo.INVALID or match.context is PatchContext.WAYPOINT:
            continue
        read = read_value(item.apply_to, item.patch.value)
        problems += [(index, problem) for problem in read.problems]
        if read.message is None:
            continue
        operation = item.patch.operation
        if operation in INSERTS and item.apply_to not in _PLACES:
            operation = PatchOperation.ADD
        found.append(
            FilterPatch(
                source=source,
                index=index,
                apply_to=item.apply_to,
                operation=operation,
                match=match,
                value=read.message,
                filter_class=item.patch.filter_class,
                version=_expression(match),
            )
        )
    return Compiled(tuple(found), tuple(problems))


def _expression(match: EnvoyConfigObjectMatch) -> Any:
    pattern = match.proxy.proxy_version if match.proxy is not None else ""
    if not pattern or len(pattern) > MAX_LENGTH:
        return None
    import re2  # a compiled library that only documents with a regex need

    try:
        return re2.compile(pattern)
    except re2.error:
        # Validation has refused it, unless the object came another way: it matches nothing then.
        return None


# --- what came of them ---------------------------------------------------------------------------------------


class CannotApplyError(Exception):
    """A patch does not fit what it is applied to; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of patches on one resource, or on many."""

    applied: frozenset[FilterPatch] = frozenset()
    failures: Mapping[FilterPatch, str] = field(default_factory=dict)
    """Patches that matched and could not be applied, and why."""

    def joined(self, other: Outcome) -> Outcome:
        """Return both in one."""
        if not other.applied and not other.failures:
            return self
        return replace(self, applied=self.applied | other.applied, failures={**other.failures, **self.failures})


@dataclass(slots=True)
class Run:
    """One resource being patched: which patches there are, and what became of them so far."""

    patches: tuple[FilterPatch, ...]
    context: PatchContext
    explicit: bool
    """Whether the proxy is a sidecar without interception."""
    applied: set[FilterPatch] = field(default_factory=set)
    failures: dict[FilterPatch, str] = field(default_factory=dict)
    noted: list[FilterPatch] = field(default_factory=list)
    """Those that were applied, in order."""

    def of(self, apply_to: ApplyTo) -> list[FilterPatch]:
        """Return the patches of a class that are about this side of the proxy."""
        return [patch for patch in self.patches if patch.apply_to is apply_to and patch.is_in(self.context)]

    def done(self, patch: FilterPatch) -> None:
        """Note that a patch was applied."""
        if patch not in self.applied:
            self.applied.add(patch)
            self.noted.append(patch)

    def failed(self, patch: FilterPatch, reason: str) -> None:
        """Note that a patch matched and could not be applied."""
        self.failures[patch] = reason

    def outcome(self) -> Outcome:
        """Return what became of them."""
        return Outcome(frozenset(self.applied), dict(self.failures))
