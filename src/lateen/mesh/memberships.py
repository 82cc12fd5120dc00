"""Which workloads stand behind which ports: by the service that they name, or by a selector of their labels.

Called by `mesh.services`. Services with the same membership and ports share one group, and with it the *same* tuple
of endpoints, which is what keeps a mesh of many services over the same workloads small. A changed workload is taken
out of, or put into, the groups that it matches; no other group is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from lateen.mesh.claims import Claim, Rank
from lateen.mesh.sharing import Order, Ordered, kept, patched
from lateen.mesh.workloads import Workload, endpoints_behind
from lateen.model.health import HealthCheck
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, ServicePort

Handle = tuple[str, ...]
"""Where to look for workloads: all of a namespace, those that name a service, those with a label."""


class Membership(NamedTuple):
    """Who belongs, and what of them counts."""

    namespace: str
    service: str
    """Workloads that say to be of this service; empty for those of the selector."""
    selector: tuple[tuple[str, str], ...]
    ports: tuple[tuple[int, str, int | str], ...]
    """Number, name and target of each service port: all that an endpoint takes from it."""
    only_ips: bool
    check: HealthCheck | None = None
    """Of members without an agent and without one of their own."""

    def admits(self, workload: Workload) -> bool:
        """Whether a workload belongs."""
        if workload.namespace != self.namespace or not workload.address:
            return False
        if self.service:
            return workload.service == self.service
        labels = workload.labels
        return all(labels.get(key) == value for key, value in self.selector) and (not self.only_ips or workload.has_ip)

    def handles(self) -> list[Handle]:
        """Return places each of which knows every workload that belongs."""
        if self.service:
            return [("service", self.namespace, self.service)]
        return [("label", self.namespace, *pair) for pair in self.selector] or [("all", self.namespace)]


class Use(NamedTuple):
    """A membership that a claim brings to its host, and the ports that its members stand behind."""

    claim: Claim
    membership: Membership
    ports: tuple[ServicePort, ...]


def uses_of(claims: tuple[Claim, ...]) -> list[Use]:
    """Return the memberships behind one host: of workloads that name it, and of selectors."""
    uses = []
    for claim in claims:
        service = claim.service
        if claim.rank is Rank.IMPLIED:
            ports = claims[0].service.ports
            membership = Membership(service.namespace, service.name, (), _shape(ports), False)
            uses.append(Use(claim, membership, ports))
        elif claim.selector is not None:
            selector = tuple(sorted(claim.selector.items()))
            shape = _shape(service.ports)
            membership = Membership(service.namespace, "", selector, shape, claim.only_ips, claim.check)
            uses.append(Use(claim, membership, service.ports))
    return uses


def _shape(ports: tuple[ServicePort, ...]) -> tuple[tuple[int, str, int | str], ...]:
    return tuple((port.number, port.name, port.target_port) for port in ports)


def _handles_of(workload: Workload) -> Iterator[Handle]:
    yield "all", workload.namespace
    if workload.service:
        yield "service", workload.namespace, workload.service
    for key, value in workload.labels.items():
        yield "label", workload.namespace, key, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The members of one membership."""

    ports: tuple[ServicePort, ...]
    members: Ordered[tuple[Endpoint, ...]] = field(default_factory=Ordered)
    """Each member's endpoints."""
    endpoints: tuple[Endpoint, ...] = ()
    """Workload by workload."""
    hosts: frozenset[Hostname] = frozenset()
    """Who uses the group."""
    handle: Handle = ()
    """The one that the membership is watching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """All workloads and groups."""

    workloads: Mapping[Handle, Mapping[Order, Workload]] = field(default_factory=dict)
    groups: Mapping[Membership, Group] = field(default_factory=dict)
    watching: Mapping[Handle, frozenset[Membership]] = field(default_factory=dict)
    """Each membership under one of its handles: who may be concerned by a workload found there. That is the one which
    fewest others are under: a label that every workload has would bring all of them together."""

    def with_workloads(
        self, turns: Mapping[Order, tuple[Workload | None, Workload | None]]
    ) -> tuple[Memberships, set[Hostname]]:
        """Return this after workloads came, went or changed, and the hosts whose endpoints differ now."""
        if not turns:
            return self, set()
        places: defaultdict[Handle, dict[Order, Workload | None]] = defaultdict(dict)
        joining: defaultdict[Membership, dict[Order, tuple[Endpoint, ...] | None]] = defaultdict(dict)
        for order, (before, after) in turns.items():
            for handle in _handles_of(before) if before is not None else ():
                places[handle][order] = None
            for handle in _handles_of(after) if after is not None else ():
                places[handle][order] = after
            handles = {handle for one in (before, after) if one is not None for handle in _handles_of(one)}
            for membership in (found for handle in handles for found in self.watching.get(handle, ())):
                joining[membership][order] = self._endpoints(membership, after)
        groups: dict[Membership, Group | None] = {}
        hosts: set[Hostname] = set()
        for membership, endpoints in joining.items():
            group = self.groups[membership]
            known = {order: group.members.get(order) for order in endpoints}
            members = group.members.patched({order: kept(known[order], new) for order, new in endpoints.items()})
            if members is not group.members:
                groups[membership] = _with_members(group, members)
                hosts |= group.hosts
        workloads = patched(
            self.workloads,
            {handle: patched(self.workloads.get(handle, {}), found) or None for handle, found in places.items()},
        )
        return Memberships(workloads=workloads, groups=patched(self.groups, groups), watching=self.watching), hosts

    def _endpoints(self, membership: Membership, workload: Workload | None) -> tuple[Endpoint, ...] | None:
        if workload is None or not membership.admits(workload):
            return None
        return endpoints_behind([workload], self.groups[membership].ports, membership.check)

    def with_users(
        self,
        leaving: Mapping[Membership, set[Hostname]],
        joining: Mapping[Membership, tuple[tuple[ServicePort, ...], set[Hostname]]],
    ) -> Memberships:
        """Return this after hosts began to use memberships (with these ports), or stopped using them."""
        groups: dict[Membership, Group | None] = {}
        watching: dict[Handle, set[Membership]] = {}
        for membership in leaving.keys() | joining.keys():
            group = self.groups.get(membership)
            ports, coming = joining.get(membership, ((), set()))
            hosts = ((group.hosts if group else frozenset()) - leaving.get(membership, set())) | coming
            if group is not None and hosts:
                groups[membership] = replace(group, hosts=hosts)
            elif group is not None:
                groups[membership] = None
                if group.handle not in watching:
                    watching[group.handle] = set(self.watching[group.handle])
                watching[group.handle].discard(membership)
            elif hosts:
                handle = min(
                    membership.handles(),
                    key=lambda handle: (len(watching.get(handle, self.watching.get(handle, ()))), handle),
                )
                if handle not in watching:
                    watching[handle] = set(self.watching.get(handle, ()))
                watching[handle].add(membership)
                new = Group(ports=ports, hosts=hosts, handle=handle)
                groups[membership] = _with_members(new, self._members(membership, ports))
        return Memberships(
            workloads=self.workloads,
            groups=patched(self.groups, groups),
            watching=patched(self.watching, {handle: frozenset(found) or None for handle, found in watching.items()}),
        )

    def _members(self, membership: Membership, ports: tuple[ServicePort, ...]) -> Ordered[tuple[Endpoint, ...]]:
        """Find all members, looking where the fewest workloads are."""
        found = min((self.workloads.get(handle, {}) for handle in membership.handles()), key=len)
        return Ordered.of(
            [
                (order, endpoints_behind([workload], ports, membership.check))
                for order, workload in found.items()
                if membership.admits(workload)
            ]
        )


def _with_members(group: Group, members: Ordered[tuple[Endpoint, ...]]) -> Group:
    return replace(group, members=members, endpoints=tuple(chain.from_iterable(members)))
