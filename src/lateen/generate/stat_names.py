"""Names of clusters in statistics, as `inboundClusterStatName` and `outboundClusterStatName` of MeshConfig give them.

Called by `clusters` and `sidecars_inbound`. Source: Istio's MeshConfig reference, whose variables these are.
"""

from __future__ import annotations

from lateen.envoy import names
from lateen.envoy.messages import Fields
from lateen.model.services import Service, ServicePort


def rename(fields: Fields, pattern: str, service: Service, port: ServicePort, subset: str = "") -> None:
    """Give a cluster the name of a pattern; an empty one leaves what it has."""
    if not pattern:
        return
    values = {
        "%SERVICE%": f"{service.name}.{service.namespace}" if service.name else service.host,
        "%SERVICE_FQDN%": service.host,
        "%SERVICE_PORT%": str(port.number),
        "%SERVICE_PORT_NAME%": port.name,
        "%TARGET_PORT%": str(port.target_port or port.number),
        "%SUBSET_NAME%": subset,
    }
    for variable, value in values.items():
        pattern = pattern.replace(variable, value)
    fields["alt_stat_name"] = names.stat_prefix(pattern)
