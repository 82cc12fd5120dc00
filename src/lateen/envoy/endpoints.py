"""ClusterLoadAssignments: endpoints by locality, with weights.

Called by `generate.endpoints`, which chooses the endpoints. Order is by locality, then as given.
"""

from __future__ import annotations

from collections.abc import Iterable

from lateen.envoy.listeners import socket_address
from lateen.envoy.messages import Fields
from lateen.model.services import Endpoint, Locality


def load_assignment(cluster: str, endpoints: Iterable[Endpoint]) -> Fields:
    """Return the assignment of a cluster.

    A locality weighs as much as its endpoints together: gRPC needs the weight, Envoy ignores it unless locality
    weighting is switched on.
    """
    by_locality: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_locality.setdefault(endpoint.locality, []).append(endpoint)
    groups = sorted(by_locality.items(), key=lambda item: (item[0].region, item[0].zone, item[0].subzone))
    return {"cluster_name": cluster, "endpoints": [_locality_endpoints(*group) for group in groups]}


def _locality_endpoints(locality: Locality, endpoints: list[Endpoint]) -> Fields:
    fields: Fields = {
        "lb_endpoints": [
            {
                "endpoint": {"address": socket_address(endpoint.address, endpoint.port)},
                "load_balancing_weight": {"value": endpoint.weight or 1},
            }
            for endpoint in endpoints
        ],
        "load_balancing_weight": {"value": sum(endpoint.weight or 1 for endpoint in endpoints)},
        "locality": {},
    }
    for name, part in (("region", locality.region), ("zone", locality.zone), ("sub_zone", locality.subzone)):
        if part:
            fields["locality"][name] = part
    return fields
