"""What a real sidecar pays for a large mesh of which it uses little: memory, and the first request to a host.

    python bench/on_demand.py [--quick]

A control plane serves a folder of ServiceEntries that all lead to one small application; `lateen run` starts one
sidecar in explicit mode, with the command line's defaults. Its memory is read after 20 of the services were called,
both when it is told what it uses and when it is told everything; the mesh of only those 20 is what the first should
come near to. Then hosts that were never used are called, one after another: by HTTP through the proxy listener, and by
CONNECT to a port of plain TCP.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from agent_rss import children, program
from e2e.meshes import Mesh, Process, eventually, outside_app, running_mesh
from envoy_memory import settled_memory
from fleet import cpu_seconds, load
from generation_cases import address, service_entry
from report import Figure, figure, write

USED = 20
"""Services that the sidecar is known to use."""
COLD = 150
"""Hosts called for the first time, by each way."""
TCP_PORT = 9000
IDLE = (sys.executable, "-c", "import signal; signal.pause()")


def services(count: int, application: int) -> list[Mapping[str, Any]]:
    """Return ServiceEntries that lead to an application on this machine; the last are of TCP, if there is room."""
    tcp = COLD if count >= USED + 2 * COLD else 0
    return [_service(number, application, tcp=number >= count - tcp) for number in range(count)]


def _service(number: int, application: int, *, tcp: bool) -> Mapping[str, Any]:
    port = (TCP_PORT, "TCP") if tcp else (80, "HTTP")
    name = f"{port[1].lower()}-{port[0]}"
    return service_entry(
        f"service-{number}",
        host(number),
        (port,),
        addresses=[address(number)],
        endpoints=[{"address": "127.0.0.1", "ports": {name: application}}],
    )


def host(number: int) -> str:
    return f"service-{number}.host.example"


# --- calls ---------------------------------------------------------------------------------------------------


class Caller:
    """An application beside the sidecar. Its requests share a connection to the proxy; a tunnel has one of its own."""

    def __init__(self, process: Process) -> None:
        self._proxy = process.proxy
        self._connection = http.client.HTTPConnection(*self._proxy, timeout=30)

    def request(self, number: int) -> float:
        """Call a service by HTTP; return milliseconds."""
        begun = time.perf_counter()
        self._connection.request("GET", f"http://{host(number)}/")
        self._check(self._connection.getresponse())
        return (time.perf_counter() - begun) * 1000

    def tunnel(self, number: int) -> float:
        """Call a service of TCP: milliseconds of the connection to the proxy, CONNECT, and one exchange."""
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(*self._proxy, timeout=30)
        connection.set_tunnel(host(number), TCP_PORT)
        try:
            connection.request("GET", "/")
            self._check(connection.getresponse())
        finally:
            connection.close()
        return (time.perf_counter() - begun) * 1000

    def _check(self, response: http.client.HTTPResponse) -> None:
        content = response.read()
        assert response.status == 200, (response.status, content)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def sidecar(folder: Path, count: int, scope: str) -> Iterator[tuple[Mesh, int, Caller]]:
    """Run a control plane with so many services and a sidecar; yield the process id of its Envoy too."""
    config, mesh_config = folder / "config", folder / "mesh.yaml"
    config.mkdir()
    mesh_config.write_text(f"discoveryScope: {scope}\n")
    with outside_app() as application:
        items = services(count, application)
        (config / "services.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        with running_mesh(folder, config=config, mesh_config=mesh_config) as mesh:
            client = mesh.run("client", *IDLE, port="")
            envoy = eventually(lambda: _envoy_of(client), what="the agent's Envoy")
            caller = Caller(client)
            try:
                yield mesh, envoy, caller
            finally:
                caller.close()


def _envoy_of(agent: Process) -> int | None:
    return next((child for child in children(agent.popen.pid) if "envoy" in program(child)), None)


# --- rows ----------------------------------------------------------------------------------------------------


def rows(count: int, scope: str) -> Iterator[Figure]:
    """Yield the rows of a mesh of this size."""
    with tempfile.TemporaryDirectory() as made, sidecar(Path(made), count, scope) as (mesh, envoy, caller):
        before = settled_memory(envoy)
        for _ in range(3):
            for number in range(USED):
                caller.request(number)
        memory = settled_memory(envoy)
        note = f"before the first call {before:.1f} MB, {load()}"
        yield figure("Envoy RSS, 20 services used", f"{count} services, {scope}", "MB", [memory], note)
        if count < USED + 2 * COLD:
            return
        control_plane = mesh.control_plane.popen.pid
        for way, call, numbers in (
            ("HTTP", caller.request, range(USED, USED + COLD)),
            ("CONNECT", caller.tunnel, range(count - COLD, count)),
        ):
            case = f"{way}, {count} services, {scope}"
            begun = cpu_seconds(control_plane), cpu_seconds(envoy)
            yield _calls("first request to a host", case, [call(number) for number in numbers])
            spent = [
                (cpu_seconds(pid) - at) / COLD * 1000 for pid, at in zip((control_plane, envoy), begun, strict=True)
            ]
            yield figure("first request: control plane's CPU", case, "ms", spent[:1], f"Envoy's {spent[1]:.2f} ms")
            yield _calls("second request to a host", case, [call(number) for number in numbers])
        grown = settled_memory(envoy) - memory
        yield figure("Envoy RSS by host called", f"{count} services, {scope}", "kB", [grown * 1024 / 2 / COLD])


def _calls(what: str, case: str, taken: Sequence[float]) -> Figure:
    ordered, some = sorted(taken), len(taken) // 5
    note = f"p90 {ordered[len(ordered) * 9 // 10]:.2f}, p99 {ordered[len(ordered) * 99 // 100]:.2f}, {load()}"
    # Envoy reads all virtual hosts that it has again for each new one.
    note += f"; median of the first {some} {median(taken[:some]):.2f}, of the last {median(taken[-some:]):.2f}"
    return figure(what, case, "ms", taken, note)


def measure(*, quick: bool = False) -> list[Figure]:
    """Return the rows of each size, of sidecars that ask and of those that are told everything."""
    made: list[Figure] = []
    for count in (USED, 400) if quick else (USED, 1000, 5000, 10_000):
        for scope in ("lazy", "full"):
            for row in rows(count, scope):
                print(f"{row.benchmark:<36} {row.case:<32} {row.median:9.2f} {row.unit:<4} {row.note}", flush=True)
                made.append(row)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process started is ended
    print(write(measure(quick=chosen.quick)))


if __name__ == "__main__":
    main()
