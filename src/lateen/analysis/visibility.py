"""What nobody sees, and what two objects claim at once: addresses, ports of gateways, rules of hosts.

Called by `references`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from lateen.analysis.hints import MOST_NAMES, some_names
from lateen.analysis.reports import Report
from lateen.config.codes import COMPETING_RULES, CONFLICTING_LISTENERS, NOT_FOR_GATEWAYS, SEEN_BY_NOBODY
from lateen.config.decoding import closest
from lateen.config.networking import DestinationRule, Gateway, ServiceEntry, VirtualService
from lateen.config.objects import ConfigObject
from lateen.mesh.bindings import BoundDestinationRule
from lateen.mesh.queries import every_service
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.services import Service

_Object: TypeAlias = ConfigObject[Any]
_NOBODY = "~"


def seen_by_nobody(report: Report, one: _Object, known: frozenset[str]) -> None:
    """Find what is exported to no namespace that there is; `known` is empty when nobody can say."""
    if not isinstance(one.spec, ServiceEntry | VirtualService | DestinationRule) or not one.spec.export_to:
        return
    named = [one.key.namespace if name == "." else name for name in one.spec.export_to]
    if _NOBODY in named:
        message = "`~` exports it to no namespace, so nobody can use it; remove the line, or name who may"
    elif known and "*" not in named and known.isdisjoint(named):
        near = closest(named[0], known)
        hint = f"did you mean {near}?" if near else "add the Namespace, or correct the name"
        message = f"it is exported to {some_names(set(named))} only, which does not exist, so nobody can use it; {hint}"
    else:
        return
    report.add(SEEN_BY_NOBODY, one, ("spec", "exportTo"), message)


def same_addresses(report: Report, objects: Sequence[_Object], state: MeshState) -> None:
    """Find services that want connections to one address and port, or to one port of all addresses."""
    claims: defaultdict[tuple[str, int], list[tuple[Service, Protocol]]] = defaultdict(list)
    for service in every_service(state):
        for port in service.ports:
            for address in service.addresses:
                claims[address, port.number].append((service, port.protocol))
    by_place = {one.origin: one for one in objects}
    said: set[tuple[str, str]] = set()
    for (address, number), claimants in claims.items():
        if len(claimants) == 1 or all(protocol.is_http for _, protocol in claimants):
            continue
        for service, protocol in claimants:
            meeting = (two.host for two, _ in claimants if two.host != service.host and _meet(two, service))
            others = list(islice(meeting, MOST_NAMES + 1))
            one = by_place.get(service.origin)
            if not others or one is None or (address, service.host) in said:
                continue
            said.add((address, service.host))
            message = f"{some_names(set(others))} has the address {address}:{number} too"
            if protocol.is_http:
                message += ", where the Host header tells them apart only if both carry HTTP"
            report.add(CONFLICTING_LISTENERS, one, ("spec",), f"{message}; give each its own")


def _meet(one: Service, other: Service) -> bool:
    """Whether somebody sees both, and cannot tell them apart: HTTP has a host in every request."""
    ours, theirs = _seen_from(one), _seen_from(other)
    if not ("*" in ours | theirs or ours & theirs):
        return False
    numbers = {port.number: port.protocol for port in one.ports}
    return any(
        port.number in numbers and not (port.protocol.is_http and numbers[port.number].is_http) for port in other.ports
    )


def _seen_from(service: Service) -> frozenset[str]:
    return frozenset(service.namespace if name == "." else name for name in service.export_to or ("*",))


def gateway_ports(report: Report, gateways: Sequence[ConfigObject[Gateway]]) -> None:
    """Find servers of the same proxies that give one port two meanings."""
    claims: defaultdict[tuple[Any, ...], dict[bool, tuple[ConfigObject[Gateway], int]]] = defaultdict(dict)
    for one in gateways:
        for index, server in enumerate(one.spec.servers if not one.made_of else ()):
            if server.port is None:
                continue
            plain = server.tls is None or server.tls.https_redirect
            word = server.port.protocol.upper()
            slot = (frozenset(one.spec.selector.items()), server.port.number, server.bind)
            meaning = plain and word.startswith(("HTTP", "GRPC"))
            other = claims[slot].get(not meaning)
            if other is not None:
                message = f"port {server.port.number} has protocol {word} here, and another kind in {other[0].key}"
                path = ("spec", "servers", index, "port")
                report.add(CONFLICTING_LISTENERS, one, path, f"{message}; one of them is not served")
            claims[slot].setdefault(meaning, (one, index))


def competing_rules(report: Report, rules: Mapping[Hostname, Sequence[BoundDestinationRule]]) -> None:
    """Find DestinationRules of one host of which a part has no effect: the oldest's settings count."""
    for bounds in rules.values():
        by_scope: defaultdict[tuple[str, tuple[str, ...]], list[BoundDestinationRule]] = defaultdict(list)
        for bound in bounds:
            if bound.object.spec.workload_selector is None and not bound.object.made_of:
                by_scope[bound.object.key.namespace, tuple(sorted(bound.export_to))].append(bound)
        for together in by_scope.values():
            ruling, taken = None, set[str]()
            for bound in together:
                _competing(report, bound.object, ruling, taken)
                ruling = ruling or (bound.object if bound.object.spec.traffic_policy is not None else None)
                taken |= {subset.name for subset in bound.object.spec.subsets}


def _competing(
    report: Report,
    one: ConfigObject[DestinationRule],
    ruling: ConfigObject[DestinationRule] | None,
    taken: set[str],
) -> None:
    """`ruling` has the policy in force, `taken` are the names of older subsets."""
    mine = one.spec.traffic_policy
    if ruling is not None and mine is not None and mine != ruling.spec.traffic_policy:
        message = f"{ruling.key} is about the same host and older, so this policy has no effect; merge them into one"
        report.add(COMPETING_RULES, one, ("spec", "trafficPolicy"), message)
    for index, subset in enumerate(one.spec.subsets):
        if subset.name in taken:
            message = f"an older rule of the same host has a subset {subset.name} already, so this one has no effect"
            report.add(COMPETING_RULES, one, ("spec", "subsets", index), f"{message}; rename it, or merge the rules")


def subsets_behind_gateways(report: Report, virtual_services: Sequence[ConfigObject[VirtualService]]) -> None:
    """Find rules of gateways to a host whose own rules, which choose a subset, gateways do not read (IST0140)."""
    choosing: dict[tuple[str, str], ConfigObject[VirtualService]] = {}
    for one in virtual_services:
        for rule in one.spec.http:
            for route in rule.route:
                target = route.destination
                if target is not None and target.subset and target.host in one.spec.hosts:
                    choosing.setdefault((one.key.namespace, target.host), one)
    for one in virtual_services if choosing else ():
        for index, rule in enumerate(one.spec.http if one.spec.gateways else ()):
            for place, route in enumerate(rule.route):
                target = route.destination
                chosen = choosing.get((one.key.namespace, target.host)) if target is not None else None
                if chosen is not None and chosen is not one and target is not None and not target.subset:
                    _passed_by(report, one, (index, place), chosen)


def _passed_by(report: Report, one: _Object, place: tuple[int, int], chosen: _Object) -> None:
    path = ("spec", "http", place[0], "route", place[1], "destination")
    message = f"requests through the gateway do not take the rules of {chosen.key}, so not its subsets either"
    report.add(NOT_FOR_GATEWAYS, one, path, f"{message}; name the subset here, or bind that rule to the gateway")
