"""Claims: which hosts each source describes, and with what ports and endpoints of its own.

Called by `mesh.services`, which settles hosts that several sources claim. One claim per host and source: Kubernetes
Services, ServiceEntries, registries' catalogues, and services implied by registered workloads. Each function here
sees one source, so that a changed one can be looked at alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

from lateen.config.health_checks import health_check
from lateen.config.kubernetes import Endpoints, EndpointSlice, KubernetesServicePort, ServiceSpec
from lateen.config.networking import ConfigPort, ServiceEntry, ServiceEntryLocation
from lateen.config.objects import ConfigObject
from lateen.mesh.workloads import endpoints_behind, from_entry
from lateen.model.catalogues import Catalogue
from lateen.model.health import HealthCheck
from lateen.model.names import Hostname, service_host
from lateen.model.origins import Origin
from lateen.model.protocols import Protocol, protocol_named, protocol_of_port
from lateen.model.services import Endpoint, Locality, Resolution, Service, ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

EXPORT_ANNOTATION = "networking.istio.io/exportTo"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class Rank(IntEnum):
    """Kinds of sources."""

    KUBERNETES = 0
    SERVICE_ENTRY = 1
    REGISTRY = 2
    IMPLIED = 3
    """By registered workloads that name a service."""


class Claim(NamedTuple):
    """One source's description of a host."""

    rank: Rank
    """Lower owns the host."""
    order: tuple[str, ...]
    """Decides among claims of one rank."""
    service: Service
    endpoints: tuple[Endpoint, ...] = ()
    """Those that the source itself lists."""
    selector: Mapping[str, str] | None = None
    """Workloads of its namespace that join; None for no workload, empty for all."""
    only_ips: bool = False
    """Kubernetes Services cannot have endpoints with DNS names (Istio)."""
    check: HealthCheck | None = None
    """Of workloads without an agent and without a check of their own."""


# --- Kubernetes ----------------------------------------------------------------------------------------------


def kubernetes_claim(
    item: ConfigObject[ServiceSpec],
    slices: Sequence[ConfigObject[EndpointSlice]],
    endpoints: ConfigObject[Endpoints] | None,
    export_to: tuple[str, ...],
) -> Claim:
    """Return the claim of a Kubernetes Service, with the endpoints of its slices (or its Endpoints object)."""
    service = _kubernetes_service(item, export_to)
    unready = item.spec.publish_not_ready_addresses
    own: tuple[Endpoint, ...] = ()
    if item.spec.type == "ExternalName":
        own = _dns_endpoints(service, item.spec.external_name)
    elif slices:
        own = tuple(found for one in slices for found in _slice_endpoints(one, service.ports, unready))
    elif endpoints is not None:
        own = tuple(_subset_endpoints(endpoints, service.ports, unready))
    selector = item.spec.selector or None
    order = (item.created, item.key.name, item.key.namespace)
    return Claim(rank=Rank.KUBERNETES, order=order, service=service, endpoints=own, selector=selector, only_ips=True)


def _kubernetes_service(item: ConfigObject[ServiceSpec], export_to: tuple[str, ...]) -> Service:
    spec = item.spec
    external = spec.type == "ExternalName"
    exported = tuple(part.strip() for part in item.annotations.get(EXPORT_ANNOTATION, "").split(",") if part.strip())
    return Service(
        host=service_host(item.key.name, item.key.namespace),
        namespace=item.key.namespace,
        name=item.key.name,
        ports=tuple(_kubernetes_port(port) for port in spec.ports),
        addresses=tuple(
            dict.fromkeys(ip for ip in (spec.cluster_ips or [spec.cluster_ip]) if ip and ip != "None" and not external)
        ),
        headless=spec.cluster_ip == "None" and not external,
        resolution=Resolution.DNS if external else Resolution.STATIC,
        external=external,
        export_to=exported or export_to,
        labels=item.labels,
        origin=item.origin,
    )


def _kubernetes_port(port: KubernetesServicePort) -> ServicePort:
    target: int | str = port.target_port
    if isinstance(target, str) and target.isdecimal():
        target = int(target)
    protocol = protocol_of_port(name=port.name, app_protocol=port.app_protocol, transport=port.protocol)
    return ServicePort(number=port.port, protocol=protocol, name=port.name, target_port=target)


def _slice_endpoints(
    item: ConfigObject[EndpointSlice], ports: tuple[ServicePort, ...], unready: bool
) -> Iterator[Endpoint]:
    """Slice ports belong to the service port of the same name; an endpoint's first address counts."""
    by_name = {port.name: port for port in ports}
    labels = {key: value for key, value in item.labels.items() if "kubernetes.io/" not in key}
    for found in item.spec.endpoints:
        if not found.addresses:
            continue
        ready = found.conditions is None or found.conditions.ready is not False
        target = found.target_ref
        for port in item.spec.ports:
            service_port = by_name.get(port.name or "")
            if service_port is None or port.port is None:
                continue
            yield Endpoint(
                address=found.addresses[0],
                port=port.port,
                service_port=service_port.number,
                labels=labels,
                locality=Locality(zone=found.zone or ""),
                healthy=ready or unready,
                namespace=item.key.namespace,
                workload=target.name if target and target.kind == "Pod" else "",
            )


def _subset_endpoints(
    item: ConfigObject[Endpoints], ports: tuple[ServicePort, ...], unready: bool
) -> Iterator[Endpoint]:
    by_name = {port.name: port for port in ports}
    for subset in item.spec.subsets:
        addresses = [(address, True) for address in subset.addresses]
        addresses += [(address, unready) for address in subset.not_ready_addresses]
        for address, healthy in addresses:
            target = address.target_ref
            for port in subset.ports:
                if (service_port := by_name.get(port.name)) is not None:
                    yield Endpoint(
                        address=address.ip,
                        port=port.port,
                        service_port=service_port.number,
                        healthy=healthy,
                        namespace=item.key.namespace,
                        workload=target.name if target and target.kind == "Pod" else "",
                    )


# --- ServiceEntry --------------------------------------------------------------------------------------------


def entry_claims(item: ConfigObject[ServiceEntry], export_to: tuple[str, ...]) -> Iterator[Claim]:
    """Yield a claim per host of a ServiceEntry."""
    spec = item.spec
    ports = tuple(_entry_port(port) for port in spec.ports)
    inline = [
        from_entry(endpoint, item.key.namespace, f"{item.key.name}-{number}", {})
        for number, endpoint in enumerate(spec.endpoints)
    ]
    check = health_check(item.annotations)
    listed = endpoints_behind(inline, ports, check)
    for name in dict.fromkeys(name.lower() for name in spec.hosts):
        service = Service(
            host=Hostname(name),
            namespace=item.key.namespace,
            ports=ports,
            addresses=tuple(address.removesuffix("/32") for address in spec.addresses),
            resolution=Resolution(spec.resolution.value),
            external=spec.location is ServiceEntryLocation.MESH_EXTERNAL,
            export_to=tuple(spec.export_to) or export_to,
            labels=item.labels,
            subject_alt_names=tuple(spec.subject_alt_names),
            origin=item.origin,
        )
        own = listed
        if not inline and spec.workload_selector is None and _resolves(service):
            own = _dns_endpoints(service, service.host)
        selector = spec.workload_selector.labels if spec.workload_selector is not None else None
        order = (item.created, item.key.name, item.key.namespace)
        yield Claim(
            rank=Rank.SERVICE_ENTRY, order=order, service=service, endpoints=own, selector=selector, check=check
        )


def _entry_port(port: ConfigPort) -> ServicePort:
    if port.protocol:
        protocol = protocol_named(port.protocol) or Protocol.UNSUPPORTED
    else:
        protocol = protocol_of_port(name=port.name)
    return ServicePort(number=port.number, protocol=protocol, name=port.name, target_port=port.target_port)


def _resolves(service: Service) -> bool:
    dns = service.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
    return dns and not service.host.startswith("*")


def _dns_endpoints(service: Service, name: str) -> tuple[Endpoint, ...]:
    """Return one endpoint per port that Envoy resolves by name."""
    return tuple(
        Endpoint(
            address=name,
            port=port.target_port if isinstance(port.target_port, int) and port.target_port else port.number,
            service_port=port.number,
            namespace=service.namespace,
        )
        for port in service.ports
    )


# --- registries and agents -----------------------------------------------------------------------------------


def catalogue_claims(catalogue: Catalogue) -> Iterator[Claim]:
    """Yield a claim per host that a registry knows."""
    first = {service.host: service for service in reversed(catalogue.services)}
    for host, service in first.items():
        own = tuple(catalogue.endpoints.get(host, ()))
        yield Claim(rank=Rank.REGISTRY, order=(catalogue.name,), service=service, endpoints=own)


def declared_ports(registration: WorkloadRegistration) -> tuple[WorkloadPort, ...]:
    """Return what a registered workload says of the ports of its service: all but where its own application listens."""
    return tuple([WorkloadPort(port=port.port, protocol=port.protocol, name=port.name) for port in registration.ports])


def implied_claim(
    namespace: str, name: str, declared: Iterable[tuple[WorkloadPort, ...]], export_to: tuple[str, ...]
) -> Claim:
    """Return the claim of a service that registered workloads name: `name.namespace.svc.cluster.local`.

    Its ports are the union of its workloads' ports, which are given by the workloads' names; where they disagree about
    a port's protocol or name the first declared one wins. To say the same again changes nothing.
    """
    union: dict[int, ServicePort] = {}
    for port in chain.from_iterable(declared):
        current = union.get(port.port)
        if current is None or (current.protocol.is_sniffed and port.protocol):
            union[port.port] = _declared_port(port)
    service = Service(
        host=service_host(name, namespace),
        namespace=namespace,
        name=name,
        ports=tuple(union[number] for number in sorted(union)),
        export_to=export_to,
        labels={"app": name},
        origin=Origin("registry agents"),
    )
    return Claim(rank=Rank.IMPLIED, order=(namespace, name), service=service)


def _declared_port(port: WorkloadPort) -> ServicePort:
    if port.protocol:
        protocol = protocol_named(port.protocol) or Protocol.UNSUPPORTED
    else:
        protocol = protocol_of_port(name=port.name)
    return ServicePort(number=port.port, protocol=protocol, name=port.name)
