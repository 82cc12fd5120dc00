"""How much memory one agent takes: RSS, PSS and peak of the agent itself, with its Envoy beside it for comparison.

    .venv/bin/python bench/agent_rss.py [SECONDS]

Starts a control plane of the tests, one agent with a small app, sends traffic for SECONDS (default 5) while reading
the metrics page once a second, and prints one JSON line. Linux only.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from flow.fake_control_plane import FakeControlPlane, running
from lateen.agent.http1 import fetch
from lateen.agent.settings import AgentSettings

LIMIT_KILOBYTES = 30 * 1024


def memory(pid: int) -> dict[str, int]:
    """Kilobytes of a process: resident, proportional (shared pages divided), and the highest resident so far."""
    found = {}
    for file, names in (("status", ("VmRSS", "VmHWM")), ("smaps_rollup", ("Pss",))):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in names:
                found[name] = int(value.split()[0])
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def program(pid: int) -> str:
    return Path(f"/proc/{pid}/exe").readlink().name


async def measure(seconds: float) -> dict[str, dict[str, int]]:
    plane = FakeControlPlane()
    async with running(plane) as port:
        settings = AgentSettings(
            mode="run",
            service="bench",
            ports=((9080, "http"),),
            control_plane=f"127.0.0.1:{port}",
            print_addresses=True,
            command=("sh", "-c", f"exec {sys.executable} -m http.server --bind 127.0.0.1 $PORT 2>/dev/null"),
        )
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lateen.agent", settings.to_json(), stdout=asyncio.subprocess.PIPE
        )
        assert agent.stdout is not None
        address = json.loads(await agent.stdout.readline())["address"]
        await plane.until(lambda: any(workload["ready"] for workload in plane.workloads.values()))
        started = memory(agent.pid)
        loop = asyncio.get_running_loop()
        end, scrape = loop.time() + seconds, 0.0
        while loop.time() < end:
            await fetch(address, 9080, "/")
            if loop.time() >= scrape:
                scrape = loop.time() + 1
                await fetch(address, 15020, "/stats/prometheus", limit=32 << 20)
        result = {"agent_at_ready": started, "agent": memory(agent.pid)}
        for child in children(agent.pid):
            result[program(child)] = memory(child)
        agent.terminate()
        await agent.wait()
        return result


def main() -> int:
    result = asyncio.run(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
    print(json.dumps(result))
    return int(result["agent"]["VmHWM"] > LIMIT_KILOBYTES)


if __name__ == "__main__":
    sys.exit(main())
