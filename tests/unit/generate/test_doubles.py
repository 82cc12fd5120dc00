"""A host with several services: each proxy is served the one that it sees, and a change reaches those who see it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lateen.explain.explaining import explain
from lateen.explain.questions import question
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy
from unit.generate.conftest import shown, state_of

HOST = "nginx.hidden.svc.cluster.local"
EGRESS = """
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: hidden, annotations: {networking.istio.io/exportTo: "."}}
spec: {selector: {run: nginx}, ports: [{port: 443, name: https}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: nginx-1, namespace: hidden}
spec: {address: 10.1.0.1, labels: {run: nginx}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: nginx-outside, namespace: istio-system}
spec:
  hosts: [nginx.hidden.svc.cluster.local]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: originate, namespace: istio-system}
spec:
  host: nginx.hidden.svc.cluster.local
  trafficPolicy:
    portLevelSettings: [{port: {number: 443}, tls: {mode: MUTUAL, credentialName: client, sni: nginx.test}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress, namespace: istio-system}
spec:
  selector: {istio: gw}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [nginx.hidden.svc.cluster.local]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: egress, namespace: istio-system}
spec:
  hosts: [nginx.hidden.svc.cluster.local]
  gateways: [egress]
  http: [{route: [{destination: {host: nginx.hidden.svc.cluster.local, port: {number: 443}}}]}]
"""


@pytest.fixture
def egress(gateway_proxy: Proxy) -> Proxy:
    return replace(gateway_proxy, namespace="istio-system", labels={"istio": "gw"})


def test_mutual_tls_is_originated_for_a_host_that_is_a_hidden_service_too(egress: Proxy, sidecar: Proxy) -> None:
    """Istio's task: outside its namespace the host is an external one, inside it is the Service."""
    state = state_of(EGRESS)
    clusters = shown(generate(state, egress))["Cluster"]
    outside = clusters[f"outbound|443||{HOST}"]
    assert (outside["type"], "nginx.test" in str(outside["transport_socket"])) == (
        "STRICT_DNS",
        True,
    )
    address = outside["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert address["socket_address"]["address"] == HOST
    inside = shown(generate(state, replace(sidecar, namespace="hidden")))
    cluster = inside["Cluster"][f"outbound|443||{HOST}"]
    assert (cluster["type"], f"outbound|80||{HOST}" in inside["Cluster"]) == ("EDS", False)
    assert "10.1.0.1" in str(inside["ClusterLoadAssignment"][f"outbound|443||{HOST}"])


def test_explain_names_the_service_that_the_caller_sees(egress: Proxy, sidecar: Proxy) -> None:
    """The workloads of a hidden service are nobody's concern outside; inside they are asked."""
    state = state_of(EGRESS)
    outside = explain(state, question(replace(sidecar, namespace="default"), f"GET http://{HOST}/"))
    inside = explain(state, question(replace(sidecar, namespace="hidden"), f"tcp://{HOST}:443"))
    assert ("10.1.0.1" in str(outside), "10.1.0.1" in str(inside)) == (False, True)


@pytest.mark.parametrize("change", ['exportTo: "."', "10.1.0.1", "resolution: DNS", "number: 80"])
def test_a_change_of_either_reaches_those_who_see_it(egress: Proxy, sidecar: Proxy, change: str) -> None:
    """What is made after a change, and after it is taken back, is what is made from scratch."""
    to = {'exportTo: "."': 'exportTo: "*"', "10.1.0.1": "10.1.0.2", "resolution: DNS": "resolution: NONE"}
    changed = EGRESS.replace(change, to.get(change, "number: 81"))
    assert changed != EGRESS
    proxies = [egress, sidecar, replace(sidecar, namespace="hidden")]
    generator = Generator()
    state: MeshState | None = None
    for text in (EGRESS, changed, EGRESS):
        fresh = state_of(text)
        assert fresh.memo is not None
        state = build_state(fresh.memo.given, (), fresh.mesh_config, state)
        assert (state.doubles, state.services, state.endpoints) == (fresh.doubles, fresh.services, fresh.endpoints)
        for proxy in proxies:
            assert generator.generate(state, proxy).resources == generate(fresh, proxy).resources
