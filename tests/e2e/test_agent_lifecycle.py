"""One agent with a real Envoy and a real app, against a fake control plane: its life and its orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flow.fake_control_plane import FakeControlPlane, running
from lateen.agent.addresses import listen
from lateen.agent.http1 import Answer, Http1Error, fetch
from lateen.agent.settings import AgentSettings
from ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="own loopback addresses, /proc")]

APP = """
import http.server, json, os, pathlib, signal, sys, time, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith(("/held", "/call")):
            while not pathlib.Path(self.path.partition("=")[2]).exists():
                time.sleep(0.02)
        if self.path.startswith("/call"):
            with urllib.request.urlopen("http://other.mesh/") as answer:
                body = str(answer.status).encode()
        else:
            body = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

def stop(number, frame):
    pathlib.Path(os.environ["NOTES"]).write_text(signal.Signals(number).name)
    if os.environ.get("STUBBORN") != "yes":
        os._exit(int(os.environ.get("CODE", "0")))

for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
gate = os.environ.get("GATE")
while gate and not pathlib.Path(gate).exists():
    time.sleep(0.02)
port = int(os.environ.get("FIXED_PORT") or os.environ["PORT"])
print("app output", flush=True)
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((os.environ.get("BIND", "127.0.0.1"), port), Handler).serve_forever()
"""
PYTHON_APP = (sys.executable, "-c", APP)


@dataclass
class RunningAgent:
    """An agent process and what it said."""

    process: asyncio.subprocess.Process
    log: Path
    notes: Path
    """Where the app writes the signal that it got."""
    line: dict[str, Any]

    @property
    def ip(self) -> str:
        return str(self.line["address"])

    async def get(self, path: str, port: int = 9080) -> Answer:
        async with asyncio.timeout(60):
            return await fetch(self.ip, port, path, limit=8 << 20)

    async def status(self, path: str, port: int = 9080) -> int:
        """The status code; 0 when nobody answers."""
        try:
            return (await self.get(path, port)).status
        except (OSError, Http1Error):
            return 0

    async def output_line(self, number: int) -> str:
        """Wait for a line of the agent's stdout, which is also the app's."""
        written = self.log.with_suffix(".out")

        async def is_there() -> bool:
            assert self.process.returncode is None, self.log.read_text()
            return written.read_text().count("\n") > number

        await until(is_there, f"line {number} of the output; the log: {self.log}")
        return written.read_text().splitlines()[number]

    def folders(self) -> list[str]:
        """Private folders that are there now."""
        return [folder.name for folder in self.log.parent.glob("lateen-*")]

    def children(self) -> dict[str, int]:
        """Process ids of the agent's children by the last part of their program's name."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):  # it may end meanwhile
                found[Path(f"/proc/{pid}/exe").readlink().name] = int(pid)
        return found

    def peak_kilobytes(self) -> int:
        """The most memory that the agent itself ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    async def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(60):
            return await self.process.wait()


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> None:
    """Wait for a condition of another process."""
    try:
        async with asyncio.timeout(60):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited too long for {what}") from None


@asynccontextmanager
async def started(tmp_path: Path, settings: AgentSettings, **env: str) -> AsyncIterator[RunningAgent]:
    """Start an agent; at the end kill it, if a test has left it."""
    log, notes = tmp_path / "agent.log", tmp_path / "notes"
    with log.open("w") as stderr, (tmp_path / "agent.out").open("w") as stdout:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lateen.agent",
            settings.to_json(),
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "NOTES": str(notes), "TMPDIR": str(tmp_path), **env},
        )
    try:
        yield RunningAgent(process, log, notes, {})
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def proxied(tmp_path: Path, settings: AgentSettings, **env: str) -> AsyncIterator[RunningAgent]:
    """Start an agent and wait for its line of addresses."""
    async with started(tmp_path, settings, **env) as agent:
        agent.line = json.loads(await agent.output_line(0))
        yield agent


def run_settings(port: int, **extra: Any) -> AgentSettings:
    values: dict[str, Any] = {
        "mode": "run",
        "service": "reviews",
        "version": "v2",
        "ports": ((9080, "http"),),
        "control_plane": f"127.0.0.1:{port}",
        "print_addresses": True,
        "command": PYTHON_APP,
    }
    return AgentSettings(**(values | extra))


@asynccontextmanager
async def serving(
    tmp_path: Path, plane: FakeControlPlane | None = None, *, env: dict[str, str] | None = None, **extra: Any
) -> AsyncIterator[tuple[FakeControlPlane, RunningAgent]]:
    """A control plane and an agent whose workload is ready."""
    plane = plane or FakeControlPlane()
    async with running(plane) as port, proxied(tmp_path, run_settings(port, **extra), **(env or {})) as agent:
        await plane.until(lambda: any(workload["ready"] for workload in plane.workloads.values()), 60)
        yield plane, agent


async def finished(tmp_path: Path, settings: AgentSettings, **env: str) -> tuple[int, str]:
    """Run an agent to its end; return its exit code and the log."""
    async with started(tmp_path, settings, **env) as agent, asyncio.timeout(90):
        return await agent.process.wait(), agent.log.read_text()


async def test_app_gets_traffic_only_when_it_accepts_and_knows_its_surroundings(tmp_path: Path) -> None:
    """Proxy first, then the app, then traffic. The addresses come first on stdout, the app's output after them."""
    plane, gate = FakeControlPlane(), tmp_path / "gate"
    async with (
        running(plane) as port,
        proxied(tmp_path, run_settings(port), GATE=str(gate), NO_PROXY="", no_proxy="") as agent,
    ):
        ip = agent.ip
        assert agent.line == {
            "workload": "reviews-v2-1.default",
            "address": ip,
            "inbound": {"9080": f"{ip}:9080"},
            "http_proxy": f"http://{ip}:15001",
            "admin": f"{ip}:15000",
            "ready": f"http://{ip}:15021/healthz/ready",
            "metrics": f"http://{ip}:15020/stats/prometheus",
        }

        async def waits_for_the_app() -> bool:
            waiting = await agent.get("/healthz/ready", 15021)
            assert waiting.status == 503
            return waiting.body == b"the app does not accept connections yet\n"

        # The line of addresses comes before the app is started.
        await until(waits_for_the_app, "the agent to wait for the app")
        assert not plane.workloads["reviews-v2-1"]["ready"]
        gate.touch()
        await plane.until(lambda: plane.workloads["reviews-v2-1"]["ready"])
        env = json.loads((await agent.get("/env")).body)
        assert {name: env[name] for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "NODE_USE_ENV_PROXY")} == {
            "HTTP_PROXY": f"http://{ip}:15001",
            "http_proxy": f"http://{ip}:15001",
            "NO_PROXY": "localhost,127.0.0.1,::1",
            "NODE_USE_ENV_PROXY": "1",
        }
        assert int(env["PORT"]) == int(env["PORT_9080"]) == plane.workloads["reviews-v2-1"]["ports"][0]["app_port"]
        await until(lambda: _is(agent.status("/healthz/ready", 15021), 200), "readiness")
        assert await agent.output_line(1) == "app output"


async def _is(answer: Awaitable[int], status: int) -> bool:
    return await answer == status


async def test_no_request_in_flight_is_lost_on_sigterm(tmp_path: Path) -> None:
    """Requests under way, and those that others still send until they know, all get their answer.

    So do the app's own calls to others that a request under way makes. Only then does the app get the signal.
    """
    others_know = asyncio.Event()

    async def on_leave(name: str) -> bool:
        await others_know.wait()
        return True

    plane, gate = FakeControlPlane(on_leave=on_leave), tmp_path / "gate"
    async with serving(tmp_path, plane, drain_seconds=60.0) as (_, agent):
        async with asyncio.TaskGroup() as group:
            early = [group.create_task(agent.get(f"/held?until={gate}")) for _ in range(15)]
            calls = [group.create_task(agent.get(f"/call?until={gate}")) for _ in range(5)]
            await until(lambda: _in_flight(agent, 20), "the requests to reach the app")
            agent.process.send_signal(signal.SIGTERM)
            await plane.until(lambda: not plane.workloads)
            assert await agent.status("/healthz/ready", 15021) == 503
            late = [group.create_task(agent.get(f"/held?until={gate}")) for _ in range(5)]
            await until(lambda: _in_flight(agent, 25), "the late requests to reach the app")
            others_know.set()
            await until(lambda: _is(agent.status("/ready", 15000), 503), "the drain")
            assert not agent.notes.exists()
            gate.touch()
        assert [task.result().status for task in (*early, *calls, *late)] == [200] * 25
        assert {task.result().body for task in calls} == {b"204"}
        async with asyncio.timeout(60):
            assert await agent.process.wait() == 0
        assert agent.notes.read_text() == "SIGTERM"
        assert agent.folders() == []


async def _in_flight(agent: RunningAgent, count: int) -> bool:
    page = (await agent.get("/stats?filter=http.inbound.*downstream_rq_active", 15000)).body.decode()
    return sum(int(line.rpartition(": ")[2]) for line in page.splitlines()) >= count


async def test_drain_time_is_a_bound(tmp_path: Path) -> None:
    """A request that never ends does not keep the agent."""
    async with serving(tmp_path, drain_seconds=0.3) as (_, agent), asyncio.TaskGroup() as group:
        endless = group.create_task(agent.status("/held?until=/nowhere"))
        await until(lambda: _in_flight(agent, 1), "the request to reach the app")
        assert await agent.end() == 0
        assert await endless != 200
        assert "requests are still under way" in agent.log.read_text()


async def test_same_signal_is_passed_on_and_the_exit_code_is_the_apps(tmp_path: Path) -> None:
    async with serving(tmp_path, env={"CODE": "7"}) as (plane, agent):
        assert await agent.end(signal.SIGINT) == 7
        assert agent.notes.read_text() == "SIGINT"
        await plane.until(lambda: plane.said[-1] == ("reviews-v2-1", {"leave": True}))


async def test_second_signal_hurries(tmp_path: Path) -> None:
    """Without it, an app that ignores signals and others that never confirm would be waited for."""

    async def on_leave(name: str) -> bool:
        await asyncio.Event().wait()
        return True

    plane = FakeControlPlane(on_leave=on_leave)
    async with serving(tmp_path, plane, env={"STUBBORN": "yes"}, app_stop_seconds=1000.0) as (_, agent):
        agent.process.send_signal(signal.SIGTERM)
        await plane.until(lambda: not plane.workloads)

        async def ended() -> bool:
            if agent.process.returncode is None:
                # Not `send_signal`: it looks whether the process ended first, and so takes its exit code from asyncio.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(agent.process.pid, signal.SIGTERM)
            return agent.process.returncode is not None

        await until(ended, "the hurried end")
        assert agent.process.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "exit 3"), 3),
        (("sh", "-c", "kill -9 $$"), 137),
        (("true",), 0),
    ],
)
async def test_exit_code_is_the_apps(tmp_path: Path, command: tuple[str, ...], code: int) -> None:
    plane = FakeControlPlane()
    async with running(plane) as port:
        ended, log = await finished(tmp_path, run_settings(port, command=command))
    assert ended == code
    assert ("should listen on the port in PORT" in log) == bool(code)
    assert plane.workloads == {}


@pytest.mark.parametrize(("env", "found"), [({"FIXED_PORT": "9080"}, 9080), ({"FIXED_PORT": "18999"}, 18999)])
async def test_app_that_ignores_port_is_found(tmp_path: Path, env: dict[str, str], found: int) -> None:
    """On the declared port, or on any one port of its own."""
    async with serving(tmp_path, env=env) as (plane, agent):
        assert plane.workloads["reviews-v2-1"]["ports"][0]["app_port"] == found
        assert await agent.status("/") == 200


async def test_app_on_the_wildcard_address_gets_a_hint(tmp_path: Path) -> None:
    plane = FakeControlPlane()
    async with running(plane) as port:
        code, log = await finished(tmp_path, run_settings(port), FIXED_PORT="9080", BIND="0.0.0.0")
    assert code == 1
    assert "not on 0.0.0.0:9080" in log


async def test_envoy_that_dies_is_started_again_and_the_app_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, agent):
        before = agent.children()
        os.kill(before["envoy"], signal.SIGKILL)
        await until(lambda: _restarted(agent, before["envoy"]), "a new Envoy")
        await until(lambda: _is(agent.status("/"), 200), "traffic")
        after = agent.children()
        assert after.keys() == before.keys()
        assert {name for name in after if after[name] != before[name]} == {"envoy"}
        metrics = (await agent.get("/stats/prometheus", 15020)).body
        assert b"lateen_agent_envoy_restarts_total 1\n" in metrics


async def _restarted(agent: RunningAgent, old: int) -> bool:
    with contextlib.suppress(OSError):
        return agent.children().get("envoy", old) != old
    return False


async def test_broken_control_plane_stream_changes_nothing_but_the_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plane, agent):
        before, said = agent.children(), len(plane.said)
        await plane.break_streams()
        await plane.until(lambda: len(plane.said) > said)
        assert plane.workloads["reviews-v2-1"]["ready"]
        assert agent.children() == before
        assert await agent.status("/") == 200


async def test_control_plane_may_come_late(tmp_path: Path) -> None:
    """Until it is there nothing starts: not Envoy, which needs its name, and not the app, which needs its proxy."""
    port = free_port()
    async with started(tmp_path, run_settings(port)) as agent:
        await until(lambda: _says(agent, "cannot reach the control plane"), "the line about the control plane")
        # Envoy was asked for its version, and nothing else is started.
        await until(lambda: _only_the_guard(agent), "nobody but the guard")
        async with running(FakeControlPlane(), port):
            assert json.loads(await agent.output_line(0))["workload"] == "reviews-v2-1.default"


async def _only_the_guard(agent: RunningAgent) -> bool:
    return set(agent.children()) <= {"dash", "sh", "bash", "busybox"}


async def _says(agent: RunningAgent, text: str) -> bool:
    return text in agent.log.read_text()


async def test_app_waits_for_routes_that_envoy_accepts(tmp_path: Path) -> None:
    """Without routes each of its calls would get 404."""
    unknown = {"header": {"key": "x", "value": "%NO_SUCH_COMMAND(x)%"}}
    plane = FakeControlPlane()
    await plane.serve_routes({"direct_response": {"status": 204}, "request_headers_to_add": [unknown]})
    async with running(plane) as port, started(tmp_path, run_settings(port)) as agent:
        await until(lambda: _says(agent, "envoy rejected its first routes"), "the line about the routes")
        assert "lateen proxy-status reviews-v2-1.default" in agent.log.read_text()
        assert (tmp_path / "agent.out").read_text() == ""
        await plane.serve_routes({"direct_response": {"status": 204}})
        await plane.until(lambda: plane.workloads["reviews-v2-1"]["ready"])
        assert agent.log.read_text().count("envoy rejected its first routes") == 1


async def test_sigterm_while_waiting_for_the_control_plane_ends_at_once(tmp_path: Path) -> None:
    port = free_port()
    async with started(tmp_path, run_settings(port)) as agent:
        await until(lambda: _says(agent, "cannot reach the control plane"), "the line about the control plane")
        assert await agent.end() == 128 + signal.SIGTERM
        assert "confirmed" not in agent.log.read_text(), "nobody ever sent to it"


async def test_killed_agent_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not the app's grandchildren, which no parent-death signal reaches, not Envoy, not the folder."""
    command = ("sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/grandchild; {sys.executable} -c '{APP}' & wait")
    async with serving(tmp_path, command=command) as (_, agent):
        pids = [*agent.children().values(), int((tmp_path / "grandchild").read_text())]
        assert len(agent.folders()) == 1
        agent.process.kill()
        await agent.process.wait()

        async def gone() -> bool:
            return not any(_alive(pid) for pid in pids) and not agent.folders()

        await until(gone, "everything to be gone")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_whole_process_group_of_the_app_is_stopped(tmp_path: Path) -> None:
    command = ("sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/grandchild; {sys.executable} -c '{APP}'; exit 5")
    async with serving(tmp_path, command=command) as (_, agent):
        grandchild = int((tmp_path / "grandchild").read_text())
        await agent.end()
        assert not _alive(grandchild)


async def test_client_without_ports_is_ready_at_once(tmp_path: Path) -> None:
    command = ("sleep", "1000")
    async with serving(tmp_path, ports=(), command=command) as (plane, agent):
        assert agent.line["inbound"] == {}
        assert await agent.status("/healthz/ready", 15021) == 200
        assert await agent.end() == 128 + signal.SIGTERM
        assert plane.workloads == {}


async def test_sidecar_alone_follows_the_app_up_and_down(tmp_path: Path) -> None:
    """The app is someone else's; it is reached on 127.0.0.1 at the declared port."""
    app_port, plane = free_port(), FakeControlPlane()
    async with running(plane) as port:
        settings = run_settings(port, mode="sidecar", command=(), ports=((app_port, "tcp"),), interception="none")
        async with proxied(tmp_path, settings) as agent:
            assert "http_proxy" not in agent.line
            assert await agent.status("/healthz/ready", 15021) == 503
            app: socket.socket = listen("127.0.0.1", app_port)
            await plane.until(lambda: plane.workloads["reviews-v2-1"]["ready"])
            await until(lambda: _is(agent.status("/healthz/ready", 15021), 200), "readiness")
            app.close()
            await plane.until(lambda: not plane.workloads["reviews-v2-1"]["ready"])
            assert await agent.end() == 0


async def test_gateway_says_where_its_ports_are_bound(tmp_path: Path) -> None:
    plane = FakeControlPlane()
    async with running(plane) as port:
        settings = AgentSettings(
            mode="gateway",
            name="ingress",
            namespace="edge",
            labels={"istio": "ingressgateway"},
            port_map={80: 8081},
            control_plane=f"127.0.0.1:{port}",
            print_addresses=True,
        )
        async with proxied(tmp_path, settings) as agent:
            assert agent.line["workload"] == "ingress.edge"
            assert agent.line["listeners"] == {"80": f"{agent.ip}:8081"}
            assert await agent.status("/", 8081) == 200
            await plane.until(lambda: plane.workloads["ingress"]["ready"])
            (node,) = plane.nodes
            assert node.id == f"router~{agent.ip}~ingress.edge~edge.svc.cluster.local"
            assert dict(node.metadata["LABELS"]) == {"istio": "ingressgateway"}
            assert await agent.end() == 0


async def test_gateway_without_listeners_is_ready_too(tmp_path: Path) -> None:
    """A gateway may start before any Gateway names it."""
    plane = FakeControlPlane(serve_listeners=False)
    async with running(plane) as port:
        settings = AgentSettings(
            mode="gateway", name="ingress", control_plane=f"127.0.0.1:{port}", print_addresses=True
        )
        async with proxied(tmp_path, settings) as agent:
            assert agent.line["listeners"] == {}
            await until(lambda: _is(agent.status("/healthz/ready", 15021), 200), "readiness")


async def test_metrics_pages(tmp_path: Path) -> None:
    """15090 is Envoy's page and nothing else of its admin; labels carry whole names."""
    async with serving(tmp_path) as (_, agent):
        assert await agent.status("/") == 200
        assert await agent.status("/stats/prometheus", 15090) == 200
        assert await agent.status("/config_dump", 15090) == 404
        page = (await agent.get("/stats/prometheus", 15020)).body.decode()
        assert "lateen_agent_control_plane_connected 1\n" in page
        assert 'envoy_cluster_upstream_rq_total{cluster_name="inbound|9080||"} 1\n' in page
        assert f'{{http_conn_manager_prefix="inbound_{agent.ip}_9080"}}' in page
        assert f'listener_address="{agent.ip}_9080"' in page


async def test_agent_stays_small(tmp_path: Path) -> None:
    """Its own memory, at its worst so far: under 30 MB."""
    async with serving(tmp_path) as (_, agent):
        await agent.get("/stats/prometheus", 15020)
        assert agent.peak_kilobytes() < 30 * 1024


async def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    with listen("127.99.8.7", 9080):
        code, log = await finished(tmp_path, run_settings(1, address="127.99.8.7"))
    assert code == 1
    assert log == (
        "lateen: port in use: 127.99.8.7:9080 is taken by another process; "
        "stop it, or choose another address with --address\n"
    )


async def test_missing_or_old_envoy_is_one_line(tmp_path: Path) -> None:
    old = tmp_path / "envoy"
    old.write_text("#!/bin/sh\necho 'envoy  version: 0/1.20.0/Clean/RELEASE/BoringSSL'\n")
    old.chmod(0o755)
    code, log = await finished(tmp_path, run_settings(1, envoy_path=str(old)))
    # What is said before it is of the control plane, which is asked meanwhile, and is not there.
    said = [line for line in log.splitlines() if line.startswith("lateen: ")]
    assert (code, log.splitlines()[-1:]) == (1, said)
    assert "is Envoy 1.20.0, but 1.30 or newer is needed" in said[0]
    code, log = await finished(tmp_path, run_settings(1, envoy_path="/nowhere/envoy"))
    assert (code, log.count("\n")) == (1, 1)
    assert log.startswith("lateen: Envoy is missing: /nowhere/envoy")


async def test_envoy_that_never_comes_up_is_given_up(tmp_path: Path) -> None:
    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\necho 'envoy  version: 0/1.40.0/Clean/RELEASE/BoringSSL'\nexit 4\n")
    broken.chmod(0o755)
    async with running(FakeControlPlane()) as port:
        code, log = await finished(tmp_path, run_settings(port, envoy_path=str(broken)))
    assert code == 1
    assert "lateen: Envoy exits with 4 at each start" in log


async def test_unknown_command_is_one_line(tmp_path: Path) -> None:
    async with running(FakeControlPlane()) as port:
        code, log = await finished(tmp_path, run_settings(port, command=("no-such-program",)))
    assert code == 127
    assert log.endswith("lateen: cannot start 'no-such-program': No such file or directory\n")


async def test_wrong_settings_are_wrong_usage(tmp_path: Path) -> None:
    assert (await finished(tmp_path, run_settings(1, control_plane="nonsense")))[0] == 2
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lateen.agent", '{"mode": "run", "service": "a", "interception": "magic"}',
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, log = await process.communicate()
    assert process.returncode == 2
    assert log == b"lateen: interception 'magic' is not one of proxy, none, netns, host\n"
