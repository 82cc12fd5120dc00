"""Two networks on one machine, against real Envoy: what is in the other one is called through its gateways."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from e2e.meshes import Mesh, Process, eventually, good, request, running_mesh

pytestmark = pytest.mark.e2e

EAST_WEST = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross-network}
spec:
  selector: {istio: eastwestgateway}
  servers:
  - port: {number: 15443, name: tls, protocol: TLS}
    tls: {mode: AUTO_PASSTHROUGH}
    hosts: ["*.default.svc.cluster.local"]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
SECOND = ("--network", "n2", "--label", "istio=eastwestgateway", "--label", "topology.istio.io/network=n2")


def admin(process: Process, path: str) -> str:
    host, _, port = process.addresses["admin"].removeprefix("http://").rpartition(":")
    return request(int(port), path, address=host).body.decode()


def passed_on(gateway: Process) -> int:
    """How many connections a gateway has passed on."""
    lines = admin(gateway, "/clusters?filter=outbound_").splitlines()
    return sum(int(line.rpartition("::")[2]) for line in lines if "::cx_total::" in line)


def versions(client: Process, number: int) -> Counter[str]:
    return Counter(client.get("http://echo/").json["version"] for _ in range(number))


def workload(mesh: Mesh, version: str) -> str:
    items = mesh.api("/v1/workloads").json["items"]
    return str(next(item["address"] for item in items if item["service"] == "echo" and item["version"] == version))


def test_the_other_network_is_called_through_its_gateways(tmp_path: Path) -> None:
    """Half of the requests for a service with an endpoint in each, by mutual TLS from end to end."""
    with running_mesh(tmp_path) as mesh:
        apps = [
            mesh.run("echo", version="v1", flags=("--network", "n1"), wait=False),
            mesh.run("echo", version="v2", flags=("--network", "n2"), wait=False),
        ]
        gateways = [mesh.gateway(f"ew{number}", *SECOND, wait=False) for number in (1, 2)]
        idle = (sys.executable, "-c", "import signal; signal.pause()")
        near = mesh.run("near", *idle, port="", flags=("--network", "n1"), wait=False)
        far = mesh.run("far", *idle, port="", flags=("--network", "n2"), wait=False)
        mesh.wait_addresses(*apps, *gateways, near, far)
        mesh.apply(EAST_WEST)
        eventually(lambda: good(near.get("http://echo/")), what="echo")
        eventually(lambda: len(versions(near, 20)) == 2 and all(map(passed_on, gateways)), what="both gateways")

        seen = versions(near, 200)

        assert 60 <= seen["v2"] <= 140, seen
        known = admin(near, "/clusters?filter=echo")
        assert "15443" in known
        assert f"{workload(mesh, 'v2')}:80" not in known
        assert f"{workload(mesh, 'v1')}:" in known
        eventually(lambda: len(versions(far, 20)) == 2, what="both versions")
        known = admin(far, "/clusters?filter=echo")
        assert f"{workload(mesh, 'v2')}:" in known
        assert "15443" not in known
