"""Conditions of the Gateway API that do not hold are findings, each once and at its field."""

from __future__ import annotations

from lateen.analysis.references import analyse
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state

TEXT = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: udp, port: 53, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs:
  - {name: edge}
  - {name: gone}
  rules:
  - backendRefs: [{name: nobody, port: 80}]
"""


def test_what_is_not_in_force_is_said_once_and_where() -> None:
    parsed = parse(TEXT, "f.yaml")
    state = build_state(parsed.objects, (), MeshConfig())
    found = analyse(state, parsed.objects, parsed.positions)
    assert [(one.line, one.kind, one.code, one.message.partition(")")[0] + ")") for one in found] == [
        (9, "Gateway", "LAT0060", "the listener udp: Accepted is False (UnsupportedProtocol)"),
        (17, "HTTPRoute", "LAT0060", "Accepted is False (NoMatchingParent)"),
        (18, "HTTPRoute", "LAT0060", "ResolvedRefs is False (BackendNotFound)"),
    ]


def test_a_virtual_service_cannot_be_of_such_a_gateway() -> None:
    """Its listeners become Gateways, whose names nobody can write: none of them is a hint."""
    rule = b"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
    rule += b"spec: {hosts: [a.test], gateways: [edge, edgy], http: [{directResponse: {status: 200}}]}\n"
    parsed = parse(TEXT + rule, "f.yaml")
    state = build_state(parsed.objects, (), MeshConfig())
    found = [one for one in analyse(state, parsed.objects, parsed.positions) if one.kind == "VirtualService"]
    assert [one.message.partition("; ")[2] for one in found] == [
        "the one of this name is of the Gateway API: attach an HTTPRoute to it",
        "add the Gateway, or correct the name",
    ]
