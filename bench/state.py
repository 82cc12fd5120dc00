"""What one change costs on the way from its source to the state, by the size of the mesh.

    python bench/state.py [--quick]

As in a control plane: the source is told, its watcher takes what it holds now, the union of inputs takes that, and
`build_state` makes a state of it. No proxy is there, nothing is generated. The cost should follow the change, so the
figures of one change should be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from generation import undisturbed
from generation_cases import objects_of, outside_service, rewriting_rule
from lateen.app.inputs import Inputs
from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.sessions import StreamId
from lateen.stores.memory import MemoryStore
from report import Figure, figure, write

BENCHMARK = "one change, source to state"
WORKLOADS_OF_A_SERVICE = 10
ROUNDS = 41


class Mesh:
    """The sources of a mesh and its newest state: a VirtualService for each service, and workloads of some others."""

    def __init__(self, services: int, workloads: int) -> None:
        self.memory = MemoryStore(list(objects(services)))
        self.registry = AgentRegistry()
        self.attached = [self.attach(number) for number in range(workloads)]
        self.inputs = Inputs(read_only=[], writable=self.memory.name, registries=[self.registry.name])
        self.contents, self.catalogues = self.memory.watch(), self.registry.watch()
        self.state: MeshState | None = None
        self.settings = MeshConfig()

    def attach(self, number: int) -> tuple[StreamId, WorkloadRegistration]:
        stream = self.registry.open()
        workload = WorkloadRegistration(
            service=f"attached-{number // WORKLOADS_OF_A_SERVICE}",
            namespace="default",
            name=f"workload-{number:05}",
            address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            ports=(WorkloadPort(port=80, protocol="http", app_port=8080),),
            ready=True,
        )
        self.registry.register(stream, workload)
        return stream, workload

    async def take_content(self) -> None:
        self.inputs.take_content(self.memory.name, await anext(self.contents))
        self.build()

    async def take_catalogue(self) -> None:
        self.inputs.take_catalogue(await anext(self.catalogues))
        self.build()

    def build(self) -> None:
        given = self.inputs.objects().values()
        self.state = build_state(given, self.inputs.catalogues(), self.settings, previous=self.state)

    async def toggle(self, number: int) -> None:
        """Change one registration."""
        stream, workload = self.attached[number * 7 % len(self.attached)]
        self.registry.register(stream, replace(workload, ready=not workload.ready))
        await self.take_catalogue()

    async def put(self, rule: ConfigObject[object]) -> None:
        """Change one VirtualService."""
        await self.memory.put([rule])
        await self.take_content()


def objects(services: int) -> Iterator[ConfigObject[object]]:
    for first in range(0, services, 1000):
        numbers = range(first, min(first + 1000, services))
        yield from objects_of([outside_service(number, "HTTP", 80) for number in numbers])
        yield from objects_of([rewriting_rule(number) for number in numbers])


async def timed(mesh: Mesh, changes: Sequence[Callable[[], Awaitable[None]]]) -> list[float]:
    """Return CPU milliseconds of each change; the first, which warms caches, is dropped."""
    taken = []
    with undisturbed():
        for change in changes:
            before, version = time.process_time(), mesh.state and mesh.state.version
            await change()
            taken.append((time.process_time() - before) * 1000)
            assert mesh.state is not None
            assert mesh.state.version != version, "the change changed nothing"
    return taken[1:]


async def measure_mesh(services: int, workloads: int) -> list[Figure]:
    """Return the rows of one size."""
    mesh = Mesh(services, workloads)
    await mesh.take_catalogue()
    await mesh.take_content()
    rules = [one for number in range(ROUNDS) for one in objects_of([rewriting_rule(number % 2, f"/new-{number}")])]
    toggled = await timed(mesh, [lambda number=number: mesh.toggle(number) for number in range(ROUNDS)])  # type: ignore[misc]
    put = await timed(mesh, [lambda rule=rule: mesh.put(rule) for rule in rules])  # type: ignore[misc]
    size = f"{services} services"
    note = f"{workloads} workloads, {services} VirtualServices"
    return [
        figure(BENCHMARK, f"one registration, {size}", "ms CPU", toggled, note),
        figure(BENCHMARK, f"one VirtualService, {size}", "ms CPU", put, note),
    ]


def measure(*, quick: bool = False) -> list[Figure]:
    """Return the rows of all sizes."""
    sizes, workloads = ((100, 1000), 1000) if quick else ((100, 1000, 10_000), 10_000)
    made = []
    for services in sizes:
        for row in asyncio.run(measure_mesh(services, workloads)):
            print(f"{row.benchmark:<30} {row.case:<36} {row.median:8.3f} {row.unit}  {row.note}", flush=True)
            made.append(row)
    return sorted(made, key=lambda row: row.case.split(",")[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(write(measure(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
