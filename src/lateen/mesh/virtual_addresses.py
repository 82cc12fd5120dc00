"""Addresses for services that have none: one of IPv4 and one of IPv6 each, so that TCP can tell them apart by name.

The problem: an intercepted connection shows the address that it was dialled for, and no name. A service without an
address of its own is told apart only if its name leads to an address that means nothing else. Nobody has these
addresses, and nothing is ever sent to them: a sidecar takes each connection to one before it leaves.

Two control planes, and one that restarts, must give the same answer without speaking with each other, and an app may
hold an address for as long as it likes. So the address follows from the name alone: a hash of it, and where two names
meet, the one that comes first in the alphabet has it and the other takes the next of its own sequence. A name that
comes or goes moves another only if they meet (once in two hundred times with 5,000 names), which is why the range is
wider than Istio's 240.240.0.0/16, around which it lies. What we chose not to do is to write them down, as Istio does:
that needs a place that all control planes write to.

Sources: RFC 1112, section 4 (240.0.0.0/4 is reserved), RFC 5180 (2001:2::/48 is for benchmarks: not routed either).
Called by `mesh.queries`; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.services import Resolution, Service

IPV4_RANGE = IPv4Network("240.240.0.0/12")
IPV6_RANGE = IPv6Network("2001:2::/48")
VirtualAddresses: TypeAlias = Mapping[Hostname, tuple[str, str]]
"""IPv4 and IPv6 by host."""

_COUNT = IPV4_RANGE.num_addresses
_FIRST4, _FIRST6 = int(IPV4_RANGE.network_address), IPV6_RANGE.network_address
MOST_HOSTS = _COUNT // 2
"""So many get one: beyond, the search for a free one would take long."""
_UNSUITABLE = (Resolution.NONE, Resolution.DYNAMIC_DNS)
"""Connected to where the app itself wanted to: another address than the real one would lead nowhere."""


def wants_virtual_address(service: Service) -> bool:
    """Whether a service needs one: it has no address, is no headless one of Kubernetes, and is called by TCP."""
    if service.addresses or service.headless or service.resolution in _UNSUITABLE or service.host == "*":
        return False
    return any(port.protocol is not Protocol.UDP for port in service.ports)


def allocated(services: Iterable[Service]) -> dict[Hostname, tuple[str, str]]:
    """Return the addresses of all services that need them, in the order of their hosts.

    The same services have the same addresses, whatever the order. No two have one, and none has one that a service
    says is its own.
    """
    services = list(services)
    hosts = sorted(service.host for service in services if wants_virtual_address(service))[:MOST_HOSTS]
    taken = _declared(services)
    found: dict[Hostname, tuple[str, str]] = {}
    for host in hosts:
        digest = blake2b(host.encode(), digest_size=8).digest()
        number, step = (int.from_bytes(half, "big") % _COUNT for half in (digest[:4], digest[4:]))
        # An odd step comes past all of a power of two.
        while number in taken or not 0 < number < _COUNT - 1:
            number = (number + (step | 1)) % _COUNT
        taken.add(number)
        found[host] = str(IPv4Address(_FIRST4 + number)), str(_FIRST6 + number)
    return found


def _declared(services: Iterable[Service]) -> set[int]:
    """Return the numbers of the addresses of our ranges that services say they have."""
    found: set[int] = set()
    for service in services:
        for text in service.addresses:
            if text.startswith(("24", "2001:")) and "/" not in text:
                try:
                    address = ip_address(text)
                except ValueError:
                    continue
                if address in IPV4_RANGE:
                    found.add(int(address) - _FIRST4)
                elif address in IPV6_RANGE and (number := int(address) - int(_FIRST6)) < _COUNT:
                    found.add(number)
    return found
