"""Route configurations whose virtual hosts are made and sent one by one, when a proxy asks for a host (VHDS).

Planned by the sidecar passes in the place of `RouteConfigurationPart`, kept by `assembly`, asked by the sessions of
discovery through `Snapshot.on_demand`. The plan of hosts is the same; only nobody makes their routes before somebody
calls them. What was made is remembered with what it read, as everything here is, and dropped when that changes.

A proxy asks for `ROUTE CONFIGURATION/HOST HEADER` and gets a virtual host for exactly this domain. A host that no
service and no rule knows gets one too: what the outbound traffic policy says. So there always is an answer, without
which Envoy would let the request wait.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple, Protocol

from lateen.envoy.filters import OFF_ON_DEMAND
from lateen.envoy.messages import Fields
from lateen.envoy.resources import Resource
from lateen.envoy.routes import (
    on_demand_route_configuration,
    on_demand_virtual_host,
    placeholder_virtual_host,
)
from lateen.generate.parts import HostRoutes, Made, Part
from lateen.generate.unknown_hosts import with_lookups
from lateen.generate.view import View


class HostPart(Protocol):
    """A virtual host that can be made for one of its domains."""

    @property
    def key(self) -> Hashable:
        """What it is, in one plan."""

    @property
    def domains(self) -> tuple[str, ...]:
        """What the Host header may say."""

    def routes(self, view: View) -> HostRoutes:
        """Return its routes as this view has them; none when it does not exist after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandRoutes:
    """A route configuration that begins empty."""

    name: str
    hosts: tuple[HostPart, ...]
    """No two share a domain; one of them has `*`."""
    ignore_port: bool = True
    """Whether the domains stand for any port."""

    @property
    def key(self) -> Hashable:
        """Routes are known by name."""
        return ("routes", self.name)

    def make(self, _view: View) -> Made:
        """Return the empty configuration, and the placeholder that says so."""
        return Made(
            (
                on_demand_route_configuration(self.name, off=OFF_ON_DEMAND, ignore_port=self.ignore_port),
                placeholder_virtual_host(self.name),
            )
        )


class VirtualHosts:
    """The virtual hosts of some route configurations by the names that proxies ask for.

    It stands for one content: `after` returns another object when something that was made differs. What was not made
    yet is made from the newest view.
    """

    def __init__(self, view: View, configurations: Mapping[str, OnDemandRoutes], before: bytes = b"") -> None:
        """`before`: hash of those that these take the place of."""
        self._hash = blake2b(before + view.state.version.encode(), digest_size=16).digest()
        """Of all states in which something that was made was different. The state alone does not tell: it may be again
        what it was once, while in between a host was made of another."""
        self._view = view
        self._configurations = configurations
        self._domains: dict[str, _Domains] = {}
        self._used: set[Hashable] = set()
        """Keys of the parts that something was made of."""
        self._made: dict[str, tuple[HostPart, Resource]] = {}
        """By name, as far as the names are few: a wildcard, a port or an unknown host may be called in any number."""

    @property
    def digest(self) -> int:
        """What it adds to the version of a snapshot."""
        return int.from_bytes(self._hash, "big")

    def get(self, name: str, /) -> Resource | None:
        """Return the virtual host of `ROUTE CONFIGURATION/HOST HEADER`; None for an unknown route configuration."""
        known = self._made.get(name)
        if known is not None:
            return known[1]
        called = self._called(name)
        if called is None:
            return None
        part, found = called.part, self._routes(called.part)
        if not found.routes:
            part, found = called.otherwise, self._routes(called.otherwise)
        routes = _reachable(found.routes, called.host)
        resource = on_demand_virtual_host(called.configuration, called.host, called.domain, routes, found.leads_to)
        if called.host in part.domains:
            self._made[name] = (part, resource)
        return resource

    def domains(self, name: str) -> tuple[str, ...]:
        """Return all the domains of the virtual host that a name calls: the name has one of them."""
        called = self._called(name)
        return called.part.domains if called is not None else ()

    def after(
        self, view: View, configurations: Mapping[str, OnDemandRoutes], stale: Collection[Hashable]
    ) -> VirtualHosts:
        """Return the virtual hosts of a newer view, in which the parts with `stale` keys are to be made again."""
        same = configurations is self._configurations
        if same and self._used.isdisjoint(stale):
            self._view = view
            return self
        fresh = VirtualHosts(view, configurations, before=self._hash)
        fresh._used = self._used - set(stale)
        if same:
            fresh._domains = self._domains
        for name, (part, resource) in self._made.items():
            if part.key not in stale and (same or fresh._means(name, part)):
                fresh._made[name] = (part, resource)
        # Whoever still holds this one may ask it: it must not write into a memo that has moved on.
        self._view = self._view.unrecorded()
        return fresh

    def _means(self, name: str, part: HostPart) -> bool:
        called = self._called(name)
        return called is not None and called.part == part

    def _called(self, name: str) -> _Called | None:
        """Return what a name calls; None for an unknown route configuration."""
        routes, _, host = name.partition("/")
        configuration = self._configurations.get(routes)
        if configuration is None:
            return None
        domain = _without_port(host) if configuration.ignore_port else host
        domains = self._in(configuration)
        return _Called(routes, host, domain, domains.find(domain), domains.catch_all)

    def _routes(self, part: HostPart) -> HostRoutes:
        self._used.add(part.key)
        return self._view.piece(part.key, lambda: self._looked_up(part.routes(self._view)))

    def _looked_up(self, found: HostRoutes) -> HostRoutes:
        return replace(found, routes=with_lookups(self._view, found.routes))

    def _in(self, configuration: OnDemandRoutes) -> _Domains:
        known = self._domains.get(configuration.name)
        if known is None:
            known = self._domains[configuration.name] = _Domains(configuration.hosts)
        return known


class _Called(NamedTuple):
    """What the name of a virtual host calls."""

    configuration: str
    host: str
    """The Host header."""
    domain: str
    """What of it counts."""
    part: HostPart
    otherwise: HostPart
    """What it calls when that part has no routes after all."""


class _Domains:
    """Which host a domain means, in Envoy's order: itself, else the longest `*` suffix, else `*`."""

    def __init__(self, hosts: tuple[HostPart, ...]) -> None:
        self._exact: dict[str, HostPart] = {}
        self._suffixes: dict[str, HostPart] = {}
        for part in hosts:
            for domain in part.domains:
                if domain.startswith("*"):
                    self._suffixes[domain[1:]] = part
                else:
                    self._exact[domain] = part
        self.catch_all = self._suffixes.pop("")
        self._lengths = sorted({len(suffix) for suffix in self._suffixes}, reverse=True)

    def find(self, domain: str) -> HostPart:
        exact = self._exact.get(domain)
        if exact is not None:
            return exact
        for length in self._lengths:
            # A wildcard stands for at least one character.
            if length < len(domain) and (part := self._suffixes.get(domain[-length:])) is not None:
                return part
        return self.catch_all


def _without_port(host: str) -> str:
    """Return a Host header without its port: `reviews:80`, `[::1]:80`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (not name.endswith(":") or name.startswith("[")) else host


def _reachable(routes: Sequence[Fields], asked: str) -> Sequence[Fields]:
    """Return the routes that a request with this Host header can take.

    CONNECT always names a port (RFC 9110, 9.3.6). Envoy reads all its virtual hosts again whenever it learns another,
    so what cannot be used is worth leaving out.
    """
    if _without_port(asked) != asked:
        return routes
    return [route for route in routes if "connect_matcher" not in route["match"]]


def on_demand_routes(parts: Iterable[Part]) -> dict[str, OnDemandRoutes]:
    """Return the route configurations among some parts that begin empty, by name."""
    return {part.name: part for part in parts if isinstance(part, OnDemandRoutes)}
