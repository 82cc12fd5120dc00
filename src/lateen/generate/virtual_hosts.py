"""Virtual hosts of sidecars: which Host headers mean which service.

Called by the outbound, explicit and proxyless passes. Source of the short names: Kubernetes DNS search paths, as
Istio expands them (`reviews`, `reviews.default`, `reviews.default.svc`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lateen.envoy import names
from lateen.envoy.listeners import is_ip
from lateen.envoy.messages import Fields
from lateen.envoy.routes import catch_all_virtual_host, virtual_host, virtual_host_fragment
from lateen.generate.on_demand import HostPart, OnDemandRoutes
from lateen.generate.parts import NO_HOST, HostRoutes, MadeHost, Part, RouteConfigurationPart, VirtualHostPart
from lateen.generate.routes import RouteContext, rule_routes, service_routes
from lateen.generate.unknown_hosts import requests_cluster
from lateen.generate.view import View
from lateen.model.names import Hostname
from lateen.model.proxies import Proxy
from lateen.model.services import Service, ServicePort

HTTP_PORT = 80
"""The port where rules also apply to hosts that are no service (Istio's rule), and that URLs leave out."""


def short_names(host: Hostname, proxy: Proxy) -> tuple[str, ...]:
    """Return what a workload in the proxy's namespace may call the service instead of its full host."""
    suffix = f".svc.{proxy.dns_domain}"
    if not host.endswith(suffix) or host.startswith("*"):
        return ()
    name, _, namespace = host.removesuffix(suffix).partition(".")
    if not namespace or "." in namespace:
        return ()
    qualified = (f"{name}.{namespace}", f"{name}.{namespace}.svc")
    return (name, *qualified) if namespace == proxy.namespace else qualified


def addresses_of(service: Service) -> tuple[str, ...]:
    """Return the virtual IPs of a service; ranges are no host names."""
    return tuple(address for address in service.addresses if is_ip(address) and address != names.WILDCARD_ADDRESS)


def http_ports(service: Service) -> Iterator[ServicePort]:
    """Yield the ports that HTTP routing applies to, each number once."""
    seen: set[int] = set()
    for port in service.ports:
        if (port.protocol.is_http or port.protocol.is_sniffed) and port.number not in seen:
            seen.add(port.number)
            yield port


@dataclass(slots=True)
class Domains:
    """Domains given out so far in one route configuration: Envoy refuses a domain that stands twice."""

    reserved: frozenset[str]
    """Full hosts: no short name of another service may take one."""
    taken: set[str] = field(default_factory=set)

    def claim(self, domains: Sequence[str], *, short: Sequence[str] = ()) -> list[str]:
        """Return those of the domains that are free, and take them."""
        granted = []
        for domain in domains:
            if domain not in self.taken:
                self.taken.add(domain)
                granted.append(domain)
        for domain in short:
            if domain not in self.taken and domain not in self.reserved:
                self.taken.add(domain)
                granted.append(domain)
        return granted


def shared_routes(view: View, name: str, hosts: Iterable[SidecarHost], *, ignore_port: bool = True) -> Part:
    """Plan a route configuration of many services: sent whole, or a virtual host when somebody calls it."""
    if view.on_demand:
        return OnDemandRoutes(name=shared_routes_name(view, name), hosts=tuple(hosts), ignore_port=ignore_port)
    return RouteConfigurationPart(name=name, hosts=tuple(hosts), ignore_port=ignore_port)


def shared_routes_name(view: View, name: str) -> str:
    """Return the name under which `shared_routes` plans a route configuration."""
    return names.on_demand_routes(name) if view.on_demand else name


class SidecarHost(HostPart, VirtualHostPart, Protocol):
    """A virtual host that is sent either way."""


def port_virtual_hosts(view: View, port: int, services: Sequence[Service]) -> list[SidecarHost]:
    """Plan the virtual hosts of a port that many services share, without a port in their domains.

    The caller's route configuration ignores the port of the Host header.
    """
    domains = Domains(frozenset(service.host for service in services))
    found: list[SidecarHost] = []
    for service in services:
        granted = domains.claim([service.host, *addresses_of(service)], short=short_names(service.host, view.proxy))
        if granted:
            found.append(ServiceHost(service.host, port, tuple(_domain(domain) for domain in granted)))
    if port == HTTP_PORT:
        found += unserved_hosts(view, domains, with_port=False)
    return found


def unserved_hosts(view: View, domains: Domains, *, with_port: bool) -> Iterator[SidecarHost]:
    """Plan virtual hosts for the hosts of mesh rules that no service has."""
    for host in view.unserved():
        # A wildcard that covers services belongs to them.
        if host.startswith("*") and _covers_a_service(view, host):
            continue
        wanted = [host, names.host_and_port(host, HTTP_PORT)] if with_port and host != "*" else [host]
        # `*` is the catch-all's.
        if granted := domains.claim([domain for domain in wanted if domain != "*"]):
            yield UnservedHost(host, tuple(granted))


@dataclass(frozen=True, slots=True)
class ServiceHost:
    """A service on a port that others share."""

    host: Hostname
    port: int
    domains: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        """Host and port."""
        return ("host", self.host, self.port)

    def make(self, view: View) -> MadeHost:
        """Return it whole."""
        return host_of(names.host_and_port(self.host, self.port), self.domains, self.routes(view).routes)

    def routes(self, view: View) -> HostRoutes:
        """Return its routes."""
        service = view.service(self.host)
        assert service is not None, self.host
        found = service_routes(RouteContext(view=view, port=self.port), service)
        return HostRoutes(found.routes, found.clusters)


@dataclass(frozen=True, slots=True)
class OnlyHost:
    """A service whose listener serves nothing else: its routes whatever the Host header says."""

    host: Hostname
    port: int

    @property
    def key(self) -> Hashable:
        """Host and port."""
        return ("only host", self.host, self.port)

    def make(self, view: View) -> MadeHost:
        """Return its routes."""
        service = view.service(self.host)
        assert service is not None, self.host
        found = service_routes(RouteContext(view=view, port=self.port), service)
        host = host_of(names.host_and_port(self.host, self.port), ("*",), found.routes)
        return replace(host, leads_to=found.unasked_clusters) if view.on_demand else host


@dataclass(frozen=True, slots=True)
class UnservedHost:
    """A host of rules that no service has; nothing when none of its first rule's routes is for this proxy."""

    host: Hostname
    domains: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        """The host."""
        return ("unserved host", self.host)

    def make(self, view: View) -> MadeHost:
        """Return it whole."""
        routes = self.routes(view).routes
        if not routes:
            return NO_HOST
        return host_of(names.host_and_port(self.host, HTTP_PORT), self.domains, routes)

    def routes(self, view: View) -> HostRoutes:
        """Return its routes."""
        bound = view.first_rule(self.host)
        if bound is None:
            return HostRoutes()
        found = rule_routes(RouteContext(view=view, port=HTTP_PORT), bound)
        return HostRoutes(found.routes, found.clusters)


@dataclass(frozen=True, slots=True)
class UnknownHosts:
    """The virtual host of every other name."""

    connect: bool = False

    @property
    def key(self) -> Hashable:
        """There is one of a kind."""
        return ("unknown hosts", self.connect)

    @property
    def domains(self) -> tuple[str, ...]:
        """All."""
        return ("*",)

    def make(self, view: View) -> MadeHost:
        """Return what the outbound traffic policy says."""
        return MadeHost(virtual_host_fragment(self._fields(view)))

    def routes(self, view: View) -> HostRoutes:
        """Return its routes."""
        return HostRoutes(self._fields(view)["routes"])

    def _fields(self, view: View) -> Fields:
        return catch_all_virtual_host(
            cluster=requests_cluster(view), metadata=view.traffic_policy_metadata, connect=self.connect
        )


def host_of(name: str, domains: Sequence[str], routes: Sequence[Fields]) -> MadeHost:
    """Return a virtual host of sidecars."""
    return MadeHost(virtual_host_fragment(virtual_host(name, domains, routes)))


def single_service_routes(host: Hostname, port: int) -> RouteConfigurationPart:
    """Return a route configuration for one service, whatever the Host header says."""
    return RouteConfigurationPart(name=names.host_and_port(host, port), hosts=(OnlyHost(host, port),))


def _covers_a_service(view: View, pattern: Hostname) -> bool:
    return any(service.host.endswith(pattern[1:]) for service in view.services())


def _domain(domain: str) -> str:
    return f"[{domain}]" if ":" in domain else domain
