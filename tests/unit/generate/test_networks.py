"""Endpoints of other networks: who is called through which gateway, and how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lateen.model.proxies import Proxy
from unit.generate.conftest import Generated

HOST = "outbound|9080||reviews.default.svc.cluster.local"
REVIEWS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints:
  - {address: 10.1.0.1, serviceAccount: r, network: n1}
  - {address: 10.1.0.2, serviceAccount: r, network: n2, weight: 3}
  - {address: 10.1.0.3, network: n2}
  - {address: 10.3.0.4, serviceAccount: r}
"""
NETWORKS = """
meshNetworks:
  networks:
    n2: {gateways: [{address: 192.0.2.1, port: 15443}, {address: 192.0.2.2, port: 15443}]}
    n3: {endpoints: [{fromCidr: 10.3.0.0/16}], gateways: [{address: 192.0.2.3, port: 15443}]}
"""


def weights(generated: Generated, proxy: Proxy, *, networks: str = NETWORKS, more: str = "") -> dict[str, int]:
    resources = generated(REVIEWS + more, proxy, mesh_config=networks)
    groups = resources["ClusterLoadAssignment"][HOST].get("endpoints", ())
    return {
        one["endpoint"]["address"]["socket_address"]["address"]: one["load_balancing_weight"]
        for group in groups
        for one in group["lb_endpoints"]
    }


@pytest.fixture
def client(sidecar: Proxy) -> Proxy:
    return replace(sidecar, network="n1", certificates=True)


def test_a_network_is_called_as_its_endpoints_weigh(generated: Generated, client: Proxy) -> None:
    """Shared evenly among its gateways; who does not take mutual TLS cannot be called there."""
    assert weights(generated, client) == {"10.1.0.1": 2, "192.0.2.1": 3, "192.0.2.2": 3, "192.0.2.3": 2}


def test_each_network_sees_its_own_endpoints(generated: Generated, client: Proxy) -> None:
    found = weights(generated, replace(client, network="n2"))
    assert found == {"10.1.0.1": 2, "10.1.0.2": 6, "10.1.0.3": 2, "192.0.2.3": 2}


def test_without_gateways_everything_is_called_directly(generated: Generated, client: Proxy) -> None:
    assert weights(generated, client, networks="{}") == {"10.1.0.1": 1, "10.1.0.2": 3, "10.1.0.3": 1, "10.3.0.4": 1}


def test_who_cannot_speak_mutual_tls_sees_no_other_network(generated: Generated, client: Proxy) -> None:
    assert weights(generated, replace(client, certificates=False)) == {"10.1.0.1": 2}
    rule = (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n"
        "spec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}\n"
    )
    assert weights(generated, client, more=rule) == {"10.1.0.1": 2}
