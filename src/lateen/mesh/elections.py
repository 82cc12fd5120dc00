"""Which of several inputs with one key counts. Called by `mesh.build` for configuration objects and registrations."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lateen.config.objects import ConfigObject
from lateen.mesh.sharing import Order, patched
from lateen.model.workloads import WorkloadRegistration

KeyT = TypeVar("KeyT", bound=Hashable)
ItemT = TypeVar("ItemT")

Place = tuple[str, str, str]
"""Kind, namespace and name of an object: its key, as a tuple because that hashes quicker."""
Turn = tuple[ItemT | None, ItemT | None]
"""What counted before, and what counts now; None for nothing."""
ObjectTurns = Mapping[Place, Turn[ConfigObject[Any]]]
TurnsByKind = Mapping[str, ObjectTurns]


@dataclass(frozen=True, slots=True, kw_only=True)
class Election(Generic[KeyT, ItemT]):
    """The one item of each key that counts."""

    winners: Mapping[KeyT, ItemT] = field(default_factory=dict)
    rivals: Mapping[KeyT, tuple[ItemT, ...]] = field(default_factory=dict)
    """All items of the keys that several have."""

    def updated(
        self,
        gone: Iterable[ItemT],
        come: Iterable[ItemT],
        key: Callable[[ItemT], KeyT],
        rank: Callable[[ItemT], Order],
    ) -> tuple[Election[KeyT, ItemT], dict[KeyT, Turn[ItemT]]]:
        """Return the election after items went and came, and its new winners: of one key the item of lowest rank.

        A winner that is equal to the one before is the one before.
        """
        candidates: dict[KeyT, list[ItemT]] = {}
        for item in gone:
            place = key(item)
            if place not in candidates:
                candidates[place] = list(self.rivals.get(place, (item,)))
            candidates[place].remove(item)
        for item in come:
            place = key(item)
            found = candidates.get(place)
            if found is None:
                winner = self.winners.get(place)
                candidates[place] = found = [] if winner is None else list(self.rivals.get(place, (winner,)))
            found.append(item)
        turns: dict[KeyT, Turn[ItemT]] = {}
        for place, found in candidates.items():
            before = self.winners.get(place)
            best = found[0] if len(found) == 1 else min(found, key=rank, default=None)
            if best is not before and (best is None or before is None or best != before):
                turns[place] = (before, best)
        election = Election(
            winners=patched(self.winners, {place: after for place, (_, after) in turns.items()}),
            rivals=patched(
                self.rivals,
                {
                    place: tuple(found) if len(found) > 1 else None
                    for place, found in candidates.items()
                    if len(found) > 1 or place in self.rivals
                },
            ),
        )
        return election, turns


def place_of(item: ConfigObject[Any]) -> Place:
    """Return the key of an object."""
    key = item.key
    return key.kind, key.namespace, key.name


def age(item: ConfigObject[Any]) -> Order:
    """Return Istio's order of objects that count: oldest first, then by name, then by namespace."""
    key = item.key
    return item.created, key.name, key.namespace, key.kind


def seniority(item: ConfigObject[Any]) -> Order:
    """Return the order of objects with one key: the oldest counts."""
    return item.created, item.digest, str(item.origin)


def workload_name(registration: WorkloadRegistration) -> tuple[str, str]:
    """Return the key of a registration."""
    return registration.namespace, registration.name


def workload_named(workloads: Sequence[WorkloadRegistration], namespace: str, name: str) -> WorkloadRegistration | None:
    """Return one of the workloads of a state, which are in the order of their keys; None when it is not there."""
    place = bisect_left(workloads, (namespace, name), key=workload_name)
    found = place < len(workloads) and workload_name(workloads[place]) == (namespace, name)
    return workloads[place] if found else None
