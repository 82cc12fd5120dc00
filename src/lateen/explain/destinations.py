"""Whom a request is for: the service that a host means to its caller, and the workloads behind it.

Called by `explaining`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import ip_address, ip_network

from lateen.explain.explanations import NearMiss
from lateen.mesh.mutual_tls import ISTIO_TLS_MODE
from lateen.mesh.queries import endpoints_behind, selector_behind, services_for
from lateen.mesh.state import MeshState
from lateen.mesh.workloads import TLS_MODE_LABEL
from lateen.model.loopback import is_loopback
from lateen.model.names import CLUSTER_DOMAIN, Hostname, host_matches
from lateen.model.proxies import Interception, Proxy, ProxyType
from lateen.model.services import Endpoint, Service, ServicePort

IMAGINED_ADDRESS = "192.0.2.1"
"""Of a workload that no endpoint is known of (RFC 5737: of no network)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A service and one of its ports."""

    service: Service
    port: ServicePort


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadGroup:
    """Endpoints whose sidecars get the same: of one namespace, with the same labels and service account."""

    namespace: str
    labels: Mapping[str, str]
    service_account: str
    endpoints: tuple[Endpoint, ...]
    imagined: bool = False
    """Whether there is no endpoint, and this is what the service would select."""

    @property
    def sidecar(self) -> Proxy:
        """The proxy in front of the first of them."""
        first = self.endpoints[0]
        address = first.address if _is_ip(first.address) else IMAGINED_ADDRESS
        return Proxy(
            type=ProxyType.SIDECAR,
            name=first.workload or "workload",
            namespace=self.namespace,
            addresses=(address,),
            labels=self.labels,
            service_account=self.service_account,
            network=first.network,
            locality=first.locality,
            interception=Interception.NONE if is_loopback(address) else Interception.REDIRECT,
            certificates=first.tls_mode == ISTIO_TLS_MODE,
        )

    @property
    def name(self) -> str:
        """`reviews-v1.default`, of several `reviews-v1.default and 2 more`; the labels where there is no name."""
        names = list(dict.fromkeys(endpoint.workload for endpoint in self.endpoints if endpoint.workload))
        if not names or self.imagined:
            labels = ",".join(f"{key}={value}" for key, value in sorted(self.labels.items()))
            return f"{labels or 'any workload'} in {self.namespace}"
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}.{self.namespace}{more}"


def find_destination(state: MeshState, caller: Proxy, host: str, port: int) -> Destination | None:
    """Return the service that a host and a port name to a caller, whatever routes make of that; None for no service."""
    service = known_service(state, caller, host)
    found = service.port(port) if service is not None else None
    return None if service is None or found is None else Destination(service=service, port=found)


def known_service(state: MeshState, caller: Proxy, host: str) -> Service | None:
    """Return the service that a host means to a caller, by name or by address; None for no service that it sees."""
    visible = {service.host: service for service in services_for(state, caller)}
    for name in spellings(host, caller.namespace):
        if name in visible:
            return visible[name]
    for service in visible.values():
        if any(_covers(address, host) for address in service.addresses):
            return service
    wildcards = [name for name in visible if name.startswith("*") and host_matches(name, host)]
    return visible[max(wildcards, key=len)] if wildcards else None


def service_called(state: MeshState, caller: Proxy, host: Hostname) -> Service | None:
    """Return the service that a cluster of a caller is about."""
    if host in state.doubles:
        return next((service for service in services_for(state, caller) if service.host == host), None)
    return state.services.get(host)


def address_of(state: MeshState, caller: Proxy, host: str) -> str:
    """Return the address that a caller's resolver gives for a host; empty when nobody here knows."""
    if _is_ip(host):
        return host
    service = known_service(state, caller, host)
    if service is None:
        return ""
    own = (address for address in service.addresses if _is_ip(address))
    behind = (
        found.address for found in endpoints_behind(state, service.host, service.namespace) if _is_ip(found.address)
    )
    return next(own, None) or next(behind, "")


def meant_instead(state: MeshState, caller: Proxy, host: str, port: int) -> list[NearMiss]:
    """Return the services that were probably meant by a host and port that no service of the caller has."""
    service = known_service(state, caller, host)
    if service is not None:
        if service.port(port) is not None:
            return []
        ports = ", ".join(f"{one.number} ({one.protocol.value})" for one in service.ports) or "none"
        reason = f"{service.host} has no port {port}; its ports: {ports}"
        return [NearMiss(what="service", name=service.host, origin=str(service.origin), reason=reason)]
    hidden = next((name for name in spellings(host, caller.namespace) if name in state.services), None)
    if hidden is not None:
        reason = (
            f"{hidden} is not visible to {caller.id}: see its exportTo, and `egress` of the Sidecar that applies to "
            "the caller"
        )
        return [NearMiss(what="service", name=hidden, origin=str(state.services[hidden].origin), reason=reason)]
    visible = {service.host: service for service in services_for(state, caller)}
    reason = f"no service has the host {host}: {_meant(visible, host, caller)}"
    return [NearMiss(what="service", name=host, reason=reason)] if visible else []


def spellings(host: str, namespace: str) -> tuple[Hostname, ...]:
    """Return the full hosts that a name may mean in a namespace, as a resolver in a cluster tries them."""
    tails = ("", f".{namespace}.svc.{CLUSTER_DOMAIN}", f".svc.{CLUSTER_DOMAIN}", f".{CLUSTER_DOMAIN}")
    return tuple(Hostname(host.lower() + tail) for tail in tails)


def _meant(visible: Mapping[Hostname, Service], host: str, caller: Proxy) -> str:
    """Return what was probably meant, in the shortest form that the caller can write."""
    names: dict[str, str] = {}
    for service in sorted(visible.values(), key=lambda found: found.namespace != caller.namespace):
        if service.name:
            full = f"{service.name}.{service.namespace}"
            names[full] = full
            names.setdefault(service.name, service.name if service.namespace == caller.namespace else full)
        names[service.host] = service.host
    known = names.get(host.partition(".")[0])
    close = [known] if known else [names[found] for found in get_close_matches(host, names, n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(dict.fromkeys(close))}?"
    return f"services that {caller.id} sees: {', '.join(sorted(visible)[:5]) or 'none'}"


def _covers(address: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(address, strict=False)
    except ValueError:
        return False


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def workloads_behind(
    state: MeshState, destination: Destination, chosen: Collection[tuple[str, int]] | None = None
) -> list[WorkloadGroup]:
    """Return the distinct workloads behind a service port, or the one that its selector would find.

    `chosen`: addresses and ports that count; None counts all.
    """
    found: dict[tuple[object, ...], list[Endpoint]] = {}
    every = _endpoints(state, destination)
    for endpoint in every:
        if chosen is not None and (endpoint.address, endpoint.port) not in chosen:
            continue
        key = (endpoint.namespace, tuple(sorted(endpoint.labels.items())), endpoint.service_account)
        found.setdefault(key, []).append(endpoint)
    groups = [
        WorkloadGroup(
            namespace=items[0].namespace or destination.service.namespace,
            labels=items[0].labels,
            service_account=items[0].service_account or "default",
            endpoints=tuple(items),
        )
        for items in found.values()
    ]
    return groups if every else list(_selected(state, destination))


def _endpoints(state: MeshState, destination: Destination) -> tuple[Endpoint, ...]:
    return tuple(
        endpoint
        for endpoint in endpoints_behind(state, destination.service.host, destination.service.namespace)
        if endpoint.service_port == destination.port.number
    )


def with_sidecars(state: MeshState) -> MeshState:
    """Return a state in which each workload of the mesh has a sidecar with a certificate, unless it says otherwise."""
    endpoints = {
        host: found if state.services[host].external else tuple(map(_with_sidecar, found))
        for host, found in state.endpoints.items()
    }
    doubles = {
        host: tuple(
            one if one.service.external else one._replace(endpoints=tuple(map(_with_sidecar, one.endpoints)))
            for one in found
        )
        for host, found in state.doubles.items()
    }
    return replace(state, endpoints=endpoints, doubles=doubles)


def _with_sidecar(endpoint: Endpoint) -> Endpoint:
    return endpoint if TLS_MODE_LABEL in endpoint.labels else replace(endpoint, tls_mode=ISTIO_TLS_MODE)


def _selected(state: MeshState, destination: Destination) -> Iterator[WorkloadGroup]:
    service, port = destination.service, destination.port
    labels = selector_behind(state, service.host, service.namespace)
    if not labels or service.external:
        return
    endpoint = Endpoint(
        address=IMAGINED_ADDRESS,
        port=port.target_port if isinstance(port.target_port, int) and port.target_port else port.number,
        service_port=port.number,
        labels=labels,
        namespace=service.namespace,
        service_account="default",
        tls_mode=ISTIO_TLS_MODE,
    )
    yield WorkloadGroup(
        namespace=service.namespace, labels=labels, service_account="default", endpoints=(endpoint,), imagined=True
    )
