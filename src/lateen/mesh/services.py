"""Services and their endpoints: gather the claims of all sources by host, and settle each host.

Called by `mesh.build`. Claims of one host: the first by rank and age owns its ports, addresses and policies.
Endpoints of the others join when they are inside the mesh and serve one of the owner's ports. Where not everybody sees
all of them, there are several services (`doubles`).

Everything is a function of one source (its claims) or of one host (what its claims settle to), so after a change only
the sources that changed are asked again, and only their hosts are settled again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from lateen.config.kubernetes import EndpointSlice
from lateen.config.objects import ConfigObject
from lateen.mesh.claims import (
    SERVICE_NAME_LABEL,
    Claim,
    Rank,
    catalogue_claims,
    declared_ports,
    entry_claims,
    implied_claim,
    kubernetes_claim,
)
from lateen.mesh.doubles import Double, groups_of, seen_in
from lateen.mesh.elections import Place, Turn, TurnsByKind, age, workload_name
from lateen.mesh.memberships import Group, Membership, Memberships, Use, uses_of
from lateen.mesh.sharing import Order, Ordered, kept, patched, turnover
from lateen.mesh.workloads import Workload, from_entry, from_registration
from lateen.model.catalogues import Catalogue
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service, ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

ValueT = TypeVar("ValueT")
SERVICE, SERVICE_ENTRY, ENDPOINTS, ENDPOINT_SLICE = "Service", "ServiceEntry", "Endpoints", "EndpointSlice"
WORKLOAD_ENTRY = "WorkloadEntry"
CATALOGUE, IMPLIED = "catalogue", "implied"
ServiceName = tuple[str, str]
"""Namespace and name."""
Source = tuple[str, str, str]
"""Who claims: the place of a Service or ServiceEntry, or one of the two words with namespace and name."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What counts now."""

    objects: Mapping[Place, ConfigObject[Any]]
    catalogues: Mapping[str, Catalogue]
    export_to: tuple[str, ...]
    """Of services that do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What counts differently than before."""

    objects: TurnsByKind
    registrations: Mapping[tuple[str, str], Turn[WorkloadRegistration]]
    catalogues: frozenset[str]
    defaults_changed: bool
    """Whether the MeshConfig's defaults for objects that do not say are different."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of all sources."""

    by_source: Mapping[Source, tuple[Claim, ...]] = field(default_factory=dict)
    by_host: Mapping[Hostname, tuple[Claim, ...]] = field(default_factory=dict)
    """The owner first."""
    slices: Mapping[ServiceName, Ordered[ConfigObject[EndpointSlice]]] = field(default_factory=dict)
    """By their Service."""
    declared: Mapping[ServiceName, Ordered[tuple[WorkloadPort, ...]]] = field(default_factory=dict)
    """By service: the ports of each registered workload that names it, as far as the service has them too. What is
    declared again and again is one object."""

    def updated(self, inputs: Inputs, turns: Turns) -> tuple[Claims, Collection[Hostname]]:
        """Return the claims after a change, and the hosts whose claims are different.

        Sources that nothing happened to keep theirs. The others are asked in the order of their objects, because
        objects that are neighbours in memory are read several times as fast.
        """
        sources: list[Source] = [*turns.objects.get(SERVICE, {}), *turns.objects.get(SERVICE_ENTRY, {})]
        sources += [(SERVICE, namespace, name) for _, namespace, name in turns.objects.get(ENDPOINTS, {})]
        sources += [(CATALOGUE, "", name) for name in turns.catalogues]
        if turns.defaults_changed:
            sources += self.by_source
        slices = _patched_groups(self.slices, _moved_slices(turns.objects.get(ENDPOINT_SLICE, {}).values()))
        sources += [(SERVICE, *service) for service in slices]
        declared = _patched_groups(self.declared, _moved_ports(self.declared, turns.registrations.values()))
        sources += [(IMPLIED, *service) for service in declared]
        gathered = replace(self, slices=patched(self.slices, slices), declared=patched(self.declared, declared))
        return _asked_again(gathered, dict.fromkeys(sources), inputs)


def _asked_again(claims: Claims, sources: Iterable[Source], inputs: Inputs) -> tuple[Claims, Collection[Hostname]]:
    by_source: dict[Source, tuple[Claim, ...] | None] = {}
    gone: defaultdict[Hostname, list[Claim]] = defaultdict(list)
    come: defaultdict[Hostname, list[Claim]] = defaultdict(list)
    for source in sources:
        before = claims.by_source.get(source, ())
        after = tuple(_claims_of(claims, source, inputs))
        if before:
            known = {claim.service.host: claim for claim in before}
            after = tuple(kept(known.get(claim.service.host), claim) for claim in after)
        by_source[source] = after or None
        for moved, claimed in zip(turnover(before, after), (gone, come), strict=True):
            for claim in moved:
                claimed[claim.service.host].append(claim)
    by_host: dict[Hostname, tuple[Claim, ...] | None] = {}
    for host in dict.fromkeys((*come, *gone)):
        left = gone.get(host, ())
        now = [claim for claim in claims.by_host.get(host, ()) if not any(claim is one for one in left)]
        now += come.get(host, ())
        if len(now) > 1:
            now.sort(key=lambda claim: (claim.rank, claim.order))
        by_host[host] = tuple(now) or None
    new = replace(claims, by_source=patched(claims.by_source, by_source), by_host=patched(claims.by_host, by_host))
    return new, by_host.keys()


def _claims_of(claims: Claims, source: Source, inputs: Inputs) -> Iterable[Claim]:
    """Return the claims of one source."""
    word, namespace, name = source
    if word == CATALOGUE:
        return catalogue_claims(inputs.catalogues[name]) if name in inputs.catalogues else ()
    if word == IMPLIED:
        ports = claims.declared.get((namespace, name))
        distinct = {id(found): found for found in ports or ()}
        return [implied_claim(namespace, name, distinct.values(), inputs.export_to)] if ports else ()
    item = inputs.objects.get(source)
    if item is None:
        return ()
    if word == SERVICE_ENTRY:
        return entry_claims(item, inputs.export_to)
    slices = claims.slices.get((namespace, name))
    endpoints = inputs.objects.get((ENDPOINTS, namespace, name))
    return [kubernetes_claim(item, slices.values if slices else (), endpoints, inputs.export_to)]


def _moved_slices(
    turns: Iterable[Turn[ConfigObject[Any]]],
) -> Mapping[ServiceName, dict[Order, ConfigObject[EndpointSlice] | None]]:
    """Return by Service where old slices are taken away and new ones are put."""
    moved: defaultdict[ServiceName, dict[Order, ConfigObject[EndpointSlice] | None]] = defaultdict(dict)
    for before, after in turns:
        for item, value in ((before, None), (after, after)):
            if item is not None:
                moved[item.key.namespace, item.labels.get(SERVICE_NAME_LABEL, "")][age(item)] = value
    return moved


def _moved_ports(
    known: Mapping[ServiceName, Ordered[tuple[WorkloadPort, ...]]], turns: Iterable[Turn[WorkloadRegistration]]
) -> Mapping[ServiceName, dict[Order, tuple[WorkloadPort, ...] | None]]:
    """Return by service where the declared ports of workloads are taken away, and where they are put."""
    moved: defaultdict[ServiceName, dict[Order, tuple[WorkloadPort, ...] | None]] = defaultdict(dict)
    samples: dict[ServiceName, tuple[WorkloadPort, ...]] = {}
    for before, after in turns:
        if before is not None and before.service:
            moved[before.namespace, before.service][workload_name(before)] = None
        if after is not None and after.service:
            service, name = (after.namespace, after.service), workload_name(after)
            group, ports = known.get(service, Ordered()), declared_ports(after)
            sample = samples.setdefault(service, next(iter(group), ports))
            moved[service][name] = kept(group.get(name), kept(sample, ports))
    return moved


def _patched_groups(
    old: Mapping[ServiceName, Ordered[ValueT]], changes: Mapping[ServiceName, Mapping[Order, ValueT | None]]
) -> dict[ServiceName, Ordered[ValueT] | None]:
    """Return the groups that are different after changes; None for one that is empty."""
    new = {key: old.get(key, Ordered()).patched(found) for key, found in changes.items()}
    return {key: group or None for key, group in new.items() if group is not old.get(key)}


# --- settling ------------------------------------------------------------------------------------------------


class Settled(NamedTuple):
    """What the claims of one host come to; nothing without claims."""

    service: Service | None = None
    endpoints: tuple[Endpoint, ...] = ()
    selecting: tuple[str, Mapping[str, str]] | None = None
    """Namespace and selector."""


def workload_turns(turns: Turns) -> dict[Order, tuple[Workload | None, Workload | None]]:
    """Return the workloads that came, went or changed. Registered ones come before those of WorkloadEntries."""
    found: dict[Order, tuple[Workload | None, Workload | None]] = {}
    for name, (before, after) in turns.registrations.items():
        found["", *name] = (
            from_registration(before) if before is not None else None,
            from_registration(after) if after is not None else None,
        )
    for turn in turns.objects.get(WORKLOAD_ENTRY, {}).values():
        for item, side in ((turn[0], 0), (turn[1], 1)):
            if item is not None:
                order = ("entry", *age(item))
                both = list(found.get(order, (None, None)))
                both[side] = from_entry(item.spec, item.key.namespace, item.key.name, item.labels, item.annotations)
                found[order] = (both[0], both[1])
    return found


def regrouped(memberships: Memberships, old: Claims, new: Claims, hosts: Iterable[Hostname]) -> Memberships:
    """Return the memberships after the claims of these hosts changed."""
    leaving: defaultdict[Membership, set[Hostname]] = defaultdict(set)
    joining: dict[Membership, tuple[tuple[ServicePort, ...], set[Hostname]]] = {}
    for host in hosts:
        uses, uses_now = _all_uses(old.by_host.get(host, ())), _all_uses(new.by_host.get(host, ()))
        if not uses and not uses_now:
            continue
        before = {use.membership for use in uses}
        after = {use.membership: use.ports for use in uses_now}
        for membership in before - after.keys():
            leaving[membership].add(host)
        for membership in after.keys() - before:
            joining.setdefault(membership, (after[membership], set()))[1].add(host)
    return memberships.with_users(leaving, joining) if leaving or joining else memberships


def _all_uses(claims: tuple[Claim, ...]) -> list[Use]:
    return [use for group in groups_of(claims) for use in uses_of(group)] if claims else []


def settle_all(
    claims: tuple[Claim, ...], groups: Mapping[Membership, Group]
) -> tuple[Settled, tuple[Double, ...] | None]:
    """Return what a state has for one host (of at least one claim), and what some namespaces see instead."""
    first, *others = alike = groups_of(claims)
    if not others:
        return _settle(first, groups), None
    doubles = []
    for group, namespaces in zip(others, seen_in(alike)[1:], strict=True):
        settled = _settle(group, groups)
        assert settled.service is not None
        selector = settled.selecting[1] if settled.selecting is not None else None
        doubles.append(Double(settled.service, settled.endpoints, selector, namespaces))
    return _settle(first, groups), tuple(doubles)


def _settle(claims: tuple[Claim, ...], groups: Mapping[Membership, Group]) -> Settled:
    """Return the service of some of a host's claims, its endpoints and its selector."""
    members = {id(use.claim): groups[use.membership].endpoints for use in uses_of(claims)}
    owner = claims[0]
    selecting = None if owner.selector is None else (owner.service.namespace, owner.selector)
    return Settled(owner.service, _join(claims, members), selecting)


def _join(claims: tuple[Claim, ...], members: Mapping[int, tuple[Endpoint, ...]]) -> tuple[Endpoint, ...]:
    """Return the endpoints of one host: of the workloads that name it, of its owner, and of the other claims."""
    owner = claims[0].service
    groups = [members[id(claim)] for claim in claims if claim.rank is Rank.IMPLIED]
    for claim in claims:
        if claim.rank is Rank.IMPLIED or (claim.service is not owner and claim.service.external):
            continue
        groups += [claim.endpoints, members.get(id(claim), ())]
    groups = [group for group in groups if group]
    if len(groups) == 1 and len(claims) == 1:
        return groups[0]  # shared between services: not copied
    numbers = {port.number for port in owner.ports}
    unique: dict[tuple[int, str, int], Endpoint] = {}
    for group in groups:
        for endpoint in group:
            if endpoint.service_port in numbers:
                unique.setdefault((endpoint.service_port, endpoint.address, endpoint.port), endpoint)
    return tuple(unique.values())
