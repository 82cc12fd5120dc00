"""How long generation takes: from a state in memory to the bytes of every resource, cold, per case and type.

    python bench/generation.py [CASE ...] [--quick] [--profile]

`all types` is one call of `generate`. The time of one type is what its passes take: a pass hands out resources one by
one, so the time until a resource appears counts for that resource's type. What a pass does for two types at once counts
for the one that appears first, so the rows of a case add up to the whole.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from generation_cases import Case, Document, cases, objects_of, state_of
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.envoy.resources import Snapshot
from lateen.generate.generator import Generator
from lateen.generate.parts import made_in_full
from lateen.generate.snapshot import generate, own_parts, shared_parts
from lateen.generate.view import view_of
from lateen.mesh.queries import instances_of
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy
from report import Figure, figure, write

SHORT = {
    "Cluster": "CDS",
    "ClusterLoadAssignment": "EDS",
    "Listener": "LDS",
    "RouteConfiguration": "RDS",
    "Secret": "SDS",
    "TypedExtensionConfig": "ECDS",
}
BUDGET_SECONDS = 4.0
"""For the runs of one figure; at least three are made whatever they take."""


@dataclass
class Output:
    """What one type's resources came to."""

    seconds: list[float] = field(default_factory=list)
    bytes: int = 0
    resources: int = 0

    @property
    def note(self) -> str:
        return f"{self.bytes / 1000:.1f} kb/msg, {self.resources} resources/msg"


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection while a clock runs; what is there already is set aside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def repeated(call: Callable[[], object], *, runs: int) -> tuple[list[float], list[float]]:
    """Return milliseconds of CPU and of the wall clock of each run; the first, which warms caches, is dropped."""
    cpu, wall = [], []
    begun = time.perf_counter()
    for run in range(runs + 1):
        with undisturbed():
            cpu_before, before = time.process_time(), time.perf_counter()
            call()
            after, cpu_after = time.perf_counter(), time.process_time()
        if run:
            cpu.append((cpu_after - cpu_before) * 1000)
            wall.append((after - before) * 1000)
        if run >= 3 and after - begun > BUDGET_SECONDS:
            break
    return cpu, wall


def by_type(state: MeshState, proxy: Proxy) -> dict[str, float]:
    """Return the CPU milliseconds that passed until each resource appeared, summed by type."""
    taken: defaultdict[str, float] = defaultdict(float)
    with undisturbed():
        before = time.process_time_ns()
        view = view_of(state, proxy, served=instances_of(state, proxy))
        for resource in made_in_full([*shared_parts(view), *own_parts(view)], view):
            now = time.process_time_ns()
            taken[resource.kind] += (now - before) / 1e6
            before = now
    return taken


def outputs(snapshot: Snapshot) -> dict[str, Output]:
    return {
        kind: Output(bytes=sum(len(item.body) for item in named.values()), resources=len(named))
        for kind, named in snapshot.resources.items()
    }


def short(kind: str) -> str:
    name = kind.rsplit(".", 1)[-1]
    return SHORT.get(name, name)


def measure_case(case: Case, *, runs: int) -> Iterator[Figure]:
    """Yield the rows of one case."""
    documents = list(case.documents())
    objects = objects_of(documents)
    ignored = {document["kind"] for document in documents} - {item.key.kind for item in objects}
    remark = f"; NOT READ in this version: {', '.join(sorted(ignored))}" if ignored else ""
    state = state_of(objects)
    made = outputs(generate(state, case.proxy))
    benchmark = f"generation {case.name}"
    cpu, wall = repeated(lambda: generate(state, case.proxy), runs=runs)
    total = Output(bytes=sum(o.bytes for o in made.values()), resources=sum(o.resources for o in made.values()))
    yield figure(benchmark, "all types", "ms CPU", cpu, total.note + remark)
    yield figure(benchmark, "all types", "ms wall", wall, total.note + remark)
    begun = time.perf_counter()
    for run in range(runs):
        for kind, taken in by_type(state, case.proxy).items():
            made[kind].seconds.append(taken)
        if run >= 2 and time.perf_counter() - begun > BUDGET_SECONDS:
            break
    for kind in case.kinds:
        if kind in made:
            yield figure(benchmark, short(kind), "ms CPU", made[kind].seconds, made[kind].note + remark)
    cpu, _ = repeated(lambda: state_of(objects), runs=runs)
    yield figure(benchmark, "build_state", "ms CPU", cpu, f"{len(objects)} objects")
    if case.one_change is not None:
        yield changed(case, objects, case.one_change(), runs)


def changed(case: Case, objects: Sequence[ConfigObject[Any]], change: Document, runs: int) -> Figure:
    """Time the incremental generator after one change, back and forth."""
    (replacement,) = objects_of([change])
    newer = tuple(replacement if item.key == replacement.key else item for item in objects)
    first = state_of(objects)
    states = [first, state_of(newer, previous=first)]
    assert states[0].version != states[1].version, f"{case.name}: the change changes nothing"
    taken = []
    generator = Generator()
    for state in states:
        generator.generate(state, case.proxy)
    for run in range(runs + 1):
        states.append(state_of((objects, newer)[run % 2], previous=states[-1]))
        with undisturbed():
            before = time.process_time()
            generator.generate(states[-1], case.proxy)
            taken.append((time.process_time() - before) * 1000)
        if run >= 3 and sum(taken) > BUDGET_SECONDS * 1000:
            break
    return figure(
        f"generation {case.name}", "all types after one change", "ms CPU", taken, "generate alone, state built"
    )


def measure_reading(*, runs: int, count: int = 1000) -> Iterator[Figure]:
    """Yield what it takes to read configuration: ServiceEntries and VirtualServices, half of each."""
    case = next(case for case in cases() if case.name == "virtualservice")
    documents = list(case.documents())[1:]
    several = [
        {**document, "metadata": {**document["metadata"], "namespace": f"ns-{copy}"}}
        for copy in range(count // len(documents))
        for document in documents
    ]
    written = {
        "YAML, one file": yaml.safe_dump_all(several, sort_keys=False).encode(),
        "JSON List, one file": json.dumps({"apiVersion": "v1", "kind": "List", "items": several}).encode(),
    }
    for name, content in written.items():
        parsed = parse(content, "bench.yaml")
        assert len(parsed.objects) == len(several), parsed.findings[:3]
        cpu, _ = repeated(lambda content=content: parse(content, "bench.yaml"), runs=min(runs, 5))  # type: ignore[misc]
        yield figure("reading 1000 objects", name, "ms CPU", cpu, f"{len(content) / 1000:.0f} kB, {len(several)}")
    each = [yaml.safe_dump(item, sort_keys=False).encode() for item in several]
    cpu, _ = repeated(lambda: [parse(content, "bench.yaml") for content in each], runs=min(runs, 5))
    yield figure("reading 1000 objects", "YAML, a file each", "ms CPU", cpu)


def measure(*, quick: bool = False, only: Sequence[str] = ()) -> list[Figure]:
    """Return the rows of every case, or of those named."""
    runs = 3 if quick else 11
    figures: list[Figure] = []
    for case in cases():
        if not only or case.name in only or case.name.split()[0] in only:
            made = list(measure_case(case, runs=runs))
            figures += made
            for each in made:
                print(f"{each.benchmark:<40} {each.case:<28} {each.median:9.2f} {each.unit:<8} {each.note}", flush=True)
    return [*figures, *measure_reading(runs=runs)] if not only else figures


def profile(name: str, lines: int = 35) -> None:
    """Print where the time of a case goes."""
    for case in cases():
        if case.name in (name, f"endpoints {name}"):
            state = state_of(objects_of(list(case.documents())))
            generate(state, case.proxy)
            profiler = cProfile.Profile()
            with undisturbed(), profiler:
                for _ in range(3):
                    generate(state, case.proxy)
            print(f"--- {case.name}: three runs")
            pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    chosen = parser.parse_args()
    if chosen.profile:
        for name in chosen.cases:
            profile(name)
        return
    print(write(measure(quick=chosen.quick, only=chosen.cases)))


if __name__ == "__main__":
    main()
