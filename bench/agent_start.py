"""What an agent costs the app that waits for it, and the host: how long its start takes, step by step, and its memory.

    python bench/agent_start.py [--quick] [proxy] [none] [netns] [host]

Agents of each way of interception, with mTLS, in turn and one at a time, beside a control plane that runs. Times are
from the start of the agent's process (`lateen run` becomes it, and `app delayed` is from the start of that) and seen
from outside: when child processes began, as the kernel says, and when the agent said what. Linux only; interception
needs root, and nobody else on ports of sidecars. Part `alive` of `run` has these figures too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from agent_rss import children, memory
from e2e.meshes import Mesh, Process, eventually, running_mesh
from lateen.agent.settings import AgentSettings
from ports import free_port
from report import Figure, figure, write

MODES = ("proxy", "none", "netns", "host")
NEED_ROOT = ("netns", "host")
RUNS = 5
REST_SECONDS = 12.0
"""Until the last good configuration has been kept."""
_HOST_PYTHON = "/usr/bin/python3"
"""One that `nobody` may run, whose connections `host` intercepts."""
_TICKS = os.sysconf("SC_CLK_TCK")
_SAID = {"has a certificate": "certificate", "registered with the control plane": "registered", "ready": "ready"}
STEPS = ("address taken", "certificate", "registered", "envoy started", "envoy ready", "app started", "ready")
APP = """
import asyncio, os
async def main():
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "0.0.0.0" if os.environ.get("WIDE") else
        "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()
asyncio.run(main())
"""


def began(pid: int) -> float:
    """When a process began, in seconds since 1970, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / _TICKS


def words(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""


def said(log: Path) -> dict[str, float]:
    """When the agent said for the first time what ends a step."""
    found: dict[str, float] = {}
    for line in log.read_text().splitlines():
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            if step := _SAID.get(entry["event"]):
                found.setdefault(step, datetime.fromisoformat(entry["timestamp"]).timestamp())
    return found


def start(mesh: Mesh, mode: str, number: int) -> tuple[Process, float]:
    """Start one agent, as `lateen run` leaves it; return it and when."""
    settings = AgentSettings(
        mode="run",
        service=f"bench-{mode}",
        version=f"v{number}",
        ports=((free_port(), "http"),),
        control_plane=f"127.0.0.1:{mesh.grpc}",
        interception=mode,
        app_user="nobody" if mode == "host" else "",
        print_addresses=True,
        command=(_HOST_PYTHON if mode == "host" else sys.executable, str(mesh.folder / "app.py")),
    )
    arguments = [sys.executable, "-m", "lateen.agent", settings.to_json()]
    at = time.time()
    process = mesh.start_program(f"{mode}-{number}", arguments, {"WIDE": "1" if mode in NEED_ROOT else ""})
    return process, at


def one(mesh: Mesh, mode: str, number: int, rest: float) -> tuple[dict[str, float], dict[str, int]]:
    """Start and stop one agent; return seconds of each step, and its memory at rest."""
    process, at = start(mesh, mode, number)
    assert process.popen.stdout is not None
    line = process.popen.stdout.readline()
    steps = {"envoy ready": time.time()}
    assert line, process.tail()
    eventually(lambda: "ready" in said(process.log), what=process.tail())
    steps |= said(process.log)
    for child in children(process.popen.pid):
        match words(child).split():
            case [shell, "-c", *_] if shell == "/bin/sh":
                steps["address taken"] = began(child)
            case [program, *_] if program.endswith("/envoy"):
                steps["envoy started"] = began(child)
            case [_, script] if script.endswith("app.py"):
                steps["app started"] = began(child)
    time.sleep(rest)
    used = memory(process.popen.pid)
    process.stop()
    return {step: max(0.0, steps[step] - at) for step in STEPS if step in steps}, used


def delayed(mesh: Mesh, number: int) -> float:
    """Seconds by which `lateen run` delays its app."""
    at = time.time()
    process = mesh.run("bench-delayed", sys.executable, str(mesh.folder / "app.py"), version=f"v{number}", wait=False)
    assert process.popen.stdout is not None
    assert process.popen.stdout.readline(), process.tail()

    def started() -> float:
        return next((began(child) for child in children(process.popen.pid) if words(child).endswith("app.py ")), 0.0)

    seconds = eventually(started, what="the app") - at
    process.stop()
    return seconds


def measure(*, quick: bool, only: Sequence[str] = ()) -> list[Figure]:
    """Return the figures of these ways of interception, or of all that this user may use."""
    runs, rest = (2, 2.0) if quick else (RUNS, REST_SECONDS)
    modes = [mode for mode in only or MODES if mode not in NEED_ROOT or os.geteuid() == 0]
    times: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
    sizes: dict[str, list[dict[str, int]]] = {mode: [] for mode in modes}
    delays: list[float] = []
    with tempfile.TemporaryDirectory() as folder, running_mesh(Path(folder)) as mesh:
        Path(folder).chmod(0o755)  # the app of `host` is another user
        (mesh.folder / "app.py").write_text(APP)
        for number in range(runs):
            for mode in modes:
                steps, used = one(mesh, mode, number, rest)
                times[mode].append(steps)
                sizes[mode].append(used)
            delays.append(delayed(mesh, number))
    load = f"load average {os.getloadavg()[0]:.1f}"
    figures = [figure("agent's start", "lateen run: app delayed", "s", delays, load)]
    figures += [
        figure("agent's start", f"{mode}: {step}", "s", [steps[step] for steps in found if step in steps], load)
        for mode, found in times.items()
        for step in STEPS
        if any(step in steps for steps in found)
    ]
    return figures + [
        figure("agent at rest", f"{mode}: {name}", "MB", [used[key] / 1024 for used in found])
        for mode, found in sizes.items()
        for name, key in (("RSS", "VmRSS"), ("PSS", "Pss"), ("most RSS", "VmHWM"))
    ]


if __name__ == "__main__":
    print(write(measure(quick="--quick" in sys.argv, only=[word for word in sys.argv[1:] if word[0] != "-"])))
