"""What a gRPC client without a proxy is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lateen.model.proxies import Capability, Proxy

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: talk}
spec: {ports: [{name: grpc, port: 50051}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: talk}
spec:
  hosts: [talk]
  http:
  - match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]
    timeout: 3s
    route: [{destination: {host: talk}}]
  - route: [{destination: {host: talk}}]
"""


def test_every_match_of_a_rule_has_grpc_s_name_for_the_time_limit(
    generated: Callable[..., dict[str, dict[str, Any]]], sidecar: Proxy
) -> None:
    client = replace(sidecar, capability=Capability.GRPC)
    found = generated(DOCUMENTS, client)
    (configuration,) = found["RouteConfiguration"].values()
    (host,) = configuration["virtual_hosts"]
    actions = [route["route"] for route in host["routes"]]
    assert ["timeout" in action for action in actions] == [False, False, False]
    limits = [action["max_stream_duration"]["max_stream_duration"] for action in actions]
    assert limits == ["3s", "3s", "0s"]
    assert "talk.default.svc.cluster.local:50051" in found["Listener"]
