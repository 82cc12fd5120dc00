"""Outbound side of a sidecar in explicit mode: the application knows its proxy.

Nothing is intercepted. The application sends HTTP to the `http_proxy` listener (HTTP_PROXY in its environment):
requests with absolute URLs are routed by host and port as interception would, and CONNECT opens a tunnel to a
port of a service, which is how TCP and TLS travel. Each declared upstream has a listener of its own besides.

Why route by `host:port` domains: one listener stands for every port, so the port of the Host header, which
interception takes from the connection, has to be part of the match. A URL of port 80 has no port there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from lateen.envoy import names
from lateen.envoy.filters import (
    ON_DEMAND_FILTER,
    HttpSettings,
    http_connection_manager,
    no_clusters_on_demand,
    tcp_target,
)
from lateen.envoy.listeners import (
    OUTBOUND,
    add_inspectors,
    bound_listener,
    filter_chain,
    http_match,
    outbound_stat_prefix,
    socket_address,
)
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import service_metadata
from lateen.envoy.mutual_tls import TUNNEL_ALPN_FILTER, offers_tcp_alpn
from lateen.envoy.resources import LISTENER, Resource, make_resource
from lateen.envoy.routes import connect_route
from lateen.generate.clusters import TargetClusters
from lateen.generate.destinations import Target
from lateen.generate.mutual_tls import has_part, offers_tcp
from lateen.generate.parts import NOTHING, HostRoutes, Made, MadeHost, Part
from lateen.generate.routes import RouteContext, service_routes
from lateen.generate.tcp_routes import Forward, direct, fetches_nothing, forward_filters, service_forwards
from lateen.generate.unknown_hosts import looks_up_names
from lateen.generate.view import View
from lateen.generate.virtual_hosts import (
    HTTP_PORT,
    Domains,
    SidecarHost,
    UnknownHosts,
    addresses_of,
    host_of,
    shared_routes,
    shared_routes_name,
    short_names,
    single_service_routes,
    unserved_hosts,
)
from lateen.model.names import Hostname, host_matches, resolve_host
from lateen.model.protocols import Protocol
from lateen.model.proxies import Upstream
from lateen.model.services import Service, ServicePort


def explicit_routes(view: View) -> Iterator[Part]:
    """Plan the routes of the proxy listener: the same for every workload of one view."""
    domains = Domains(_full_domains(view))
    itself = names.host_and_port("*", view.proxy.bound_port(view.mesh_config.proxy_listen_port))
    hosts: tuple[SidecarHost, ...] = (
        *(ProxyItself(domain) for domain in domains.claim([itself])),
        *_port_hosts(view, domains),
        *unserved_hosts(view, domains, with_port=True),
        UnknownHosts(connect=True),
    )
    yield shared_routes(view, names.HTTP_PROXY, hosts, ignore_port=False)


def _port_hosts(view: View, domains: Domains) -> Iterator[SidecarHost]:
    for service in view.services():
        for port in service.ports:
            if port.protocol is not Protocol.UDP and (granted := _granted(view, domains, service, port)):
                yield PortHost(service.host, port.number, port.protocol, granted)


def explicit_listeners(view: View) -> Iterator[Part]:
    """Plan the proxy listener and a listener per declared upstream: each workload has its own address."""
    yield ProxyListener()
    declared: dict[int, Upstream] = {}
    for upstream in view.proxy.upstreams:
        declared.setdefault(upstream.local_port, upstream)
    yield from map(UpstreamListener, declared.values())


@dataclass(frozen=True, slots=True)
class ProxyListener:
    """Where the application sends its requests."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("listener", names.HTTP_PROXY)

    def make(self, view: View) -> Made:
        """Return the listener."""
        return Made((make_resource(LISTENER, names.HTTP_PROXY, _proxy_listener(view)),))


def _proxy_listener(view: View) -> Fields:
    settings = HttpSettings(
        stat_prefix=outbound_stat_prefix(names.HTTP_PROXY),
        rds=shared_routes_name(view, names.HTTP_PROXY),
        connect=True,
        dynamic_forward_proxy=True,
        on_demand=view.on_demand,
        mutual_tls=has_part(view),
    )
    chain = filter_chain([http_connection_manager(settings, view.defaults)])
    return bound_listener(names.HTTP_PROXY, *_proxy_address(view), direction=OUTBOUND, chains=[chain])


def _proxy_address(view: View) -> tuple[str, int]:
    """Return where the proxy listener is: on an address that other hosts reach it would be an open proxy."""
    return view.proxy.private_address, view.proxy.bound_port(view.mesh_config.proxy_listen_port)


# --- virtual hosts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProxyItself:
    """The virtual host of the proxy: passed on, a request for itself would come back for ever.

    By port alone, whatever the host: the workloads of one view have addresses of their own and share these routes,
    and `localhost` is the proxy too. A service on that port is found first, because its domain is more specific.
    """

    domain: str

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("proxy itself",)

    @property
    def domains(self) -> tuple[str, ...]:
        """The one."""
        return (self.domain,)

    def make(self, view: View) -> MadeHost:
        """Return it whole."""
        return host_of(names.HTTP_PROXY, self.domains, self.routes(view).routes)

    def routes(self, _view: View) -> HostRoutes:
        """Return its refusal."""
        message = "This is Lateen's HTTP proxy: set http_proxy to this address, do not call it.\n"
        route: Fields = {
            "name": names.BLOCK_ALL,
            "match": {"prefix": "/"},
            "direct_response": {"status": 400, "body": {"inline_string": message}},
        }
        return HostRoutes([{**route, "match": {"connect_matcher": {}}}, route])


@dataclass(frozen=True, slots=True)
class PortHost:
    """A port of a service, reached by requests and by tunnels."""

    host: Hostname
    port: int
    protocol: Protocol
    domains: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        """Host and port, and the protocol: a number may stand for several."""
        return ("port host", self.host, self.port, self.protocol)

    def make(self, view: View) -> MadeHost:
        """Return it whole."""
        return host_of(names.host_and_port(self.host, self.port), self.domains, self.routes(view).routes)

    def routes(self, view: View) -> HostRoutes:
        """Return its routes."""
        service = view.service(self.host)
        assert service is not None, self.host
        context = RouteContext(view=view, port=self.port)
        forward = _tunnel(context, service, self.protocol)
        routes = [_tunnel_route(view, forward)]
        # A tunnel to an HTTP port is rare: its cluster is asked for by who opens one.
        clusters = [] if self.protocol.is_http else [cluster for cluster, _ in forward.clusters]
        if self.protocol.is_http or self.protocol.is_sniffed:
            found = service_routes(context, service)
            routes += found.routes
            clusters += found.clusters
        return HostRoutes(routes, tuple(dict.fromkeys(clusters)))


def _full_domains(view: View) -> frozenset[str]:
    return frozenset(
        domain
        for service in view.services()
        for port in service.ports
        for domain in _with_port(service.host, port.number)
    )


def _granted(view: View, domains: Domains, service: Service, port: ServicePort) -> tuple[str, ...]:
    full = [domain for name in (service.host, *addresses_of(service)) for domain in _with_port(name, port.number)]
    short = [domain for name in short_names(service.host, view.proxy) for domain in _with_port(name, port.number)]
    return tuple(domains.claim(full, short=short))


def _with_port(host: str, port: int) -> tuple[str, ...]:
    with_port = names.host_and_port(host, port)
    return (f"[{host}]" if ":" in host else host, with_port) if port == HTTP_PORT else (with_port,)


def _tunnel(context: RouteContext, service: Service, protocol: Protocol) -> Forward:
    """Return where the CONNECT route of a port leads.

    A tunnel to an HTTP port goes straight to the service: the requests in it are not seen here. TCP and TLS rules
    apply; the server name of a TLS rule is compared with the host that the tunnel is for.
    """
    return direct(context, service) if protocol.is_http else _forward(context, service, protocol)


def _tunnel_route(view: View, forward: Forward) -> Fields:
    route = connect_route(names.DEFAULT_ROUTE, _route_target(forward), forward.metadata)
    filters: Fields = {}
    if fetches_nothing(view, forward):
        filters[ON_DEMAND_FILTER] = no_clusters_on_demand()
    if offers_tcp(view, (target for target, _ in forward.targets)):
        filters[TUNNEL_ALPN_FILTER] = offers_tcp_alpn()
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def _forward(context: RouteContext, service: Service, protocol: Protocol) -> Forward:
    """Return the first TCP or TLS rule that holds for any address of the service, else the way straight to it."""
    for forward in service_forwards(context, service, tls=protocol.is_tls):
        named = not forward.server_names or any(host_matches(name, service.host) for name in forward.server_names)
        if named and not forward.subnets:
            return forward
    return direct(context, service)


def _route_target(forward: Forward) -> Fields:
    target = tcp_target(forward.clusters)
    for cluster in target.get("weighted_clusters", {}).get("clusters", ()):
        cluster["weight"] = {"value": cluster["weight"]}
    return target


# --- declared upstreams --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpstreamListener:
    """The listener of a declared upstream; none while its service is unknown."""

    upstream: Upstream

    @property
    def key(self) -> Hashable:
        """Its local port."""
        return ("listener", self.upstream.local_port)

    def make(self, view: View) -> Made:
        """Return the listener, and want its routes."""
        upstream = self.upstream
        host = resolve_host(upstream.host, view.proxy.namespace, view.proxy.dns_domain)
        service = view.service(host)
        port = service.port(upstream.port) if service is not None else None
        if service is None or port is None or port.protocol is Protocol.UDP:
            return NOTHING
        routes = single_service_routes(host, port.number)
        wants: tuple[Part, ...] = (routes,) if port.protocol.is_http or port.protocol.is_sniffed else ()
        if view.on_demand:
            wants += tuple(map(TargetClusters, _upstream_targets(view, service, port)))
        return Made((_upstream_listener(view, upstream, service, port, routes.name),), wants)


def _upstream_targets(view: View, service: Service, port: ServicePort) -> Iterable[Target]:
    """Return where a declared upstream leads: a proxy that asks for the rest is told of it from the start."""
    context = RouteContext(view=view, port=port.number)
    targets = dict(service_routes(context, service).targets)
    if not port.protocol.is_http:
        targets.update((target, None) for target, _ in _forward(context, service, port.protocol).targets)
    return targets


def _upstream_listener(view: View, upstream: Upstream, service: Service, port: ServicePort, route: str) -> Resource:
    address = view.proxy.private_address
    name = names.listener(address, upstream.local_port)
    chains: list[Fields] = []
    default: Fields | None = None
    protocol = port.protocol
    if protocol.is_http or protocol.is_sniffed:
        # A rule may lead on to a host that is looked up, whatever the service itself is.
        settings = HttpSettings(
            stat_prefix=outbound_stat_prefix(name), rds=route, dynamic_forward_proxy=looks_up_names(view)
        )
        match = http_match() if protocol.is_sniffed else None
        chains.append(filter_chain([http_connection_manager(settings, view.defaults)], match=match))
    if not protocol.is_http:
        context = RouteContext(view=view, port=port.number)
        forward = _forward(context, service, protocol)
        chain = filter_chain(forward_filters(view, forward), metadata=forward.metadata)
        if chains:
            # What is not HTTP would not fall back to a chain without a match: Envoy looks no further than at those
            # that name its transport protocol.
            default = chain
        else:
            chains.append(chain)
    listener = bound_listener(name, address, upstream.local_port, direction=OUTBOUND, chains=chains)
    if default is not None:
        listener["default_filter_chain"] = default
    if address != names.LOOPBACK_ADDRESS:
        local = socket_address(names.LOOPBACK_ADDRESS, upstream.local_port)
        listener["additional_addresses"] = [{"address": local}]
    add_inspectors(listener, tls=False, http=protocol.is_sniffed, detection_timeout=view.detection_timeout)
    listener["metadata"] = service_metadata(service)
    return make_resource(LISTENER, name, listener)
