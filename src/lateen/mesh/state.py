"""MeshState: one immutable view of configuration, services and endpoints, with the indexes generation needs.

Made by `mesh.build`, read by `mesh.queries` and `generate`. Nobody changes one: a change makes a new state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lateen.config.kubernetes import Secret
from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import DestinationRule, Gateway, Sidecar, VirtualService
from lateen.config.objects import ConfigObject
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration

MESH_GATEWAY = "mesh"
"""The reserved gateway name that means every sidecar (VirtualService reference, "gateways")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundVirtualService:
    """A VirtualService with its names resolved."""

    object: ConfigObject[VirtualService]
    hosts: tuple[Hostname, ...]
    """Full names."""
    gateways: frozenset[str]
    """`mesh`, or `namespace/name` of Gateways."""
    export_to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundDestinationRule:
    """A DestinationRule with its host resolved."""

    object: ConfigObject[DestinationRule]
    host: Hostname
    """Full name, or a wildcard."""
    export_to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """The whole mesh at one moment."""

    version: str
    """Content hash: equal versions mean equal states."""
    mesh_config: MeshConfig
    services: Mapping[Hostname, Service]
    """By full host, in sorted order; ServiceEntries, Kubernetes Services and registries merged."""
    endpoints: Mapping[Hostname, tuple[Endpoint, ...]]
    """By service host; unhealthy ones included (see Endpoint.healthy). A host without endpoints is absent."""
    virtual_services: tuple[BoundVirtualService, ...]
    """Oldest first (creation time, then key): Istio's merge order. Delegates are already merged in."""
    destination_rules: Mapping[Hostname, tuple[BoundDestinationRule, ...]]
    """By host, oldest first."""
    gateways: tuple[ConfigObject[Gateway], ...]
    """Oldest first."""
    sidecars: tuple[ConfigObject[Sidecar], ...]
    secrets: Mapping[tuple[str, str], ConfigObject[Secret]]
    """By (namespace, name)."""
    workloads: tuple[WorkloadRegistration, ...]
