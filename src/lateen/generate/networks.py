"""Endpoints in other networks: called through the gateways of their network instead of where they are.

Called by `endpoints` and `auto_passthrough`. Only calls by mutual TLS can take that way, because a gateway goes by the
server name that they send: an endpoint that does not take it, or a caller that cannot speak it, is left out (Istio).
The load of an endpoint is shared among its network's gateways, so networks are called as their endpoints weigh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lateen.generate.view import View
from lateen.mesh.mutual_tls import ISTIO_TLS_MODE
from lateen.mesh.networks import NetworkGateway
from lateen.model.services import Endpoint, Locality


def as_reached(view: View, endpoints: Sequence[Endpoint], *, mutual_tls: bool) -> Sequence[Endpoint]:
    """Return the endpoints as this proxy reaches them. `mutual_tls`: whether the cluster offers it to who takes it."""
    networks = view.networks
    if not networks:
        return endpoints
    own, scale = view.proxy.network, networks.scale
    found: list[Endpoint] = []
    shares: dict[tuple[Locality, NetworkGateway, int], tuple[str, int]] = {}
    for endpoint in endpoints:
        network = networks.of(endpoint.network, endpoint.address)
        gateways = networks.gateways.get(network, ()) if network != own else ()
        weight = (endpoint.weight or 1) * scale
        if not gateways:
            found.append(endpoint if scale == 1 else replace(endpoint, weight=weight))
        elif mutual_tls and view.takes_mutual_tls(endpoint):
            for gateway in gateways:
                key = (endpoint.locality, gateway, endpoint.service_port)
                shares[key] = (network, shares.get(key, ("", 0))[1] + weight // len(gateways))
    return [*found, *(_gateway(key, network, weight) for key, (network, weight) in shares.items())]


def in_own_network(view: View, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Return the endpoints that a network's own gateway passes connections on to: two would pass them to and fro."""
    networks = view.networks
    if not networks or not view.proxy.network:
        return endpoints
    here = ("", view.proxy.network)
    return [item for item in endpoints if networks.of(item.network, item.address) in here]


def _gateway(key: tuple[Locality, NetworkGateway, int], network: str, weight: int) -> Endpoint:
    locality, gateway, port = key
    return Endpoint(
        address=gateway.address,
        port=gateway.port,
        service_port=port,
        locality=locality,
        network=network,
        weight=weight,
        tls_mode=ISTIO_TLS_MODE,
        is_gateway=True,
    )
