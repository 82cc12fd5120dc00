"""Rules of ServiceEntry and WorkloadEntry."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.health_checks import HEALTH_CHECK
from lateen.config.metadata import Metadata
from lateen.config.networking import ServiceEntry, ServiceEntryResolution, WorkloadEntry
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.violations import Violation, warning
from lateen.model.protocols import Protocol, protocol_named

_DYNAMIC_PROTOCOLS = frozenset((Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.TLS))


_LONGEST_ACCOUNT = 253


def service_entry(spec: ServiceEntry, metadata: Metadata) -> Iterator[Violation]:
    """The whole object."""
    if spec.workload_selector is not None:
        yield from fields.selector(("workloadSelector", "labels"), spec.workload_selector.labels, required=True)
        if spec.endpoints:
            yield Violation(("endpoints",), "`endpoints` and `workloadSelector` exclude each other", "keep one of them")
    yield from _hosts(spec)
    yield from _addresses(spec)
    yield from _ports(spec)
    match spec.resolution:
        case ServiceEntryResolution.NONE:
            yield from _none(spec)
        case ServiceEntryResolution.STATIC:
            for index, endpoint in enumerate(spec.endpoints):
                yield from _static_endpoint(("endpoints", index), endpoint, spec)
        case ServiceEntryResolution.DYNAMIC_DNS:
            yield from _dynamic(spec)
        case _:
            yield from _dns(spec)
    if spec.resolution is not ServiceEntryResolution.NONE and len(spec.hosts) > 1:
        yield from _ambiguous(spec)
    yield from fields.export_to(("exportTo",), spec.export_to, metadata.namespace, admits_none=True)
    if HEALTH_CHECK in metadata.annotations and spec.resolution is not ServiceEntryResolution.STATIC:
        message = f"only endpoints with IP addresses are checked, so that the annotation {HEALTH_CHECK} does nothing"
        yield warning(("resolution",), message, "write STATIC and endpoints, or remove the annotation")


def _hosts(spec: ServiceEntry) -> Iterator[Violation]:
    if not spec.hosts:
        yield Violation(("hosts",), "the ServiceEntry has no hosts", "add `hosts: [example.com]`")
    for index, host in enumerate(spec.hosts):
        here: Path = ("hosts", index)
        if host == fields.ANY_HOST:
            yield Violation(here, "`*` would be every host there is", "write *.example.com")
            continue
        yield from fields.wildcard_host(here, host)
        is_dynamic = spec.resolution is ServiceEntryResolution.DYNAMIC_DNS
        if "*" in host and not host.startswith("*.") and not is_dynamic:
            yield warning(here, f"{host!r} has a partial wildcard", "a wildcard is a whole label: *.example.com")


def _addresses(spec: ServiceEntry) -> Iterator[Violation]:
    cidr_admitted = spec.resolution in (ServiceEntryResolution.NONE, ServiceEntryResolution.STATIC)
    for index, address in enumerate(spec.addresses):
        here: Path = ("addresses", index)
        yield from fields.subnet(here, address)
        if "/" in address and not cidr_admitted:
            message = f"a CIDR block does not go with resolution {spec.resolution.value}"
            yield Violation(here, message, "use resolution NONE or STATIC, or single addresses")


def _ports(spec: ServiceEntry) -> Iterator[Violation]:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(spec.ports):
        here: Path = ("ports", index)
        if port.name in names:
            yield Violation((*here, "name"), f"the port name {port.name!r} stands twice", "rename one of them")
        if port.number in numbers:
            yield Violation((*here, "number"), f"the port {port.number} stands twice", "keep one of them")
        names.add(port.name)
        numbers.add(port.number)
        yield from fields.port_number((*here, "number"), port.number)
        if port.name:
            yield from fields.any_label((*here, "name"), port.name, "name of a port")
        else:
            yield Violation(here, "the field `name` is required", "add `name: http`")
        yield from fields.protocol((*here, "protocol"), port.protocol)


def _none(spec: ServiceEntry) -> Iterator[Violation]:
    if spec.endpoints:
        message = "resolution NONE goes to the address that the caller wanted, so endpoints have no use"
        yield Violation(("endpoints",), message, "use resolution STATIC or DNS")
    if not spec.addresses:
        for index, port in enumerate(spec.ports):
            if port.protocol.upper() in ("", "TCP"):
                message = "without addresses every connection to this port that is not known is taken for this one"
                yield warning(("ports", index), message, "add addresses, or write the protocol HTTP or TLS")
    if spec.workload_selector is not None:
        yield warning(("workloadSelector",), "resolution NONE has no use for workloads", "use resolution STATIC")


def _dns(spec: ServiceEntry) -> Iterator[Violation]:
    resolution = spec.resolution.value
    if not spec.endpoints:
        for index, host in enumerate(spec.hosts):
            if fields.host_problem(host):
                message = f"{host!r} cannot be looked up in DNS (resolution {resolution})"
                yield Violation(("hosts", index), message, "write a name without wildcard, or add endpoints")
    if spec.resolution is ServiceEntryResolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        yield Violation(("endpoints",), f"resolution {resolution} takes one endpoint", "use resolution DNS")
    for index, endpoint in enumerate(spec.endpoints):
        here: Path = ("endpoints", index)
        if not fields.is_ip(endpoint.address) and fields.host_problem(endpoint.address):
            message = f"{endpoint.address!r} is neither a host name nor an IP address"
            yield Violation((*here, "address"), message, "write a name such as api.example.com")
        yield from fields.labels((*here, "labels"), endpoint.labels)
        yield from _endpoint_ports(here, endpoint, spec)
    if spec.addresses and len(spec.hosts) > 1 and any(_is_tcp(port.protocol) for port in spec.ports):
        message = "several hosts with addresses and a TCP port cannot be told apart"
        yield warning(("hosts",), message, "write one ServiceEntry for each host")


def _is_tcp(name: str) -> bool:
    protocol = protocol_named(name)
    return protocol is not None and protocol.is_tcp and not protocol.is_tls


def _dynamic(spec: ServiceEntry) -> Iterator[Violation]:
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            yield Violation(("hosts", index), f"{host!r} has no wildcard", "use resolution DNS")
    for name in ("addresses", "endpoints"):
        if getattr(spec, name):
            message = f"`{name}` has no use: the host of each request is looked up"
            yield Violation((name,), message, "remove it")
    for index, port in enumerate(spec.ports):
        if protocol_named(port.protocol) not in _DYNAMIC_PROTOCOLS:
            message = f"resolution DYNAMIC_DNS does not go with protocol {port.protocol!r}"
            yield Violation(("ports", index, "protocol"), message, "write HTTP, HTTP2, GRPC or TLS")


def _ambiguous(spec: ServiceEntry) -> Iterator[Violation]:
    """Plain TCP carries no host name: with several hosts nothing tells them apart."""
    for index, port in enumerate(spec.ports):
        protocol = protocol_named(port.protocol)
        if protocol is None or not (protocol.is_http or protocol.is_tls):
            message = "several hosts need a protocol that names the host (HTTP or TLS)"
            yield Violation(("ports", index), message, "set the protocol, or write one ServiceEntry for each host")
            return


def _static_endpoint(path: Path, endpoint: WorkloadEntry, spec: ServiceEntry) -> Iterator[Violation]:
    yield from _workload_entry(path, endpoint, admits_name=False)
    yield from _endpoint_ports(path, endpoint, spec)
    if endpoint.address.startswith(fields.UNIX_PREFIX) and len(spec.ports) != 1:
        yield Violation((*path, "address"), "an endpoint on a Unix socket needs exactly one service port")


def _endpoint_ports(path: Path, endpoint: WorkloadEntry, spec: ServiceEntry) -> Iterator[Violation]:
    known = [port.name for port in spec.ports]
    for name, number in endpoint.ports.items():
        here = (*path, "ports", name)
        if name not in known:
            yield Violation(here, f"the service has no port {name!r}", f"its ports are {', '.join(known) or 'none'}")
        yield from fields.port_number(here, number)


def standalone_workload_entry(spec: WorkloadEntry, _metadata: Metadata) -> Iterator[Violation]:
    """A WorkloadEntry of its own."""
    yield from _workload_entry((), spec, admits_name=True)
    for name, number in spec.ports.items():
        yield from fields.any_label(("ports", name), name, "name of a port")
        yield from fields.port_number(("ports", name), number)


def _workload_entry(path: Path, entry: WorkloadEntry, *, admits_name: bool) -> Iterator[Violation]:
    address = entry.address
    here = (*path, "address")
    if not address:
        if entry.network:
            yield warning(path, "without an address the workload is reached through its network's gateway")
        else:
            yield Violation(path, "the field `address` is required", "add `address: 10.0.0.1`")
    elif address.startswith(fields.UNIX_PREFIX):
        yield from fields.unix_path(here, address)
        if entry.ports:
            yield Violation((*path, "ports"), "a Unix socket has no ports", "remove them")
    elif not fields.is_ip(address):
        if not admits_name:
            bare, colon, port = address.rpartition(":")
            names_port = bool(colon) and port.isdigit() and fields.is_ip(bare.strip("[]"))
            hint = f"write {bare}, and the port under `ports`" if names_port else "use resolution DNS for names"
            yield Violation(here, f"{address!r} is not an IP address", hint)
        elif fields.host_problem(address):
            yield Violation(here, f"{address!r} is neither a host name nor an IP address")
    yield from fields.labels((*path, "labels"), entry.labels)
    if len(entry.service_account) > _LONGEST_ACCOUNT:
        message = f"a service account has at most {_LONGEST_ACCOUNT} characters"
        yield Violation((*path, "serviceAccount"), message, "write its name alone")
