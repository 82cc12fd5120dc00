"""Rules and settings that are about what their host does not have: a protocol, a port. Called by `references`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lateen.analysis.reports import Report
from lateen.analysis.traffic_policies import traffic_policies
from lateen.config.codes import NOTHING_TAKES_IT
from lateen.config.networking import (
    DestinationRule,
    L4MatchAttributes,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from lateen.config.objects import ConfigObject
from lateen.mesh.references import MESH_GATEWAY
from lateen.model.protocols import Protocol
from lateen.model.services import Service

_WORDS: Mapping[str, str] = {"http": "HTTP", "tls": "TLS", "tcp": "TCP without TLS"}


def rules_without_port(report: Report, one: ConfigObject[VirtualService], services: Sequence[Service | None]) -> None:
    """Find rules of a protocol that no port of the hosts carries.

    `services`: those of the object's hosts, None where not all see the same one.

    Said of sidecars only, where the port of a service decides which rules count; at a gateway it is the server's. Not
    of a wildcard: services below it may have other ports.
    """
    spec = one.spec
    if any(name != MESH_GATEWAY for name in spec.gateways) or not services or any("*" in host for host in spec.hosts):
        return
    known = [service for service in services if service is not None and service.ports]
    if len(known) != len(services):
        return
    protocols = [port.protocol for service in known for port in service.ports]
    for field, rules in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        if rules and not any(_takes(protocol, field) for protocol in protocols):
            carried = ", ".join(f"{port.number} {port.protocol.value}" for port in known[0].ports)
            message = f"no port of {known[0].host} carries {_WORDS[field]} ({carried}), so these rules are never asked"
            hint = "correct the name or appProtocol of the port, or write the rules for what it carries"
            report.add(NOTHING_TAKES_IT, one, ("spec", field), f"{message}; {hint}")


def _takes(protocol: Protocol, field: str) -> bool:
    if protocol.is_sniffed:
        return field != "tls"
    return {"http": protocol.is_http, "tls": protocol.is_tls, "tcp": protocol.is_tcp and not protocol.is_tls}[field]


def subnets_at_gateways(report: Report, one: ConfigObject[VirtualService]) -> None:
    """Find conditions on the address that was called: at a gateway that is always its own."""
    if not one.spec.gateways or MESH_GATEWAY in one.spec.gateways:
        return
    rules: dict[str, Sequence[TLSRoute | TCPRoute]] = {"tls": one.spec.tls, "tcp": one.spec.tcp}
    for field, routes in rules.items():
        for index, route in enumerate(routes):
            matches: Sequence[TLSMatchAttributes | L4MatchAttributes] = route.match
            for number, match in enumerate(matches):
                if match.destination_subnets:
                    path = ("spec", field, index, "match", number, "destinationSubnets")
                    what = "the condition does not count" if field == "tls" else "the rule is passed over"
                    message = f"a gateway is called at its own address, so {what}"
                    report.add(NOTHING_TAKES_IT, one, path, f"{message}; tell rules apart by port or server name")


def settings_without_port(report: Report, one: ConfigObject[DestinationRule], service: Service) -> None:
    """Find settings of ports that the host does not have."""
    numbers = {port.number for port in service.ports}
    for path, policy, _ in traffic_policies(one.spec):
        for index, setting in enumerate(policy.port_level_settings):
            if setting.port is not None and numbers and setting.port.number not in numbers:
                known = ", ".join(map(str, sorted(numbers)))
                message = f"{service.host} has no port {setting.port.number}, so this changes nothing"
                here = (*path, "portLevelSettings", index, "port", "number")
                report.add(NOTHING_TAKES_IT, one, here, f"{message}; its ports are {known}")
