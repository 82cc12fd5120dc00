"""The seam to `mesh.build`: a translation after a change, and what of the translated objects is different now.

A mesh without Gateway API objects pays nothing. One with some is translated anew, whole, when one of them changed, or
something that the last translation read: a Secret, a ConfigMap, a Namespace, a service or ServiceEntry it asked for.
Translated objects that come out equal are the ones before, so that everything that follows from them is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.objects import ConfigObject
from lateen.mesh.elections import ObjectTurns, Place, Turn, TurnsByKind
from lateen.mesh.gateway_api.statuses import Status, Statuses
from lateen.mesh.gateway_api.translation import Translation, translate
from lateen.mesh.gateway_api.world import KINDS, READ, world_of
from lateen.mesh.sharing import kept, patched
from lateen.model.names import Hostname, ObjectKey
from lateen.model.services import Service

Objects = Mapping[Place, ConfigObject[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayApi:
    """The Gateway API objects of a mesh and what they come to."""

    own: Objects = field(default_factory=dict)
    translation: Translation = field(default_factory=Translation)

    @property
    def statuses(self) -> Statuses:
        """By key of the objects."""
        return self.translation.statuses

    def updated(
        self,
        objects: Objects,
        turns: TurnsByKind,
        services: Mapping[Hostname, Service],
        turned: Collection[Hostname],
        selector_of: Callable[[Hostname], Mapping[str, str]],
    ) -> tuple[GatewayApi, TurnsByKind]:
        """Return this after a change, and the turns of translated objects by kind.

        `turned`: hosts whose service, or the workloads that it selects, are others now.
        """
        own = self.own
        for kind in KINDS:
            own = patched(own, {place: after for place, (_, after) in turns.get(kind, {}).items()})
        read = bool(READ & turns.keys()) or not self.translation.asked.isdisjoint(turned)
        read = read or not self.translation.places.isdisjoint(turns.get("ServiceEntry", ()))
        if own is self.own and not (own and read):
            return self, {}
        new = translate(world_of(objects, own, services, selector_of)) if own else Translation()
        old = self.translation
        same = {place: kept(old.objects.get(place), item) for place, item in new.objects.items()}
        statuses: dict[ObjectKey, Status] = {
            key: kept(old.statuses.get(key), status) for key, status in new.statuses.items()
        }
        translation = Translation(objects=same, statuses=statuses, asked=new.asked, places=new.places)
        return GatewayApi(own=own, translation=translation), _turns(old.objects, same)


def merged(one: TurnsByKind, other: TurnsByKind) -> TurnsByKind:
    """Return the turns of both; no object is in both."""
    if not other:
        return one
    return {kind: {**one.get(kind, {}), **other.get(kind, {})} for kind in one.keys() | other.keys()}


def _turns(old: Objects, new: Objects) -> dict[str, ObjectTurns]:
    found: dict[str, dict[Place, Turn[ConfigObject[Any]]]] = {}
    for place in old.keys() | new.keys():
        before, after = old.get(place), new.get(place)
        if before is not after:
            found.setdefault(place[0], {})[place] = (before, after)
    return dict(found)
