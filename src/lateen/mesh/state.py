"""MeshState: one immutable view of configuration, services and endpoints, with the indexes generation needs.

Made by `mesh.build`, read by `mesh.queries` and `generate`. Nobody changes one: a change makes a new state.
The indexes are derived from the other fields when a state is made; only `mesh.queries` reads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from lateen.config.kubernetes import Secret
from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import DestinationRule, Gateway, Sidecar, VirtualService
from lateen.config.objects import ConfigObject
from lateen.mesh.hosts import HostTable
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration

MESH_GATEWAY = "mesh"
"""The reserved gateway name that means every sidecar (VirtualService reference, "gateways")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundVirtualService:
    """A VirtualService with its names resolved."""

    object: ConfigObject[VirtualService]
    hosts: tuple[Hostname, ...]
    """Full names."""
    gateways: frozenset[str]
    """`mesh`, or `namespace/name` of Gateways."""
    export_to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundDestinationRule:
    """A DestinationRule with its host resolved."""

    object: ConfigObject[DestinationRule]
    host: Hostname
    """Full name, or a wildcard."""
    export_to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshIndex:
    """Lookups derived from a state."""

    virtual_services: Mapping[str, tuple[BoundVirtualService, ...]]
    """By gateway, oldest first."""
    virtual_service_hosts: Mapping[str, HostTable[tuple[BoundVirtualService, ...]]]
    """By gateway, then by host, oldest first."""
    destination_rules: HostTable[tuple[BoundDestinationRule, ...]]
    addresses: Mapping[str, tuple[tuple[tuple[Hostname, ...], Endpoint], ...]]
    """By endpoint address: the endpoint and the hosts that it serves."""
    selected: Mapping[tuple[str, str, str], tuple[Hostname, ...]]
    """By namespace and one pair of their selector: services that a workload with that label may belong to. Those
    with an empty selector are under two empty strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """The whole mesh at one moment."""

    version: str
    """Content hash: equal versions mean equal states (but for the places where their objects stand)."""
    mesh_config: MeshConfig
    services: Mapping[Hostname, Service]
    """By full host, in sorted order; ServiceEntries, Kubernetes Services and registries merged."""
    endpoints: Mapping[Hostname, tuple[Endpoint, ...]]
    """By service host; unhealthy ones included (see Endpoint.healthy). A host without endpoints is absent."""
    virtual_services: tuple[BoundVirtualService, ...]
    """Oldest first (creation time, then name, then namespace): Istio's merge order. Delegates are already
    merged in."""
    destination_rules: Mapping[Hostname, tuple[BoundDestinationRule, ...]]
    """By host, oldest first."""
    gateways: tuple[ConfigObject[Gateway], ...]
    """Oldest first."""
    sidecars: tuple[ConfigObject[Sidecar], ...]
    """Oldest first."""
    secrets: Mapping[tuple[str, str], ConfigObject[Secret]]
    """By (namespace, name)."""
    workloads: tuple[WorkloadRegistration, ...]
    """By namespace and name."""
    selectors: Mapping[Hostname, Mapping[str, str]] = field(default_factory=dict)
    """Workload selectors of services that have one, by host; they select in the service's namespace."""
    index: MeshIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", _index(self))


def _index(state: MeshState) -> MeshIndex:
    by_gateway: defaultdict[str, list[BoundVirtualService]] = defaultdict(list)
    for bound in state.virtual_services:
        for gateway in bound.gateways:
            by_gateway[gateway].append(bound)
    return MeshIndex(
        virtual_services={gateway: tuple(bounds) for gateway, bounds in by_gateway.items()},
        virtual_service_hosts={gateway: _by_host(bounds) for gateway, bounds in by_gateway.items()},
        destination_rules=HostTable.of(state.destination_rules),
        addresses=_by_address(state.endpoints),
        selected=_by_selector(state),
    )


def _by_host(bounds: list[BoundVirtualService]) -> HostTable[tuple[BoundVirtualService, ...]]:
    by_host: defaultdict[Hostname, list[BoundVirtualService]] = defaultdict(list)
    for bound in bounds:
        for host in dict.fromkeys(bound.hosts):
            by_host[host].append(bound)
    return HostTable.of({host: tuple(found) for host, found in by_host.items()})


def _by_address(
    endpoints: Mapping[Hostname, tuple[Endpoint, ...]],
) -> dict[str, tuple[tuple[tuple[Hostname, ...], Endpoint], ...]]:
    """Index endpoints by address. Services that select the same workloads share one tuple: walk each once."""
    shared: dict[int, tuple[tuple[Endpoint, ...], list[Hostname]]] = {}
    for host, group in endpoints.items():
        shared.setdefault(id(group), (group, []))[1].append(host)
    by_address: defaultdict[str, list[tuple[tuple[Hostname, ...], Endpoint]]] = defaultdict(list)
    for group, names in shared.values():
        hosts = tuple(names)
        for endpoint in group:
            by_address[endpoint.address].append((hosts, endpoint))
    return {address: tuple(found) for address, found in by_address.items()}


def _by_selector(state: MeshState) -> dict[tuple[str, str, str], tuple[Hostname, ...]]:
    by_pair: defaultdict[tuple[str, str, str], list[Hostname]] = defaultdict(list)
    for host, selector in state.selectors.items():
        pair = min(selector.items(), default=("", ""))
        by_pair[state.services[host].namespace, *pair].append(host)
    return {pair: tuple(hosts) for pair, hosts in by_pair.items()}
