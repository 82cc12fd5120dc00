"""Services and their endpoints: gather the claims of all sources by host, and settle each host.

Called by `mesh.build`. Claims of one host: the first by rank and age owns its ports, addresses and policies.
Endpoints of the others join when they are inside the mesh and serve one of the owner's ports.

Everything is a function of one source (its claims) or of one host (what its claims settle to), so after a change only
the sources that changed are asked again, and only their hosts are settled again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lateen.config.kubernetes import EndpointSlice
from lateen.config.objects import ConfigObject
from lateen.mesh.claims import (
    SERVICE_NAME_LABEL,
    Claim,
    Rank,
    catalogue_claims,
    entry_claims,
    implied_claim,
    kubernetes_claim,
)
from lateen.mesh.elections import Place, Turn, TurnsByKind, age
from lateen.mesh.memberships import Group, Membership, Memberships, uses_of
from lateen.mesh.sharing import Order, Ordered, kept, patched
from lateen.mesh.workloads import Workload, from_entry, from_registration
from lateen.model.catalogues import Catalogue
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service, ServicePort
from lateen.model.workloads import WorkloadRegistration

SERVICE, SERVICE_ENTRY, ENDPOINTS, ENDPOINT_SLICE = "Service", "ServiceEntry", "Endpoints", "EndpointSlice"
WORKLOAD_ENTRY = "WorkloadEntry"
CATALOGUE, IMPLIED = "catalogue", "implied"
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
    slices: Mapping[tuple[str, str], Ordered[ConfigObject[EndpointSlice]]] = field(default_factory=dict)
    """By namespace and name of their Service."""
    registrations: Mapping[tuple[str, str], Ordered[WorkloadRegistration]] = field(default_factory=dict)
    """By namespace and name of the service that they name."""

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
        slices: defaultdict[tuple[str, str], dict[Order, Any]] = defaultdict(dict)
        for turn in turns.objects.get(ENDPOINT_SLICE, {}).values():
            for order, service, item in _places_of_slice(turn):
                slices[service][order] = item
        sources += [(SERVICE, *service) for service in slices]
        named: defaultdict[tuple[str, str], dict[Order, Any]] = defaultdict(dict)
        for registration_turn in turns.registrations.values():
            for name, service, registration in _places_of_registration(registration_turn):
                named[service][name] = registration
        sources += [(IMPLIED, *service) for service in named]
        gathered = replace(self, slices=_filed(self.slices, slices), registrations=_filed(self.registrations, named))
        return _asked_again(gathered, dict.fromkeys(sources), inputs)


def _asked_again(claims: Claims, sources: Iterable[Source], inputs: Inputs) -> tuple[Claims, Collection[Hostname]]:
    by_source: dict[Source, tuple[Claim, ...] | None] = {}
    gone: defaultdict[Hostname, list[Claim]] = defaultdict(list)
    come: defaultdict[Hostname, list[Claim]] = defaultdict(list)
    for source in sources:
        before = {claim.service.host: claim for claim in claims.by_source.get(source, ())}
        after = [kept(before.get(claim.service.host), claim) for claim in _claims_of(claims, source, inputs)]
        by_source[source] = tuple(after) or None
        for claim in after:
            if before.get(claim.service.host) is not claim:
                come[claim.service.host].append(claim)
        for claim in before.values():
            if not any(claim is one for one in after):
                gone[claim.service.host].append(claim)
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
        found = claims.registrations.get((namespace, name))
        return [implied_claim(namespace, name, found, inputs.export_to)] if found else ()
    item = inputs.objects.get(source)
    if item is None:
        return ()
    if word == SERVICE_ENTRY:
        return entry_claims(item, inputs.export_to)
    slices = claims.slices.get((namespace, name))
    endpoints = inputs.objects.get((ENDPOINTS, namespace, name))
    return [kubernetes_claim(item, slices.values if slices else (), endpoints, inputs.export_to)]


def _places_of_slice(
    turn: Turn[ConfigObject[Any]],
) -> list[tuple[Order, tuple[str, str], ConfigObject[EndpointSlice] | None]]:
    """Return where the old slice is taken away and the new one is put."""
    before, after = turn
    return [
        (age(item), (item.key.namespace, item.labels.get(SERVICE_NAME_LABEL, "")), value)
        for item, value in ((before, None), (after, after))
        if item is not None
    ]


def _places_of_registration(
    turn: Turn[WorkloadRegistration],
) -> list[tuple[Order, tuple[str, str], WorkloadRegistration | None]]:
    before, after = turn
    return [
        ((item.namespace, item.name), (item.namespace, item.service), value)
        for item, value in ((before, None), (after, after))
        if item is not None and item.service
    ]


def _filed(
    old: Mapping[tuple[str, str], Ordered[Any]], changes: Mapping[tuple[str, str], Mapping[Order, Any]]
) -> Mapping[tuple[str, str], Ordered[Any]]:
    new = {key: old.get(key, Ordered()).patched(found) for key, found in changes.items()}
    return patched(old, {key: group or None for key, group in new.items()})


# --- settling ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settled:
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
                both[side] = from_entry(item.spec, item.key.namespace, item.key.name, item.labels)
                found[order] = (both[0], both[1])
    return found


def regrouped(memberships: Memberships, old: Claims, new: Claims, hosts: Iterable[Hostname]) -> Memberships:
    """Return the memberships after the claims of these hosts changed."""
    leaving: defaultdict[Membership, set[Hostname]] = defaultdict(set)
    joining: dict[Membership, tuple[tuple[ServicePort, ...], set[Hostname]]] = {}
    for host in hosts:
        before = {use.membership for use in uses_of(old.by_host.get(host, ()))}
        after = {use.membership: use.ports for use in uses_of(new.by_host.get(host, ()))}
        for membership in before - after.keys():
            leaving[membership].add(host)
        for membership in after.keys() - before:
            joining.setdefault(membership, (after[membership], set()))[1].add(host)
    return memberships.with_users(leaving, joining) if leaving or joining else memberships


def settle(claims: tuple[Claim, ...], groups: Mapping[Membership, Group]) -> Settled:
    """Return the service of one host (of at least one claim), its endpoints and its selector."""
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
