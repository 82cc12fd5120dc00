"""Virtual hosts of sidecars: which Host headers mean which service.

Called by the outbound, explicit and proxyless passes. Source of the short names: Kubernetes DNS search paths, as
Istio expands them (`reviews`, `reviews.default`, `reviews.default.svc`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lateen.envoy import names
from lateen.envoy.listeners import is_ip
from lateen.envoy.messages import Fields
from lateen.envoy.routes import virtual_host
from lateen.generate.routes import RouteContext, hosts_of_rules, rule_routes, service_routes
from lateen.generate.view import View
from lateen.mesh.queries import virtual_services_for
from lateen.mesh.state import MESH_GATEWAY
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


def port_virtual_hosts(view: View, port: int, services: Sequence[Service]) -> list[Fields]:
    """Return the virtual hosts of a port that many services share, without a port in their domains.

    The caller's route configuration ignores the port of the Host header.
    """
    domains = Domains(frozenset(service.host for service in services))
    context = RouteContext(view=view, port=port)
    found = []
    for service in services:
        granted = domains.claim([service.host, *addresses_of(service)], short=short_names(service.host, view.proxy))
        if granted:
            found.append(
                virtual_host(
                    names.host_and_port(service.host, port),
                    [_domain(domain) for domain in granted],
                    service_routes(context, service),
                )
            )
    if port == HTTP_PORT:
        found += foreign_virtual_hosts(context, domains, with_port=False)
    return found


def foreign_virtual_hosts(context: RouteContext, domains: Domains, *, with_port: bool) -> list[Fields]:
    """Return virtual hosts for the hosts of mesh rules that no service has."""
    view = context.view
    found = []
    for host, bound in hosts_of_rules(virtual_services_for(view.state, view.proxy.namespace, MESH_GATEWAY)).items():
        # A wildcard that covers services belongs to them.
        if host in view.state.services or (host.startswith("*") and _covers_a_service(view, host)):
            continue
        wanted = [host, names.host_and_port(host, context.port)] if with_port and host != "*" else [host]
        # `*` is the catch-all's.
        granted = domains.claim([domain for domain in wanted if domain != "*"])
        routes = rule_routes(context, bound).routes if granted else []
        if routes:
            found.append(virtual_host(names.host_and_port(host, context.port), granted, routes))
    return found


def _covers_a_service(view: View, pattern: Hostname) -> bool:
    return any(service.host.endswith(pattern[1:]) for service in view.services)


def _domain(domain: str) -> str:
    return f"[{domain}]" if ":" in domain else domain
