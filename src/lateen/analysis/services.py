"""Services and ServiceEntries: ports whose names say too little, or that several give different meanings.

Called by `references`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

from lateen.analysis.reports import Report
from lateen.config.codes import (
    ADDRESSES_REQUIRED,
    CONFLICTING_ENTRY_PROTOCOLS,
    EXTERNAL_NAME_PORT,
    PORT_NAME,
    SEVERAL_PROTOCOLS,
    SEVERAL_SERVICES,
)
from lateen.config.kubernetes import ServiceSpec
from lateen.config.networking import ServiceEntry
from lateen.config.objects import ConfigObject
from lateen.mesh.state import MeshState
from lateen.model.protocols import Protocol, protocol_of_port

_MOST_NAMES = 5
"""Of those that a message lists."""
_Service: TypeAlias = ConfigObject[ServiceSpec]
_Entry: TypeAlias = ConfigObject[ServiceEntry]


def services(report: Report, objects: Sequence[ConfigObject[Any]], state: MeshState) -> None:
    """Look at all Services and ServiceEntries."""
    chosen: list[_Service] = [one for one in objects if isinstance(one.spec, ServiceSpec)]
    entries: list[_Entry] = [one for one in objects if isinstance(one.spec, ServiceEntry)]
    for one in chosen:
        _port_names(report, one)
    for entry in entries:
        _addresses(report, entry)
    _target_ports(report, chosen)
    _transports(report, chosen)
    _protocols(report, entries, state.mesh_config.default_service_export_to)


def _port_names(report: Report, one: _Service) -> None:
    external = one.spec.type == "ExternalName"
    for index, port in enumerate(one.spec.ports):
        protocol = protocol_of_port(name=port.name, app_protocol=port.app_protocol, transport=port.protocol)
        shown = f"port {port.port} ({port.name})" if port.name else f"port {port.port}"
        if external and (protocol is Protocol.UNSUPPORTED or port.name == "tcp"):
            message = f"{shown} of an ExternalName service takes every connection to its number"
            report.add(EXTERNAL_NAME_PORT, one, ("spec", "ports", index), f"{message}; name it http, https or tls")
        elif protocol is Protocol.UNSUPPORTED:
            message = f"the name of {shown} says no protocol, so it is found out for each connection"
            report.add(PORT_NAME, one, ("spec", "ports", index), f"{message}; write `appProtocol`, or name it http-…")


def _target_ports(report: Report, chosen: Sequence[_Service]) -> None:
    """Find ports of the same workloads that services with equal selectors give different numbers."""
    ports: defaultdict[tuple[Any, ...], dict[int, tuple[_Service, int]]] = defaultdict(dict)
    for one in chosen:
        if not one.spec.selector:
            continue
        workloads = (one.key.namespace, frozenset(one.spec.selector.items()))
        for index, port in enumerate(one.spec.ports):
            target = str(port.target_port or port.port)
            known = ports[(*workloads, target, port.protocol)]
            other, number = next(((two, n) for n, (two, _) in known.items() if n != port.port), (one, 0))
            if other is not one:
                message = f"port {port.port} leads to target port {target}, as port {number} of {other.key} does"
                report.add(SEVERAL_SERVICES, one, ("spec", "ports", index), f"{message}; use one number")
            known.setdefault(port.port, (one, index))


def _transports(report: Report, chosen: Sequence[_Service]) -> None:
    """Find ports of the same workloads that are of TCP in one service and of UDP in another."""
    known: dict[tuple[Any, ...], tuple[_Service, str]] = {}
    for one in chosen if any(port.protocol == "UDP" for each in chosen for port in each.spec.ports) else ():
        workloads = (one.key.namespace, frozenset(one.spec.selector.items()))
        for index, port in enumerate(one.spec.ports if one.spec.selector else ()):
            other, transport = known.setdefault((*workloads, port.port), (one, port.protocol))
            if transport != port.protocol and other is not one:
                message = f"port {port.port} is of {port.protocol} here and of {transport} in {other.key}"
                report.add(SEVERAL_PROTOCOLS, one, ("spec", "ports", index), f"{message}; use two numbers")


def _addresses(report: Report, one: _Entry) -> None:
    if one.spec.addresses:
        return
    for index, port in enumerate(one.spec.ports):
        if port.protocol.upper() in ("", "TCP"):
            message = f"port {port.number} carries TCP, so without `addresses` the entry takes the whole port number"
            report.add(ADDRESSES_REQUIRED, one, ("spec", "ports", index), message)


def _protocols(report: Report, entries: Sequence[_Entry], default: Sequence[str]) -> None:
    """Find hosts and ports to which entries that some namespace sees give different protocols."""
    claims: defaultdict[tuple[str, int], list[tuple[_Entry, int, str, frozenset[str]]]] = defaultdict(list)
    for one in entries:
        seen_from = frozenset(
            one.key.namespace if name == "." else name for name in one.spec.export_to or default or ("*",)
        )
        for index, port in enumerate(one.spec.ports):
            for host in one.spec.hosts:
                claims[host.lower(), port.number].append((one, index, port.protocol.upper(), seen_from))
    reported: set[tuple[int, int]] = set()
    for (host, number), claimants in claims.items():
        if len({protocol for _, _, protocol, _ in claimants}) == 1:
            continue
        for one, index, protocol, seen_from in claimants:
            others = [
                f"{two.key.namespace}/{two.key.name} ({kind or 'none'})"
                for two, _, kind, theirs in claimants
                if kind != protocol and two is not one and ("*" in seen_from | theirs or seen_from & theirs)
            ][:_MOST_NAMES]
            if others and (id(one), index) not in reported:
                reported.add((id(one), index))
                message = f"port {number} of {host} has protocol {protocol or 'none'} here, another in"
                report.add(CONFLICTING_ENTRY_PROTOCOLS, one, ("spec", "ports", index), f"{message} {', '.join(others)}")
