"""Listeners, routes, clusters and secrets of a gateway proxy.

A gateway is sent only the clusters that its routes name: it may see the services of the whole mesh and use few.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from lateen.envoy import names
from lateen.envoy.filters import HttpSettings, http_connection_manager
from lateen.envoy.listeners import (
    OUTBOUND,
    add_inspectors,
    bound_listener,
    filter_chain,
    outbound_stat_prefix,
    sni_match,
)
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import config_metadata
from lateen.envoy.resources import LISTENER, Resource, make_resource
from lateen.generate.auto_passthrough import SniCluster, passthrough_chain, reachable_targets, server_name
from lateen.generate.clusters import TargetClusters
from lateen.generate.default_endpoints import DefaultEndpoint
from lateen.generate.gateway_routes import gateway_routes
from lateen.generate.gateway_servers import (
    ENDS_TLS,
    GatewayPort,
    GatewayServer,
    ServerKind,
    gateway_ports,
    intersection,
)
from lateen.generate.gateway_tls import termination
from lateen.generate.parts import Made, Part
from lateen.generate.routes import RouteContext
from lateen.generate.secrets import CredentialSecret
from lateen.generate.security_filters import http_security, network_security, policy_parts, token_parts
from lateen.generate.tcp_routes import Forward, forward_filters, tcp_forwards, tls_forwards
from lateen.generate.unknown_hosts import looks_up_names
from lateen.generate.view import View


def gateway_parts(view: View) -> Iterator[Part]:
    """Plan everything a gateway proxy is served; clusters and secrets are what its routes and listeners want."""
    # Whatever Gateways there are: the chains of one that is gone still drain.
    yield from policy_parts()
    for port in _ports(view):
        yield GatewayListener(port.port, port.bind)
        if port.kind is ServerKind.HTTP:
            yield gateway_routes(view, port.servers[0].route_name, port.servers)


def _ports(view: View) -> list[GatewayPort]:
    return view.piece(("gateway ports",), lambda: gateway_ports(view.gateways()))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnservedServer:
    """A server that a gateway is not told of."""

    gateway: str
    """`namespace/name`."""
    server: str
    """Name of its port."""
    reason: str
    """For the user; never a value of a Secret."""


def unserved_servers(view: View) -> list[UnservedServer]:
    """Return the servers that end TLS but cannot here, in order of port, and why."""
    ending = (server for port in _ports(view) for server in port.servers if server.kind in ENDS_TLS)
    found = ((server, termination(view, server).problem) for server in ending)
    return [
        UnservedServer(gateway=server.gateway_name, server=server.port_name, reason=problem)
        for server, problem in found
        if problem
    ]


@dataclass(slots=True)
class _Wanted:
    """What a listener needs besides itself, while it is made."""

    parts: dict[Hashable, Part] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        """Want a part; of two with one key, the first."""
        self.parts.setdefault(part.key, part)

    def use(self, forward: Forward) -> None:
        """Want the clusters of a forward."""
        for target, _ in forward.targets:
            self.add(TargetClusters(target))


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """The listener of a port, which servers of several Gateways may share."""

    port: int
    bind: str

    @property
    def key(self) -> Hashable:
        """Where it listens, as the Gateways say."""
        return ("listener", self.port, self.bind)

    def make(self, view: View) -> Made:
        """Return the listener, and want its routes, clusters and secrets."""
        port = next(item for item in _ports(view) if (item.port, item.bind) == (self.port, self.bind))
        wanted = _Wanted()
        for part in token_parts(view):
            wanted.add(part)
        listener = _listener(view, port, wanted)
        return Made((listener,) if listener is not None else (), tuple(wanted.parts.values()))


def _listener(view: View, port: GatewayPort, wanted: _Wanted) -> Resource | None:
    name = names.listener(port.bind or names.WILDCARD_ADDRESS, port.port)
    if port.kind is ServerKind.HTTP:
        chains = [_http_chain(view, name, port.servers[0].route_name)]
    elif port.kind is ServerKind.TCP:
        chains = [
            filter_chain([*network_security(), *items], metadata=source)
            for items, source in _tcp_filters(view, port.servers[0], wanted)
        ]
    else:
        chains = list(_tls_chains(view, name, port.servers, wanted))
    if not chains:
        return None
    proxy = view.proxy
    address = port.bind or (proxy.addresses[0] if proxy.addresses else names.WILDCARD_ADDRESS)
    bound_port = proxy.bound_port(port.port)
    listener = bound_listener(name, address, bound_port, direction=OUTBOUND, chains=chains)
    needs_tls = port.kind not in (ServerKind.HTTP, ServerKind.TCP)
    add_inspectors(listener, tls=needs_tls, http=False, detection_timeout=view.detection_timeout)
    # The first only: a listener whose metadata changed is drained, and Gateways that share a port come and go.
    listener["metadata"] = config_metadata(port.servers[0].gateway)
    return make_resource(LISTENER, name, listener)


def _http_chain(
    view: View,
    listener_name: str,
    route_name: str,
    *,
    match: Fields | None = None,
    socket: Fields | None = None,
    metadata: Fields | None = None,
) -> Fields:
    settings = HttpSettings(
        stat_prefix=outbound_stat_prefix(listener_name),
        rds=route_name,
        edge=True,
        security=http_security(view),
        dynamic_forward_proxy=looks_up_names(view),
    )
    manager = http_connection_manager(settings, view.defaults)
    return filter_chain([manager], match=match, transport_socket=socket, metadata=metadata)


# --- TLS and TCP ---------------------------------------------------------------------------------------------


def _tls_chains(view: View, listener_name: str, servers: Sequence[GatewayServer], wanted: _Wanted) -> Iterator[Fields]:
    """Yield the chains of a TLS port.

    A server name may stand once on a port: Envoy refuses equal matches, so the oldest server keeps it. Of names that
    cover each other Envoy itself takes the most specific.
    """
    taken: set[str] = set()
    for server in servers:
        if server.kind is ServerKind.PASSTHROUGH:
            yield from _passthrough_chains(view, server, taken, wanted)
        elif server.kind is ServerKind.AUTO_PASSTHROUGH:
            yield from _auto_passthrough_chains(view, server, taken, wanted)
        elif not taken & set(server.server_names):
            for chain in _terminating_chains(view, listener_name, server, taken, wanted):
                taken.update(server.server_names)
                yield chain


def _terminating_chains(
    view: View, listener_name: str, server: GatewayServer, taken: set[str], wanted: _Wanted
) -> Iterator[Fields]:
    """Yield the chains of a server that ends TLS; none when its certificate is not there, or nothing is behind it."""
    ending = termination(view, server)
    if ending.socket is None:
        return
    if server.kind is ServerKind.HTTPS:
        match = _match(server.server_names)
        wanted.add(gateway_routes(view, server.route_name, [server]))
        source = config_metadata(server.gateway)
        chains = [
            _http_chain(view, listener_name, server.route_name, match=match, socket=ending.socket, metadata=source)
        ]
    else:
        chains = [
            filter_chain(
                [*network_security(), *items], match=_match(hosts), transport_socket=ending.socket, metadata=source
            )
            for hosts, items, source in _opened_filters(view, server, taken, wanted)
        ]
    if chains:
        for name in ending.secrets:
            wanted.add(CredentialSecret(name))
    yield from chains


def _match(hosts: Collection[str]) -> Fields:
    return sni_match(hosts if "*" not in hosts else ())


def _opened_filters(
    view: View, server: GatewayServer, taken: set[str], wanted: _Wanted
) -> Iterator[tuple[Collection[str], list[Fields], Fields]]:
    """Yield server names, and the filters of bytes that came by TLS with them: TLSRoutes go by name, others do not.

    Rules under `tls` of VirtualServices do not count here, as in Istio: those are for what is passed through.
    """
    context = RouteContext(view=view, port=server.port, gateway=server.gateway_name)
    named: set[str] = set()
    for bound in view.gateway_rules(server.gateway_name):
        for forward in tls_forwards(context, bound) if bound.object.made_of else ():
            hosts = {host.lower() for host in forward.server_names}
            if not hosts & (taken | named):
                named |= hosts
                wanted.use(forward)
                yield hosts, forward_filters(view, forward), forward.metadata
    if not named & set(server.server_names):
        for items, source in _tcp_filters(view, server, wanted):
            yield server.server_names, items, source
    taken |= named


def _auto_passthrough_chains(view: View, server: GatewayServer, taken: set[str], wanted: _Wanted) -> Iterator[Fields]:
    for service, target in reachable_targets(view, server.server_names):
        name = server_name(target)
        if name not in taken:
            taken.add(name)
            wanted.add(SniCluster(target))
            yield passthrough_chain(view, service, target)


def _passthrough_chains(view: View, server: GatewayServer, taken: set[str], wanted: _Wanted) -> Iterator[Fields]:
    context = RouteContext(view=view, port=server.port, gateway=server.gateway_name)
    for bound in view.gateway_rules(server.gateway_name):
        if not intersection(server.hosts_for(bound.object.key.namespace), bound.hosts):
            continue
        for forward in tls_forwards(context, bound):
            hosts = {host.lower() for host in forward.server_names}
            if hosts & taken:
                continue
            taken.update(hosts)
            wanted.use(forward)
            yield filter_chain(
                [*network_security(), *forward_filters(view, forward)],
                match=_match(hosts),
                metadata=forward.metadata,
            )
    free = [host for host in server.server_names if host not in taken]
    if server.server.default_endpoint and free:
        taken.update(free)
        endpoint = DefaultEndpoint(server.server.default_endpoint)
        wanted.add(endpoint)
        filters = [*network_security(), *endpoint.filters(view)]
        yield filter_chain(filters, match=_match(free))


def _tcp_filters(view: View, server: GatewayServer, wanted: _Wanted) -> Iterator[tuple[list[Fields], Fields]]:
    """Yield the TCP filters of the first rule for this server, and its metadata: bytes have no host to tell apart."""
    context = RouteContext(view=view, port=server.port, gateway=server.gateway_name)
    for bound in view.gateway_rules(server.gateway_name):
        if not intersection(server.hosts_for(bound.object.key.namespace), bound.hosts):
            continue
        forward = next((item for item in tcp_forwards(context, bound) if not item.subnets), None)
        if forward is not None:
            wanted.use(forward)
            yield forward_filters(view, forward), forward.metadata
            return
    if server.server.default_endpoint:
        endpoint = DefaultEndpoint(server.server.default_endpoint)
        wanted.add(endpoint)
        yield endpoint.filters(view), config_metadata(server.gateway)
