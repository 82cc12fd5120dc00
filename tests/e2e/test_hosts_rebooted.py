"""A host that goes off and comes back while the control plane is away serves from what its agent kept."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.hosts_bed import Agent, HostMesh, host_mesh, left_behind, load, processes_on, python_of_everybody
from e2e.meshes import APPS, eventually
from e2e.virtual_hosts import VirtualHost, network, why_not

WHY_NOT = why_not()
PYTHON = "" if WHY_NOT else python_of_everybody()
WHY = WHY_NOT or ("" if PYTHON else "no Python that every user may run")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY), reason=WHY), pytest.mark.timeout(240)]

CONFIG = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - route: [{destination: {host: web}}]
    retries: {attempts: 5, retryOn: "connect-failure,refused-stream,reset,unavailable,503"}
"""
WEB = "outbound|8080||web.default.svc.cluster.local"


@dataclass
class Bed:
    mesh: HostMesh
    web: Agent
    client: Agent


@pytest.fixture
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("rebooted")
    with network(folder) as net, host_mesh(net, folder, CONFIG) as mesh:
        app = (PYTHON, "-c", (APPS / "echo.py").read_text())
        flags = ("--service", "web", "--port", "8080/http", "--intercept", "host", "--app-user", "nobody")
        web = mesh.agent(net.host("web"), "web", "run", *flags, "--", *app)
        host = net.host("client")
        client = mesh.agent(host, "client", "run", "--service", "client", "--address", host.ip, "--", "sleep", "99999")
        for agent in (web, client):
            agent.start()
        for agent in (web, client):
            agent.until(agent.ready, "an agent to be ready")
        yield Bed(mesh, web, client)


def kept(agent: Agent, *names: str) -> bool:
    """Whether what it keeps has these listeners and clusters, and lacks nothing."""
    (path,) = (agent.state / "agents").glob("*/configuration.json")
    document = json.loads(path.read_text())
    assert document["missing"] == [], document["missing"]
    static = document["bootstrap"]["static_resources"]
    return {*names} <= {item["name"] for item in (*static["listeners"], *static["clusters"])}


def wait_until_kept(bed: Bed) -> None:
    """Until both keep what they serve by; the client is told of a service when it first calls it."""
    answered(bed)
    bed.web.until(lambda: kept(bed.web, "virtualInbound", "virtualOutbound"), "its configuration to be kept")
    bed.client.until(lambda: kept(bed.client, WEB), "the client's configuration to be kept")


def answered(bed: Bed) -> None:
    with load(bed.client.host, "http://web:8080/", threads=2) as calls:
        calls.wait_for("v1", 20)
        calls.failures.clear()
        calls.wait_for("v1", 50)
    assert not calls.failures, calls


def test_what_is_kept_of_an_intercepted_workload_lacks_nothing(bed: Bed) -> None:
    """An Envoy that ends while the control plane is away is followed by one that takes calls too."""
    wait_until_kept(bed)
    bed.mesh.kill()
    os.kill(bed.web.envoys()[0], signal.SIGKILL)
    bed.web.until(lambda: "envoy starts with the last good configuration" in bed.web.log(), "its follower")
    bed.web.until(bed.web.ready, "its follower to serve")
    answered(bed)


def test_a_host_that_comes_back_serves_without_a_control_plane(bed: Bed) -> None:
    """Of before it has what is on disk: its processes, rules, sockets, interfaces and /run are gone."""
    wait_until_kept(bed)
    bed.mesh.kill()
    for agent in (bed.web, bed.client):
        switch_off_and_on(bed, agent)
    for agent in (bed.web, bed.client):
        agent.until(agent.ready, "the agent to be ready")
        assert "serving by the last good configuration" in agent.log()
    answered(bed)
    bed.mesh.serve()
    with load(bed.client.host, "http://web:8080/", threads=2) as calls:
        for agent in (bed.web, bed.client):
            agent.until(lambda agent=agent: follows(agent), "an Envoy that follows the control plane", seconds=60)  # type: ignore[misc]
        calls.wait_for("v1", 50)
    assert not calls.failures, calls
    bed.web.end()
    bed.web.gone()


def follows(agent: Agent) -> bool:
    """Whether the last that it said of its configuration is that it is the control plane's."""
    return re.findall(r'"configuration": "([^"]+)"', agent.log())[-1:] == ["the control plane"]


def switch_off_and_on(bed: Bed, agent: Agent) -> None:
    off: VirtualHost = agent.host
    agent.envoys()
    running = processes_on(off)
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    off.switch_off()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running), what="all to be gone")
    for path in agent.memory:
        path.unlink(missing_ok=True)  # /dev/shm is this machine's, and does not outlive a real one
    agent.host = bed.mesh.net.again(off)
    assert left_behind(agent.host) == []
    agent.start()
