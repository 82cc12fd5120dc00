"""Build a MeshState from configuration objects, registries' catalogues and the mesh-wide settings.

Called by `app` after every change and by the offline commands. Pure and deterministic: the order of its inputs
does not matter, equal inputs give equal versions. It reports nothing: `analysis` finds what is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import msgspec

from lateen.config.kubernetes import Endpoints, EndpointSlice, Secret, ServiceSpec
from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry
from lateen.config.objects import ConfigObject
from lateen.mesh.claims import (
    Claim,
    catalogue_claims,
    entry_claims,
    implied_claims,
    kubernetes_claims,
    named_workloads,
)
from lateen.mesh.delegates import with_delegates
from lateen.mesh.references import resolve_gateway
from lateen.mesh.sharing import kept
from lateen.mesh.state import MESH_GATEWAY, BoundDestinationRule, BoundVirtualService, MeshState
from lateen.mesh.workloads import Workload, WorkloadIndex, endpoints_behind, from_entry, from_registration
from lateen.model.catalogues import Catalogue
from lateen.model.names import Hostname, ObjectKey, resolve_host
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration

SpecT = TypeVar("SpecT")


def build_state(
    objects: Iterable[ConfigObject[Any]],
    catalogues: Iterable[Catalogue],
    mesh_config: MeshConfig,
    previous: MeshState | None = None,
) -> MeshState:
    """Return the state of a mesh. `previous` changes nothing about it, but every part that did not change since is
    the same object as there.

    Of objects with one key the oldest counts; of catalogues with one name, and of registrations with one
    namespace and name, the first in canonical order.
    """
    chosen = _Chosen(objects)
    books = _sorted_catalogues(catalogues)
    registrations = _sorted_registrations(books)
    services, endpoints, selectors = _settle(chosen, books, registrations, mesh_config)
    rules = [
        _bind_virtual_service(item, mesh_config)
        for item in with_delegates(chosen.of(VirtualService), mesh_config.default_virtual_service_export_to)
    ]
    state = MeshState(
        version=_version(chosen.all, books, registrations, mesh_config),
        mesh_config=mesh_config,
        services=services,
        endpoints=endpoints,
        selectors=selectors,
        virtual_services=tuple(rules),
        destination_rules=_bind_destination_rules(chosen.of(DestinationRule), mesh_config),
        gateways=tuple(chosen.of(Gateway)),
        sidecars=tuple(chosen.of(Sidecar)),
        secrets={(item.key.namespace, item.key.name): item for item in chosen.of(Secret)},
        workloads=registrations,
    )
    return state if previous is None else _shared(state, previous)


def _shared(state: MeshState, previous: MeshState) -> MeshState:
    def mapping(old: Any, new: Any) -> Any:
        if old == new:
            return old
        return {key: kept(old.get(key), value) for key, value in new.items()}

    def sequence(old: Any, new: Any) -> Any:
        if old == new:
            return old
        known = {hash_of(item): item for item in old}
        return tuple(kept(known.get(hash_of(item)), item) for item in new)

    def hash_of(item: Any) -> Any:
        if isinstance(item, BoundVirtualService):
            return item.object.key
        return item.key if isinstance(item, ConfigObject) else (item.namespace, item.name)

    rules = state.destination_rules
    return replace(
        state,
        mesh_config=kept(previous.mesh_config, state.mesh_config),
        services=mapping(previous.services, state.services),
        endpoints=mapping(previous.endpoints, state.endpoints),
        selectors=mapping(previous.selectors, state.selectors),
        virtual_services=sequence(previous.virtual_services, state.virtual_services),
        destination_rules=mapping(previous.destination_rules, rules),
        gateways=sequence(previous.gateways, state.gateways),
        sidecars=sequence(previous.sidecars, state.sidecars),
        secrets=mapping(previous.secrets, state.secrets),
        workloads=sequence(previous.workloads, state.workloads),
    )


# --- canonical order -----------------------------------------------------------------------------------------


class _Chosen:
    """The objects that count, in Istio's order: oldest first, then by name, then by namespace."""

    def __init__(self, objects: Iterable[ConfigObject[Any]]) -> None:
        by_key: dict[ObjectKey, ConfigObject[Any]] = {}
        for item in sorted(objects, key=_age):
            by_key.setdefault(item.key, item)
        self.all = tuple(by_key.values())
        self._by_spec: defaultdict[type, list[ConfigObject[Any]]] = defaultdict(list)
        for item in self.all:
            self._by_spec[type(item.spec)].append(item)

    def of(self, spec: type[SpecT]) -> list[ConfigObject[SpecT]]:
        """Return the objects with this kind of spec."""
        return self._by_spec[spec]


def _age(item: ConfigObject[Any]) -> tuple[str, ...]:
    return (item.created, item.key.name, item.key.namespace, item.key.kind, item.digest, str(item.origin))


def _sorted_catalogues(catalogues: Iterable[Catalogue]) -> tuple[Catalogue, ...]:
    by_name: dict[str, Catalogue] = {}
    for catalogue in sorted(catalogues, key=lambda item: (item.name, _canonical(_catalogue_content(item)))):
        by_name.setdefault(catalogue.name, catalogue)
    return tuple(by_name.values())


def _sorted_registrations(catalogues: Iterable[Catalogue]) -> tuple[WorkloadRegistration, ...]:
    found = [registration for catalogue in catalogues for registration in catalogue.workloads]
    found.sort(key=lambda item: (item.namespace, item.name, item.address, _canonical(item.to_json())))
    by_name: dict[tuple[str, str], WorkloadRegistration] = {}
    for registration in found:
        by_name.setdefault((registration.namespace, registration.name), registration)
    return tuple(by_name.values())


# --- version -------------------------------------------------------------------------------------------------


def _version(
    objects: Iterable[ConfigObject[Any]],
    catalogues: Iterable[Catalogue],
    registrations: Iterable[WorkloadRegistration],
    mesh_config: MeshConfig,
) -> str:
    """Hash everything that a state is made of. Places of objects are left out: moving a document changes nothing.

    Metadata that decides behaviour (labels, annotations, age) is part of an object's digest.
    """
    digest = hashlib.sha256(msgspec.json.encode(mesh_config, order="sorted"))
    for line in sorted(f"{item.key}\0{item.digest}\0{item.created}" for item in objects):
        digest.update(line.encode() + b"\n")
    for catalogue in catalogues:
        digest.update(_canonical(_catalogue_content(catalogue)))
    for registration in registrations:
        digest.update(_canonical(registration.to_json()))
    return digest.hexdigest()[:32]


def _catalogue_content(catalogue: Catalogue) -> list[Any]:
    services = sorted((asdict(service) for service in catalogue.services), key=_canonical)
    endpoints = {
        host: sorted((asdict(endpoint) for endpoint in found), key=_canonical)
        for host, found in catalogue.endpoints.items()
    }
    return [catalogue.name, services, endpoints]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=lambda item: getattr(item, "value", repr(item))).encode()


# --- services and endpoints ----------------------------------------------------------------------------------


def _settle(
    chosen: _Chosen,
    catalogues: Sequence[Catalogue],
    registrations: Sequence[WorkloadRegistration],
    mesh_config: MeshConfig,
) -> tuple[dict[Hostname, Service], dict[Hostname, tuple[Endpoint, ...]], dict[Hostname, Mapping[str, str]]]:
    """Return services, endpoints and selectors by host, in sorted order.

    Claims of one host: the first by rank and age owns its ports, addresses and policies. Endpoints of the
    others join when they are inside the mesh and serve one of the owner's ports.
    """
    export_to = tuple(mesh_config.default_service_export_to) or ("*",)
    registered = [from_registration(registration) for registration in registrations]
    named = named_workloads(registrations, registered)
    index = WorkloadIndex(
        [
            *registered,
            *(
                from_entry(item.spec, item.key.namespace, item.key.name, item.labels)
                for item in chosen.of(WorkloadEntry)
            ),
        ]
    )
    claims: defaultdict[Hostname, list[Claim]] = defaultdict(list)
    kubernetes = kubernetes_claims(chosen.of(ServiceSpec), chosen.of(EndpointSlice), chosen.of(Endpoints), export_to)
    for found in (
        kubernetes,
        entry_claims(chosen.of(ServiceEntry), export_to),
        catalogue_claims(catalogues),
        implied_claims(registrations, export_to),
    ):
        for claim in found:
            claims[claim.service.host].append(claim)
    services: dict[Hostname, Service] = {}
    endpoints: dict[Hostname, tuple[Endpoint, ...]] = {}
    selectors: dict[Hostname, Mapping[str, str]] = {}
    for host in sorted(claims):
        owner = claims[host][0]
        services[host] = owner.service
        if owner.selector is not None:
            selectors[host] = owner.selector
        if joined := _join(claims[host], named.get(host, ()), index):
            endpoints[host] = joined
    return services, endpoints, selectors


def _join(claims: Sequence[Claim], named: Sequence[Workload], index: WorkloadIndex) -> tuple[Endpoint, ...]:
    """Return the endpoints of one host: those of its named workloads, of its owner, and of the other claims."""
    owner = claims[0].service
    groups = [endpoints_behind(named, owner.ports)] if named else []
    for claim in claims:
        service = claim.service
        if service is not owner and service.external:
            continue
        groups.append(claim.endpoints)
        if claim.selector is not None:
            groups.append(index.endpoints(service.namespace, claim.selector, service.ports, only_ips=claim.only_ips))
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


# --- rules ---------------------------------------------------------------------------------------------------


def _bind_virtual_service(item: ConfigObject[VirtualService], mesh_config: MeshConfig) -> BoundVirtualService:
    namespace = item.key.namespace
    return BoundVirtualService(
        object=item,
        hosts=tuple(resolve_host(host, namespace) for host in item.spec.hosts),
        gateways=frozenset(resolve_gateway(name, namespace) for name in item.spec.gateways or [MESH_GATEWAY]),
        export_to=tuple(item.spec.export_to or mesh_config.default_virtual_service_export_to) or ("*",),
    )


def _bind_destination_rules(
    items: Iterable[ConfigObject[DestinationRule]], mesh_config: MeshConfig
) -> dict[Hostname, tuple[BoundDestinationRule, ...]]:
    """Return rules by host. One with a workload selector is private to its namespace (Istio)."""
    by_host: defaultdict[Hostname, list[BoundDestinationRule]] = defaultdict(list)
    for item in items:
        host = resolve_host(item.spec.host, item.key.namespace)
        exported = tuple(item.spec.export_to or mesh_config.default_destination_rule_export_to) or ("*",)
        private = item.spec.workload_selector is not None
        bound = BoundDestinationRule(object=item, host=host, export_to=(".",) if private else exported)
        by_host[host].append(bound)
    return {host: tuple(by_host[host]) for host in sorted(by_host)}
