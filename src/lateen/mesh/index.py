"""MeshIndex: lookups derived from a state, so that a question costs what its answer costs.

Made by `mesh.state` and `mesh.build`, read by `mesh.queries` only. A state's index is the previous state's with the
same changes; what did not change is shared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lateen.config.networking import DestinationRule, Sidecar
from lateen.config.objects import ConfigObject
from lateen.mesh.bindings import BoundDestinationRule, BoundVirtualService
from lateen.mesh.doubles import Double
from lateen.mesh.elections import Turn, age
from lateen.mesh.endpoint_table import EndpointTable, EndpointTurn
from lateen.mesh.hosts import HostTable
from lateen.mesh.policies import PolicyTable, patched_policies
from lateen.mesh.sharing import Order, Ordered, patched
from lateen.mesh.virtual_addresses import VirtualAddresses
from lateen.model.names import Hostname, ObjectKey
from lateen.model.services import Service, readers, visible_to
from lateen.model.workloads import WorkloadRegistration

AnswerT = TypeVar("AnswerT")
ValueT = TypeVar("ValueT")
Selecting = tuple[str, Mapping[str, str]]
"""Namespace and selector of a service."""


# --- services ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTable:
    """Services by who sees them and by who owns them, each by host."""

    public: Ordered[Service] = field(default_factory=Ordered)
    limited: Mapping[str, Ordered[Service]] = field(default_factory=dict)
    """By namespace: services that are exported to it, but not to all."""
    owned: Mapping[str, Ordered[Service]] = field(default_factory=dict)
    """By their own namespace."""
    instead: Mapping[str, Mapping[Hostname, Service]] = field(default_factory=dict)
    """By namespace: services of `state.doubles` that it sees in place of others."""
    doubles: Mapping[str, Mapping[Hostname, Double]] = field(default_factory=dict)
    """By their own namespace."""
    _visible: dict[str, tuple[Service, ...]] = field(default_factory=dict, compare=False)
    """Answers of `visible` for namespaces that see more than what is public, once they were asked for. Copied before it
    is walked: the next state may be built in a thread while this one is asked."""

    def visible(self, namespace: str) -> tuple[Service, ...]:
        """Return the services that a namespace sees, by host; equal answers of one table are one tuple."""
        limited, instead = self.limited.get(namespace), self.instead.get(namespace, {})
        if limited is None and not instead:
            return self.public.values
        if namespace not in self._visible:
            both = [*self.public.values, *(limited.values if limited is not None else ())]
            both = [*(one for one in both if one.host not in instead), *instead.values()] if instead else both
            self._visible[namespace] = tuple(sorted(both, key=lambda service: service.host))
        return self._visible[namespace]

    def seen(self, service: Service | None, host: Hostname, namespace: str) -> Service | None:
        """Return the service of a host that a namespace sees; `service` is the one that the state has for the host."""
        if (instead := self.instead.get(namespace, {}).get(host)) is not None:
            return instead
        if service is None or not visible_to(service.export_to, service.namespace, namespace):
            return None
        return service

    def with_doubles(self, turns: Mapping[Hostname, DoublesTurn]) -> ServiceTable:
        """Return this after doubles came, went or changed."""
        if not turns:
            return self
        instead: defaultdict[str, dict[Hostname, Service | None]] = defaultdict(dict)
        owned: defaultdict[str, dict[Hostname, Double | None]] = defaultdict(dict)
        for host, turn in turns.items():
            for doubles, stays in zip(turn, (False, True), strict=True):
                for double in doubles or ():
                    owned[double.service.namespace][host] = double if stays else None
                    for namespace in double.seen_in:
                        instead[namespace][host] = double.service if stays else None
        changed = {name: patched(self.instead.get(name, {}), found) or None for name, found in instead.items()}
        owners = {name: patched(self.doubles.get(name, {}), found) or None for name, found in owned.items()}
        return replace(
            self,
            instead=patched(self.instead, changed),
            doubles=patched(self.doubles, owners),
            _visible={name: found for name, found in self._visible.copy().items() if name not in changed},
        )

    def patched(self, turns: Mapping[Hostname, tuple[Service | None, Service | None]]) -> ServiceTable:
        """Return this after services came, went or changed."""
        if not turns:
            return self
        public: dict[Order, Service | None] = {}
        limited: defaultdict[str, dict[Order, Service | None]] = defaultdict(dict)
        owned: defaultdict[str, dict[Order, Service | None]] = defaultdict(dict)
        for host, turn in turns.items():
            for service, value in ((turn[0], None), (turn[1], turn[1])):
                if service is None:
                    continue
                owned[service.namespace][(host,)] = value
                namespaces = readers(service.export_to, service.namespace)
                if namespaces is None:
                    public[(host,)] = value
                for namespace in namespaces or ():
                    limited[namespace][(host,)] = value
        return replace(
            self,
            public=self.public.patched(public),
            limited=_patched_lists(self.limited, limited),
            owned=_patched_lists(self.owned, owned),
            _visible={} if public else {ns: found for ns, found in self._visible.copy().items() if ns not in limited},
        )


DoublesTurn = tuple[tuple[Double, ...] | None, tuple[Double, ...] | None]


def _patched_lists(
    old: Mapping[str, Ordered[ValueT]], changes: Mapping[str, Mapping[Order, ValueT | None]]
) -> Mapping[str, Ordered[ValueT]]:
    new = {key: old.get(key, Ordered()).patched(found) for key, found in changes.items()}
    return patched(old, {key: found or None for key, found in new.items()})


# --- virtual services ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTable:
    """The VirtualServices of one gateway."""

    public: Ordered[BoundVirtualService] = field(default_factory=Ordered)
    """Those that every namespace sees, oldest first."""
    limited: Mapping[str, Ordered[BoundVirtualService]] = field(default_factory=dict)
    """By namespace: those exported to it by name; its own before those of others, then oldest first."""
    owned: Mapping[str, Ordered[BoundVirtualService]] = field(default_factory=dict)
    """By their own namespace."""
    hosts: HostTable[tuple[BoundVirtualService, ...]] = field(default_factory=lambda: HostTable({}))
    """By host, oldest first."""

    def visible(self, namespace: str) -> tuple[BoundVirtualService, ...]:
        """Return those that a namespace sees, in Istio's precedence."""
        limited = self.limited.get(namespace)
        return self.public.values if limited is None else (*limited.values, *self.public.values)

    def patched(
        self, turns: Mapping[Order, tuple[BoundVirtualService | None, BoundVirtualService | None]]
    ) -> RuleTable:
        """Return this after VirtualServices came, went or changed."""
        public: dict[Order, BoundVirtualService | None] = {}
        limited: defaultdict[str, dict[Order, BoundVirtualService | None]] = defaultdict(dict)
        owned: defaultdict[str, dict[Order, BoundVirtualService | None]] = defaultdict(dict)
        hosts: defaultdict[Hostname, dict[Order, BoundVirtualService | None]] = defaultdict(dict)
        for order, turn in turns.items():
            for bound, value in ((turn[0], None), (turn[1], turn[1])):
                if bound is None:
                    continue
                owner = bound.object.key.namespace
                owned[owner][order] = value
                namespaces = readers(bound.export_to, owner)
                if namespaces is None:
                    public[order] = value
                for namespace in namespaces or ():
                    limited[namespace][(namespace != owner, *order)] = value
                for host in bound.hosts:
                    hosts[host][order] = value
        return RuleTable(
            public=self.public.patched(public),
            limited=_patched_lists(self.limited, limited),
            owned=_patched_lists(self.owned, owned),
            hosts=self.hosts.patched({host: self._of_host(host, found) or None for host, found in hosts.items()}),
        )

    def _of_host(
        self, host: Hostname, changes: Mapping[Order, BoundVirtualService | None]
    ) -> tuple[BoundVirtualService, ...]:
        known = {rule_age(bound): bound for bound in self.hosts.patterns.get(host, ())}
        if not known and len(changes) == 1:
            return tuple(bound for bound in changes.values() if bound is not None)
        return tuple(bound for _, bound in sorted({**known, **changes}.items()) if bound is not None)


def rule_age(bound: BoundVirtualService) -> Order:
    """Return the merge order of VirtualServices: oldest first, then by name, then by namespace."""
    key = bound.object.key
    return bound.object.created, key.name, key.namespace, key.kind


# --- all -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshIndex:
    """Lookups derived from a state."""

    services: ServiceTable = field(default_factory=ServiceTable)
    virtual_services: Mapping[str, RuleTable] = field(default_factory=dict)
    """By gateway."""
    destination_rules: HostTable[tuple[BoundDestinationRule, ...]] = field(default_factory=lambda: HostTable({}))
    endpoints: EndpointTable = field(default_factory=EndpointTable)
    selected: Mapping[tuple[str, str, str], frozenset[Hostname]] = field(default_factory=dict)
    """By namespace and one pair of their selector: services that a workload with that label may belong to. Those
    with an empty selector are under two empty strings."""
    sidecars: Mapping[str, Ordered[ConfigObject[Sidecar]]] = field(default_factory=dict)
    """By namespace, oldest first."""
    policies: PolicyTable = field(default_factory=dict)
    registered: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many registered workloads of a namespace are at an address."""
    merged: dict[Hostname, dict[tuple[ObjectKey, ...], ConfigObject[DestinationRule]]] = field(default_factory=dict)
    """Several DestinationRules of a host as one, once they were asked for: an equal question gets the same object."""
    networks: dict[str, Any] = field(default_factory=dict, compare=False)
    """What `mesh.networks` found in the state, once it was asked for; under one key."""
    trimmed: dict[Hostname, dict[tuple[str, frozenset[int]], Service]] = field(default_factory=dict)
    """Services with some of their ports only, by their namespace and those ports, once they were asked for."""
    virtual: dict[str, VirtualAddresses] = field(default_factory=dict, compare=False)
    """What `mesh.virtual_addresses` gives to the services, once it was asked for; under one key."""


def patched_rules(
    old: Mapping[str, RuleTable],
    turns: Mapping[Order, tuple[BoundVirtualService | None, BoundVirtualService | None]],
) -> Mapping[str, RuleTable]:
    """Return the tables by gateway after VirtualServices came, went or changed."""
    by_gateway: defaultdict[str, dict[Order, tuple[BoundVirtualService | None, BoundVirtualService | None]]] = (
        defaultdict(dict)
    )
    for order, (before, after) in turns.items():
        old_gateways = before.gateways if before is not None else frozenset()
        new_gateways = after.gateways if after is not None else frozenset()
        for gateway in old_gateways | new_gateways:
            by_gateway[gateway][order] = (
                before if gateway in old_gateways else None,
                after if gateway in new_gateways else None,
            )
    new = {gateway: old.get(gateway, RuleTable()).patched(found) for gateway, found in by_gateway.items()}
    return patched(old, {gateway: table if table.hosts.patterns else None for gateway, table in new.items()})


def patched_selected(
    old: Mapping[tuple[str, str, str], frozenset[Hostname]],
    turns: Mapping[Hostname, tuple[Selecting | None, Selecting | None]],
) -> Mapping[tuple[str, str, str], frozenset[Hostname]]:
    """Return the services by selector after some changed theirs."""
    hosts: dict[tuple[str, str, str], set[Hostname]] = {}
    for host, turn in turns.items():
        for selecting, comes in zip(turn, (False, True), strict=True):
            if selecting is not None:
                key = (selecting[0], *min(selecting[1].items(), default=("", "")))
                if key not in hosts:
                    hosts[key] = set(old.get(key, ()))
                hosts[key].add(host) if comes else hosts[key].discard(host)
    return patched(old, {key: frozenset(found) or None for key, found in hosts.items()})


def patched_registered(
    old: Mapping[tuple[str, str], int],
    turns: Iterable[Turn[WorkloadRegistration]],
) -> Mapping[tuple[str, str], int]:
    """Return the namespaces and addresses of registered workloads after some came, went or changed."""
    difference: Counter[tuple[str, str]] = Counter()
    for before, after in turns:
        if before is not None:
            difference[before.namespace, before.address] -= 1
        if after is not None:
            difference[after.namespace, after.address] += 1
    return patched(old, {place: old.get(place, 0) + number or None for place, number in difference.items() if number})


def patched_sidecars(
    old: Mapping[str, Ordered[ConfigObject[Sidecar]]],
    turns: Iterable[Turn[ConfigObject[Sidecar]]],
) -> Mapping[str, Ordered[ConfigObject[Sidecar]]]:
    """Return the Sidecars by namespace after some came, went or changed."""
    changes: defaultdict[str, dict[Order, ConfigObject[Sidecar] | None]] = defaultdict(dict)
    for before, after in turns:
        for item, value in ((before, None), (after, after)):
            if item is not None:
                changes[item.key.namespace][age(item)] = value
    return _patched_lists(old, changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTurns:
    """What an index is updated with: of each key what it was and what it is, None for nothing."""

    services: Mapping[Hostname, tuple[Service | None, Service | None]]
    endpoints: Mapping[Hostname, EndpointTurn]
    selectors: Mapping[Hostname, tuple[Selecting | None, Selecting | None]]
    doubles: Mapping[Hostname, DoublesTurn]
    virtual_services: Mapping[Order, tuple[BoundVirtualService | None, BoundVirtualService | None]]
    destination_rules: Mapping[Hostname, tuple[BoundDestinationRule, ...] | None]
    """By host, the new ones only."""
    sidecars: Iterable[Turn[ConfigObject[Sidecar]]]
    policies: Iterable[Turn[ConfigObject[Any]]]
    registrations: Iterable[Turn[WorkloadRegistration]]


def updated_index(old: MeshIndex, turns: StateTurns) -> MeshIndex:
    """Return the index of a state after these changes."""
    return MeshIndex(
        services=old.services.patched(turns.services).with_doubles(turns.doubles),
        virtual_services=patched_rules(old.virtual_services, turns.virtual_services),
        destination_rules=old.destination_rules.patched(turns.destination_rules),
        endpoints=old.endpoints.patched(turns.endpoints) if turns.endpoints else old.endpoints,
        selected=patched_selected(old.selected, turns.selectors),
        sidecars=patched_sidecars(old.sidecars, turns.sidecars),
        policies=patched_policies(old.policies, turns.policies),
        registered=patched_registered(old.registered, turns.registrations),
        merged=_but(old.merged, turns.destination_rules),
        trimmed=_but(old.trimmed, turns.services.keys() | turns.doubles.keys()),
        virtual={} if turns.services or turns.doubles else old.virtual,
    )


def _but(old: dict[Hostname, AnswerT], hosts: Collection[Hostname]) -> dict[Hostname, AnswerT]:
    """Return remembered answers but those about these hosts. While there are none both states remember in one place."""
    if not hosts:
        return old
    new = old.copy()
    for host in hosts:
        new.pop(host, None)
    return new
