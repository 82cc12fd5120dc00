"""What an upgrade, a loss of the control plane, a drain and a crash cost requests; what an agent costs app and host.

    python bench/alive.py [--quick] [restart] [control_plane] [drain] [crash] [idle] [start]

A real mesh: a caller, its sidecar, two replicas of a server. Requests go through both sidecars, half of them on
connections that are kept and half on new ones, until there were REQUESTS of them and what happens has happened at least
once. A request has failed when its answer is not 200, or does not come. `start` is `agent_start`. Linux only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import agent_start
from agent_rss import memory
from e2e.meshes import Mesh, Process, eventually, request, running_mesh
from report import Figure, figure, write

REQUESTS = 50_000
CONNECTIONS = 8
IDLE_SECONDS = 60.0
SERVER = """
import asyncio, os
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok" * data.count(b"\\r\\n\\r\\n"))
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass
class Load:
    """Requests until told to stop, and what became of them."""

    address: tuple[str, int]
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: bool = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self._client(kept=number % 2 == 0))

    async def _client(self, *, kept: bool) -> None:
        while not self.stopped:
            try:
                async with asyncio.timeout(15):
                    reader, writer = await asyncio.open_connection(*self.address)
            except (OSError, TimeoutError) as error:
                self.failures.append(f"connect: {error!r}")
                await asyncio.sleep(0.01)
                continue
            try:
                while await self._ask(reader, writer) and kept and not self.stopped:
                    pass
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether the connection can be used again."""
        try:
            async with asyncio.timeout(15):
                writer.write(b"GET http://web/ HTTP/1.1\r\nhost: web\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().decode().split("\r\n")
                length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failures.append(repr(error))
            return False
        if not lines[0].startswith("http/1.1 200"):
            self.failures.append(f"{lines[0]} {body[:80]!r}")
        else:
            self.answered += 1
        return "connection: close" not in lines


def envoy_pid(mesh: Mesh, process: Process) -> int:
    """Return the process id of a workload's Envoy."""
    shown = json.loads(mesh.command("proxy", "status", "-o", "json").stdout)
    return next(int(one["envoy"]["pid"]) for one in shown if one["address"] == process.addresses["address"])


class Bed:
    """The mesh of one case."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.server = mesh.folder / "server.py"
        self.server.write_text(SERVER)
        self.replicas = [self.replica(number) for number in range(2)]
        self.caller = mesh.run("caller", sys.executable, str(self.server))
        eventually(lambda: self.caller.get("http://web/").status == 200, what="the first answer")

    def replica(self, number: int) -> Process:
        return self.mesh.run("web", sys.executable, str(self.server), version=f"v{number}")

    def hot_restart(self) -> None:
        done = self.mesh.command("proxy", "restart", "--all")
        assert done.returncode == 0, done.stderr

    def control_plane(self) -> None:
        self.mesh.control_plane.popen.kill()
        self.mesh.control_plane.popen.wait()
        time.sleep(1)
        again = self.mesh.control_plane = self.mesh.start("control-plane", self.mesh.arguments)
        eventually(lambda: request(self.mesh.http, "/readyz").status == 200, what=again.tail(), seconds=90)

    def drain(self) -> None:
        self.replicas[0].stop()
        self.replicas[0] = self.replica(0)

    def crash(self) -> None:
        killed = envoy_pid(self.mesh, self.replicas[0])
        os.kill(killed, signal.SIGKILL)

        def another() -> bool:
            # One that ends again and again is started again after up to 10 s.
            return envoy_pid(self.mesh, self.replicas[0]) not in (0, killed)

        eventually(another, seconds=30, what="another Envoy")
        time.sleep(1)


NAMES = {
    "restart": "hot restart of every Envoy",
    "control_plane": "control plane killed, and back",
    "drain": "SIGTERM to one of two replicas",
    "crash": "SIGKILL to the Envoy of one of two replicas",
}
CASES: dict[str, Callable[[Bed], None]] = {
    "restart": Bed.hot_restart,
    "control_plane": Bed.control_plane,
    "drain": Bed.drain,
    "crash": Bed.crash,
}


async def _under_load(bed: Bed, happen: Callable[[Bed], None], requests: int) -> tuple[Load, int]:
    host, _, port = bed.caller.addresses["http_proxy"].removeprefix("http://").rpartition(":")
    load, times = Load((host, int(port))), 0
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await asyncio.sleep(0.5)
        while not times or load.answered < requests:
            await asyncio.to_thread(happen, bed)
            times += 1
            await asyncio.sleep(1)
        load.stopped = True
    return load, times


def _idle(mesh: Mesh, seconds: float) -> list[Figure]:
    """Memory and CPU of agents at rest, with and without a place to keep things."""
    app = (sys.executable, str(mesh.folder / "server.py"))
    keeping = mesh.run("keeping", *app)
    before, mesh.environment = mesh.environment, {**mesh.environment, "XDG_STATE_HOME": "", "HOME": ""}
    agents = {"keeps the last good configuration": keeping, "keeps nothing": mesh.run("forgetful", *app)}
    mesh.environment = before
    time.sleep(15)
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    began = {name: cpu(agent.popen.pid) for name, agent in agents.items()}
    time.sleep(seconds)
    figures = []
    for name, agent in agents.items():
        pid = agent.popen.pid
        used = 100 * (cpu(pid) - began[name]) / seconds
        figures.append(figure("agent at rest", f"{name}: CPU", "% of a core", [used], f"{seconds:g} s"))
        figures.append(figure("agent at rest", f"{name}: RSS", "MB", [memory(pid)["VmRSS"] / 1024]))
    return figures


def measure(*, quick: bool, only: Sequence[str] = ()) -> list[Figure]:
    """Return the figures of these cases, of `idle` and of `start`, or of all."""
    requests, figures = 2_000 if quick else REQUESTS, []
    if not only or "start" in only:
        figures += agent_start.measure(quick=quick)
    if set(only) == {"start"}:
        return figures
    with tempfile.TemporaryDirectory() as folder, running_mesh(Path(folder)) as mesh:
        bed = Bed(mesh)
        for case, happen in CASES.items():
            if only and case not in only:
                continue
            load, times = asyncio.run(_under_load(bed, happen, requests))
            total = load.answered + len(load.failures)
            note = f"of {total} requests, {times} times" + (f"; {load.failures[0]}" if load.failures else "")
            figures.append(figure("alive", NAMES[case], "failed requests", [len(load.failures)], note))
            print(figures[-1], file=sys.stderr, flush=True)
        if not only or "idle" in only:
            figures += _idle(mesh, 5.0 if quick else IDLE_SECONDS)
    return figures


if __name__ == "__main__":
    print(write(measure(quick="--quick" in sys.argv, only=[word for word in sys.argv[1:] if word[0] != "-"])))
