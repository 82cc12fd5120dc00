"""What differs between two states, by identity: what `build_state` took over from the previous state is the same.

Called by `generate` to find what it has to make again. Comparing any two states is right; comparing a state with
the one that it was built from is quick, and names only what really changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lateen.config.objects import ConfigObject
from lateen.mesh.policies import POLICY_KINDS
from lateen.mesh.sharing import changed_keys, turnover
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname, ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Keys of what is new, gone or different in the second of two states."""

    mesh_config: bool
    services: frozenset[Hostname]
    selectors: frozenset[Hostname]
    """Services that select other workloads than before."""
    endpoints: frozenset[Hostname]
    doubles: frozenset[Hostname]
    virtual_services: frozenset[tuple[str, Hostname]]
    """Gateway (`mesh` or `namespace/name`) and host, which may be a wildcard: each pair that an old or new version
    of a changed VirtualService names."""
    destination_rules: frozenset[Hostname]
    """Hosts that rules are bound to, which may be wildcards."""
    gateways: frozenset[ObjectKey]
    sidecars: frozenset[ObjectKey]
    policies: frozenset[ObjectKey]
    envoy_filters: frozenset[ObjectKey]
    secrets: frozenset[tuple[str, str]]
    """Namespace and name."""
    key_sets: frozenset[str]
    """Where keys were fetched."""
    workloads: frozenset[tuple[str, str]]
    """Namespace and name."""

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return any(getattr(self, name) for name in self.__slots__)


def changed_policies(old: MeshState, new: MeshState) -> tuple[list[ConfigObject[Any]], list[ConfigObject[Any]]]:
    """Return the security policies that are no more, or are others now, and those that were not there before."""
    sides = [turnover(old.policies.get(kind, ()), new.policies.get(kind, ())) for kind in POLICY_KINDS]
    return [item for gone, _ in sides for item in gone], [item for _, fresh in sides for item in fresh]


def changes(old: MeshState, new: MeshState) -> Changes:
    """Return what changed from one state to another."""
    bounds = [bound for side in turnover(old.virtual_services, new.virtual_services) for bound in side]
    gateways = [item.key for side in turnover(old.gateways, new.gateways) for item in side]
    sidecars = [item.key for side in turnover(old.sidecars, new.sidecars) for item in side]
    policies = [item.key for side in changed_policies(old, new) for item in side]
    workloads = [(item.namespace, item.name) for side in turnover(old.workloads, new.workloads) for item in side]
    return Changes(
        mesh_config=old.mesh_config is not new.mesh_config,
        services=changed_keys(old.services, new.services),
        selectors=changed_keys(old.selectors, new.selectors),
        endpoints=changed_keys(old.endpoints, new.endpoints),
        doubles=changed_keys(old.doubles, new.doubles),
        virtual_services=frozenset(
            (gateway, host) for bound in bounds for gateway in bound.gateways for host in bound.hosts
        ),
        destination_rules=changed_keys(old.destination_rules, new.destination_rules),
        gateways=frozenset(gateways),
        sidecars=frozenset(sidecars),
        policies=frozenset(policies),
        envoy_filters=frozenset(item.key for side in turnover(old.envoy_filters, new.envoy_filters) for item in side),
        secrets=changed_keys(old.secrets, new.secrets),
        key_sets=changed_keys(old.key_sets, new.key_sets),
        workloads=frozenset(workloads),
    )
