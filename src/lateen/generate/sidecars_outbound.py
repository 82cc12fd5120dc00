"""Outbound listeners and routes of an intercepted sidecar.

Interception sends every connection to `virtualOutbound`, which hands it to the listener of its original
destination: `VIP_PORT` where a service has an address of its own and is not plain HTTP, else `0.0.0.0_PORT`,
which many services share. HTTP on a shared port is told apart by Host header, TLS by server name, other TCP by
address; what nothing matches passes through or is refused, as the outbound traffic policy says.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

from lateen.envoy import names
from lateen.envoy.filters import HttpSettings, http_connection_manager, passthrough
from lateen.envoy.listeners import (
    OUTBOUND,
    add_inspectors,
    also_ipv6,
    bound_listener,
    filter_chain,
    http_match,
    is_cidr,
    is_ip,
    outbound_stat_prefix,
    port_match,
    prefix_match,
    sni_match,
    socket_address,
    virtual_listener,
)
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import service_metadata
from lateen.envoy.resources import LISTENER, make_resource
from lateen.generate.parts import Made, Part
from lateen.generate.routes import RouteContext
from lateen.generate.tcp_routes import forward_filters, service_forwards, unasked_clusters
from lateen.generate.view import View
from lateen.generate.virtual_hosts import (
    UnknownHosts,
    http_ports,
    port_virtual_hosts,
    shared_routes,
    shared_routes_name,
    single_service_routes,
)
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.proxies import Interception
from lateen.model.services import Resolution, Service, ServicePort


@dataclass(slots=True, kw_only=True)
class _Listener:
    """An outbound listener while services are added to it."""

    address: str
    port: int
    http_route: str = ""
    """Route configuration of plain-text HTTP, empty when it serves none."""
    chains: dict[str, Fields] = field(default_factory=dict)
    """Chains with a match, by what they match: Envoy refuses two equal matches, the first service wins."""
    default: Fields | None = None
    tls: bool = False
    extra_addresses: tuple[str, ...] = ()
    metadata: Fields | None = None
    leads_to: dict[str, None] = field(default_factory=dict)
    """Clusters that must be told with it."""

    @property
    def name(self) -> str:
        return names.listener(self.address, self.port)


def outbound_parts(view: View) -> Iterator[Part]:
    """Plan the outbound listeners and route configurations."""
    arriving: dict[tuple[str, int], list[Hostname]] = {}
    http: set[tuple[str, int]] = set()
    for service in view.services():
        for port in _ports(service):
            where = (_arrival(service, port), port.number)
            hosts = arriving.setdefault(where, [])
            if port.protocol.is_http:
                http.add(where)
            else:
                hosts.append(service.host)
    yield VirtualOutbound()
    for where, hosts in arriving.items():
        yield OutboundListener(*where, hosts=tuple(hosts), http=where in http)
    yield from _shared_routes(view)


def _shared_routes(view: View) -> Iterator[Part]:
    by_port: dict[int, list[Service]] = {}
    for service in view.services():
        for port in http_ports(service):
            by_port.setdefault(port.number, []).append(service)
    for number, services in sorted(by_port.items()):
        yield shared_routes(view, str(number), (*port_virtual_hosts(view, number, services), UnknownHosts()))


def catch_all_cluster(view: View) -> str:
    """Return where connections to nothing known go."""
    return names.PASSTHROUGH_CLUSTER if view.allow_any else names.BLACKHOLE_CLUSTER


# --- listeners -----------------------------------------------------------------------------------------------


def _ports(service: Service) -> Iterator[ServicePort]:
    seen: set[int] = set()
    for port in service.ports:
        if port.protocol is not Protocol.UDP and port.number not in seen:
            seen.add(port.number)
            yield port


def _own_addresses(service: Service) -> list[str]:
    return [address for address in service.addresses if is_ip(address) and address != names.WILDCARD_ADDRESS]


def _arrival(service: Service, port: ServicePort) -> str:
    """Return the address of the listener where a port's connections arrive: its own, or the one that many share."""
    own = [] if port.protocol.is_http else _own_addresses(service)
    return own[0] if own else names.WILDCARD_ADDRESS


@dataclass(frozen=True, slots=True)
class VirtualOutbound:
    """The listener that interception leads to."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("listener", names.VIRTUAL_OUTBOUND)

    def make(self, view: View) -> Made:
        """Return the listener."""
        return Made((make_resource(LISTENER, names.VIRTUAL_OUTBOUND, _virtual_outbound(view)),))


@dataclass(frozen=True, slots=True)
class OutboundListener:
    """A listener of an original destination."""

    address: str
    port: int
    hosts: tuple[Hostname, ...]
    """Services whose connections may arrive here and are not plain HTTP, in order."""
    http: bool
    """Whether plain HTTP arrives here."""

    @property
    def key(self) -> Hashable:
        """Where it listens."""
        return ("listener", self.address, self.port)

    def make(self, view: View) -> Made:
        """Return the listener; a sniffed service with an address of its own wants its routes."""
        shared = self.address == names.WILDCARD_ADDRESS
        routes = shared_routes_name(view, str(self.port)) if self.http else ""
        listener = _Listener(address=self.address, port=self.port, http_route=routes)
        wants: list[Part] = []
        for host in self.hosts:
            service = view.service(host)
            assert service is not None, host
            port = next(port for port in _ports(service) if port.number == self.port)
            if shared:
                _add_shared(view, listener, service, port)
            elif _add_own(view, listener, service, port) and port.protocol.is_sniffed:
                wants.append(single_service_routes(host, port.number))
        made = make_resource(LISTENER, listener.name, _finish(view, listener))
        if listener.leads_to:
            made = replace(made, leads_to=tuple(listener.leads_to))
        return Made((made,), tuple(wants))


def _add_shared(view: View, listener: _Listener, service: Service, port: ServicePort) -> None:
    """Add a service's port to the listener that many share."""
    if port.protocol.is_sniffed:
        listener.http_route = shared_routes_name(view, str(port.number))
    _add_forwards(view, listener, service, port, ranges=_ranges(view, service, port))


def _add_own(view: View, listener: _Listener, service: Service, port: ServicePort) -> bool:
    """Add a service's port to the listener of its address; False when another service has it already."""
    if listener.default is not None or listener.http_route:
        # Two services with one address: the first has it.
        return False
    listener.extra_addresses = tuple(_own_addresses(service)[1:])
    listener.metadata = service_metadata(service)
    if port.protocol.is_sniffed:
        listener.http_route = names.host_and_port(service.host, port.number)
    _add_forwards(view, listener, service, port, ranges=())
    return True


def _ranges(view: View, service: Service, port: ServicePort) -> tuple[str, ...]:
    """Return the addresses that mean this service on a shared port: its CIDRs, else where its endpoints are.

    A sniffed port has none: Envoy matches addresses before protocols, so HTTP would bypass its routes.
    """
    cidrs = tuple(address for address in service.addresses if "/" in address and is_cidr(address))
    if cidrs or port.protocol.is_sniffed or service.resolution is not Resolution.STATIC:
        return cidrs
    found = view.endpoints(service.host, port.number)
    return tuple(sorted({item.address for item in found if item.port == port.number and is_ip(item.address)}))


def _add_forwards(
    view: View, listener: _Listener, service: Service, port: ServicePort, *, ranges: tuple[str, ...]
) -> None:
    """Add the chains of a port that is not plain HTTP; the first unconditional one becomes the default."""
    context = RouteContext(view=view, port=port.number)
    shared = listener.address == names.WILDCARD_ADDRESS
    for forward in service_forwards(context, service, tls=port.protocol.is_tls):
        filters = forward_filters(view, forward)
        listener.leads_to.update(dict.fromkeys(unasked_clusters(view, forward)))
        server_names = forward.server_names
        if shared and port.protocol.is_tls and not server_names:
            # Many services share the port: only the server name says which one is meant.
            server_names = (service.host,)
        match = _match(server_names, forward.subnets or ranges)
        if server_names:
            listener.tls = True
        if match:
            listener.chains.setdefault(repr(match), filter_chain(filters, match=match, metadata=forward.metadata))
        if not forward.subnets and not server_names and listener.default is None and not _has_cidr(service):
            listener.default = filter_chain(filters, metadata=forward.metadata)


def _match(server_names: tuple[str, ...], ranges: tuple[str, ...]) -> Fields:
    match: Fields = {}
    if usable := [item for item in ranges if is_cidr(item)]:
        match |= prefix_match(usable)
    if server_names:
        match |= sni_match(server_names)
    return match


def _has_cidr(service: Service) -> bool:
    return any("/" in address for address in service.addresses)


def _finish(view: View, listener: _Listener) -> Fields:
    chains = list(listener.chains.values())
    if listener.http_route:
        settings = HttpSettings(
            stat_prefix=outbound_stat_prefix(listener.name), rds=listener.http_route, on_demand=view.on_demand
        )
        chains.append(filter_chain([http_connection_manager(settings, view.defaults)], match=http_match()))
    default = listener.default or filter_chain(
        [passthrough(catch_all_cluster(view), view.defaults)], name=names.PASSTHROUGH_FILTER_CHAIN
    )
    if not chains:
        chains, fallback = [default], None
    else:
        fallback = default
    fields = virtual_listener(listener.name, listener.address, listener.port, chains=chains, default=fallback)
    add_inspectors(fields, tls=listener.tls, http=bool(listener.http_route), detection_timeout=view.detection_timeout)
    if listener.extra_addresses:
        fields["additional_addresses"] = [
            {"address": socket_address(address, listener.port)} for address in listener.extra_addresses
        ]
    elif view.dual_stack and listener.address == names.WILDCARD_ADDRESS:
        also_ipv6(fields, listener.port)
    if listener.metadata is not None:
        fields["metadata"] = listener.metadata
    return fields


def _virtual_outbound(view: View) -> Fields:
    port = view.mesh_config.proxy_listen_port
    chains = [
        # A connection straight to the listener's own port would be passed on to itself for ever.
        filter_chain(
            [passthrough(names.BLACKHOLE_CLUSTER, view.defaults)],
            match=port_match(port),
            name=names.VIRTUAL_OUTBOUND_BLACKHOLE,
        ),
        filter_chain([passthrough(catch_all_cluster(view), view.defaults)], name=names.VIRTUAL_OUTBOUND_CATCHALL),
    ]
    listener = bound_listener(names.VIRTUAL_OUTBOUND, names.WILDCARD_ADDRESS, port, direction=OUTBOUND, chains=chains)
    listener["use_original_dst"] = {"value": True}
    if view.dual_stack:
        also_ipv6(listener, port)
    if view.proxy.interception is Interception.TPROXY:
        listener["transparent"] = {"value": True}
    return listener
