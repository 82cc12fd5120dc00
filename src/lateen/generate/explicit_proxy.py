"""Outbound side of a sidecar in explicit mode: the application knows its proxy.

Nothing is intercepted. The application sends HTTP to the `http_proxy` listener (HTTP_PROXY in its environment):
requests with absolute URLs are routed by host and port as interception would, and CONNECT opens a tunnel to a
port of a service, which is how TCP and TLS travel. Each declared upstream has a listener of its own besides.

Why route by `host:port` domains: one listener stands for every port, so the port of the Host header, which
interception takes from the connection, has to be part of the match. A URL of port 80 has no port there.
"""

from __future__ import annotations

from collections.abc import Iterator

from lateen.envoy import names
from lateen.envoy.filters import HttpSettings, http_connection_manager, tcp_target
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
from lateen.envoy.resources import LISTENER, ROUTE, Resource, make_resource
from lateen.envoy.routes import catch_all_virtual_host, connect_route, route_configuration, virtual_host
from lateen.generate.routes import RouteContext, service_routes
from lateen.generate.sidecars_outbound import single_service_routes
from lateen.generate.tcp_routes import Forward, direct, forward_filter, service_forwards
from lateen.generate.view import View
from lateen.generate.virtual_hosts import HTTP_PORT, Domains, addresses_of, foreign_virtual_hosts, short_names
from lateen.model.names import host_matches, resolve_host
from lateen.model.protocols import Protocol
from lateen.model.proxies import Upstream
from lateen.model.services import Service, ServicePort


def explicit_resources(view: View) -> Iterator[Resource]:
    """Yield the proxy listener, its routes, and a listener per declared upstream."""
    if not view.proxy.addresses:
        return
    yield make_resource(LISTENER, names.HTTP_PROXY, _proxy_listener(view))
    hosts = _virtual_hosts(view)
    yield make_resource(ROUTE, names.HTTP_PROXY, route_configuration(names.HTTP_PROXY, hosts, ignore_port=False))
    seen: set[int] = set()
    routed: set[str] = set()
    for upstream in view.proxy.upstreams:
        if upstream.local_port in seen:
            continue
        seen.add(upstream.local_port)
        yield from _upstream_resources(view, upstream, routed)


def _proxy_listener(view: View) -> Fields:
    settings = HttpSettings(
        stat_prefix=outbound_stat_prefix(names.HTTP_PROXY),
        rds=names.HTTP_PROXY,
        connect=True,
        dynamic_forward_proxy=True,
    )
    chain = filter_chain([http_connection_manager(settings, view.defaults)])
    return bound_listener(names.HTTP_PROXY, *_proxy_address(view), direction=OUTBOUND, chains=[chain])


def _proxy_address(view: View) -> tuple[str, int]:
    """Return where the proxy listener is: on an address that other hosts reach it would be an open proxy."""
    return view.proxy.private_address, view.proxy.bound_port(view.state.mesh_config.proxy_listen_port)


# --- virtual hosts -------------------------------------------------------------------------------------------


def _virtual_hosts(view: View) -> list[Fields]:
    domains = Domains(_full_domains(view))
    found = [_itself(view, domains)]
    for service in view.services:
        for port in service.ports:
            if port.protocol is not Protocol.UDP:
                found += _port_virtual_host(view, domains, service, port)
    found += foreign_virtual_hosts(RouteContext(view=view, port=HTTP_PORT), domains, with_port=True)
    found.append(catch_all_virtual_host(allow_any=view.allow_any, metadata=view.traffic_policy_metadata, connect=True))
    return found


def _itself(view: View, domains: Domains) -> Fields:
    """Return the virtual host of the proxy's own address: passed on, such a request would come back for ever."""
    own = names.host_and_port(*_proxy_address(view))
    message = "This is Lateen's HTTP proxy: set http_proxy to this address, do not call it.\n"
    route: Fields = {
        "name": names.BLOCK_ALL,
        "match": {"prefix": "/"},
        "direct_response": {"status": 400, "body": {"inline_string": message}},
    }
    return virtual_host(names.HTTP_PROXY, domains.claim([own]), [{**route, "match": {"connect_matcher": {}}}, route])


def _full_domains(view: View) -> frozenset[str]:
    return frozenset(
        domain
        for service in view.services
        for port in service.ports
        for domain in _with_port(service.host, port.number)
    )


def _port_virtual_host(view: View, domains: Domains, service: Service, port: ServicePort) -> list[Fields]:
    full = [domain for name in (service.host, *addresses_of(service)) for domain in _with_port(name, port.number)]
    short = [domain for name in short_names(service.host, view.proxy) for domain in _with_port(name, port.number)]
    granted = domains.claim(full, short=short)
    if not granted:
        return []
    context = RouteContext(view=view, port=port.number)
    routes = _tunnels(context, service, port)
    if port.protocol.is_http or port.protocol.is_sniffed:
        routes += service_routes(context, service)
    return [virtual_host(names.host_and_port(service.host, port.number), granted, routes)]


def _with_port(host: str, port: int) -> tuple[str, ...]:
    with_port = names.host_and_port(host, port)
    return (f"[{host}]" if ":" in host else host, with_port) if port == HTTP_PORT else (with_port,)


def _tunnels(context: RouteContext, service: Service, port: ServicePort) -> list[Fields]:
    """Return the CONNECT routes of a port.

    A tunnel to an HTTP port goes straight to the service: the requests in it are not seen here. TCP and TLS rules
    apply; the server name of a TLS rule is compared with the host that the tunnel is for.
    """
    forward = direct(context, service) if port.protocol.is_http else _forward(context, service, port)
    return [connect_route(names.DEFAULT_ROUTE, _route_target(forward), forward.metadata)]


def _forward(context: RouteContext, service: Service, port: ServicePort) -> Forward:
    """Return the first TCP or TLS rule that holds for any address of the service, else the way straight to it."""
    for forward in service_forwards(context, service, tls=port.protocol.is_tls):
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


def _upstream_resources(view: View, upstream: Upstream, routed: set[str]) -> Iterator[Resource]:
    """Yield the listener of a declared upstream; none while its service is unknown."""
    host = resolve_host(upstream.host, view.proxy.namespace, view.proxy.dns_domain)
    service = view.by_host.get(host)
    port = service.port(upstream.port) if service is not None else None
    if service is None or port is None or port.protocol is Protocol.UDP:
        return
    route = names.host_and_port(service.host, port.number)
    yield _upstream_listener(view, upstream, service, port, route)
    if (port.protocol.is_http or port.protocol.is_sniffed) and route not in routed:
        routed.add(route)
        yield single_service_routes(view, route, service, port.number)


def _upstream_listener(view: View, upstream: Upstream, service: Service, port: ServicePort, route: str) -> Resource:
    address = view.proxy.private_address
    name = names.listener(address, upstream.local_port)
    chains: list[Fields] = []
    protocol = port.protocol
    if protocol.is_http or protocol.is_sniffed:
        settings = HttpSettings(stat_prefix=outbound_stat_prefix(name), rds=route)
        match = http_match() if protocol.is_sniffed else None
        chains.append(filter_chain([http_connection_manager(settings, view.defaults)], match=match))
    if not protocol.is_http:
        context = RouteContext(view=view, port=port.number)
        forward = _forward(context, service, port)
        chains.append(filter_chain([forward_filter(view, forward)], metadata=forward.metadata))
    listener = bound_listener(name, address, upstream.local_port, direction=OUTBOUND, chains=chains)
    if address != names.LOOPBACK_ADDRESS:
        local = socket_address(names.LOOPBACK_ADDRESS, upstream.local_port)
        listener["additional_addresses"] = [{"address": local}]
    add_inspectors(listener, tls=False, http=protocol.is_sniffed, detection_timeout=view.detection_timeout)
    listener["metadata"] = service_metadata(service)
    return make_resource(LISTENER, name, listener)
