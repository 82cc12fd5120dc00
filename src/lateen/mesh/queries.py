"""Questions about a mesh: what a proxy sees, which rule has a host, what stands behind a proxy.

Called by `generate`, `analysis` and `api`. Pure functions of a MeshState; every answer has a deterministic order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lateen.config.mesh_config import DiscoveryScope
from lateen.config.networking import DestinationRule, Gateway, Sidecar
from lateen.config.objects import ConfigObject
from lateen.config.security import MutualTLSMode
from lateen.mesh.destination_rules import merged, select_for
from lateen.mesh.doubles import Double
from lateen.mesh.egress import Imports, imported_services, listener_imports, names_hosts, opens_listeners
from lateen.mesh.mutual_tls import ISTIO_TLS_MODE, modes_of
from lateen.mesh.policies import is_about, selector_labels
from lateen.mesh.references import PROXY_NAMESPACE
from lateen.mesh.state import MESH_GATEWAY, BoundDestinationRule, BoundVirtualService, MeshState
from lateen.mesh.virtual_addresses import VirtualAddresses, allocated, wants_virtual_address
from lateen.model.names import Hostname
from lateen.model.proxies import DISCOVERY_SCOPE, Capability, Proxy, ProxyType, labels_match
from lateen.model.services import Endpoint, Service, ServicePort, visible_to


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInstance:
    """One service port that a proxy's workload serves: an inbound side."""

    service: Service
    port: ServicePort
    endpoint: Endpoint


def visible_services(state: MeshState, namespace: str) -> tuple[Service, ...]:
    """Return the services exported to `namespace`, by host."""
    return state.index.services.visible(namespace)


def service_seen(state: MeshState, host: Hostname, namespace: str) -> Service | None:
    """Return the service of a host that a namespace sees; None when it sees none."""
    return state.index.services.seen(state.services.get(host), host, namespace)


def every_service(state: MeshState) -> Iterator[Service]:
    """Yield all services: those that some namespaces see in place of others after these."""
    yield from state.services.values()
    yield from (double.service for doubles in state.doubles.values() for double in doubles)


def service_of(state: MeshState, host: Hostname, owner: str) -> Service | None:
    """Return the service of a host that namespace `owner` has, else the one that most see; None without any."""
    double = _double(state, host, owner)
    return state.services.get(host) if double is None else double.service


def endpoints_behind(state: MeshState, host: Hostname, owner: str) -> tuple[Endpoint, ...]:
    """Return the endpoints of the service of a host that namespace `owner` has, unhealthy ones included."""
    double = _double(state, host, owner)
    return state.endpoints.get(host, ()) if double is None else double.endpoints


def selector_behind(state: MeshState, host: Hostname, owner: str) -> Mapping[str, str] | None:
    """Return the workload selector of the service of a host that namespace `owner` has, if it has one."""
    double = _double(state, host, owner)
    return state.selectors.get(host) if double is None else double.selector


def _double(state: MeshState, host: Hostname, owner: str) -> Double | None:
    return next((one for one in state.doubles.get(host, ()) if one.service.namespace == owner), None)


def sidecar_for(state: MeshState, proxy: Proxy) -> ConfigObject[Sidecar] | None:
    """Return the Sidecar that applies: by workload selector, else namespace-wide, else the root namespace's.

    Oldest first among equals (Istio warns about such conflicts). Gateways have none.
    """
    if proxy.type is ProxyType.GATEWAY:
        return None
    own = state.index.sidecars.get(proxy.namespace, ())
    root = state.index.sidecars.get(state.mesh_config.root_namespace, ())
    for sidecar in own:
        selector = sidecar.spec.workload_selector
        if selector is not None and labels_match(selector.labels, proxy.labels):
            return sidecar
    return next((sidecar for sidecar in [*own, *root] if sidecar.spec.workload_selector is None), None)


def asks_on_demand(state: MeshState, proxy: Proxy) -> bool:
    """Whether a proxy is told only what it is known to use, and fetches the rest on the first request.

    Only sidecars, and only those that can. The workload's own label decides, else the annotation of the Sidecar that
    applies, else MeshConfig. A Sidecar that names the hosts it imports says what is used: nothing is left to ask for.
    The listeners that one opens are told everything that they list.
    """
    if not proxy.asks_on_demand or proxy.type is not ProxyType.SIDECAR or proxy.capability is not Capability.ENVOY:
        return False
    sidecar = sidecar_for(state, proxy)
    if sidecar is not None and (names_hosts(sidecar.spec.egress) or opens_listeners(sidecar.spec.egress)):
        return False
    annotated = sidecar.annotations.get(DISCOVERY_SCOPE, "") if sidecar is not None else ""
    wanted = proxy.labels.get(DISCOVERY_SCOPE) or annotated or state.mesh_config.discovery_scope.value
    return wanted != DiscoveryScope.FULL.value


def services_for(state: MeshState, proxy: Proxy) -> tuple[Service, ...]:
    """Return the services that a proxy may call, by host: exported to it, and imported by its Sidecar.

    A Sidecar listener with a port imports only that port of its services, and the destinations of an imported
    VirtualService are imported with it, as in Istio; such a Service has fewer ports than in the state.
    """
    sidecar = sidecar_for(state, proxy)
    if sidecar is None or not sidecar.spec.egress:
        return visible_services(state, proxy.namespace)
    imported = imported_services(state, sidecar.spec.egress, proxy.namespace)
    return tuple(_with_ports(state, service, numbers) for service, numbers in imported)


def virtual_addresses(state: MeshState) -> VirtualAddresses:
    """Return the addresses of services without one of their own; looked for once in each state."""
    known = state.index.virtual
    if "" not in known:
        first = state.services
        doubles = (service for service in every_service(state) if service is not first[service.host])
        wanting = (double for double in doubles if not wants_virtual_address(first[double.host]))
        known[""] = allocated([*first.values(), *{double.host: double for double in wanting}.values()])
    return known[""]


def egress_of(state: MeshState, proxy: Proxy) -> tuple[Imports, ...]:
    """Return what each egress listener of the proxy's Sidecar takes calls for; none when it opens no listeners."""
    sidecar = sidecar_for(state, proxy)
    return () if sidecar is None else listener_imports(state, sidecar.spec.egress, proxy.namespace)


def _with_ports(state: MeshState, service: Service, numbers: frozenset[int]) -> Service:
    """Return a service with these of its ports: of one state, and of all that share the service, the same object."""
    if len(numbers) == len(service.ports):
        return service
    known = state.index.trimmed.setdefault(service.host, {})
    key = service.namespace, numbers
    if key not in known:
        known[key] = replace(service, ports=tuple(port for port in service.ports if port.number in numbers))
    return known[key]


def virtual_services_for(state: MeshState, proxy_namespace: str, gateway: str) -> tuple[BoundVirtualService, ...]:
    """Return the VirtualServices of a gateway (`mesh` or `namespace/name`) that a namespace sees, in merge order.

    Istio's precedence: private to the namespace, then exported to it by name, then public; oldest first in each.
    """
    table = state.index.virtual_services.get(gateway)
    return () if table is None else table.visible(proxy_namespace)


def virtual_service_for_host(
    state: MeshState, proxy_namespace: str, host: Hostname, gateway: str = MESH_GATEWAY
) -> BoundVirtualService | None:
    """Return the VirtualService whose routes a host gets: exact host, else longest wildcard, else none.

    Several for one host are ordered as in `virtual_services_for`; sidecars use the first.
    """
    table = state.index.virtual_services.get(gateway)
    if table is None:
        return None
    for _, bounds in table.hosts.candidates(host):
        if visible := _visible(bounds, proxy_namespace):
            return min(visible, key=lambda bound: _precedence(bound, proxy_namespace))
    return None


def _visible(bounds: tuple[BoundVirtualService, ...], namespace: str) -> list[BoundVirtualService]:
    return [bound for bound in bounds if visible_to(bound.export_to, bound.object.key.namespace, namespace)]


def _precedence(bound: BoundVirtualService, namespace: str) -> int:
    if "*" in bound.export_to:
        return 2
    return 0 if bound.object.key.namespace == namespace else 1


def destination_rule_for(
    state: MeshState, proxy: Proxy, host: Hostname, service: Service | None = None
) -> ConfigObject[DestinationRule] | None:
    """Return the DestinationRule of a host for calls from a proxy; several are merged into one.

    `service` is the one that the proxy calls by that host, if not the one that its namespace sees anyhow.

    Istio's search: the proxy's namespace, then the service's, then the root namespace, and the first that has a
    rule decides; in each, the exact host before the longest wildcard. In the proxy's own namespace any rule
    counts, in the others only exported ones. When the proxy's namespace *is* the root namespace, only rules
    private to it go first, so that a mesh-wide rule does not shadow the service's own.
    """
    root = state.mesh_config.root_namespace
    service = service or service_seen(state, host, proxy.namespace) or state.services.get(host)
    owners = dict.fromkeys([proxy.namespace, service.namespace if service else root, root])
    if proxy.namespace == root:
        private = _rules(state, root, root, host, private=True)
        if private and (chosen := select_for(private, proxy)):
            return _merged(state, chosen)
        owners = dict.fromkeys([service.namespace if service else root, root])
    for owner in owners:
        found = _rules(state, owner, proxy.namespace, host)
        if found:
            # Rules of this namespace for other workloads only: they still end the search, as in Istio.
            chosen = select_for(found, proxy)
            return _merged(state, chosen) if chosen else None
    return None


def _merged(state: MeshState, chosen: list[BoundDestinationRule]) -> ConfigObject[DestinationRule]:
    """Return one rule for several of a host: of one state, and of all that share the rules, the same object."""
    if len(chosen) == 1:
        return chosen[0].object
    known = state.index.merged.setdefault(chosen[0].host, {})
    keys = tuple(rule.object.key for rule in chosen)
    if keys not in known:
        known[keys] = merged(chosen)
    return known[keys]


def _rules(
    state: MeshState, owner: str, client: str, host: Hostname, *, private: bool = False
) -> list[BoundDestinationRule]:
    for _, bounds in state.index.destination_rules.candidates(host):
        found = [
            bound
            for bound in bounds
            if bound.object.key.namespace == owner
            and visible_to(bound.export_to, owner, client)
            and (not private or set(bound.export_to) <= {".", owner})
        ]
        if found:
            return found
    return []


def policies_for(state: MeshState, kind: str, proxy: Proxy) -> tuple[ConfigObject[Any], ...]:
    """Return the security policies of a kind that are about a proxy: of the root namespace, then of its own.

    Oldest first in each. A proxy of the root namespace sees each once.
    """
    namespaces = dict.fromkeys((state.mesh_config.root_namespace, proxy.namespace))
    return tuple(
        policy
        for namespace in namespaces
        for policy in state.index.policies.get((kind, namespace), ())
        if is_about(policy, proxy)
    )


def policies_in(state: MeshState, kind: str, namespace: str) -> tuple[ConfigObject[Any], ...]:
    """Return the security policies of a kind that may be about workloads of a namespace, whatever their labels."""
    namespaces = dict.fromkeys((state.mesh_config.root_namespace, namespace))
    return tuple(policy for place in namespaces for policy in state.index.policies.get((kind, place), ()))


def is_reached_by_mutual_tls(endpoint: Endpoint, policies: Iterable[ConfigObject[Any]], root_namespace: str) -> bool:
    """Whether an endpoint is called with mutual TLS, under the PeerAuthentications of its namespace (`policies_in`)."""
    if endpoint.tls_mode != ISTIO_TLS_MODE:
        return False
    about = (policy for policy in policies if labels_match(selector_labels(policy.spec), endpoint.labels))
    return modes_of(about, root_namespace).at(endpoint.port, endpoint.app_port) is not MutualTLSMode.DISABLE


def gateways_for(state: MeshState, proxy: Proxy) -> tuple[ConfigObject[Gateway], ...]:
    """Return the Gateways whose selector matches the proxy's labels, oldest first, of any namespace.

    A Gateway without selector applies to every gateway proxy, as in Istio.
    """
    return tuple(
        gateway
        for gateway in state.gateways
        if labels_match(gateway.spec.selector, proxy.labels)
        # What is made of a Gateway API Gateway says of which namespace its proxies are.
        and (not gateway.made_of or gateway.annotations.get(PROXY_NAMESPACE) == proxy.namespace)
    )


def instances_of(state: MeshState, proxy: Proxy) -> tuple[ServiceInstance, ...]:
    """Return what the proxy's workload serves: each service port with an endpoint at one of its addresses.

    Services of its own namespace only, as in Istio: another's could say that they are at this address too, and so open
    ports of this workload, or lead its own ones elsewhere. Unready endpoints count: their sidecar must listen before
    anyone sends. A service without such an endpoint counts too when its selector matches the proxy's labels, unless the
    workload registered itself and so said what it serves: it may run where endpoints are not known (yet). Ordered by
    host and port.
    """
    found = [
        ServiceInstance(service=service, port=port, endpoint=endpoint)
        for address in dict.fromkeys(proxy.addresses)
        for host, endpoint in state.index.endpoints.at(address)
        for service in (state.services[host],)
        if service.namespace == proxy.namespace
        and not service.external
        and (port := service.port(endpoint.service_port)) is not None
    ]
    found += _doubled_instances(state, proxy)
    registered = state.index.registered
    if proxy.addresses and not any((proxy.namespace, address) in registered for address in proxy.addresses):
        known = {item.service.host for item in found}
        found += [item for item in _selected_instances(state, proxy) if item.service.host not in known]
    return tuple(
        sorted(found, key=lambda item: (item.service.host, item.port.number, item.endpoint.address, item.endpoint.port))
    )


def _doubled_instances(state: MeshState, proxy: Proxy) -> Iterator[ServiceInstance]:
    """Yield what the workload serves of services that only some namespaces see."""
    for double in state.index.services.doubles.get(proxy.namespace, {}).values():
        for endpoint in double.endpoints if not double.service.external else ():
            port = double.service.port(endpoint.service_port)
            if endpoint.address in proxy.addresses and port is not None:
                yield ServiceInstance(service=double.service, port=port, endpoint=endpoint)


def _selected_instances(state: MeshState, proxy: Proxy) -> Iterator[ServiceInstance]:
    services = [
        state.services[host]
        for pair in [("", ""), *proxy.labels.items()]
        for host in state.index.selected.get((proxy.namespace, *pair), ())
        if labels_match(state.selectors[host], proxy.labels) and not state.services[host].external
    ]
    services += [
        double.service
        for double in state.index.services.doubles.get(proxy.namespace, {}).values()
        if double.selector is not None and labels_match(double.selector, proxy.labels) and not double.service.external
    ]
    for service in services:
        for port in service.ports:
            # A target port by name is known to the workload only: the service's number is the best guess.
            target = port.target_port if isinstance(port.target_port, int) and port.target_port else port.number
            endpoint = Endpoint(
                address=proxy.addresses[0],
                port=target,
                service_port=port.number,
                labels=proxy.labels,
                locality=proxy.locality,
                network=proxy.network,
                service_account=proxy.service_account,
                namespace=proxy.namespace,
                workload=proxy.name,
            )
            yield ServiceInstance(service=service, port=port, endpoint=endpoint)


def endpoints_of(
    state: MeshState, host: Hostname, port: int, labels: Mapping[str, str] | None = None, *, owner: str = ""
) -> tuple[Endpoint, ...]:
    """Return the healthy endpoints of a service port, of the subset with these labels if given.

    `owner` is the namespace of the service that is meant, where a host may have several.
    """
    return tuple(
        endpoint
        for endpoint in endpoints_behind(state, host, owner)
        if endpoint.service_port == port and endpoint.healthy and (not labels or labels_match(labels, endpoint.labels))
    )
