"""The mesh's patterns name clusters in statistics; without one they have their own names."""

from __future__ import annotations

from typing import Any

from lateen.generate.snapshot import generate
from lateen.model.proxies import Proxy, ProxyType
from unit.generate.conftest import shown, state_of

MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [api.example.org]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.1.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec: {host: api.example.org, subsets: [{name: v1}]}
"""
PROXY = Proxy(type=ProxyType.SIDECAR, name="a-1", namespace="default", addresses=("10.1.0.1",))


def clusters(mesh_config: str) -> dict[str, Any]:
    return shown(generate(state_of(MESH, mesh_config), PROXY))["Cluster"]


def test_every_variable_has_its_value() -> None:
    every = "%SERVICE%/%SERVICE_FQDN%/%SERVICE_PORT%/%SERVICE_PORT_NAME%/%TARGET_PORT%/%SUBSET_NAME%"
    found = clusters(f"outboundClusterStatName: '{every}'\ninboundClusterStatName: in_%SERVICE_PORT%")
    assert (
        found["outbound|80|v1|api.example.org"]["alt_stat_name"] == "api.example.org/api.example.org/80/http/8080/v1;"
    )
    assert found["inbound|8080||"]["alt_stat_name"] == "in_80;"


def test_without_a_pattern_clusters_have_their_own_names() -> None:
    for name in ("outbound|80|v1|api.example.org", "inbound|8080||"):
        assert clusters("{}")[name]["alt_stat_name"] == f"{name};"
