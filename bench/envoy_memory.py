"""What a real sidecar Envoy costs in meshes of different sizes: memory, start-up, and the scrape of its metrics page.

    python bench/envoy_memory.py [--quick]

A control plane serves a folder of ServiceEntries; Envoy runs on the bootstrap that an agent would write, intercepted
mode, every service in view and none in use. Each size is measured with the bootstrap's rules about which statistics are
made, and without. The baseline is an Envoy in a mesh of the few services that a sidecar uses.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from e2e.meshes import eventually, running_mesh
from fleet import cpu_seconds, memory_mb
from generation_cases import outside_service
from lateen.agent.envoy_process import find_envoy
from lateen.envoy.bootstrap import PROMETHEUS_PATH, BootstrapSettings, bootstrap
from lateen.model.proxies import Proxy, ProxyType
from ports import free_port
from report import Figure, figure, write

MESH_CONFIG: Mapping[str, Any] = {"discoveryScope": "full"}
"""MeshConfig of the control plane: this is about a sidecar that is told everything (`on_demand.py` about one that is
not). `rows` fails when it is sent less."""
VARIANTS = {"with stats allow-list": True, "without stats allow-list": False}
QUIET_SECONDS = 1.0
"""Memory is read when it did not change for so long."""


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """A running Envoy."""

    pid: int
    admin_port: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def gauge(self, name: str) -> int:
        for line in self.get(f"/stats?filter=^{name}$").decode().splitlines():
            return int(line.rpartition(" ")[2])
        return 0


@contextmanager
def sidecar(folder: Path, control_plane: int, *, diet: bool) -> Iterator[Sidecar]:
    """Run an Envoy; without diet its bootstrap has no rules about which statistics are made, and when."""
    proxy = Proxy(type=ProxyType.SIDECAR, name="client-1", namespace="default", addresses=("127.0.0.1",))
    admin_port = free_port()
    settings = BootstrapSettings(
        proxy=proxy,
        service="client",
        control_plane=("127.0.0.1", control_plane),
        admin_port=admin_port,
        prometheus_port=free_port(),
    )
    made = bootstrap(settings)
    if not diet:
        del made["stats_config"]["stats_matcher"], made["deferred_stat_options"]
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(made))
    arguments = ["-c", str(file), "--disable-hot-restart", "--concurrency", "2", "--log-level", "error"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([find_envoy(), *arguments], stderr=log, stdout=log)
    try:
        here = Sidecar(pid=process.pid, admin_port=admin_port)
        eventually(lambda: here.get("/ready").startswith(b"LIVE"), seconds=90, what="Envoy")
        yield here
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def settled_memory(pid: int) -> float:
    """Return resident memory once it stays within a tenth of a megabyte."""
    deadline = time.monotonic() + 30
    before = 0.0
    while abs((now := memory_mb(pid)) - before) > 0.1 and time.monotonic() < deadline:
        before = now
        time.sleep(QUIET_SECONDS)
    return now


def rows(services: int, *, diet: bool, note: str) -> list[Figure]:
    """Return the rows of one mesh."""
    with tempfile.TemporaryDirectory() as made:
        folder, config = Path(made), Path(made) / "config"
        config.mkdir()
        items: list[Any] = [outside_service(number, "HTTP", 80) for number in range(services)]
        (config / "services.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        mesh_config = folder / "mesh-config.json"
        mesh_config.write_text(json.dumps(MESH_CONFIG))
        with running_mesh(folder, config=config, mesh_config=mesh_config) as mesh:
            begun = time.monotonic()
            with sidecar(folder, mesh.grpc, diet=diet) as envoy:
                live = time.monotonic() - begun
                worked = cpu_seconds(envoy.pid)
                clusters = envoy.gauge("cluster_manager.active_clusters")
                assert clusters > services, f"{clusters} clusters of {services} services are in view: see MESH_CONFIG"
                memory = settled_memory(envoy.pid)
                begun = time.monotonic()
                scrape = envoy.get(PROMETHEUS_PATH)
                took = (time.monotonic() - begun) * 1000
                after = settled_memory(envoy.pid)
    case = f"{services} services"
    return [
        figure("Envoy RSS", case, "MB", [memory], f"{clusters} clusters, {note}"),
        figure("Envoy RSS after a scrape", case, "MB", [after], note),
        figure("Envoy scrape", case, "kB", [len(scrape) / 1000], f"{scrape.count(10)} lines in {took:.0f} ms, {note}"),
        figure("Envoy live after", case, "s", [live], f"{worked:.2f} s of CPU, {note}"),
    ]


def measure(*, quick: bool = False) -> list[Figure]:
    """Return the rows of each size, with the bootstrap's own rules about statistics and without them."""
    made: list[Figure] = []
    for services in (20, 200) if quick else (20, 1000, 5000):
        for note, diet in VARIANTS.items():
            for row in rows(services, diet=diet, note=note):
                print(f"{row.benchmark:<26} {row.case:<16} {row.median:9.1f} {row.unit:<4} {row.note}", flush=True)
                made.append(row)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(write(measure(quick=parser.parse_args().quick)))
