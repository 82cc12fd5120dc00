"""A workload serves on when its Envoy is renewed, when the control plane is away, and when both happen."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.meshes import Answer, Mesh, Process, eventually, request, running_mesh, runs
from e2e.traffic import traffic

pytestmark = pytest.mark.e2e

ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [web]
  http:
  - route: [{destination: {host: web, port: {number: 80}}}]
    headers: {response: {set: {x-rule: kept}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: default}
spec: {mtls: {mode: STRICT}}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    config = tmp_path_factory.mktemp("config")
    (config / "routes.yaml").write_text(ROUTES)
    with running_mesh(tmp_path_factory.mktemp("alive"), config=config) as mesh:
        mesh.run("web", version="v1")
        yield mesh


@pytest.fixture
def caller(mesh: Mesh) -> Iterator[Process]:
    process = mesh.run("caller")
    calls(process)
    yield process
    process.stop()


def calls(process: Process) -> None:
    """Call by mutual TLS and by the rule, whatever the control plane does."""
    answer = process.get("http://web/")
    assert answer.status == 200, answer.body
    assert answer.headers["x-rule"] == "kept"


def folder_of(mesh: Mesh, process: Process) -> Path:
    found: Path
    (found,) = (mesh.folder / "state" / "lateen" / "agents").glob(f"*@{process.addresses['address']}")
    return found


def wait_until_kept(mesh: Mesh, process: Process) -> None:
    """Until the configuration that the proxy has by now is on disk."""

    def kept() -> bool:
        document = json.loads((folder_of(mesh, process) / "configuration.json").read_text())
        return any(
            item["name"].startswith("outbound|80||web.")
            for item in document["bootstrap"]["static_resources"]["clusters"]
        )

    eventually(kept, what="the last good configuration on disk")


def status(mesh: Mesh, process: Process) -> dict[str, object]:
    """What `lateen proxy status` says of it."""
    shown = mesh.command("proxy", "status", "-o", "json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, object]
    (found,) = [item for item in json.loads(shown.stdout) if item["address"] == process.addresses["address"]]
    return found


def envoy(mesh: Mesh, process: Process) -> int:
    shown = status(mesh, process)["envoy"]
    assert isinstance(shown, dict)
    return int(shown["pid"])


def kill_control_plane(mesh: Mesh) -> None:
    mesh.control_plane.popen.kill()
    mesh.control_plane.popen.wait()


def kill_agent(mesh: Mesh, process: Process) -> None:
    """Have agent and Envoy gone at once, as when the host loses its power: no port of theirs is in use any more."""
    pid = envoy(mesh, process)
    process.popen.kill()
    process.popen.wait()
    # The kernel ends it with its agent, but does not wait for that.
    eventually(lambda: not runs(pid), what="the end of its Envoy")


def test_a_new_envoy_takes_over_without_a_lost_request(mesh: Mesh, caller: Process) -> None:
    """On both sides of the call, several times, with connections that are kept and with new ones."""
    before = envoy(mesh, caller)
    with traffic(caller.proxy, "http://web/") as load:
        for _ in range(2):
            load.wait_for_more()
            restarted = mesh.command("proxy", "restart", "--all")
            assert restarted.returncode == 0, restarted.stderr
            load.wait_for_more()
    assert envoy(mesh, caller) != before
    eventually(lambda: request_ready(caller), what="the workload to be ready")
    calls(caller)


def request_ready(process: Process) -> bool:
    answer: Answer = request(15021, "/healthz/ready", address=process.addresses["address"])
    return answer.status == 200


def test_an_envoy_that_ends_while_the_control_plane_is_away(mesh: Mesh, caller: Process) -> None:
    """Its successor serves by the last good configuration; the one after it follows the control plane again."""
    wait_until_kept(mesh, caller)
    kill_control_plane(mesh)
    os.kill(envoy(mesh, caller), signal.SIGKILL)
    eventually(lambda: status(mesh, caller)["configuration"] == "last_good", what="the last good configuration in use")
    eventually(lambda: request_ready(caller), what="the workload to be ready")
    calls(caller)
    with traffic(caller.proxy, "http://web/") as load:
        mesh.control_plane = mesh.serve()
        eventually(lambda: status(mesh, caller)["configuration"] == "stream", what="an envoy that follows it")
        load.wait_for_more()


def test_a_host_that_starts_again_while_the_control_plane_is_away(mesh: Mesh) -> None:
    """The agent and its Envoy are gone at once; the next ones serve, with the identity of before, and join later."""
    first = mesh.run("rebooted")
    calls(first)
    wait_until_kept(mesh, first)
    kill_control_plane(mesh)
    kill_agent(mesh, first)
    second = mesh.run("rebooted", wait=False)
    line = second.popen.stdout.readline() if second.popen.stdout else b""
    assert line, second.tail()
    second.addresses = json.loads(line)
    assert second.addresses["address"] == first.addresses["address"]
    calls(second)
    assert status(mesh, second)["configuration"] == "last_good"
    mesh.control_plane = mesh.serve()
    eventually(lambda: status(mesh, second)["configuration"] == "stream", what="an envoy that follows it")
    calls(second)
    second.stop()


def test_a_first_start_without_a_control_plane_waits_and_says_so(tmp_path: Path, mesh: Mesh) -> None:
    """It has nothing to serve by, and must not serve nothing."""
    nowhere = mesh.start(
        "nowhere",
        [
            "run",
            "--service",
            "nowhere",
            "--port",
            "80",
            "--control-plane",
            "127.0.0.1:9",
            "--print-addresses",
            "--",
            "true",
        ],
    )
    eventually(lambda: "cannot reach the control plane" in nowhere.tail(), what="a word about it")
    assert nowhere.popen.poll() is None
    nowhere.stop()


def shared_memory(mesh: Mesh, process: Process) -> Path:
    """The file by which its Envoys share memory."""
    maps = Path(f"/proc/{envoy(mesh, process)}/maps").read_text()
    (found,) = {line.split()[-1] for line in maps.splitlines() if "envoy_shared_memory" in line}
    return Path(found)


def test_nothing_stays_behind(mesh: Mesh) -> None:
    """Neither shared memory nor a socket, whether the agent was stopped or killed."""
    stopped, killed = mesh.run("stopped"), mesh.run("killed")
    memory = [shared_memory(mesh, process) for process in (stopped, killed)]
    socket = folder_of(mesh, stopped) / "agent.sock"
    assert all(path.exists() for path in (*memory, socket))
    stopped.stop()
    killed.popen.kill()
    killed.popen.wait()
    eventually(lambda: not any(path.exists() for path in memory), what="the shared memory to be gone")
    assert not socket.exists()


def crash_reports(mesh: Mesh, process: Process) -> dict[Path, str]:
    """What is kept of crashes of this workload: also of those before this agent, which had the same address."""
    return {path: path.read_text() for path in folder_of(mesh, process).glob("crash-*.txt")}


def test_a_crash_is_reported(mesh: Mesh, caller: Process) -> None:
    """With the signal, the last lines and a file; one for each crash."""
    before = crash_reports(mesh, caller)
    os.kill(envoy(mesh, caller), signal.SIGSEGV)
    eventually(lambda: "SIGSEGV" in caller.tail(200), what="the report in the log")
    made = {path: text for path, text in crash_reports(mesh, caller).items() if path not in before}
    assert len(made) == 1, made
    ((report, text),) = made.items()
    assert text.startswith("envoy was ended by SIGSEGV after ")
    assert "Caught Segmentation fault" in text
    assert str(report) in caller.tail(200)
    assert report.stat().st_mode & 0o777 == 0o600
    eventually(lambda: request_ready(caller), what="the next envoy")
    calls(caller)


def test_an_envoy_of_other_rules_does_not_take_over(tmp_path: Path) -> None:
    """The binary was replaced by one that cannot: it is refused in words, and the old one goes on."""
    from lateen.agent.envoy_process import find_envoy

    binary = tmp_path / "lib" / "envoy" / "_bin" / "envoy"
    binary.parent.mkdir(parents=True)
    binary.symlink_to(find_envoy())
    (tmp_path / "mesh").mkdir()
    with running_mesh(tmp_path / "mesh") as mesh:
        mesh.environment["PYTHONPATH"] = f"{tmp_path / 'lib'}:{mesh.environment.get('PYTHONPATH', '')}"
        process = mesh.run("web")
        before = envoy(mesh, process)
        binary.unlink()
        binary.write_text("#!/bin/sh\necho 1.1\n")
        binary.chmod(0o755)

        def refused() -> bool:
            restarted = mesh.command("proxy", "restart", "web")
            assert restarted.returncode == 1
            return "hot restart versions differ (1.1" in restarted.stderr

        # Nor does one that is too slow to be asked hand over, whatever the binary.
        eventually(refused, what="the refusal")
        assert envoy(mesh, process) == before
        eventually(lambda: request_ready(process), what="the workload to be ready")
