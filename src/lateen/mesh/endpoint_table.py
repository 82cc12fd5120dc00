"""EndpointTable: what stands at an address. Part of `mesh.index`, read by `mesh.queries`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lateen.mesh.sharing import patched, turnover
from lateen.model.names import Hostname
from lateen.model.services import Endpoint


class Group(NamedTuple):
    """Hosts that share one tuple of endpoints."""

    endpoints: tuple[Endpoint, ...]
    hosts: frozenset[Hostname]


class Move(NamedTuple):
    """Other endpoints of a group."""

    number: int
    old: tuple[Endpoint, ...]
    new: tuple[Endpoint, ...]


EndpointTurn = tuple[tuple[Endpoint, ...] | None, tuple[Endpoint, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointTable:
    """Endpoints by address. Hosts that share one tuple of endpoints are one group here.

    When they get another tuple, most of what is in it was in the last one. So the group keeps its number, and only the
    addresses of endpoints that came, went or changed are touched.
    """

    groups: Mapping[int, Group] = field(default_factory=dict)
    """By number."""
    numbers: Mapping[int, int] = field(default_factory=dict)
    """By identity of the tuple, which its group holds, so that no other object can get that identity."""
    addresses: Mapping[str, Mapping[int, tuple[Endpoint, ...]]] = field(default_factory=dict)
    """By address and number of the group."""
    given: int = 0
    """How many numbers were given away."""

    def at(self, address: str) -> Iterator[tuple[Hostname, Endpoint]]:
        """Yield what stands at an address, with the host that it serves, in no particular order of hosts."""
        for number, endpoints in self.addresses.get(address, {}).items():
            for host in self.groups[number].hosts:
                yield from ((host, endpoint) for endpoint in endpoints)

    def patched(self, turns: Mapping[Hostname, EndpointTurn]) -> EndpointTable:
        """Return this after the endpoints of hosts changed."""
        leaving: defaultdict[int, list[Hostname]] = defaultdict(list)
        joining: dict[int, tuple[tuple[Endpoint, ...], list[Hostname]]] = {}
        parents: dict[int, int] = {}
        for host, (before, after) in turns.items():
            if before is not None:
                leaving[id(before)].append(host)
            if after is not None:
                joining.setdefault(id(after), (after, []))[1].append(host)
            if before is not None and after is not None:
                parents.setdefault(id(after), id(before))
        groups = self._with_hosts(leaving, joining)
        numbers: dict[int, int | None] = {key: None for key in leaving if groups[self.numbers[key]] is None}
        moves: list[Move] = []
        given = self.given
        for key, (endpoints, hosts) in joining.items():
            if key in self.numbers:
                continue
            number = self.numbers.get(parents.get(key, 0), given)
            if number == given or groups[number] is not None:
                number, given = given, given + 1
            moves.append(Move(number, self.groups[number].endpoints if number in self.groups else (), endpoints))
            numbers[key] = number
            groups[number] = Group(endpoints, frozenset(hosts))
        moves += [Move(number, self.groups[number].endpoints, ()) for number, group in groups.items() if group is None]
        return EndpointTable(
            groups=patched(self.groups, groups),
            numbers=patched(self.numbers, numbers),
            addresses=self._moved(moves),
            given=given,
        )

    def _with_hosts(
        self,
        leaving: Mapping[int, list[Hostname]],
        joining: Mapping[int, tuple[tuple[Endpoint, ...], list[Hostname]]],
    ) -> dict[int, Group | None]:
        """Return the groups that lose or gain hosts and keep their endpoints; None for those that have no host left."""
        groups: dict[int, Group | None] = {}
        for key in dict.fromkeys((*leaving, *(key for key in joining if key in self.numbers))):
            number = self.numbers[key]
            group = self.groups[number]
            hosts = group.hosts.difference(leaving.get(key, ())).union(joining[key][1] if key in joining else ())
            groups[number] = Group(group.endpoints, hosts) if hosts else None
        return groups

    def _moved(self, moves: Iterable[Move]) -> Mapping[str, Mapping[int, tuple[Endpoint, ...]]]:
        changes: defaultdict[str, dict[int, tuple[Endpoint, ...] | None]] = defaultdict(dict)
        for number, old, new in moves:
            gone, fresh = map(_by_address, turnover(old, new))
            for address in gone | fresh:
                here = fresh.get(address, ())
                if old and len(gone.get(address, ())) < len(self.addresses.get(address, {}).get(number, ())):
                    # Some stay, as there are several workloads at this address: they are in the order of the group.
                    here = [endpoint for endpoint in new if endpoint.address == address]
                changes[address][number] = tuple(here) or None
        return patched(
            self.addresses,
            {address: patched(self.addresses.get(address, {}), found) or None for address, found in changes.items()},
        )


def _by_address(endpoints: Iterable[Endpoint]) -> dict[str, list[Endpoint]]:
    found: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        found[endpoint.address].append(endpoint)
    return found
