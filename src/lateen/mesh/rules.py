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
from lateen.mesh.elections import Place, TurnsByKind, age
from lateen.mesh.sharing import Order, Ordered, kept, patched, patched_in_order
from lateen.model.names import Hostname

VIRTUAL_SERVICE, DESTINATION_RULE = "VirtualService", "DestinationRule"
Objects = Mapping[Place, ConfigObject[Any]]
BoundTurn = tuple[BoundVirtualService | None, BoundVirtualService | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServices:
    """Those that have hosts, with their delegates' rules merged in."""

    bound: Ordered[BoundVirtualService] = field(default_factory=Ordered)
    """Oldest first."""
    delegating: Mapping[Place, tuple[Name, ...]] = field(default_factory=dict)
    """Those that refer to delegates, which need not exist."""

    def updated(
        self, objects: Objects, turns: TurnsByKind, export_to: list[str], *, defaults_changed: bool
    ) -> tuple[VirtualServices, dict[Order, BoundTurn]]:
        """Return this after a change, and what is bound differently now."""
        turned = dict(turns.get(VIRTUAL_SERVICE, {}))
        delegating: dict[Place, tuple[Name, ...] | None] = {}
        for place, (_, after) in turned.items():
            delegating[place] = (delegates_of(after) or None) if after is not None and after.spec.hosts else None
        now = patched(self.delegating, delegating)
        again = {place for place, names in now.items() if any((VIRTUAL_SERVICE, *name) in turned for name in names)}
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
            VirtualServices(bound=self.bound.patched(changes), delegating=now),
            {order: turn for order, turn in differing.items() if turn[0] is not turn[1]},
        )


def updated_destination_rules(
    old: Mapping[Hostname, tuple[BoundDestinationRule, ...]],
    objects: Objects,
    turns: TurnsByKind,
    export_to: list[str],
    *,
    defaults_changed: bool,
) -> Mapping[Hostname, tuple[BoundDestinationRule, ...]]:
    """Return the rules by host (oldest first) after a change."""
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
        hosts[host] = kept(old.get(host), rules) if rules else None
    return patched_in_order(old, hosts)
