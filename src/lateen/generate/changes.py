"""What is different between two states, in the words of a view's questions. Made by `generator`, once per state.

By identity: `mesh` keeps every object that did not change, and finds the others quickly. An answer that is named here
may be the same after all, and costs a part made again in vain; one that is not named here is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lateen.config.objects import ConfigObject
from lateen.generate.memo import Memo, Read
from lateen.generate.view import (
    ACCOUNTS,
    ENDPOINTS,
    GATEWAY_RULES,
    GATEWAYS,
    KEY_SET,
    POLICIES,
    ROUTING,
    RULE,
    RULE_OF_GATEWAY,
    SECRET,
    SERVICE,
    SWITCHED_OFF,
    UNSERVED,
)
from lateen.mesh.changes import changed_policies
from lateen.mesh.mutual_tls import can_disable, service_accounts
from lateen.mesh.policies import PEER_AUTHENTICATION
from lateen.mesh.sharing import changed_keys, turnover
from lateen.mesh.state import MESH_GATEWAY, MeshState
from lateen.model.names import Hostname


@dataclass(slots=True)
class StateChanges:
    """The reads whose answers may differ."""

    reads: set[Read] = field(default_factory=set)
    patterns: set[tuple[str, Hostname]] = field(default_factory=set)
    """Wildcards, with the kind of read that they are about: each stands for the reads of all hosts that it covers."""
    gateways: set[str] = field(default_factory=set)
    """Gateways with a VirtualService that came, went or changed."""
    gone: list[ConfigObject[Any]] = field(default_factory=list)
    """Objects that may select workloads and are no more, or are others now."""
    fresh: list[ConfigObject[Any]] = field(default_factory=list)
    """Those that were not there before."""
    policies: tuple[list[ConfigObject[Any]], list[ConfigObject[Any]]] = ([], [])
    """Security policies that are no more or others now, and those that were not there before."""

    def reads_of(self, memo: Memo) -> Iterator[Read]:
        """Yield the reads, those that the patterns stand for as far as a memo knows them."""
        yield from self.reads
        for kind in {kind for kind, _ in self.patterns}:
            suffixes = [pattern[1:] for known, pattern in self.patterns if known == kind]
            for host in memo.reads_of(kind):
                if any(str(host).removeprefix("*").endswith(suffix) for suffix in suffixes):
                    yield (kind, host)


def state_changes(old: MeshState, new: MeshState) -> StateChanges:
    """Return what is different."""
    found = StateChanges()
    _services(old, new, found)
    _endpoints(old, new, found)
    _virtual_services(old, new, found)
    _destination_rules(old, new, found)
    if old.gateways is not new.gateways:
        found.reads.add(GATEWAYS)
    found.reads.update((SECRET, key) for key in changed_keys(old.secrets, new.secrets))
    found.reads.update((KEY_SET, source) for source in changed_keys(old.key_sets, new.key_sets))
    sidecars = turnover(old.sidecars, new.sidecars)
    found.gone += sidecars[0]
    found.fresh += sidecars[1]
    found.policies = changed_policies(old, new)
    places = {(item.key.kind, item.key.namespace) for side in found.policies for item in side}
    found.reads.update((POLICIES, place) for place in places)
    if any(can_disable(state.policies.get(PEER_AUTHENTICATION, ())) for state in (old, new)):
        # As long as nothing is switched off anywhere, no policy makes a difference to clients.
        found.reads.update((SWITCHED_OFF, namespace) for kind, namespace in places if kind == PEER_AUTHENTICATION)
    return found


def _services(old: MeshState, new: MeshState, found: StateChanges) -> None:
    hosts = changed_keys(old.services, new.services) | changed_keys(old.doubles, new.doubles)
    if hosts:
        found.reads.add(UNSERVED)
    for host in hosts:
        # Whose rule a host has depends on its service's namespace.
        found.reads.update(((SERVICE, host), (RULE, host)))


def _endpoints(old: MeshState, new: MeshState, found: StateChanges) -> None:
    for host in changed_keys(old.endpoints, new.endpoints):
        found.reads.add((ENDPOINTS, host))
        # Clusters name the accounts, and change much less often than endpoints come and go.
        if service_accounts(old.endpoints.get(host, ())) != service_accounts(new.endpoints.get(host, ())):
            found.reads.add((ACCOUNTS, host))
    for host in changed_keys(old.doubles, new.doubles):
        found.reads.update(((ENDPOINTS, host), (ACCOUNTS, host)))


def _virtual_services(old: MeshState, new: MeshState, found: StateChanges) -> None:
    gone, fresh = turnover(old.virtual_services, new.virtual_services)
    found.gone += [bound.object for bound in gone]
    found.fresh += [bound.object for bound in fresh]
    for bound in (*gone, *fresh):
        key = bound.object.key
        found.reads.add((RULE_OF_GATEWAY, (key.namespace, key.name)))
        found.gateways.update(bound.gateways)
        if MESH_GATEWAY in bound.gateways:
            for host in bound.hosts:
                _host(found, ROUTING, host)
                if host not in new.services:
                    found.reads.add(UNSERVED)
    found.reads.update((GATEWAY_RULES, gateway) for gateway in found.gateways)


def _destination_rules(old: MeshState, new: MeshState, found: StateChanges) -> None:
    for host in changed_keys(old.destination_rules, new.destination_rules):
        _host(found, RULE, host)
        gone, fresh = turnover(old.destination_rules.get(host, ()), new.destination_rules.get(host, ()))
        found.gone += [bound.object for bound in gone]
        found.fresh += [bound.object for bound in fresh]


def _host(found: StateChanges, kind: str, host: Hostname) -> None:
    found.reads.add((kind, host))
    if host.startswith("*"):
        found.patterns.add((kind, host))
