"""Which virtual host of a route configuration a request is for.

Called by `routing`. Source: VirtualHost.domains in `envoy.config.route.v3`: the exact name, then the longest
`*.suffix`, then the longest `prefix.*`, then `*`; a wildcard stands for at least one character. No virtual host is the
answer 404.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from lateen.envoy.messages import Fields
from lateen.explain.route_tables import RouteTable
from lateen.explain.served import Served


class ChosenHost(NamedTuple):
    """A virtual host, and the domain of it that a request named."""

    fields: Fields
    domain: str
    asked: str
    """The Host header as far as it counts."""


def virtual_host(served: Served, routes: RouteTable, authority: str) -> ChosenHost | None:
    """Return the virtual host of an authority; None when there is none.

    A route configuration whose virtual hosts are sent one by one is asked for this one, as Envoy would.
    """
    asked = authority.lower()
    if routes.fields.get("ignore_port_in_host_matching"):
        asked = without_port(asked)
    if "vhds" in routes.fields:
        found = served.virtual_host(routes.fields["name"], authority.lower())
        return None if not found else ChosenHost(found, _matching(found, asked) or asked, asked)
    ranked = ((_rank(domain.lower(), asked), domain, number) for domain, number in routes.domains)
    named = [(rank, domain, number) for rank, domain, number in ranked if rank is not None]
    if not named:
        return None
    _, domain, number = max(named, key=lambda one: one[0])
    return ChosenHost(routes.host(number), domain, asked)


def _matching(host: Fields, asked: str) -> str:
    return next((domain for domain in host.get("domains", ()) if _rank(domain.lower(), asked) is not None), "")


def _rank(domain: str, asked: str) -> tuple[int, int] | None:
    """Return how specifically a domain names a host: more is better, None is not at all."""
    if domain == asked:
        return (3, 0)
    if domain == "*":
        return (0, 0)
    if len(domain) > len(asked):
        return None
    if domain.startswith("*"):
        return (2, len(domain)) if asked.endswith(domain[1:]) else None
    if domain.endswith("*"):
        return (1, len(domain)) if asked.startswith(domain[:-1]) else None
    return None


def without_port(authority: str) -> str:
    """Return a Host header without its port: of `reviews:80`, `[::1]:80`."""
    name, colon, port = authority.rpartition(":")
    bare = colon and port.isdigit() and (not name.count(":") or name.endswith("]"))
    return name if bare else authority


def close_hosts(routes: RouteTable, asked: str, limit: int = 3) -> list[tuple[Fields, str]]:
    """Return the virtual hosts whose names are nearest to what was asked for, each with that name."""
    wanted = without_port(asked.lower())
    hosts = {domain: number for domain, number in routes.domains if domain not in ("*", asked)}
    bare = {without_port(domain): domain for domain in hosts if _may_be_close(without_port(domain), wanted)}
    close = [bare[name] for name in get_close_matches(wanted, bare, n=limit, cutoff=0.75)]
    found: dict[int, str] = {}
    for domain in (*(domain for domain in bare.values() if without_port(domain) == wanted), *close):
        found.setdefault(hosts[domain], domain)
    return [(routes.host(number), domain) for number, domain in list(found.items())[:limit]]


def _may_be_close(name: str, wanted: str) -> bool:
    """Whether a closer look at two names is worth its time: among thousands it is not for most."""
    return abs(len(name) - len(wanted)) <= _TYPING_ERRORS and (name[:1] == wanted[:1] or name[-1:] == wanted[-1:])


_TYPING_ERRORS = 3
