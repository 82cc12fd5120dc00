"""Probes by real agents of real apps that become sick and recover: who gets traffic meanwhile, and who says why."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import APPS, Mesh, Process, eventually, good, request, running_mesh, tell
from e2e.traffic import traffic

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("probes")]

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
AILING = (sys.executable, str(APPS / "ailing.py"))
PERIOD = 1.0
PATIENCE = ("--probe-timeout", "10")
"""Of a probe: on a busy machine an answer may take longer than the second that is the default."""
LEASE_SECONDS = 45.0
"""Until a silent agent's workload is removed: the connection is asked after 30 s, 10 s for an answer, 5 s of grace."""
GRACE_SECONDS = 5.0
STANDSTILL = 6.0
"""What a busy machine adds; a kubelet that asks as its defaults say would take half a minute."""
GROUP = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: {name}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: {name}}}
spec:
  metadata: {{labels: {{app: {name}}}}}
  template: {{ports: {{http: 8080}}}}
  probe: {probe}
"""


@dataclass(frozen=True)
class App:
    process: Process
    control: Path

    def become(self, word: str) -> None:
        tell(self.control, word)

    @property
    def readiness(self) -> tuple[int, str]:
        address, port = self.process.addresses["ready"].removeprefix("http://").partition("/")[0].rsplit(":", 1)
        answer = request(int(port), "/healthz/ready", address=address)
        return answer.status, answer.body.decode()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Process:
    return mesh.run("client", *SLEEPER, port="")


def control_file(mesh: Mesh, name: str, word: str = "ok") -> Path:
    path = mesh.folder / f"{name}.control"
    path.write_text(word)
    return path


def ailing(mesh: Mesh, service: str, *flags: str, name: str = "", command: tuple[str, ...] = AILING) -> App:
    control = control_file(mesh, name or service)
    times = ("--probe-period", str(PERIOD)) if "--probe" in flags else ()
    process = mesh.run(service, *command, flags=(*flags, *times), CONTROL=str(control), NAME=name)
    return App(process, control)


def is_ready(mesh: Mesh, app: App) -> bool:
    items: list[dict[str, Any]] = mesh.api("/v1/workloads").json["items"]
    (found,) = [item for item in items if f"{item['name']}.{item['namespace']}" == app.process.addresses["workload"]]
    return bool(found["ready"])


def endpoints(client: Process, service: str) -> list[str]:
    """The addresses that a client's Envoy has for a service."""
    host, _, port = client.addresses["admin"].rpartition(":")
    found = []
    for cluster in request(int(port), "/clusters?format=json", address=host).json["cluster_statuses"]:
        if cluster["name"].startswith(f"outbound|80||{service}."):
            found += [at["address"]["socket_address"]["address"] for at in cluster.get("host_statuses", ())]
    return found


@pytest.mark.parametrize(
    ("word", "why"), [("500", "HTTP 500"), ("hang", "no answer within"), ("refuse", "refused|Errno 104")]
)
def test_a_sick_app_leaves_within_a_period_and_comes_back_while_callers_notice_nothing(
    mesh: Mesh, client: Process, word: str, why: str
) -> None:
    """A refusing app fails the requests of the time until its probe finds it, unless they are tried again: they are.

    A check that waits to be accepted when the app stops to listen is reset.
    """
    service = f"web-{word}"
    patience = () if word == "hang" else PATIENCE
    sick = ailing(mesh, service, "--probe", "http://:80/healthz", *patience, name=f"{service}-a")
    ailing(mesh, service, "--probe", "http://:80/healthz", *PATIENCE, name=f"{service}-b")
    eventually(lambda: good(client.get(f"http://{service}/")), what="the service")
    eventually(lambda: len(endpoints(client, service)) == 2, what="both endpoints")
    with traffic(client.proxy, f"http://{service}/"):
        sick.become(word)
        began = time.monotonic()
        eventually(lambda: len(endpoints(client, service)) == 1, what="one endpoint")
        # The check of a hanging app takes its whole timeout, and the machine may stand still meanwhile.
        assert time.monotonic() - began < PERIOD + 1 + STANDSTILL
        status, text = sick.readiness
        assert (status, bool(re.search(why, text)), "/healthz" in text) == (503, True, True), text
        sick.become("ok")
        eventually(lambda: len(endpoints(client, service)) == 2, what="both endpoints again")
        eventually(lambda: sick.readiness[0] == 200, what="readiness")


def test_grpc_health_of_a_named_service_counts(mesh: Mesh) -> None:
    command = (sys.executable, str(APPS / "sick_grpc.py"))
    app = ailing(mesh, "spoken", "--probe", "grpc://:80/stock", *PATIENCE, command=command)
    eventually(lambda: app.readiness[0] == 200, what="readiness")
    app.become("sick")
    eventually(lambda: not is_ready(mesh, app), what="leaving")
    assert "gRPC health NOT_SERVING" in app.readiness[1]
    app.become("ok")
    eventually(lambda: is_ready(mesh, app), what="return")


def test_a_command_counts_by_its_exit_code(mesh: Mesh) -> None:
    check = f"exec:grep -q ok {mesh.folder}/commanded.control"
    app = ailing(mesh, "commanded", "--probe", check, *PATIENCE)
    app.become("sick")
    eventually(lambda: not is_ready(mesh, app), what="leaving")
    assert "exit code 1" in app.readiness[1]
    app.become("ok")
    eventually(lambda: is_ready(mesh, app), what="return")


def joined(mesh: Mesh, name: str, probe: str, *flags: str) -> App:
    mesh.apply(GROUP.format(name=name, probe=probe))
    control = control_file(mesh, name)
    arguments = ["run", "--workload-group", name, "--print-addresses", "--control-plane", f"127.0.0.1:{mesh.grpc}"]
    process = mesh.start(name, [*arguments, *flags, "--", *AILING], {"CONTROL": str(control)})
    mesh.wait_addresses(process)
    return App(process, control)


def test_the_probe_of_a_workload_group_acts(mesh: Mesh) -> None:
    app = joined(mesh, "grouped", "{periodSeconds: 1, failureThreshold: 2, httpGet: {path: /healthz, port: 8080}}")
    app.become("500")
    eventually(lambda: not is_ready(mesh, app), what="leaving")
    app.become("ok")
    eventually(lambda: is_ready(mesh, app), what="return")


def test_a_command_of_the_control_plane_runs_only_where_a_flag_allows_it(mesh: Mesh) -> None:
    marks = [mesh.folder / name for name in ("ran-refused", "ran-allowed")]
    probe = "{{periodSeconds: 1, exec: {{command: [touch, {}]}}}}"
    refused = joined(mesh, "refused", probe.format(marks[0]))
    allowed = joined(mesh, "allowed", probe.format(marks[1]), "--allow-exec-probe")
    eventually(marks[1].exists, what="the allowed command")
    assert is_ready(mesh, refused)
    eventually(lambda: is_ready(mesh, allowed), what="the allowed one to be ready")
    assert not marks[0].exists()
    assert "not run here" in refused.process.log.read_text()


def test_probes_of_a_kubelet_reach_the_app_through_the_agent(mesh: Mesh) -> None:
    """The kubelet has no certificate: where mutual TLS is required, it could not ask the app itself."""
    probers = {
        "/app-health/web/readyz": {"httpGet": {"path": "/healthz", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 10},
        "/app-health/web/livez": {"tcpSocket": {"port": 80}, "timeoutSeconds": 10},
        "/app-health/web/startupz": {"grpc": {"port": 80}, "timeoutSeconds": 10},
    }
    hurried = {"/app-health/hurried/readyz": {"httpGet": {"path": "/healthz", "port": 80}, "timeoutSeconds": 1}}
    control = control_file(mesh, "kubelet")
    process = mesh.run("kubelet", *AILING, CONTROL=str(control), ISTIO_KUBE_APP_PROBERS=json.dumps(probers | hurried))
    app = App(process, control)
    address, port = process.addresses["metrics"].removeprefix("http://").partition("/")[0].rsplit(":", 1)

    def ask(path: str) -> int:
        return request(int(port), path, address=address).status

    assert [ask(path) for path in probers] == [200, 200, 500]
    assert ask("/app-health/other/readyz") == 400
    app.become("500")
    assert ask("/app-health/web/readyz") == 500
    app.become("hang")
    assert ask("/app-health/hurried/readyz") == 500


def test_a_workload_whose_agent_is_silent_leaves_after_its_lease(mesh: Mesh) -> None:
    """A stopped process keeps its connections: only the control plane's own question finds out."""
    app = ailing(mesh, "silent")
    workload = app.process.addresses["workload"]
    os.kill(app.process.popen.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()

        def gone() -> bool:
            items = mesh.api("/v1/workloads").json["items"]
            return workload not in {f"{item['name']}.{item['namespace']}" for item in items}

        eventually(gone, seconds=LEASE_SECONDS + 20, what="the end of the lease")
        assert time.monotonic() - began > GRACE_SECONDS
    finally:
        os.kill(app.process.popen.pid, signal.SIGCONT)
    eventually(lambda: is_ready(mesh, app), seconds=40, what="its return")
