"""Rules of the Kubernetes kinds, as far as a mesh depends on them. Source: the Kubernetes API reference."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from lateen.config.codes import INVALID_VALUE
from lateen.config.kubernetes import Endpoints, EndpointSlice, Secret, ServiceSpec
from lateen.config.metadata import DNS_LABEL, Metadata
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.violations import Violation

_TRANSPORTS = ("TCP", "UDP", "SCTP")
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")


def service(spec: ServiceSpec, metadata: Metadata) -> Iterator[Violation]:
    """A Service."""
    if not DNS_LABEL.fullmatch(metadata.name):
        yield _invalid((), f"{metadata.name!r} is not a name for a Service, which may have no dots")
    if spec.type not in _SERVICE_TYPES:
        yield _invalid(("type",), f"{spec.type!r} is not a type of Service", f"write {' or '.join(_SERVICE_TYPES)}")
    if spec.type == "ExternalName" and fields.host_problem(spec.external_name):
        yield _invalid(("externalName",), "a Service of type ExternalName needs a host name", "add externalName")
    names: set[str] = set()
    numbers: set[tuple[int, str]] = set()
    for index, port in enumerate(spec.ports):
        here: Path = ("ports", index)
        yield from _port(here, port.port, port.protocol)
        if len(spec.ports) > 1 and not port.name:
            yield _invalid(here, "each of several ports needs a name", "add `name: http`")
        if port.name:
            yield from _port_name((*here, "name"), port.name, names)
        if (port.port, port.protocol) in numbers:
            yield _invalid((*here, "port"), f"the port {port.port} stands twice", "keep one of them")
        numbers.add((port.port, port.protocol))
        if isinstance(port.target_port, int) and not 0 <= port.target_port <= 65535:
            yield _invalid((*here, "targetPort"), f"port number {port.target_port} is out of range")
    for index, address in enumerate(spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])):
        here = ("clusterIPs", index) if spec.cluster_ips else ("clusterIP",)
        if address != "None" and not fields.is_ip(address):
            yield _invalid(here, f"{address!r} is not an IP address", "write None for a headless Service")


def _port_name(path: Path, name: str, names: set[str]) -> Iterator[Violation]:
    if not DNS_LABEL.fullmatch(name):
        yield _invalid(path, f"{name!r} is not a name for a port", "use lower-case letters, digits and `-`")
    if name in names:
        yield _invalid(path, f"the port name {name!r} stands twice", "rename one of them")
    names.add(name)


def _port(path: Path, number: int | None, transport: str | None) -> Iterator[Violation]:
    if number is not None and not 1 <= number <= 65535:
        yield _invalid((*path, "port"), f"port number {number} is out of range", "write a number from 1 to 65535")
    if transport not in (*_TRANSPORTS, "", None):
        hint = "write TCP, and the protocol of the application as appProtocol or in the port's name"
        yield _invalid((*path, "protocol"), f"{transport!r} is not a transport protocol", hint)


def endpoint_slice(spec: EndpointSlice, _metadata: Metadata) -> Iterator[Violation]:
    """An EndpointSlice."""
    if spec.address_type not in ("IPv4", "IPv6", "FQDN"):
        yield _invalid(("addressType",), f"{spec.address_type!r} is not a type of address", "write IPv4, IPv6 or FQDN")
    for index, endpoint in enumerate(spec.endpoints):
        if not endpoint.addresses:
            yield _invalid(("endpoints", index), "the endpoint has no address", "add `addresses: [10.0.0.1]`")
        for number, address in enumerate(endpoint.addresses):
            if spec.address_type != "FQDN" and not fields.is_ip(address):
                yield _invalid(("endpoints", index, "addresses", number), f"{address!r} is not an IP address")
    for index, port in enumerate(spec.ports):
        yield from _port(("ports", index), port.port, port.protocol)


def endpoints(spec: Endpoints, _metadata: Metadata) -> Iterator[Violation]:
    """An Endpoints object."""
    for index, subset in enumerate(spec.subsets):
        here: Path = ("subsets", index)
        for name, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for number, address in enumerate(addresses):
                if not fields.is_ip(address.ip):
                    yield _invalid((*here, name, number, "ip"), f"{address.ip!r} is not an IP address")
        for number, port in enumerate(subset.ports):
            yield from _port((*here, "ports", number), port.port, port.protocol)


def secret(spec: Secret, _metadata: Metadata) -> Iterator[Violation]:
    """A Secret. No message shows a value."""
    for key, value in spec.data.items():
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            yield _invalid(("data", key), "is not base64", "put plain text under stringData")


def _invalid(path: Path, message: str, hint: str = "") -> Violation:
    """These are Kubernetes' rules, not Istio's: no Istio code fits."""
    return Violation(path, message, hint, INVALID_VALUE)
