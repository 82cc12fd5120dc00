"""Memo: what `mesh.build` remembers of a state's making, so that the next one costs what changed. It alone reads it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.mesh.elections import Election, Place
from lateen.mesh.envoy_filters import ENVOY_FILTER
from lateen.mesh.gateway_api.incremental import GatewayApi
from lateen.mesh.memberships import Memberships
from lateen.mesh.policies import POLICY_KINDS
from lateen.mesh.rules import VirtualServices
from lateen.mesh.services import Claims
from lateen.mesh.sharing import Ordered
from lateen.model.catalogues import Catalogue
from lateen.model.health import HealthTarget
from lateen.model.workloads import WorkloadRegistration


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """The steps between the inputs and the state. Empty for a mesh of nothing."""

    given: Collection[ConfigObject[Any]] = ()
    """The objects; several may have one key."""
    objects: Election[Place, ConfigObject[Any]] = field(default_factory=Election)
    registrations: Election[tuple[str, str], WorkloadRegistration] = field(default_factory=Election)
    catalogues: Mapping[str, Catalogue] = field(default_factory=dict)
    fingerprint: int = 0
    """Of all inputs but the MeshConfig and the key sets (see mesh.versions)."""
    mesh_config: tuple[MeshConfig, int] | None = None
    """With its fingerprint; None before the first state."""
    key_sets: tuple[Mapping[str, str], int] = field(default_factory=lambda: ({}, 0))
    """With their fingerprint."""
    sick: tuple[frozenset[HealthTarget], int] = (frozenset(), 0)
    """With their fingerprint."""
    claims: Claims = field(default_factory=Claims)
    memberships: Memberships = field(default_factory=Memberships)
    gateway_api: GatewayApi = field(default_factory=GatewayApi)
    virtual_services: VirtualServices = field(default_factory=VirtualServices)
    ordered: Mapping[str, Ordered[ConfigObject[Any]]] = field(
        default_factory=lambda: {kind: Ordered() for kind in ("Gateway", "Sidecar", ENVOY_FILTER, *POLICY_KINDS)}
    )
    """By kind, oldest first."""
    workloads: Ordered[WorkloadRegistration] = field(default_factory=Ordered)
    """By namespace and name."""
