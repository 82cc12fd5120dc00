"""Read and check what an agent sends: JSON to WorkloadRegistration. Used by `registries.attach`.

The peer is not trusted: everything is bounded, and names are those that Kubernetes and Envoy accept, because they
end up in both.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from lateen.model.protocols import protocol_named
from lateen.model.workloads import CALLS, MAX_CALLS, MAX_MESSAGE_BYTES, TRUSTS, WorkloadPort, WorkloadRegistration
from lateen.registries.sessions import Refusal

MAX_LABELS = 64
MAX_DIGEST = 128
MAX_PORTS = 64
MAX_LABEL_KEY = 253 + 1 + 63

_MACHINE_METADATA = ipaddress.ip_address("fd00:ec2::254")
"""Where a cloud serves its link-local address over IPv6; unlike that, it is not link-local itself."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 label: names of services, namespaces, workloads, ports."""
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
"""Value of a Kubernetes label; may be empty."""
_KEY_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LOCALITY = re.compile(r"[A-Za-z0-9_.-]{0,63}(/[A-Za-z0-9_.-]{0,63}){0,2}")


@dataclass(frozen=True, slots=True)
class Leave:
    """The workload is about to drain."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The workload was seen calling these hosts. What they are is for the reader to judge."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trusts:
    """The digest of the roots that the workload trusts."""

    roots: str


Message = WorkloadRegistration | Leave | Calls | Trusts


def read_message(data: bytes) -> Message | Refusal:
    """Return what a message of the attach protocol says, or why it is refused. Unknown fields are ignored."""
    if len(data) > MAX_MESSAGE_BYTES:
        return Refusal(message=f"the message has {len(data)} bytes, more than {MAX_MESSAGE_BYTES}")
    try:
        content: Any = msgspec.json.decode(data)
        if not isinstance(content, dict):
            return Refusal(message="a message is a JSON object with `register` or `leave`")
        if content.get("leave") is True:
            return Leave()
        if CALLS in content:
            return _calls(content[CALLS])
        if TRUSTS in content:
            return _trusts(content[TRUSTS])
        if "register" not in content:
            return Refusal(message="the message has neither `register` nor `leave`")
        registration = msgspec.convert(content["register"], WorkloadRegistration)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return Refusal(message=f"the message cannot be read: {error}")
    problems = list(_problems(registration))
    if problems:
        return Refusal(message="the registration is invalid: " + "; ".join(problems))
    # One address has many spellings in IPv6; conflicts and Envoy's listeners need one. Nobody says who he is himself.
    return replace(registration, address=str(ipaddress.ip_address(registration.address)), identity="", weight=0)


def _calls(hosts: Any) -> Calls | Refusal:
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts) or len(hosts) > MAX_CALLS:
        return Refusal(message=f"`calls` is not a list of at most {MAX_CALLS} host names")
    return Calls(tuple(hosts))


def _trusts(roots: Any) -> Trusts | Refusal:
    if not isinstance(roots, str) or len(roots) > MAX_DIGEST:
        return Refusal(message="`trusts` is the digest of some roots")
    return Trusts(roots)


def _problems(item: WorkloadRegistration) -> Iterator[str]:
    for field, required in (("service", False), ("namespace", True), ("name", False)):
        value: str = getattr(item, field)
        if (value or required) and not _LABEL.fullmatch(value):
            yield f"{field} {value[:80]!r} is not a lower-case DNS label (RFC 1123)"
    if item.group and (not _SUBDOMAIN.fullmatch(item.group) or len(item.group) > 253):
        yield f"group {item.group[:80]!r} is not a lower-case DNS name"
    if not _SUBDOMAIN.fullmatch(item.service_account) or len(item.service_account) > 253:
        yield f"service_account {item.service_account[:80]!r} is not a lower-case DNS name"
    for field in ("version", "network"):
        if not _VALUE.fullmatch(getattr(item, field)):
            yield f"{field} {getattr(item, field)[:80]!r} is not a label value"
    if not _LOCALITY.fullmatch(item.locality):
        yield f"locality {item.locality[:80]!r} is not REGION/ZONE/SUBZONE"
    yield from _address_problems(item.address)
    yield from _label_problems(item)
    yield from _port_problems(item)


def _address_problems(address: str) -> Iterator[str]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        yield f"address {address[:80]!r} is not an IP address"
        return
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    # Link-local is another thing on each machine: clouds keep credentials there, and callers would fetch theirs.
    if parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local or parsed == _MACHINE_METADATA:
        yield f"address {address} is not an address of a host"


def _label_problems(item: WorkloadRegistration) -> Iterator[str]:
    if len(item.labels) > MAX_LABELS:
        yield f"{len(item.labels)} labels, more than {MAX_LABELS}"
        return
    for key, value in item.labels.items():
        prefix, slash, name = key.rpartition("/")
        if len(key) > MAX_LABEL_KEY or not _KEY_NAME.fullmatch(name) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
            yield f"label key {key[:80]!r} is not a label key"
        if not _VALUE.fullmatch(value):
            yield f"label {key[:80]} has value {value[:80]!r}, which is not a label value"


def _port_problems(item: WorkloadRegistration) -> Iterator[str]:
    if len(item.ports) > MAX_PORTS:
        yield f"{len(item.ports)} ports, more than {MAX_PORTS}"
        return
    seen: set[int] = set()
    for port in item.ports:
        if port.port in seen:
            yield f"port {port.port} is given twice"
        seen.add(port.port)
        yield from _one_port_problems(port)


def _one_port_problems(port: WorkloadPort) -> Iterator[str]:
    if not 1 <= port.port <= 65535:
        yield f"port {port.port} is not 1 to 65535"
    if not 0 <= port.app_port <= 65535:
        yield f"app_port {port.app_port} is not 0 to 65535"
    if port.protocol and protocol_named(port.protocol) is None:
        yield f"port {port.port} has the unknown protocol {port.protocol[:40]!r}"
    if port.name and not _LABEL.fullmatch(port.name):
        yield f"port name {port.name[:80]!r} is not a lower-case DNS label"
