"""Servers of Gateways: certificates that several show, and ports that no Service leads to. Called by `references`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from lateen.analysis.hints import MOST_NAMES, some_names
from lateen.analysis.reports import Report
from lateen.analysis.workloads import ByLabels, Workloads
from lateen.config.codes import DUPLICATE_CERTIFICATE, GATEWAY_PORT_NOT_ON_SERVICE
from lateen.config.networking import Gateway, ServerTLSSettings
from lateen.config.objects import ConfigObject
from lateen.mesh.state import MeshState
from lateen.model.services import Service


def gateway_servers(
    report: Report, gateways: Sequence[ConfigObject[Gateway]], state: MeshState, workloads: Workloads
) -> None:
    """Look at the servers of all Gateways."""
    _certificates(report, gateways)
    selecting: defaultdict[str, list[tuple[Mapping[str, str], Service]]] = defaultdict(list)
    for host, labels in state.selectors.items():
        if labels and not state.services[host].external:
            selecting[state.services[host].namespace].append((labels, state.services[host]))
    for double in (one for found in state.doubles.values() for one in found):
        if double.selector and not double.service.external:
            selecting[double.service.namespace].append((double.selector, double.service))
    by_namespace = {namespace: ByLabels(found) for namespace, found in selecting.items()}
    for one in gateways:
        _ports(report, one, by_namespace, workloads)


def _certificates(report: Report, gateways: Sequence[ConfigObject[Gateway]]) -> None:
    showing: defaultdict[tuple[Any, ...], dict[str, tuple[ConfigObject[Gateway], int]]] = defaultdict(dict)
    for one in gateways:
        for index, server in enumerate(one.spec.servers):
            if server.tls is not None and (certificate := _certificate(server.tls)):
                place = (frozenset(one.spec.selector.items()), *certificate)
                showing[place].setdefault(str(one.key), (one, index))
    for (_, shown, *_), claimants in showing.items():
        for name, (one, index) in claimants.items() if len(claimants) > 1 else ():
            others = some_names(set(islice((other for other in claimants if other != name), MOST_NAMES + 1)))
            message = f"{others} shows the same certificate ({shown}): on one connection the hosts of the other"
            hint = "give 404; put the servers into one Gateway"
            report.add(DUPLICATE_CERTIFICATE, one, ("spec", "servers", index, "tls"), f"{message} {hint}")


def _certificate(tls: ServerTLSSettings) -> tuple[str, ...]:
    if tls.credential_name:
        return (tls.credential_name,)
    return (tls.server_certificate, tls.private_key) if tls.server_certificate and tls.private_key else ()


def _ports(
    report: Report, one: ConfigObject[Gateway], services: Mapping[str, ByLabels[Service]], workloads: Workloads
) -> None:
    leading = [
        service
        for proxy in workloads.selected("", one.spec.selector)
        if proxy.declared and proxy.namespace in services
        for service in services[proxy.namespace].matching(proxy.labels)
    ]
    known = {number for service in leading for port in service.ports for number in (port.number, port.target_port)}
    for index, server in enumerate(one.spec.servers):
        if leading and server.port is not None and server.port.number not in known:
            message = f"port {server.port.number} is not one of {leading[0].host}, by which the proxies are reached"
            report.add(GATEWAY_PORT_NOT_ON_SERVICE, one, ("spec", "servers", index, "port"), f"{message}; add it there")
