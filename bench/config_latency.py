"""From saving a file to every Envoy answering by it.

A VirtualService in a watched folder answers directly with a number; each round writes the next number and asks every
sidecar until it answers with it. The clock starts before the file is renamed into place. The probe itself costs one
loopback request per sidecar and round trip (about 1 ms), which is part of the figure.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from e2e.meshes import running_mesh
from report import Figure, figure

DOCUMENT = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: number}}
spec: {{hosts: [number.example.org], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC,
  endpoints: [{{address: 127.0.0.1}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: number}}
spec: {{hosts: [number.example.org], http: [{{directResponse: {{status: 200, body: {{string: "{number}"}}}}}}]}}
"""
IDLE = (sys.executable, "-c", "import signal; signal.pause()")


def measure(*, proxies: int = 5, rounds: int = 20) -> list[Figure]:
    with tempfile.TemporaryDirectory() as made:
        folder, config = Path(made), Path(made) / "config"
        config.mkdir()

        def save(number: int) -> None:
            new = config / ".number.tmp"
            new.write_text(DOCUMENT.format(number=number))
            new.rename(config / "number.yaml")

        save(0)
        with running_mesh(folder, config=config) as mesh:
            clients = [mesh.run(f"client{n}", *IDLE, port="", wait=False) for n in range(proxies)]
            mesh.wait_addresses(*clients)
            taken = []
            for number in range(1, rounds + 1):
                begun = time.perf_counter()
                save(number)
                for client in clients:
                    while client.get("http://number.example.org/").body != str(number).encode():
                        pass
                taken.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.3)  # calm again: the figure is for a single change, not for a storm
    return [figure("config change live in every Envoy", f"{proxies} proxies", "ms", taken, "100 ms of it debounce")]


if __name__ == "__main__":
    for made in measure():
        print(made)
