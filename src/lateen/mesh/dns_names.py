"""Which names are answered beside a sidecar whose app's DNS is intercepted, by which addresses, and which are too many.

An address is the service's own; of a headless one those of its endpoints; else the virtual one. A service that has
none of them (`resolution: NONE`, for instance) is left to the machine's resolvers, and so are CIDRs. Every name has an
address of IPv4, if need be 0.0.0.0, which the agent leaves out: so that one question tells whether a name is known.

`generate.dns_table` makes a listener of them; `analysis` and `app` ask what was left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from lateen.config.validation.fields import is_ip
from lateen.mesh.queries import endpoints_of, services_for, virtual_addresses
from lateen.mesh.state import MeshState
from lateen.model.loopback import is_loopback
from lateen.model.names import Hostname
from lateen.model.proxies import Proxy, ProxyType
from lateen.model.services import Endpoint, Service

MOST_NAMES = 50_000
"""Told to one sidecar; of more, those of the workload's own namespace and then the first of the alphabet."""
MOST_ADDRESSES = 8
"""Of one name: what Envoy's filter answers with at most."""
NONE_OF_IPV4 = "0.0.0.0"
_MOST_GROUPS = 20
"""Of namespaces that see different services; more are not looked at."""
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([-a-z0-9_]{0,62})(\.[a-z0-9_][-a-z0-9_]{0,62})*")
_LONGEST_NAME = 253


class Sight(Protocol):
    """The mesh as one sidecar sees it."""

    def services(self) -> tuple[Service, ...]:
        """Return the services that it may call, by host."""

    def endpoints(self, host: Hostname, port: int) -> tuple[Endpoint, ...]:
        """Return the healthy endpoints of a service port."""

    def virtual_addresses(self, host: Hostname) -> tuple[str, ...]:
        """Return the addresses that a service without any was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Names that the sidecars of some namespaces are not told of."""

    namespaces: tuple[str, ...]
    """Whose sidecars, sorted: they see the same services. What is left out is said for the first."""
    names: int
    """There are so many for it."""
    owners: Mapping[str, int]
    """How many are left out, by the namespace of their service."""

    @property
    def count(self) -> int:
        """How many are left out."""
        return self.names - MOST_NAMES


def told_names(sight: Sight, namespace: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses by name that a sidecar of this namespace is told."""
    return dict(islice(_ranked(sight, namespace).items(), MOST_NAMES))


def left_out(state: MeshState) -> tuple[LeftOut, ...]:
    """Return what is left out, by those who see the same; empty where no namespace sees too much."""
    if len(state.services) + sum(map(len, state.endpoints.values())) <= MOST_NAMES:
        return ()
    groups: dict[int, tuple[tuple[Service, ...], list[str]]] = {}
    seen = {service.namespace for service in state.services.values()} | {one.namespace for one in state.workloads}
    for namespace in sorted(seen):
        # Whoever sees what everybody does is answered with one and the same object.
        services = _Seen(state, namespace).services()
        if id(services) in groups or len(groups) < _MOST_GROUPS:
            groups.setdefault(id(services), (services, []))[1].append(namespace)
    found = (_left_out(state, tuple(namespaces)) for _, namespaces in groups.values())
    return tuple(one for one in found if one.count > 0)


def _left_out(state: MeshState, namespaces: tuple[str, ...]) -> LeftOut:
    ranked = _ranked(_Seen(state, namespaces[0]), namespaces[0])
    owners = Counter(_owner(state, name) for name in islice(ranked, MOST_NAMES, None))
    return LeftOut(namespaces=namespaces, names=len(ranked), owners=dict(sorted(owners.items())))


def _owner(state: MeshState, name: str) -> str:
    """Return the namespace of a name's service; of a single workload's name it is the rest that is the service's."""
    service = state.services.get(Hostname(name)) or state.services.get(Hostname(name.partition(".")[2]))
    return service.namespace if service else ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """As a sidecar sees it that only its namespace is known of."""

    state: MeshState
    namespace: str

    def services(self) -> tuple[Service, ...]:
        proxy = Proxy(type=ProxyType.SIDECAR, name="", namespace=self.namespace, answers_dns=True)
        return services_for(self.state, proxy)

    def endpoints(self, host: Hostname, port: int) -> tuple[Endpoint, ...]:
        return endpoints_of(self.state, host, port)

    def virtual_addresses(self, host: Hostname) -> tuple[str, ...]:
        return virtual_addresses(self.state).get(host, ())


def _ranked(sight: Sight, namespace: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses by name, the ones most likely to be wanted first; each name is whose it was first."""
    table: dict[str, tuple[str, ...]] = {}
    services = sorted(sight.services(), key=lambda service: service.namespace != namespace)
    addresses = {service.host: _addresses(sight, service) for service in services}
    hosts = {service.host for service in services}
    for service in services:
        if found := addresses[service.host]:
            if _is_name(service.host):
                table[service.host] = found
            for name, address in _members(sight, service):
                if _is_name(name) and name not in hosts:
                    table.setdefault(name, _marked((address,)))
    return table


def _addresses(sight: Sight, service: Service) -> tuple[str, ...]:
    own = tuple(address for address in service.addresses if is_ip(address) and address != NONE_OF_IPV4)
    if not own and service.headless:
        own = tuple(sorted({address for _, address in _endpoints(sight, service)}))
    return _marked(own[:MOST_ADDRESSES] or sight.virtual_addresses(service.host))


def _marked(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return them with one of IPv4 among them, if there are any."""
    if all(":" in address for address in addresses):
        return (NONE_OF_IPV4, *addresses) if addresses else ()
    return addresses


def _endpoints(sight: Sight, service: Service) -> Iterator[tuple[str, str]]:
    """Yield workload and address of each healthy endpoint of a headless service.

    Not those on loopback: a connection there stays with who makes it.
    """
    for port in service.ports:
        for endpoint in sight.endpoints(service.host, port.number):
            if is_ip(endpoint.address) and not is_loopback(endpoint.address):
                yield endpoint.workload, endpoint.address


def _members(sight: Sight, service: Service) -> Iterator[tuple[str, str]]:
    """Yield the names of a headless service's single workloads, as those of a StatefulSet have: `db-0.db.shop...`."""
    if service.headless:
        for workload, address in sorted(set(_endpoints(sight, service))):
            if workload:
                yield f"{workload}.{service.host}", address


def _is_name(name: str) -> bool:
    """Whether this can be asked for. `*` alone would answer for everybody."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None
