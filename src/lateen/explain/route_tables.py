"""Route configurations of which little is read: a proxy may have thousands of virtual hosts, and a request takes one.

Made by `served`, read by `virtual_hosts` and `near_misses`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lateen.envoy.messages import Fields, message_class, to_json
from lateen.envoy.resources import ROUTE, VIRTUAL_HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """A route configuration."""

    fields: Fields
    """All of it but the virtual hosts, in protobuf's JSON form."""
    domains: Sequence[tuple[str, int]]
    """Every domain, and the number of the virtual host that has it."""
    host: Callable[[int], Fields]
    """Reads a virtual host by number."""


def served_table(body: bytes) -> RouteTable:
    """Return the table of a serialised RouteConfiguration."""
    message = message_class(ROUTE).FromString(body)
    hosts = list(message.virtual_hosts)
    rest = message_class(ROUTE).FromString(body)
    rest.ClearField("virtual_hosts")

    def read(number: int) -> Fields:
        return to_json(VIRTUAL_HOST, hosts[number].SerializeToString())

    return RouteTable(
        fields=to_json(ROUTE, rest.SerializeToString()),
        domains=[(domain, number) for number, host in enumerate(hosts) for domain in host.domains],
        host=read,
    )


def inline_table(routes: Fields) -> RouteTable:
    """Return the table of a route configuration that stands in its listener, in protobuf's JSON form."""
    hosts = routes.get("virtual_hosts", [])
    return RouteTable(
        fields={key: value for key, value in routes.items() if key != "virtual_hosts"},
        domains=[(domain, number) for number, host in enumerate(hosts) for domain in host.get("domains", ())],
        host=partial(_at, hosts),
    )


def _at(hosts: Sequence[Fields], number: int) -> Fields:
    return hosts[number]
