"""What a workload was seen calling is told to its next replica before it calls, over a restart of the control plane."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import Mesh, Process, eventually, good, request, running_mesh

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="own loopback addresses"),
    pytest.mark.timeout(240),
]

RATINGS = "outbound|80||ratings.default.svc.cluster.local"
HOST = "ratings.default.svc.cluster.local"


def clusters(process: Process) -> str:
    address, _, port = process.addresses["admin"].rpartition(":")
    return request(int(port), "/clusters", address=address).body.decode()


def learned(mesh: Mesh, workload: str) -> list[Any]:
    found: list[Any] = request(mesh.monitoring, f"/debug/learned?workload={workload}").json["items"]
    return found


def test_a_new_replica_is_told_what_its_workload_called_before_a_restart(tmp_path: Path) -> None:
    """Another workload is not. What was told and not asked for is reported when it is used, by the agent."""
    state = tmp_path / "state"
    with running_mesh(tmp_path, flags=("--state", str(state))) as mesh:
        ratings = mesh.run("ratings", wait=False)
        web = mesh.run("web", version="v1", wait=False)
        mesh.wait_addresses(ratings, web)
        assert f"{RATINGS}::" not in clusters(web)
        eventually(lambda: good(web.get("http://ratings/")), what="the first call")
        assert [entry["host"] for entry in learned(mesh, "web-v1.default")] == [HOST]

        assert mesh.control_plane.stop() == 0
        file = state / "learned-hosts.json"
        seen = json.loads(file.read_text())
        assert list(seen["workloads"]["web-v1.default"]) == [HOST]
        # The processes that go on would teach the new control plane anew: only the file tells it of this workload.
        web.stop()
        seen["workloads"]["web-v1.default"][HOST] -= 3600
        file.write_text(json.dumps(seen))
        mesh.control_plane = mesh.serve()

        replica = mesh.run("web", version="v1", wait=False)
        other = mesh.run("other", version="v1", wait=False)
        mesh.wait_addresses(replica, other)
        # Its agent may take a second to find the new control plane.
        eventually(lambda: f"{RATINGS}::" in clusters(replica), what="the cluster that was learned")
        assert f"{RATINGS}::" not in clusters(other)

        [told] = learned(mesh, "web-v1.default")
        eventually(lambda: good(replica.get("http://ratings/")), what="a call of what was told")
        # It reports seconds after its start, and every minute from then on: who comes too late for the first waits.
        eventually(
            lambda: learned(mesh, "web-v1.default")[0]["last_seen"] > told["last_seen"],
            seconds=100,
            what="the agent's report",
        )
        assert learned(mesh, "other-v1.default") == []
