"""VirtualServices and DestinationRules, bound and in order. Called by `mesh.build`.

Each is bound alone; a VirtualService with delegates depends on them, so it is bound again when one of them changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.networking import VirtualService
from lateen.config.objects import ConfigObject
from lateen.mesh.bindings import (
    BoundDestinationRule,
    BoundVirtualService,
    bind_destination_rule,
    bind_virtual_service,
)
from lateen.mesh.delegates import Name, delegates_of, expanded
from lateen.mesh.elections import ObjectTurns, Place, TurnsByKind, age
from lateen.mesh.sharing import Order, Ordered, kept, patched, patched_in_order
from lateen.model.names import Hostname

VIRTUAL_SERVICE, DESTINATION_RULE = "VirtualService", "DestinationRule"
Objects = Mapping[Place, ConfigObject[Any]]
BoundTurn = tuple[BoundVirtualService | None, BoundVirtualService | None]
RulesByHost = Mapping[Hostname, tuple[BoundDestinationRule, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServices:
    """Those that have hosts, with their delegates' rules merged in."""

    bound: Ordered[BoundVirtualService] = field(default_factory=Ordered)
    """Oldest first."""
    roots: Mapping[Name, frozenset[Place]] = field(default_factory=dict)
    """By delegate, which need not exist: those that refer to it."""

    def updated(
        self, objects: Objects, turns: TurnsByKind, export_to: list[str], *, defaults_changed: bool
    ) -> tuple[VirtualServices, dict[Order, BoundTurn]]:
        """Return this after a change, and what is bound differently now."""
        turned = dict(turns.get(VIRTUAL_SERVICE, {}))
        roots = _referring(self.roots, turned)
        again = {root for _, *name in turned for root in roots.get((name[0], name[1]), ())}
        if defaults_changed:
            again |= {place for place in objects if place[0] == VIRTUAL_SERVICE}
        turned |= {place: (objects[place], objects[place]) for place in again - turned.keys()}

        def delegate(name: Name) -> ConfigObject[VirtualService] | None:
            found = objects.get((VIRTUAL_SERVICE, *name))
            return None if found is None or found.spec.hosts else found

        changes: dict[Order, BoundVirtualService | None] = {}
        for before, after in turned.values():
            if before is not None:
                changes[age(before)] = None
            if after is not None and after.spec.hosts:
                order = age(after)
                bound = bind_virtual_service(expanded(after, delegate, export_to), export_to)
                changes[order] = kept(self.bound.get(order), bound)
        differing = {order: (self.bound.get(order), bound) for order, bound in changes.items()}
        return (
            VirtualServices(bound=self.bound.patched(changes), roots=roots),
            {order: turn for order, turn in differing.items() if turn[0] is not turn[1]},
        )


def _referring(old: Mapping[Name, frozenset[Place]], turns: ObjectTurns) -> Mapping[Name, frozenset[Place]]:
    """Return the VirtualServices that refer to each delegate after some changed."""
    roots: dict[Name, set[Place]] = {}
    for place, turn in turns.items():
        for item, comes in zip(turn, (False, True), strict=True):
            for name in delegates_of(item) if item is not None and item.spec.hosts else ():
                if name not in roots:
                    roots[name] = set(old.get(name, ()))
                roots[name].add(place) if comes else roots[name].discard(place)
    return patched(old, {name: kept(old.get(name), frozenset(found)) or None for name, found in roots.items()})


def updated_destination_rules(
    old: Mapping[Hostname, tuple[BoundDestinationRule, ...]],
    objects: Objects,
    turns: TurnsByKind,
    export_to: list[str],
    *,
    defaults_changed: bool,
) -> tuple[Mapping[Hostname, tuple[BoundDestinationRule, ...]], RulesByHost]:
    """Return the rules by host (oldest first) after a change, and those of the hosts that have others now."""
    turned = dict(turns.get(DESTINATION_RULE, {}))
    if defaults_changed:
        turned = {place: (item, item) for place, item in objects.items() if place[0] == DESTINATION_RULE} | turned
    changes: defaultdict[Hostname, dict[Order, BoundDestinationRule | None]] = defaultdict(dict)
    for turn in turned.values():
        for item, goes in zip(turn, (True, False), strict=True):
            if item is not None:
                bound = bind_destination_rule(item, export_to)
                changes[bound.host][age(item)] = None if goes else bound
    hosts: dict[Hostname, tuple[BoundDestinationRule, ...] | None] = {}
    for host, found in changes.items():
        known = {age(bound.object): bound for bound in old.get(host, ())}
        merged = known | {order: bound and kept(known.get(order), bound) for order, bound in found.items()}
        rules = tuple(bound for _, bound in sorted(merged.items()) if bound is not None)
        if rules != old.get(host, ()):
            hosts[host] = rules or None
    return patched_in_order(old, hosts), hosts
