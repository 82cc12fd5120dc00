"""Rules with their names resolved: which hosts and gateways they are about, who sees them.

Called by `mesh.build`; the bound rules are part of a MeshState.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lateen.config.networking import DestinationRule, VirtualService
from lateen.config.objects import ConfigObject
from lateen.mesh.references import MESH_GATEWAY, resolve_gateway
from lateen.model.names import Hostname, resolve_host


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


def bind_virtual_service(item: ConfigObject[VirtualService], default_export_to: Sequence[str]) -> BoundVirtualService:
    """Resolve the names in a VirtualService."""
    namespace = item.key.namespace
    return BoundVirtualService(
        object=item,
        hosts=tuple([resolve_host(host, namespace) for host in item.spec.hosts]),
        gateways=frozenset([resolve_gateway(name, namespace) for name in item.spec.gateways or [MESH_GATEWAY]]),
        export_to=tuple(item.spec.export_to or default_export_to) or ("*",),
    )


def bind_destination_rule(
    item: ConfigObject[DestinationRule], default_export_to: Sequence[str]
) -> BoundDestinationRule:
    """Resolve the names in a DestinationRule. One with a workload selector is private to its namespace (Istio)."""
    private = item.spec.workload_selector is not None
    return BoundDestinationRule(
        object=item,
        host=resolve_host(item.spec.host, item.key.namespace),
        export_to=(".",) if private else tuple(item.spec.export_to or default_export_to) or ("*",),
    )
