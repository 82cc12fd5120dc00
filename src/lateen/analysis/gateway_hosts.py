"""Rules of several VirtualServices for one host at one gateway, of which one hides another.

Called by `conflicts`. Such VirtualServices are merged: their rules are asked in the order of their age, those that take
everything last (`generate.gateway_routes`). That is often wanted, so only a rule that is never used is reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from lateen.analysis.reports import Report
from lateen.analysis.unreachable import condition, is_anything
from lateen.config.codes import HIDDEN_RULE
from lateen.config.networking import HTTPMatchRequest, HTTPRoute, VirtualService
from lateen.config.objects import ConfigObject
from lateen.envoy.routes import matches_everything, route_match
from lateen.mesh.references import MESH_GATEWAY, resolve_gateway
from lateen.model.names import Hostname, ObjectKey, resolve_host

_Rule = ConfigObject[VirtualService]
_ANYTHING = b""


def gateway_hosts(report: Report, virtual_services: Sequence[_Rule]) -> None:
    """Report the rules that an older VirtualService of the same host and gateway leaves nothing."""
    claims: defaultdict[tuple[str, Hostname], dict[ObjectKey, _Rule]] = defaultdict(dict)
    for one in sorted(virtual_services, key=lambda item: (item.created, item.key)):
        gateways = {resolve_gateway(name, one.key.namespace) for name in one.spec.gateways} - {MESH_GATEWAY}
        for host in one.spec.hosts if gateways else ():
            for gateway in sorted(gateways):
                claims[gateway, resolve_host(host, one.key.namespace)][one.key] = one
    matches: dict[ObjectKey, list[frozenset[bytes]]] = {}
    said: set[tuple[ObjectKey, int]] = set()
    for (gateway, host), claimants in claims.items():
        taken: dict[bytes, ObjectKey] = {}
        for one in claimants.values() if len(claimants) > 1 else ():
            rules = matches.setdefault(one.key, [frozenset(_matches(rule)) for rule in one.spec.http])
            for index, rule in enumerate(rules):
                others = {taken[match] for match in rule if match in taken and taken[match] != one.key}
                if others and all(match in taken for match in rule) and (one.key, index) not in said:
                    said.add((one.key, index))
                    message = f"{min(others)} is older and has the same match for {host} at the gateway {gateway}"
                    hint = "this rule is never used there"
                    report.add(HIDDEN_RULE, one, ("spec", "http", index), f"{message}; {hint}")
                for match in rule:
                    taken.setdefault(match, one.key)


def _matches(rule: HTTPRoute) -> Iterator[bytes]:
    if not rule.match or any(_is_asked_last(match) for match in rule.match):
        yield _ANYTHING
        return
    for match in rule.match:
        yield msgspec.json.encode(condition(match))


def _is_asked_last(match: HTTPMatchRequest) -> bool:
    """Whether it is one that everything matches, and that the generator takes for one."""
    return is_anything(match) and matches_everything(route_match(match))
