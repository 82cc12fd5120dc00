"""ClusterLoadAssignments: endpoints by locality, with weights.

Called by `generate.endpoints`, which chooses the endpoints. Order is by locality, then as given. Most of a large
assignment is the same as before when it changes, so its endpoints are serialised once and then remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from lateen.envoy.listeners import is_ip, socket_address
from lateen.envoy.messages import Fields, entry, serialise
from lateen.envoy.mutual_tls import TAKES_MUTUAL_TLS
from lateen.envoy.resources import ENDPOINT, Resource, content_hash
from lateen.model.services import Endpoint, Locality

_LOCALITY_ENDPOINTS = "envoy.config.endpoint.v3.LocalityLbEndpoints"
_LB_ENDPOINT = "envoy.config.endpoint.v3.LbEndpoint"
_ENDPOINTS = 2
"""Number of ClusterLoadAssignment.endpoints; the only field before it is the name."""
_LB_ENDPOINTS = 2
"""Number of LocalityLbEndpoints.lb_endpoints; the only field before it is the locality."""


Takes: TypeAlias = Callable[[Endpoint], bool]
"""Whether an endpoint is called with mutual TLS."""


def none_takes_it(_endpoint: Endpoint) -> bool:
    """Answer for proxies that cannot speak it, and for clusters that must not."""
    return False


class EndpointEntries:
    """Endpoints in their serialised form, remembered by what stands in it."""

    LIMIT = 200_000
    """Entries; at about 150 bytes each they stay below 50 MB. When there are more, all are forgotten."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, bool], bytes] = {}

    def of(self, endpoint: Endpoint, *, mutual_tls: bool) -> bytes:
        """Return an endpoint as a part of its locality; nothing for a name, which Envoy refuses over EDS."""
        key = (endpoint.address, endpoint.port, endpoint.weight, mutual_tls)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            usable = is_ip(endpoint.address) or endpoint.address.startswith("unix://")
            found = entry(_LB_ENDPOINTS, serialise(_LB_ENDPOINT, _lb_endpoint(endpoint, mutual_tls))) if usable else b""
            self._known[key] = found
        return found


def assignment_resource(
    cluster: str, endpoints: Sequence[Endpoint], entries: EndpointEntries, takes_mutual_tls: Takes = none_takes_it
) -> Resource:
    """Return the assignment of an EDS cluster, byte for byte what `load_assignment` says, but without names."""
    known = {id(item): entries.of(item, mutual_tls=takes_mutual_tls(item)) for item in endpoints}
    parts = [serialise(ENDPOINT, {"cluster_name": cluster})]
    for locality, found in _by_locality([endpoint for endpoint in endpoints if known[id(endpoint)]]):
        fields = _locality(locality, found)
        head = serialise(_LOCALITY_ENDPOINTS, {"locality": fields.pop("locality")})
        bodies = [known[id(endpoint)] for endpoint in found]
        body = b"".join([head, *bodies, serialise(_LOCALITY_ENDPOINTS, fields)])
        parts.append(entry(_ENDPOINTS, body))
    body = b"".join(parts)
    return Resource(kind=ENDPOINT, name=cluster, version=content_hash(body), body=body)


def load_assignment(cluster: str, endpoints: Iterable[Endpoint], takes_mutual_tls: Takes = none_takes_it) -> Fields:
    """Return the assignment of a cluster.

    A locality weighs as much as its endpoints together: gRPC needs the weight, Envoy ignores it unless locality
    weighting is switched on.
    """
    groups = [
        {"lb_endpoints": [_lb_endpoint(item, takes_mutual_tls(item)) for item in found], **_locality(locality, found)}
        for locality, found in _by_locality(endpoints)
    ]
    return {"cluster_name": cluster, "endpoints": groups}


def _by_locality(endpoints: Iterable[Endpoint]) -> list[tuple[Locality, list[Endpoint]]]:
    groups: dict[tuple[str, str, str], tuple[Locality, list[Endpoint]]] = {}
    for endpoint in endpoints:
        where = endpoint.locality
        key = (where.region, where.zone, where.subzone)
        group = groups.get(key)
        if group is None:
            groups[key] = group = (where, [])
        group[1].append(endpoint)
    return [groups[key] for key in sorted(groups)]


def _locality(locality: Locality, endpoints: list[Endpoint]) -> Fields:
    """Return what is said of a locality besides its endpoints."""
    parts = (("region", locality.region), ("zone", locality.zone), ("sub_zone", locality.subzone))
    return {
        "locality": {name: part for name, part in parts if part},
        "load_balancing_weight": {"value": sum([endpoint.weight or 1 for endpoint in endpoints])},
    }


def _lb_endpoint(endpoint: Endpoint, mutual_tls: bool) -> Fields:
    fields: Fields = {
        "endpoint": {"address": socket_address(endpoint.address, endpoint.port)},
        "load_balancing_weight": {"value": endpoint.weight or 1},
    }
    return {**fields, "metadata": TAKES_MUTUAL_TLS} if mutual_tls else fields
