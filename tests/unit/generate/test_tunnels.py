"""`trafficPolicy.tunnel`: connections to a host are wrapped into HTTP for the proxy that the host is."""

from __future__ import annotations

from typing import Any

import pytest

from lateen.generate.snapshot import generate
from lateen.model.proxies import Proxy
from unit.generate.conftest import shown, state_of

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: egress, namespace: default}
spec:
  hosts: [egress.example.org]
  addresses: [10.20.0.1]
  ports: [{number: 3128, name: tcp, protocol: TCP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egress, namespace: default}
"""
TUNNEL = "tunnel: {protocol: %s, targetHost: api.example.org, targetPort: 443}"


def tunnelled(proxy: Proxy, spec: str) -> Any:
    found = shown(generate(state_of(f"{SERVICE}spec: {{host: egress.example.org, {spec}}}\n"), proxy))
    filters = found["Listener"]["10.20.0.1_3128"]["filter_chains"][0]["filters"]
    return filters[-1]["typed_config"].get("tunneling_config")


@pytest.mark.parametrize("port_level", ["", ", portLevelSettings: [{port: {number: 3128}, tls: {mode: SIMPLE}}]"])
def test_the_rule_of_the_host_says_it_whatever_ports_say(sidecar: Proxy, port_level: str) -> None:
    for way, more in (("CONNECT", {}), ("POST", {"use_post": True}), ('""', {})):
        found = tunnelled(sidecar, f"trafficPolicy: {{{TUNNEL % way}{port_level}}}")
        assert found == {"hostname": "api.example.org:443", **more}


def test_a_subset_tunnels_only_itself(sidecar: Proxy) -> None:
    subset = f"subsets: [{{name: v1, trafficPolicy: {{{TUNNEL % 'CONNECT'}}}}}]"
    assert tunnelled(sidecar, subset) is None


def test_dns_names_are_resolved_as_often_as_the_mesh_says(sidecar: Proxy) -> None:
    for setting, wanted in (("{}", "60s"), ("dnsRefreshRate: 5s", "5s")):
        found = shown(generate(state_of(f"{SERVICE}spec: {{host: x}}\n", setting), sidecar))
        assert found["Cluster"]["outbound|3128||egress.example.org"]["dns_refresh_rate"] == wanted
