"""ClusterLoadAssignments: endpoints by locality, with weights and priorities.

Called by `generate.endpoints`, which chooses the endpoints. Order is by locality, then as given. Most of a large
assignment is the same as before when it changes, so its endpoints are serialised once and then remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityGroup:
    """Endpoints of one locality, or some of them."""

    locality: Locality
    endpoints: Sequence[Endpoint]
    weight: int
    """Against other groups of the same priority. As much as its endpoints together if nobody says otherwise: gRPC
    needs it, Envoy ignores it unless locality weighting is switched on."""
    priority: int = 0
    """Groups of the next one are called when too few endpoints are healthy in this one; 0 is the first."""


Arrange: TypeAlias = Callable[[list[LocalityGroup]], list[LocalityGroup]]
"""Gives groups the weights and priorities that they have for one proxy; may split them or leave some out."""


def as_found(groups: list[LocalityGroup]) -> list[LocalityGroup]:
    """Treat all localities alike."""
    return groups


def assignment_resource(
    cluster: str,
    endpoints: Sequence[Endpoint],
    entries: EndpointEntries,
    takes_mutual_tls: Takes = none_takes_it,
    arrange: Arrange = as_found,
) -> Resource:
    """Return the assignment of an EDS cluster, byte for byte what `load_assignment` says, but without names."""
    known = {id(item): entries.of(item, mutual_tls=takes_mutual_tls(item)) for item in endpoints}
    parts = [serialise(ENDPOINT, {"cluster_name": cluster})]
    for group in arrange(_by_locality([endpoint for endpoint in endpoints if known[id(endpoint)]])):
        fields = _locality(group)
        head = serialise(_LOCALITY_ENDPOINTS, {"locality": fields.pop("locality")})
        bodies = [known[id(endpoint)] for endpoint in group.endpoints]
        body = b"".join([head, *bodies, serialise(_LOCALITY_ENDPOINTS, fields)])
        parts.append(entry(_ENDPOINTS, body))
    body = b"".join(parts)
    return Resource(kind=ENDPOINT, name=cluster, version=content_hash(body), body=body)


def load_assignment(
    cluster: str,
    endpoints: Iterable[Endpoint],
    takes_mutual_tls: Takes = none_takes_it,
    arrange: Arrange = as_found,
) -> Fields:
    """Return the assignment of a cluster."""
    groups = [
        {"lb_endpoints": [_lb_endpoint(item, takes_mutual_tls(item)) for item in group.endpoints], **_locality(group)}
        for group in arrange(_by_locality(endpoints))
    ]
    return {"cluster_name": cluster, "endpoints": groups}


def endpoint_weight(endpoint: Endpoint) -> int:
    """Return the weight of an endpoint against others of its group."""
    return endpoint.weight or 1


def _by_locality(endpoints: Iterable[Endpoint]) -> list[LocalityGroup]:
    groups: dict[tuple[str, str, str], tuple[Locality, list[Endpoint]]] = {}
    for endpoint in endpoints:
        where = endpoint.locality
        key = (where.region, where.zone, where.subzone)
        group = groups.get(key)
        if group is None:
            groups[key] = group = (where, [])
        group[1].append(endpoint)
    return [
        LocalityGroup(locality=locality, endpoints=found, weight=sum([endpoint.weight or 1 for endpoint in found]))
        for locality, found in (groups[key] for key in sorted(groups))
    ]


def _locality(group: LocalityGroup) -> Fields:
    """Return what is said of a group besides its endpoints."""
    locality = group.locality
    parts = (("region", locality.region), ("zone", locality.zone), ("sub_zone", locality.subzone))
    fields: Fields = {
        "locality": {name: part for name, part in parts if part},
        "load_balancing_weight": {"value": group.weight},
    }
    return {**fields, "priority": group.priority} if group.priority else fields


def _lb_endpoint(endpoint: Endpoint, mutual_tls: bool) -> Fields:
    fields: Fields = {
        "endpoint": {"address": socket_address(endpoint.address, endpoint.port)},
        "load_balancing_weight": {"value": endpoint_weight(endpoint)},
    }
    return {**fields, "metadata": TAKES_MUTUAL_TLS} if mutual_tls else fields
