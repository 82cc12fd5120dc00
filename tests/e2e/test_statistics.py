"""Which statistics real Envoys make: of what is used, and what a user adds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.meshes import Mesh, Process, eventually, good, request, running_mesh

pytestmark = pytest.mark.e2e

WEB = "cluster.outbound|80||web.default.svc.cluster.local;."
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web
  trafficPolicy:
    connectionPool: {{tcp: {{connectTimeout: {seconds}s}}}}
    outlierDetection: {{consecutive5xxErrors: 100}}
"""
NAMED_ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /}, statPrefix: mine}]
    route: [{destination: {host: web}}]
"""


def admin(process: Process, path: str) -> str:
    host, _, port = process.addresses["admin"].rpartition(":")
    return request(int(port), path, address=host).body.decode()


def statistics(process: Process) -> dict[str, int]:
    """Counters and gauges by name."""
    lines = [line.rpartition(": ") for line in admin(process, "/stats").splitlines()]
    return {name: int(value) for name, _, value in lines if value.isdigit()}


@contextmanager
def client_of_web(folder: Path, *flags: str) -> Iterator[tuple[Mesh, Process]]:
    """A workload that can call `web`, and has not."""
    with running_mesh(folder) as mesh:
        web = mesh.run("web", wait=False)
        # Told of everything, so that there is an idle cluster to look at.
        client = mesh.run("client", flags=("--label", "lateen.io/discovery-scope=full", *flags), wait=False)
        mesh.wait_addresses(web, client)
        eventually(lambda: "outbound|80||web.default.svc.cluster.local::127" in admin(client, "/clusters"))
        yield mesh, client


def test_a_used_cluster_is_counted_and_stays_counted(tmp_path: Path) -> None:
    """An idle cluster has no statistics. A used one has those of the list, and a change of it does not reset them."""
    with client_of_web(tmp_path) as (mesh, client):
        assert not [name for name in statistics(client) if name.startswith(WEB)]
        eventually(lambda: good(client.get("http://web/")))
        used = statistics(client)
        total = used[f"{WEB}upstream_rq_total"]
        assert used[f"{WEB}upstream_rq_2xx"] == 1
        assert used[f"{WEB}upstream_cx_total"] >= 1
        assert not [name for name in used if name.startswith(WEB) and "upstream_" not in name]

        mesh.apply(RULE.format(seconds=1) + "---" + NAMED_ROUTE)
        mesh.apply(RULE.format(seconds=2) + "---" + NAMED_ROUTE)
        assert client.get("http://web/").status == 200
        later = statistics(client)
        assert later["cluster_manager.cluster_modified"] >= 2
        assert later[f"{WEB}upstream_rq_total"] == total + 1
        assert later[f"{WEB}outlier_detection.ejections_active"] == 0
        assert later["vhost.web.default.svc.cluster.local:80.route.mine.upstream_rq_total"] == 1
        assert later["http.outbound_http_proxy;.downstream_rq_2xx"] == 2
        assert later["http.outbound_http_proxy;.rds.http_proxy.update_success"] >= 1
        assert later["control_plane.connected_state"] == 1


def test_added_statistics_are_made_of_idle_clusters_too(tmp_path: Path) -> None:
    flags = ("--stats-inclusion-suffix", ".membership_healthy", "--stats-inclusion-regexp", r"cluster\..*\.rq_open")
    with client_of_web(tmp_path, *flags) as (_, client):
        made = statistics(client)
        assert made[f"{WEB}membership_healthy"] == 1
        assert made[f"{WEB}circuit_breakers.default.rq_open"] == 0
        assert f"{WEB}membership_total" not in made
        assert 'envoy_cluster_membership_healthy{cluster_name="outbound|80||web.default.svc.cluster.local"} 1' in (
            admin(client, "/stats/prometheus")
        )
