"""Listeners that a Sidecar's `egress` opens: where a workload calls the hosts that are listed there.

Planned by `snapshot`. A listener that is bound (every one in explicit mode; else a Unix socket, or `captureMode: NONE`)
is called at its own address; one that is captured takes what was dialled for it. Services that an earlier listener has
taken are not added to it by the last one, the one without a port. Source: Istio's Sidecar reference,
"IstioEgressListener".

Why a request for an unknown host is refused at a bound listener, whatever the outbound traffic policy: the caller has
dialled the listener itself, and passed on the call would come back to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from lateen.config.networking import CaptureMode, IstioEgressListener
from lateen.envoy import names
from lateen.envoy.listeners import UNIX_PREFIX
from lateen.envoy.resources import LISTENER, make_resource
from lateen.envoy.routes import catch_all_virtual_host, virtual_host_fragment
from lateen.generate.parts import Made, MadeHost, Part, RouteConfigurationPart, VirtualHostPart
from lateen.generate.routes import RouteContext, service_routes
from lateen.generate.sidecar_ingress import ingress_instances
from lateen.generate.sidecars_outbound import (
    Arrival,
    ListenerDraft,
    VirtualOutbound,
    add_forwards,
    arrival_of,
    captured_parts,
    finished,
    ports_of,
)
from lateen.generate.view import View
from lateen.generate.virtual_hosts import HTTP_PORT, Domains, addresses_of, host_of, short_names
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol, protocol_of_port
from lateen.model.services import Service


def egress_parts(view: View) -> Iterator[Part]:
    """Plan the outbound listeners of an intercepting sidecar whose Sidecar says where it calls."""
    yield VirtualOutbound()
    captured: list[Arrival] = []
    locked: set[tuple[str, int]] = set()
    for listener, arrivals in _listeners(view):
        if listener.bind or _is_bound(view, listener) or _is_proxy(listener):
            opened = list(_opened(view, listener, arrivals))
            locked.update((part.address, part.port) for part in opened)
            yield from opened
            continue
        if listener.port is None:
            locked.update(arrival_of(*found) for found in captured)
        captured += [found for found in arrivals if arrival_of(*found) not in locked]
    yield from captured_parts(view, captured)


def bound_egress_parts(view: View) -> Iterator[Part]:
    """Plan the egress listeners in explicit mode. One without a port and an address is the proxy listener."""
    for listener, arrivals in _listeners(view):
        if listener.port is not None or listener.bind or listener.capture_mode is CaptureMode.NONE:
            yield from _opened(view, listener, arrivals)


def _listeners(view: View) -> Iterator[tuple[IstioEgressListener, list[Arrival]]]:
    """Yield each listener with the services that are called there, as what they are called there."""
    assert view.sidecar is not None
    for listener, imports in zip(view.sidecar.spec.egress, view.egress_imports(), strict=True):
        arrivals = []
        for host, numbers in imports.items():
            service = view.service(host)
            assert service is not None, host
            for port in ports_of(service):
                spoken = _protocol(listener) if listener.port is not None else port.protocol
                # Who is called by HTTP on any port must speak it there.
                fits = not _is_any_port(listener) or not spoken.is_http or not port.protocol.is_tcp
                if port.number in numbers and fits:
                    arrivals.append((service, replace(port, protocol=spoken)))
        yield listener, arrivals


def _protocol(listener: IstioEgressListener) -> Protocol:
    assert listener.port is not None
    return protocol_of_port(name=listener.port.name, app_protocol=listener.port.protocol)


def _is_proxy(listener: IstioEgressListener) -> bool:
    return listener.port is not None and _protocol(listener) is Protocol.HTTP_PROXY


def _is_any_port(listener: IstioEgressListener) -> bool:
    return listener.port is not None and (not listener.port.number or _is_proxy(listener))


def _is_bound(view: View, listener: IstioEgressListener) -> bool:
    return view.explicit or listener.capture_mode is CaptureMode.NONE or listener.bind.startswith(UNIX_PREFIX)


def _opened(view: View, listener: IstioEgressListener, arrivals: Sequence[Arrival]) -> Iterator[EgressListener]:
    """Yield the listeners at the address of one: one of its own port, else one for each port of its services."""
    bound = _is_bound(view, listener)
    address = listener.bind or (_loopback(view) if bound else names.WILDCARD_ADDRESS)
    if listener.port is not None or address.startswith(UNIX_PREFIX):
        called = tuple((service.host, port.number, port.protocol) for service, port in arrivals)
        number = listener.port.number if listener.port is not None else 0
        taken = bound and view.explicit and (address, number) in _own_ports(view)
        if called and not taken:
            yield EgressListener(address, number, bound, called, any_port=not number or _is_proxy(listener))
        return
    by_port: dict[int, list[tuple[Hostname, int, Protocol]]] = {}
    for service, port in arrivals:
        by_port.setdefault(port.number, []).append((service.host, port.number, port.protocol))
    has_own = {one.port.number for one, _ in _listeners(view) if one.port is not None}
    for number, services in sorted(by_port.items()):
        if number not in has_own and not (view.explicit and (address, number) in _own_ports(view)):
            yield EgressListener(address, number, bound, tuple(services), any_port=False)


def _loopback(view: View) -> str:
    """Return where a listener is bound that says no address: in explicit mode many workloads share a host."""
    if view.explicit:
        return view.proxy.private_address
    return "::1" if view.lookup_family == "V6_ONLY" else names.LOOPBACK_ADDRESS


def _own_ports(view: View) -> set[tuple[str, int]]:
    """Return where the workload itself listens in explicit mode, or its proxy does: those addresses are taken."""
    proxy = view.proxy
    own = (*view.instances(), *ingress_instances(view))
    taken = {(item.endpoint.address, item.endpoint.port) for item in own}
    taken.update((proxy.private_address, upstream.local_port) for upstream in proxy.upstreams)
    return {*taken, (proxy.private_address, proxy.bound_port(view.mesh_config.proxy_listen_port))}


@dataclass(frozen=True, slots=True)
class EgressListener:
    """A listener at an address that the Sidecar says, or of a port of its own."""

    address: str
    """An IP, or the path of a Unix socket."""
    port: int
    """As the Sidecar declares it; 0 for a Unix socket."""
    bound: bool
    services: tuple[tuple[Hostname, int, Protocol], ...]
    """Who is called there: host, port, and what is spoken."""
    any_port: bool
    """Whether the Host header says which port is meant, as with an HTTP proxy."""

    @property
    def key(self) -> Hashable:
        """Where it listens."""
        return ("listener", self.address, self.port)

    def make(self, view: View) -> Made:
        """Return the listener, and want its routes."""
        number = view.proxy.bound_port(self.port) if view.explicit and self.port else self.port
        draft = ListenerDraft(address=self.address, port=number, bound=self.bound)
        http: list[tuple[Hostname, int]] = []
        for host, wanted, protocol in self.services:
            service = view.service(host)
            assert service is not None, host
            port = next(port for port in ports_of(service) if port.number == wanted)
            if protocol.is_http or protocol.is_sniffed:
                http.append((host, wanted))
            if not protocol.is_http:
                add_forwards(view, draft, service, replace(port, protocol=protocol), ranges=(), shared=True)
        wants: list[Part] = []
        if http:
            draft.http_route = draft.name
            wants.append(_routes(view, draft.name, http, self))
        return Made((make_resource(LISTENER, draft.name, finished(view, draft)),), tuple(wants))


# --- routes --------------------------------------------------------------------------------------------------


def _routes(view: View, name: str, called: Sequence[tuple[Hostname, int]], listener: EgressListener) -> Part:
    domains = Domains(frozenset(host for host, _ in called))
    hosts: list[VirtualHostPart] = []
    for host, port in called:
        service = view.service(host)
        assert service is not None, host
        granted = domains.claim(
            _domains((service.host, *addresses_of(service)), port, listener),
            short=_domains(short_names(host, view.proxy), port, listener),
        )
        if granted:
            hosts.append(EgressHost(name, host, port, tuple(granted)))
    return RouteConfigurationPart(name=name, hosts=(*hosts, RefusedHosts()), ignore_port=not listener.any_port)


def _domains(hosts: Sequence[str], port: int, listener: EgressListener) -> list[str]:
    """Return what the Host header says: with the port, where it tells ports apart; a URL of port 80 has none."""
    plain = [f"[{host}]" if ":" in host else host for host in hosts]
    if not listener.any_port:
        return plain
    ported = [names.host_and_port(host, port) for host in hosts]
    return [*plain, *ported] if port == HTTP_PORT or not listener.port else ported


@dataclass(frozen=True, slots=True)
class EgressHost:
    """A service that is called by HTTP on one of these listeners."""

    listener: str
    host: Hostname
    port: int
    domains: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        """Listener, host and port."""
        return ("egress host", self.listener, self.host, self.port)

    def make(self, view: View) -> MadeHost:
        """Return it whole."""
        service: Service | None = view.service(self.host)
        assert service is not None, self.host
        found = service_routes(RouteContext(view=view, port=self.port), service)
        return host_of(names.host_and_port(self.host, self.port), self.domains, found.routes)


@dataclass(frozen=True, slots=True)
class RefusedHosts:
    """The virtual host of every name that a listener does not list."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("refused hosts",)

    def make(self, view: View) -> MadeHost:
        """Return the refusal, and that the Sidecar says so."""
        fields = catch_all_virtual_host(cluster="", metadata=view.traffic_policy_metadata)
        return MadeHost(virtual_host_fragment(fields))
