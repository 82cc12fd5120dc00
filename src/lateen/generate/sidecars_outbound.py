"""Outbound listeners and routes of an intercepted sidecar.

Interception sends every connection to `virtualOutbound`, which hands it to the listener of its original
destination: `VIP_PORT` where a service has an address of its own and is not plain HTTP, else `0.0.0.0_PORT`,
which many services share. HTTP on a shared port is told apart by Host header, TLS by server name, other TCP by
address; what nothing matches passes through or is refused, as the outbound traffic policy says.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lateen.envoy import names
from lateen.envoy.filters import HttpSettings, http_connection_manager, passthrough
from lateen.envoy.listeners import (
    OUTBOUND,
    UNIX_PREFIX,
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
from lateen.envoy.routes import catch_all_virtual_host, route_configuration
from lateen.generate.claimed_matches import ClaimedMatches
from lateen.generate.parts import Made, Part
from lateen.generate.routes import RouteContext
from lateen.generate.tcp_routes import forward_filters, service_forwards, unasked_clusters
from lateen.generate.unknown_hosts import connections_cluster, looks_up_names, looks_up_unknown, requests_cluster
from lateen.generate.view import View
from lateen.generate.virtual_hosts import (
    UnknownHosts,
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
class ListenerDraft:
    """An outbound listener while services are added to it."""

    address: str
    port: int
    bound: bool = False
    """Whether it opens its port, and so is called where it is; else connections are handed to it."""
    http_route: str = ""
    """Route configuration of plain-text HTTP, empty when it serves none."""
    chains: list[Fields] = field(default_factory=list)
    """Chains with a match."""
    claimed: ClaimedMatches = field(default_factory=ClaimedMatches)
    """What they match."""
    default: Fields | None = None
    tls: bool = False
    extra_addresses: tuple[str, ...] = ()
    metadata: Fields | None = None
    leads_to: dict[str, None] = field(default_factory=dict)
    """Clusters that must be told with it."""

    @property
    def name(self) -> str:
        """The listener's name."""
        if self.address.startswith(UNIX_PREFIX):
            return self.address
        return names.listener(self.address, self.port)


Arrival: TypeAlias = tuple[Service, ServicePort]
"""A service with one of its ports, which may have another protocol where it is called than where it is served."""


def outbound_parts(view: View) -> Iterator[Part]:
    """Plan the outbound listeners and route configurations of an intercepting sidecar."""
    yield VirtualOutbound()
    yield from captured_parts(view, [(service, port) for service in view.services() for port in ports_of(service)])


def captured_parts(view: View, arrivals: Sequence[Arrival]) -> Iterator[Part]:
    """Plan what connections to these services are handed to, by the destination they were dialled for."""
    arriving: dict[tuple[str, int], list[tuple[Hostname, Protocol]]] = {}
    http: dict[tuple[str, int], None] = {}
    by_port: dict[int, list[Service]] = {}
    for service, port in arrivals:
        for where in _arrivals_of(view, service, port):
            hosts = arriving.setdefault(where, [])
            if port.protocol.is_http:
                http[where] = None
            else:
                hosts.append((service.host, port.protocol))
        if port.protocol.is_http or port.protocol.is_sniffed:
            by_port.setdefault(port.number, []).append(service)
    for where, hosts in arriving.items():
        yield OutboundListener(*where, hosts=tuple(hosts), http=where in http)
    for number, services in sorted(by_port.items()):
        yield shared_routes(view, str(number), (*port_virtual_hosts(view, number, services), UnknownHosts()))


# --- listeners -----------------------------------------------------------------------------------------------


def ports_of(service: Service) -> Iterator[ServicePort]:
    """Yield the ports that connections can be made to, each number once."""
    seen: set[int] = set()
    for port in service.ports:
        if port.protocol is not Protocol.UDP and port.number not in seen:
            seen.add(port.number)
            yield port


def _own_addresses(service: Service) -> list[str]:
    return [address for address in service.addresses if is_ip(address) and address != names.WILDCARD_ADDRESS]


def arrival_of(service: Service, port: ServicePort) -> tuple[str, int]:
    """Return address and port of the listener where connections arrive: its own, or the one that many share."""
    own = [] if port.protocol.is_http else _own_addresses(service)
    return own[0] if own else names.WILDCARD_ADDRESS, port.number


def _arrivals_of(view: View, service: Service, port: ServicePort) -> Iterator[tuple[str, int]]:
    """Yield where connections arrive, whether their app knows the service by its virtual address or by another."""
    where = arrival_of(service, port)
    yield where
    if where[0] == names.WILDCARD_ADDRESS and not port.protocol.is_http and not service.addresses:
        yield from ((address, port.number) for address in view.virtual_addresses(service.host)[:1])


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
    hosts: tuple[tuple[Hostname, Protocol], ...]
    """Services whose connections may arrive here and are not plain HTTP, in order, with what they speak."""
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
        listener = ListenerDraft(address=self.address, port=self.port, http_route=routes)
        wants: list[Part] = []
        for host, protocol in self.hosts:
            service = view.service(host)
            assert service is not None, host
            port = next(port for port in ports_of(service) if port.number == self.port)
            port = port if port.protocol is protocol else replace(port, protocol=protocol)
            if shared:
                _add_shared(view, listener, service, port)
            elif _add_own(view, listener, service, port) and port.protocol.is_sniffed:
                wants.append(single_service_routes(host, port.number))
        made = make_resource(LISTENER, listener.name, finished(view, listener))
        if listener.leads_to:
            made = replace(made, leads_to=tuple(listener.leads_to))
        return Made((made,), tuple(wants))


def _add_shared(view: View, listener: ListenerDraft, service: Service, port: ServicePort) -> None:
    """Add a service's port to the listener that many share."""
    if port.protocol.is_sniffed:
        listener.http_route = shared_routes_name(view, str(port.number))
    add_forwards(view, listener, service, port, ranges=_ranges(view, service, port), shared=True)


def _add_own(view: View, listener: ListenerDraft, service: Service, port: ServicePort) -> bool:
    """Add a service's port to the listener of its address; False when another service has it already."""
    if listener.default is not None or listener.http_route:
        # Two services with one address: the first has it.
        return False
    addresses = _own_addresses(service) or view.virtual_addresses(service.host)
    listener.extra_addresses = tuple(addresses[1:])
    listener.metadata = service_metadata(service)
    if port.protocol.is_sniffed:
        listener.http_route = names.host_and_port(service.host, port.number)
    add_forwards(view, listener, service, port, ranges=(), shared=False)
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


def add_forwards(
    view: View, listener: ListenerDraft, service: Service, port: ServicePort, *, ranges: tuple[str, ...], shared: bool
) -> None:
    """Add the chains of a port that is not plain HTTP; the first unconditional one becomes the default.

    `shared`: other services may be called there as well.
    """
    context = RouteContext(view=view, port=port.number)
    for forward in service_forwards(context, service, tls=port.protocol.is_tls):
        filters = forward_filters(view, forward)
        listener.leads_to.update(dict.fromkeys(unasked_clusters(view, forward)))
        server_names = forward.server_names
        if shared and port.protocol.is_tls and not server_names:
            # Many services share the port: only the server name says which one is meant.
            server_names = (service.host,)
        if server_names:
            listener.tls = True
        if match := _match(listener.claimed, server_names, forward.subnets or ranges):
            listener.chains.append(filter_chain(filters, match=match, metadata=forward.metadata))
        if not forward.subnets and not server_names and listener.default is None and not _has_cidr(service):
            listener.default = filter_chain(filters, metadata=forward.metadata)


def _match(claimed: ClaimedMatches, server_names: tuple[str, ...], ranges: tuple[str, ...]) -> Fields:
    """Return the match of a chain, empty when it has no conditions or others have all of its connections."""
    usable = tuple(item for item in ranges if is_cidr(item))
    left = claimed.claim(server_names, usable) if server_names or usable else None
    if left is None:
        return {}
    match: Fields = {}
    if left[1]:
        match |= prefix_match(left[1])
    if left[0]:
        match |= sni_match(left[0])
    return match


def _has_cidr(service: Service) -> bool:
    return any("/" in address for address in service.addresses)


def finished(view: View, listener: ListenerDraft) -> Fields:
    """Return the listener of a draft."""
    chains = list(listener.chains)
    if listener.http_route:
        settings = HttpSettings(
            stat_prefix=outbound_stat_prefix(listener.name),
            rds=listener.http_route,
            on_demand=view.on_demand,
            dynamic_forward_proxy=looks_up_names(view),
        )
        chains.append(filter_chain([http_connection_manager(settings, view.defaults)], match=http_match()))
    # Who calls a bound listener has dialled that listener: passed on, the call would come back to it.
    unknown = names.BLACKHOLE_CLUSTER if listener.bound else connections_cluster(view)
    default = listener.default or filter_chain(
        [passthrough(unknown, view.defaults)], name=names.PASSTHROUGH_FILTER_CHAIN
    )
    if not chains:
        chains, fallback = [default], None
    else:
        fallback = default
    fields = virtual_listener(listener.name, listener.address, listener.port, chains=chains, default=fallback)
    if listener.bound:
        del fields["bind_to_port"]
    add_inspectors(fields, tls=listener.tls, http=bool(listener.http_route), detection_timeout=view.detection_timeout)
    if listener.extra_addresses:
        fields["additional_addresses"] = [
            {"address": socket_address(address, listener.port)} for address in listener.extra_addresses
        ]
    elif view.intercepts_ipv6 and listener.address == names.WILDCARD_ADDRESS:
        also_ipv6(fields, listener.port)
    if listener.metadata is not None:
        fields["metadata"] = listener.metadata
    return fields


def _looked_up(view: View) -> Fields:
    """Return the chain of requests for hosts that nobody knows, on a port that nobody knows."""
    name = f"{names.VIRTUAL_OUTBOUND}_{names.ALLOW_ANY_DYNAMIC_DNS}"
    unknown = catch_all_virtual_host(cluster=requests_cluster(view), metadata=view.traffic_policy_metadata)
    settings = HttpSettings(
        stat_prefix=outbound_stat_prefix(name),
        routes=route_configuration(names.ALLOW_ANY_DYNAMIC_DNS, [unknown]),
        dynamic_forward_proxy=True,
    )
    return filter_chain([http_connection_manager(settings, view.defaults)], match=http_match(), name=name)


def _virtual_outbound(view: View) -> Fields:
    port = view.mesh_config.proxy_listen_port
    chains = [
        # A connection straight to the listener's own port would be passed on to itself for ever.
        filter_chain(
            [passthrough(names.BLACKHOLE_CLUSTER, view.defaults)],
            match=port_match(port),
            name=names.VIRTUAL_OUTBOUND_BLACKHOLE,
        ),
        *([_looked_up(view)] if looks_up_unknown(view) else []),
        filter_chain([passthrough(connections_cluster(view), view.defaults)], name=names.VIRTUAL_OUTBOUND_CATCHALL),
    ]
    listener = bound_listener(names.VIRTUAL_OUTBOUND, names.WILDCARD_ADDRESS, port, direction=OUTBOUND, chains=chains)
    listener["use_original_dst"] = {"value": True}
    if looks_up_unknown(view):
        # Whoever waits for the server's first word says nothing to go by: that must not last for ever.
        limit = view.detection_timeout if any(view.detection_timeout.values()) else {"seconds": 5}
        add_inspectors(listener, tls=False, http=True, detection_timeout=limit)
    if view.intercepts_ipv6:
        also_ipv6(listener, port)
    if view.proxy.interception is Interception.TPROXY:
        listener["transparent"] = {"value": True}
    return listener
