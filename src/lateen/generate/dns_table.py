"""Which names an intercepted sidecar knows, and their addresses.

By their full hosts: an entry costs Envoy 1.5 kB, and short forms (`reviews`, `reviews.shop`) would be three more of
each service, so the agent that asks completes them. What a workload may not call, it is not told of either.

An address is the service's own; of a headless one those of its endpoints; else the virtual one. A service that has
none of them (`resolution: NONE`, for instance) is left to the machine's resolvers, and so are CIDRs. Every name has an
address of IPv4, if need be 0.0.0.0, which the agent leaves out: so that one question tells whether a name is known.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from lateen.envoy import names
from lateen.envoy.bootstrap import DNS_TABLE_PORT
from lateen.envoy.dns import dns_listener
from lateen.envoy.listeners import is_ip
from lateen.envoy.resources import LISTENER, make_resource
from lateen.generate.parts import Made
from lateen.generate.view import View
from lateen.model.services import Service

MOST_NAMES = 50_000
"""In one table; of more, those of the workload's own namespace and then the first of the alphabet are told."""
MOST_ADDRESSES = 8
"""Of one name: what Envoy's filter answers with at most."""
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([-a-z0-9_]{0,62})(\.[a-z0-9_][-a-z0-9_]{0,62})*")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class DnsTable:
    """The listener that answers for them."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("listener", names.DNS)

    def make(self, view: View) -> Made:
        """Return the listener, also of an empty table: who asks would wait for it."""
        table = dict(list(_ranked(view).items())[:MOST_NAMES])
        port = view.proxy.port_map.get(DNS_TABLE_PORT, DNS_TABLE_PORT)
        return Made((make_resource(LISTENER, names.DNS, dns_listener(table, port)),))


def _ranked(view: View) -> dict[str, tuple[str, ...]]:
    """Return the addresses by name, the ones most likely to be wanted first; each name is whose it was first."""
    table: dict[str, tuple[str, ...]] = {}
    services = sorted(view.services(), key=lambda service: service.namespace != view.proxy.namespace)
    addresses = {service.host: _addresses(view, service) for service in services}
    hosts = {service.host for service in services}
    for service in services:
        if found := addresses[service.host]:
            if _is_name(service.host):
                table[service.host] = found
            for name, address in _members(view, service):
                if _is_name(name) and name not in hosts:
                    table.setdefault(name, _marked((address,)))
    return table


def _addresses(view: View, service: Service) -> tuple[str, ...]:
    own = tuple(address for address in service.addresses if is_ip(address) and address != names.WILDCARD_ADDRESS)
    if not own and service.headless:
        own = tuple(sorted({address for _, address in _endpoints(view, service)}))
    return _marked(own[:MOST_ADDRESSES] or view.virtual_addresses(service.host))


def _marked(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return them with one of IPv4 among them, if there are any."""
    if all(":" in address for address in addresses):
        return (names.WILDCARD_ADDRESS, *addresses) if addresses else ()
    return addresses


def _endpoints(view: View, service: Service) -> Iterator[tuple[str, str]]:
    """Yield workload and address of each healthy endpoint of a headless service.

    Not those on loopback: a connection there stays with who makes it.
    """
    for port in service.ports:
        for endpoint in view.endpoints(service.host, port.number):
            if is_ip(endpoint.address) and not endpoint.address.startswith("127.") and endpoint.address != "::1":
                yield endpoint.workload, endpoint.address


def _members(view: View, service: Service) -> Iterator[tuple[str, str]]:
    """Yield the names of a headless service's single workloads, as those of a StatefulSet have: `db-0.db.shop...`."""
    if service.headless:
        for workload, address in sorted(set(_endpoints(view, service))):
            if workload:
                yield f"{workload}.{service.host}", address


def _is_name(name: str) -> bool:
    """Whether this can be asked for. `*` alone would answer for everybody."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None
