"""Listeners, routes, clusters and secrets of a gateway proxy.

A gateway is sent only the clusters that its routes name: it may see the services of the whole mesh and use few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lateen.config.networking import ServerTLSMode, ServerTLSSettings
from lateen.envoy import names
from lateen.envoy.filters import HttpSettings, http_connection_manager
from lateen.envoy.listeners import (
    OUTBOUND,
    add_inspectors,
    bound_listener,
    filter_chain,
    outbound_stat_prefix,
    sni_match,
    tls_server_socket,
)
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import config_metadata
from lateen.envoy.resources import LISTENER, ROUTE, Resource, make_resource
from lateen.envoy.routes import matches_everything, route_configuration, virtual_host
from lateen.envoy.transport_sockets import server_context
from lateen.generate.clusters import target_clusters
from lateen.generate.destinations import Target
from lateen.generate.gateway_servers import GatewayPort, GatewayServer, ServerKind, gateway_ports, intersection
from lateen.generate.routes import HttpRoutes, RouteContext, rule_routes
from lateen.generate.secrets import secret_resources
from lateen.generate.tcp_routes import Forward, forward_filter, tcp_forwards, tls_forwards
from lateen.generate.view import View
from lateen.mesh.queries import gateways_for, virtual_services_for
from lateen.mesh.state import BoundVirtualService
from lateen.model.names import ObjectKey

_NO_CERTIFICATE_YET = frozenset((ServerTLSMode.ISTIO_MUTUAL, ServerTLSMode.AUTO_PASSTHROUGH))
"""Modes that need workload certificates."""


@dataclass(slots=True, kw_only=True)
class _Gateway:
    """A gateway proxy's resources while they are collected."""

    view: View
    targets: dict[Target, None] = field(default_factory=dict)
    secrets: dict[str, Resource] = field(default_factory=dict)
    routes: dict[tuple[str, int, bool, ObjectKey], HttpRoutes] = field(default_factory=dict)
    """By Gateway, port, TLS and VirtualService: hosts of one rule share its routes."""
    bound: dict[str, tuple[BoundVirtualService, ...]] = field(default_factory=dict)

    def rules(self, gateway: str) -> tuple[BoundVirtualService, ...]:
        """Return the VirtualServices of a Gateway."""
        if gateway not in self.bound:
            self.bound[gateway] = virtual_services_for(self.view.state, self.view.proxy.namespace, gateway)
        return self.bound[gateway]


def gateway_resources(view: View) -> Iterator[Resource]:
    """Yield everything a gateway proxy is served."""
    made = _Gateway(view=view)
    for port in gateway_ports(gateways_for(view.state, view.proxy)):
        yield from _port_resources(made, port)
    yield from target_clusters(view, made.targets)
    yield from made.secrets.values()


def _port_resources(made: _Gateway, port: GatewayPort) -> Iterator[Resource]:
    name = names.listener(port.bind or names.WILDCARD_ADDRESS, port.port)
    if port.kind is ServerKind.HTTP:
        route_name = port.servers[0].route_name
        chains = [_http_chain(made, name, route_name)]
        yield _route_configuration(made, route_name, port.servers)
    elif port.kind is ServerKind.TCP:
        chains = [filter_chain([item], metadata=source) for item, source in _tcp_filters(made, port.servers[0])]
    else:
        chains = []
        for chain, routes in _tls_chains(made, name, port.servers):
            chains.append(chain)
            if routes is not None:
                yield routes
    if not chains:
        return
    proxy = made.view.proxy
    address = port.bind or (proxy.addresses[0] if proxy.addresses else names.WILDCARD_ADDRESS)
    bound_port = proxy.bound_port(port.port)
    listener = bound_listener(name, address, bound_port, direction=OUTBOUND, chains=chains)
    needs_tls = port.kind not in (ServerKind.HTTP, ServerKind.TCP)
    add_inspectors(listener, tls=needs_tls, http=False, detection_timeout=made.view.detection_timeout)
    listener["metadata"] = config_metadata(port.servers[0].gateway)
    yield make_resource(LISTENER, name, listener)


# --- HTTP ----------------------------------------------------------------------------------------------------


def _http_chain(
    made: _Gateway, listener_name: str, route_name: str, *, match: Fields | None = None, socket: Fields | None = None
) -> Fields:
    settings = HttpSettings(stat_prefix=outbound_stat_prefix(listener_name), rds=route_name, edge=True)
    manager = http_connection_manager(settings, made.view.defaults)
    return filter_chain([manager], match=match, transport_socket=socket)


@dataclass(slots=True)
class _Host:
    """One host of a route configuration: the rules that speak for it, oldest first."""

    routes: list[HttpRoutes] = field(default_factory=list)
    redirects: bool = False

    def key(self) -> tuple[object, ...]:
        """Hosts with equal keys have the same routes."""
        return (self.redirects, *(id(routes) for routes in self.routes))


def _route_configuration(made: _Gateway, name: str, servers: Sequence[GatewayServer]) -> Resource:
    hosts: dict[str, _Host] = {}
    for server in servers:
        for bound in made.rules(server.gateway_name):
            if not bound.object.spec.http:
                continue
            shared = intersection(server.hosts_for(bound.object.key.namespace), bound.hosts)
            found = _rule_routes(made, server, bound) if shared else None
            if found is None or not found.routes:
                continue
            made.targets.update(found.targets)
            for host in shared:
                entry = hosts.setdefault(host, _Host())
                entry.routes.append(found)
                entry.redirects |= server.redirects
        if server.redirects:
            for host in server.server_names:
                hosts.setdefault(host, _Host()).redirects = True
    return make_resource(ROUTE, name, route_configuration(name, _virtual_hosts(hosts, servers[0].port)))


def _rule_routes(made: _Gateway, server: GatewayServer, bound: BoundVirtualService) -> HttpRoutes:
    tls = server.kind is ServerKind.HTTPS
    key = (server.gateway_name, server.port, tls, bound.object.key)
    if key not in made.routes:
        context = RouteContext(view=made.view, port=server.port, gateway=server.gateway_name, tls=tls)
        made.routes[key] = rule_routes(context, bound)
    return made.routes[key]


def _virtual_hosts(hosts: dict[str, _Host], port: int) -> list[Fields]:
    """Return one virtual host per set of routes: hosts of the same rules share it, which keeps the message small."""
    if not hosts:
        # No routes: Envoy answers 404, as Istio's gateways do.
        return [virtual_host(names.host_and_port("blackhole", port), ["*"], [])]
    groups: dict[tuple[object, ...], list[str]] = {}
    for host in sorted(hosts):
        groups.setdefault(hosts[host].key(), []).append(host)
    found = []
    for domains in groups.values():
        entry = hosts[domains[0]]
        fields = virtual_host(names.host_and_port(domains[0], port), domains, _merged(entry.routes))
        if entry.redirects:
            fields["require_tls"] = "ALL"
        found.append(fields)
    return found


def _merged(rules: Sequence[HttpRoutes]) -> list[Fields]:
    """Return the routes of several rules for one host: what catches everything goes last, or hides the rest."""
    if len(rules) == 1:
        return rules[0].routes
    routes = [route for rule in rules for route in rule.routes]
    return sorted(routes, key=lambda route: matches_everything(route["match"]))


# --- TLS and TCP ---------------------------------------------------------------------------------------------


def _tls_chains(
    made: _Gateway, listener_name: str, servers: Sequence[GatewayServer]
) -> Iterator[tuple[Fields, Resource | None]]:
    """Yield the chains of a TLS port with their route configuration, if they have one.

    A server name may stand once on a port: Envoy refuses equal matches, so the oldest server keeps it.
    """
    taken: set[str] = set()
    for server in servers:
        if server.kind is ServerKind.PASSTHROUGH:
            for chain in _passthrough_chains(made, server, taken):
                yield chain, None
            continue
        if taken & set(server.server_names):
            continue
        socket = _terminating_socket(made, server)
        if socket is None:
            continue
        match = sni_match(server.server_names) if "*" not in server.server_names else sni_match(())
        if server.kind is ServerKind.HTTPS:
            taken.update(server.server_names)
            chain = _http_chain(made, listener_name, server.route_name, match=match, socket=socket)
            yield chain, _route_configuration(made, server.route_name, [server])
        else:
            for tcp_filter, source in _tcp_filters(made, server):
                taken.update(server.server_names)
                yield filter_chain([tcp_filter], match=match, transport_socket=socket, metadata=source), None


def _terminating_socket(made: _Gateway, server: GatewayServer) -> Fields | None:
    """Return the TLS socket of a server; None when its certificate is not there.

    A chain that waits for a missing Secret would keep the whole listener from starting, with the servers that
    have theirs. Left out, only its own clients fail, and the Secret's arrival brings the chain.
    """
    tls = server.server.tls
    if tls is None or tls.mode in _NO_CERTIFICATE_YET:
        return None
    wanted = [names.secret(name) for name in _credentials(tls)]
    served = _add_secrets(made, wanted)
    if wanted and not served:
        return None
    ca = ""
    if wanted and tls.mode in (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL):
        ca = names.secret(tls.ca_cert_credential_name or f"{_credentials(tls)[0]}{names.CA_SUFFIX}")
        if not _add_secrets(made, [ca]):
            return None
    context = server_context(tls, served, ca, alpn=server.kind is ServerKind.HTTPS)
    return tls_server_socket(context) if context is not None else None


def _credentials(tls: ServerTLSSettings) -> list[str]:
    return tls.credential_names or ([tls.credential_name] if tls.credential_name else [])


def _add_secrets(made: _Gateway, wanted: Iterable[str]) -> list[str]:
    """Add the secrets that this proxy may have, and return their names."""
    found = list(secret_resources(made.view, wanted))
    made.secrets.update({resource.name: resource for resource in found})
    served = {resource.name for resource in found}
    return [name for name in wanted if name in served]


def _passthrough_chains(made: _Gateway, server: GatewayServer, taken: set[str]) -> Iterator[Fields]:
    context = RouteContext(view=made.view, port=server.port, gateway=server.gateway_name)
    for bound in made.rules(server.gateway_name):
        if not intersection(server.hosts_for(bound.object.key.namespace), bound.hosts):
            continue
        for forward in tls_forwards(context, bound):
            wanted = {host.lower() for host in forward.server_names}
            if wanted & taken:
                continue
            taken.update(wanted)
            _use(made, forward)
            yield filter_chain(
                [forward_filter(made.view, forward)],
                match=sni_match(wanted if "*" not in wanted else ()),
                metadata=forward.metadata,
            )


def _tcp_filters(made: _Gateway, server: GatewayServer) -> Iterator[tuple[Fields, Fields]]:
    """Yield the TCP proxy of the first rule for this server, and its metadata: bytes have no host to tell apart."""
    context = RouteContext(view=made.view, port=server.port, gateway=server.gateway_name)
    for bound in made.rules(server.gateway_name):
        if not intersection(server.hosts_for(bound.object.key.namespace), bound.hosts):
            continue
        forward = next((item for item in tcp_forwards(context, bound) if not item.subnets), None)
        if forward is not None:
            _use(made, forward)
            yield forward_filter(made.view, forward), forward.metadata
            return


def _use(made: _Gateway, forward: Forward) -> None:
    made.targets.update(dict.fromkeys(target for target, _ in forward.targets))
