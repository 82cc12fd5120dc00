"""MeshState: one immutable view of configuration, services and endpoints, with the indexes generation needs.

Made by `mesh.build`, read by `mesh.queries` and `generate`. Nobody changes one: a change makes a new state, which
shares with the one before what did not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from lateen.config.envoy_filter import EnvoyFilter
from lateen.config.kubernetes import Secret
from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import Gateway, Sidecar
from lateen.config.objects import ConfigObject
from lateen.mesh.bindings import BoundDestinationRule, BoundVirtualService
from lateen.mesh.doubles import Double
from lateen.mesh.gateway_api.statuses import Statuses
from lateen.mesh.index import MeshIndex, StateTurns, rule_age, updated_index
from lateen.mesh.memo import Memo
from lateen.mesh.references import MESH_GATEWAY
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration

__all__ = ["MESH_GATEWAY", "BoundDestinationRule", "BoundVirtualService", "MeshState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """The whole mesh at one moment."""

    version: str
    """Content hash: equal versions mean equal states (but for the places where their objects stand)."""
    mesh_config: MeshConfig
    services: Mapping[Hostname, Service]
    """By full host, in sorted order; ServiceEntries, Kubernetes Services and registries merged. Of several that not
    everybody sees alike the public one, else the first: the others are `doubles`, and `queries` tell who sees which."""
    endpoints: Mapping[Hostname, tuple[Endpoint, ...]]
    """By service host; unhealthy ones included (see Endpoint.healthy). A host without endpoints is absent."""
    checked: Mapping[Hostname, bool] = field(default_factory=dict)
    """Hosts that have an endpoint which gateways check, those of `doubles` included; others are absent."""
    virtual_services: Sequence[BoundVirtualService]
    """Oldest first (creation time, then name, then namespace): Istio's merge order. Delegates are already
    merged in."""
    destination_rules: Mapping[Hostname, tuple[BoundDestinationRule, ...]]
    """By host, oldest first."""
    gateways: Sequence[ConfigObject[Gateway]]
    """Oldest first."""
    sidecars: Sequence[ConfigObject[Sidecar]]
    """Oldest first."""
    policies: Mapping[str, Sequence[ConfigObject[Any]]] = field(default_factory=dict)
    """Security policies by kind, oldest first."""
    envoy_filters: Sequence[ConfigObject[EnvoyFilter]] = ()
    """Oldest first."""
    secrets: Mapping[tuple[str, str], ConfigObject[Secret]]
    """By (namespace, name)."""
    statuses: Statuses = field(default_factory=dict)
    """Of the Gateway API's objects, by key."""
    workloads: Sequence[WorkloadRegistration]
    """By namespace and name."""
    key_sets: Mapping[str, str] = field(default_factory=dict)
    """Keys that tokens are checked with, by the URI that they were fetched from (`config.key_sets.key_source`)."""
    selectors: Mapping[Hostname, Mapping[str, str]] = field(default_factory=dict)
    """Workload selectors of services that have one, by host; they select in the service's namespace."""
    doubles: Mapping[Hostname, tuple[Double, ...]] = field(default_factory=dict)
    """Services that some namespaces see in place of the one above, by host. Few meshes have any."""
    index: MeshIndex = field(init=False, repr=False, compare=False)
    """Derived from the other fields; only `mesh.queries` reads it."""
    memo: Memo | None = field(init=False, repr=False, compare=False)
    """How the state was made, for `mesh.build` when it makes the next one."""
    made: InitVar[tuple[MeshIndex, Memo] | None] = None
    """The two above, from `mesh.build`."""

    def __post_init__(self, made: tuple[MeshIndex, Memo] | None) -> None:
        index, memo = made or (_index(self), None)
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "memo", memo)


def _index(state: MeshState) -> MeshIndex:
    """Return the index of a state that `mesh.build` did not make."""
    turns = StateTurns(
        services={host: (None, service) for host, service in state.services.items()},
        endpoints={host: (None, endpoints) for host, endpoints in state.endpoints.items()},
        selectors={
            host: (None, (state.services[host].namespace, selector)) for host, selector in state.selectors.items()
        },
        doubles={host: (None, found) for host, found in state.doubles.items()},
        virtual_services={rule_age(bound): (None, bound) for bound in state.virtual_services},
        destination_rules=state.destination_rules,
        sidecars=[(None, sidecar) for sidecar in state.sidecars],
        policies=[
            (None, policy) for policies in (*state.policies.values(), state.envoy_filters) for policy in policies
        ],
        registrations=[(None, registration) for registration in state.workloads],
    )
    return updated_index(MeshIndex(), turns)
