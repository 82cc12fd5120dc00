"""HTTP routes of a gateway: which rules speak for which hosts, and the virtual hosts that come of it.

Called by `gateways`. The plan of a route configuration depends on where rules apply (`view.Placement`), not on what
they say; what a rule says is serialised once, for all the virtual hosts that it stands in.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lateen.envoy import names
from lateen.envoy.resources import Fragment
from lateen.envoy.routes import (
    matches_everything,
    route_entries,
    spliced_virtual_host,
)
from lateen.generate.clusters import TargetClusters
from lateen.generate.default_endpoints import DefaultEndpoint, DefaultHost
from lateen.generate.gateway_servers import GatewayServer, ServerKind, intersection
from lateen.generate.parts import MadeHost, Part, RouteConfigurationPart
from lateen.generate.routes import RouteContext, applies, rule_routes
from lateen.generate.view import View


def gateway_routes(view: View, name: str, servers: Sequence[GatewayServer]) -> RouteConfigurationPart:
    """Plan the route configuration that some servers share."""
    hosts: dict[str, _Host] = {}
    for server in servers:
        gateway, redirects, tls = server.gateway_name, server.redirects, server.kind is ServerKind.HTTPS
        context = RouteContext(view=view, port=server.port, gateway=gateway, tls=tls)
        for bound in view.gateway_rules(gateway, hosts_only=True):
            key = bound.object.key
            shared = intersection(server.hosts_for(key.namespace), bound.hosts)
            if not shared or not applies(context, bound):
                continue
            rule = GatewayRule(gateway, (key.namespace, key.name), server.port, tls)
            for host in shared:
                entry = hosts.get(host) or hosts.setdefault(host, _Host())
                entry.rules.append(rule)
                entry.redirects |= redirects
        if redirects:
            for host in server.server_names:
                hosts.setdefault(host, _Host()).redirects = True
    defaults = tuple(_default_hosts(name, hosts, servers))
    found = _virtual_hosts(name, hosts, servers[0].port) if hosts or not defaults else []
    return RouteConfigurationPart(name=name, hosts=(*found, *defaults))


def _default_hosts(
    configuration: str, hosts: dict[str, _Host], servers: Sequence[GatewayServer]
) -> Iterator[DefaultHost]:
    """Yield the virtual hosts of what servers send to an endpoint of their own, because no rule is about it."""
    taken = set(hosts)
    for server in servers:
        endpoint = server.server.default_endpoint
        if free := [host for host in server.server_names if host not in taken] if endpoint else []:
            taken.update(free)
            name = names.host_and_port(free[0], server.port)
            yield DefaultHost(configuration, name, tuple(free), DefaultEndpoint(endpoint))


class GatewayRule(NamedTuple):
    """A VirtualService on a server; a tuple, because it is a key of many mappings."""

    gateway: str
    rule: tuple[str, str]
    """Namespace and name."""
    port: int
    tls: bool

    def routes(self, view: View) -> RuleRoutes:
        """Return what it says, made once for all the hosts that it speaks for."""
        return view.piece(("gateway rule", self), lambda: self._made(view))

    def _made(self, view: View) -> RuleRoutes:
        bound = view.gateway_rule(self.gateway, self.rule)
        context = RouteContext(view=view, port=self.port, gateway=self.gateway, tls=self.tls)
        made = rule_routes(context, bound)
        # Only the last can be one that everything matches: rule_routes ends there.
        ends = bool(made.routes) and matches_everything(made.routes[-1]["match"])
        split = len(made.routes) - ends
        return RuleRoutes(
            route_entries(made.routes[:split]),
            route_entries(made.routes[split:]),
            tuple(map(TargetClusters, made.targets)),
        )


@dataclass(frozen=True, slots=True)
class RuleRoutes:
    """The routes of a rule, serialised."""

    routes: Fragment
    catch_all: Fragment
    """The one that everything matches, if there is one."""
    wants: tuple[Part, ...]


@dataclass(slots=True)
class _Host:
    """One host of a route configuration: the rules that speak for it, oldest first."""

    rules: list[GatewayRule] = field(default_factory=list)
    redirects: bool = False


@dataclass(frozen=True, slots=True)
class GatewayHost:
    """A virtual host of a gateway."""

    configuration: str
    name: str
    domains: tuple[str, ...]
    rules: tuple[GatewayRule, ...]
    redirects: bool

    @property
    def key(self) -> Hashable:
        """Its name in its route configuration."""
        return ("gateway host", self.configuration, self.name)

    def make(self, view: View) -> MadeHost:
        """Return the routes of its rules: what catches everything goes last, or hides the rest."""
        found = [rule.routes(view) for rule in self.rules]
        routes = [*(item.routes for item in found), *(item.catch_all for item in found)]
        fragment = spliced_virtual_host(self.name, self.domains, routes, require_tls=self.redirects)
        return MadeHost(fragment, tuple(part for item in found for part in item.wants))


def _virtual_hosts(configuration: str, hosts: dict[str, _Host], port: int) -> list[GatewayHost]:
    """Return one virtual host per set of rules: hosts of the same rules share it, which keeps the message small."""
    if not hosts:
        # No routes: Envoy answers 404, as Istio's gateways do.
        return [GatewayHost(configuration, names.host_and_port("blackhole", port), ("*",), (), redirects=False)]
    groups: dict[tuple[object, ...], list[str]] = {}
    for host in sorted(hosts):
        entry = hosts[host]
        groups.setdefault((entry.redirects, *entry.rules), []).append(host)
    return [
        GatewayHost(
            configuration,
            names.host_and_port(domains[0], port),
            tuple(domains),
            tuple(hosts[domains[0]].rules),
            hosts[domains[0]].redirects,
        )
        for domains in groups.values()
    ]
