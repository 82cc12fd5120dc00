"""What users feel: a real `lateen serve`, simulated proxies in a second process, and one thing that changes.

    python bench/serving.py [--quick] [--only ceiling,storm,changes,churn,restart,lazy,growth] [--profile FILE]

Each row starts its own control plane on a folder of ServiceEntries. All processes share the machine, so a figure holds
the client's cost too; rows named `ceiling` show what the client does against a server that only writes bytes.
Times are from the change (a file renamed into place, a registration written) to the last ACK.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import fleet as fleets
from attached_workloads import AttachedWorkload, attached_workloads
from e2e import meshes
from e2e.meshes import Mesh, running_mesh
from fleet import Fleet, canned_server, cpu_seconds, load, memory_mb, push
from generation_cases import SIDECAR, objects_of, outside_service, rewriting_rule, state_of
from lateen.generate.snapshot import generate
from report import Figure, figure, write
from xds_wire import services_called

LONGEST = 180.0
"""Seconds after which a row is given up and says so."""
CHURNED = 200
"""Workloads whose endpoints churn; a change takes the next one."""
SAMPLED = 20
"""Proxies whose ACKs are logged one by one."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a mesh is."""

    proxies: int
    services: int
    scopes: int = 1
    calls: int = 0
    """Services that each proxy fetches on demand; 0: proxies that cannot, and so are told everything."""
    batch: int = 1
    """How many of them it asks for at once."""

    def __str__(self) -> str:
        return (
            f"{self.proxies} proxies x {self.services} services"
            + (f", {self.scopes} workloads" if self.scopes > 1 else "")
            + (f", calling {self.calls} by {self.batch}" if self.calls else "")
        )

    @property
    def connecting(self) -> dict[str, int]:
        """Arguments of the client's command `connect`, but for the port and the number of proxies."""
        return {"scopes": self.scopes, "services": self.services, "calls": self.calls, "batch": self.batch}

    def callers(self, service: int) -> int:
        """Return how many proxies call a service."""
        return sum(service in services_called(number, self.services, self.calls) for number in range(self.proxies))


class Serving:
    """A control plane, its folder, and the proxies."""

    def __init__(self, folder: Path, config: Path, mesh: Mesh, fleet: Fleet, size: Size) -> None:
        self.folder, self.config, self.mesh, self.fleet, self.size = folder, config, mesh, fleet, size

    @property
    def pid(self) -> int:
        return self.mesh.control_plane.popen.pid

    def save(self, name: str, *documents: Any) -> float:
        """Put documents into a file of the folder at once; return when."""
        new = self.folder / "new"
        new.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        now = time.monotonic()
        new.rename(self.config / name)
        return now

    def connect(self) -> dict[str, Any]:
        """Connect all proxies and wait until they have everything."""
        begun = self.fleet("connect", port=self.mesh.grpc, count=self.size.proxies, **self.size.connecting)
        return {**self.fleet("wait", what="everything", seconds=LONGEST), "begun": begun["begun"]}


@contextmanager
def serving(size: Size) -> Iterator[Serving]:
    """Run a control plane with so many services; the proxies are not connected yet."""
    with tempfile.TemporaryDirectory() as made:
        folder, config = Path(made), Path(made) / "config"
        config.mkdir()
        services = [outside_service(number, "HTTP", 80) for number in range(1, size.services - 1)]
        (config / "services.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": services}))
        (config / "one.json").write_text(json.dumps(one_service("10.3.0.1")))
        (config / "last.json").write_text(json.dumps(one_service("10.3.0.1", size.services - 1)))
        (config / "rule.json").write_text(json.dumps(rewriting_rule(1, "/0")))
        with running_mesh(folder, config=config) as mesh, fleets.fleet() as fleet:
            yield Serving(folder, config, mesh, fleet, size)


def one_service(address: str, number: int = 0) -> Any:
    """A service whose endpoint changes."""
    service = outside_service(number, "HTTP", 80)
    return {**service, "spec": {**service["spec"], "endpoints": [{"address": address}]}}


# --- rows ----------------------------------------------------------------------------------------------------


def ceiling(size: Size) -> list[Figure]:
    """Return what the client does when the server costs next to nothing."""
    snapshot = generate(
        state_of(objects_of([outside_service(number, "HTTP", 80) for number in range(size.services)])), SIDECAR
    )
    with canned_server(snapshot) as (port, pid, pushed), fleets.fleet() as fleet:
        begun = fleet("connect", port=port, count=size.proxies)["begun"]
        answer = fleet("wait", what="everything", seconds=LONGEST)
        note = f"client CPU {answer['cpu']:.1f} s, {pushed / 1000:.0f} kB to each, {load()}{incomplete(answer)}"
        rows = [figure("ceiling: connect storm", str(size), "s", [answer["last"] - begun], note)]
        taken = []
        for _ in range(5):
            fleet("mark")
            begun = push(pid)
            answer = fleet("wait", what="EDS", seconds=LONGEST)
            taken.append((answer["last"] - begun) * 1000)
        return [*rows, figure("ceiling: one small response to all", str(size), "ms", taken, load())]


def storm(size: Size) -> list[Figure]:
    """Return time, CPU, memory and bytes of all proxies connecting at once."""
    with serving(size) as here:
        return connected(here)


def connected(here: Serving) -> list[Figure]:
    with fleets.fleet() as first:
        # What generation takes is there before and after; the scope itself goes with its only proxy.
        first("connect", port=here.mesh.grpc, count=1, **here.size.connecting)
        first("wait", what="everything", seconds=LONGEST)
        memory = memory_mb(here.pid)
    cpu = cpu_seconds(here.pid)
    answer = here.connect()
    cpu = cpu_seconds(here.pid) - cpu
    highest = memory_mb(here.pid, "VmHWM")
    size = here.size
    heights = f"with one proxy {memory:.0f}, highest {highest:.0f}"
    note = (
        f"server CPU {cpu:.2f} s, client CPU {answer['cpu']:.1f} s, {answer['bytes'] / 1e6:.1f} MB, "
        f"{load()}{incomplete(answer)}"
    )
    after = memory_mb(here.pid)
    each = (after - memory) * 1024 / size.proxies
    return [
        figure("connect storm", str(size), "s", [answer["last"] - answer["begun"]], note),
        figure("connect storm: server CPU", str(size), "s", [cpu]),
        figure("connect storm: server RSS", str(size), "MB", [after], heights),
        figure("connect storm: RSS by proxy", str(size), "kB", [each], "growth since one proxy was connected"),
    ]


def incomplete(answer: dict[str, Any]) -> str:
    return "" if answer["complete"] else f"; INCOMPLETE: {answer['missing']}, responses {answer['responses']}"


def one_change(
    here: Serving, what: str, kind: str, change: Callable[[int], float], rounds: int, *, proxies: int = 0
) -> list[Figure]:
    """Make a change several times; time to the last ACK of so many proxies (0: of all), server's CPU, bytes."""
    taken, cpus, notes = [], [], []
    for number in range(1, rounds + 1):
        here.fleet("quiet", seconds=0.3)
        here.fleet("mark")
        cpu = cpu_seconds(here.pid)
        begun = change(number)
        answer = here.fleet("wait", what=kind, seconds=30, proxies=proxies)
        answer |= here.fleet("quiet", seconds=0.3)
        taken.append((answer["first"].get(kind, {"last": begun + 30})["last"] - begun) * 1000)
        cpus.append((cpu_seconds(here.pid) - cpu) * 1000)
        each = answer["bytes"] / here.size.proxies
        notes.append(f"{each / 1000:.2f} kB to each, {answer['resources']}, {load()}{incomplete(answer)}")
    return [
        figure(what, str(here.size), "ms", taken, notes[-1]),
        figure(f"{what}: server CPU", str(here.size), "ms", cpus),
    ]


def changes(here: Serving, *, rounds: int = 5) -> Iterator[Figure]:
    """Yield one endpoint by file, one endpoint by registration, one VirtualService."""

    def endpoint(number: int) -> float:
        return here.save("one.json", one_service(f"10.3.1.{number}"))

    def rule(number: int) -> float:
        return here.save("rule.json", rewriting_rule(1, f"/{number}"))

    yield from one_change(here, "one endpoint changes (file)", "EDS", endpoint, rounds)
    yield from one_change(here, "one VirtualService changes (file)", "RDS", rule, rounds)
    with attached_workloads(here.mesh.grpc, 1) as (workload,):

        def registration(number: int) -> float:
            now = time.monotonic()
            workload.change(number)
            return now

        yield from one_change(here, "one endpoint changes (registration)", "EDS", registration, rounds)


def lazy_changes(here: Serving, *, rounds: int = 5) -> Iterator[Figure]:
    """Yield one endpoint and one VirtualService of services that all call, and one endpoint that few have."""
    last = here.size.services - 1
    few = here.size.callers(last)

    def endpoint(number: int) -> float:
        return here.save("one.json", one_service(f"10.3.1.{number}"))

    def rule(number: int) -> float:
        return here.save("rule.json", rewriting_rule(1, f"/{number}"))

    def seldom(number: int) -> float:
        return here.save("last.json", one_service(f"10.3.1.{number}", last))

    yield from one_change(here, "one endpoint changes (file)", "EDS", endpoint, rounds)
    yield from one_change(here, "one VirtualService changes (file)", "VHDS", rule, rounds)
    yield from one_change(here, f"one endpoint changes, {few} have it (file)", "EDS", seldom, rounds, proxies=few)


def churns(here: Serving, rates: Sequence[int], seconds: float) -> Iterator[Figure]:
    """Yield what it takes to attach the workloads that churn, and the rows of each rate."""
    cpu, begun = cpu_seconds(here.pid), time.monotonic()
    here.fleet("mark")
    with attached_workloads(here.mesh.grpc, CHURNED) as workloads:
        registered = time.monotonic() - begun
        answer = here.fleet("quiet", seconds=1, at_most=60)
        note = f"server CPU {cpu_seconds(here.pid) - cpu:.1f} s, {answer['bytes'] / 1e6:.0f} MB sent, {load()}"
        yield figure(f"{CHURNED} workloads of new services attach", str(here.size), "s", [registered], note)
        for rate in rates:
            yield from churn(here, workloads, rate, seconds)


def churn(here: Serving, workloads: Sequence[AttachedWorkload], rate: int, seconds: float) -> list[Figure]:
    """Return staleness while endpoints change at a rate: from each change to the ACK of it, or of a later one."""
    for workload in workloads:
        workload.change(0)
        workload.drain()
    here.fleet("quiet", seconds=0.5)
    here.fleet("mark")
    here.fleet("log", proxies=SAMPLED)
    cpu, memory, begun = cpu_seconds(here.pid), memory_mb(here.pid), time.monotonic()
    made = _change_at(rate, seconds, workloads)
    spent = time.monotonic() - begun
    cpu, grown = cpu_seconds(here.pid) - cpu, memory_mb(here.pid) - memory
    answer = here.fleet("quiet", seconds=1, at_most=20)
    log = here.fleet("log", proxies=0)["log"]
    stale, never = staleness(made, log, min(SAMPLED, here.size.proxies))
    note = (
        f"{sum(map(len, made.values())) / spent:.0f} changes/s made, {answer['bytes'] / spent / 1e6:.2f} MB/s, "
        f"{answer['responses'].get('EDS', 0) / spent / here.size.proxies:.1f} responses/s to each, {load()}"
    ) + (f"; {never} NEVER SEEN" if never else "")
    stale.sort()
    case = f"{rate}/s, {here.size}"
    return [
        figure("endpoint churn: staleness p50", case, "ms", [stale[len(stale) // 2] * 1000], note),
        figure("endpoint churn: staleness p99", case, "ms", [stale[len(stale) * 99 // 100] * 1000]),
        figure("endpoint churn: server CPU", case, "% of a core", [cpu / spent * 100]),
        figure("endpoint churn: memory slope", case, "MB/min", [grown / spent * 60], f"in {spent:.0f} s"),
    ]


def _change_at(rate: int, seconds: float, workloads: Sequence[AttachedWorkload]) -> dict[str, list[float]]:
    """Make changes at a rate; return when each was made by service: the position is the serial number less one."""
    made: dict[str, list[float]] = {workload.service: [] for workload in workloads}
    begun, count = time.monotonic(), 0
    while (now := time.monotonic()) - begun < seconds:
        if count <= (now - begun) * rate:
            workload = workloads[count % len(workloads)]
            times = made[workload.service]
            times.append(time.monotonic())
            workload.change(len(times))
            workload.drain()
            count += 1
        else:
            time.sleep(max(0.0, min(0.01, begun + count / rate - now)))
    return made


def staleness(
    made: dict[str, list[float]], log: Sequence[tuple[int, str, int, float]], proxies: int
) -> tuple[list[float], int]:
    """Return seconds from each change to its ACK by each sampled proxy, and how many were never seen."""
    acknowledged: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for proxy, cluster, serial, when in log:
        service = cluster.split("|")[3].split(".")[0]
        acknowledged.setdefault((proxy, service), []).append((serial, when))
    found, never = [], 0
    for service, times in made.items():
        for proxy in range(proxies):
            seen = acknowledged.get((proxy, service), [])
            serials = [serial for serial, _ in seen]
            for serial, when in enumerate(times, 1):
                at = bisect_left(serials, serial)
                if at < len(seen):
                    found.append(max(0.0, seen[at][1] - when))
                else:
                    never += 1
    return found or [float("inf")], never


def restart(here: Serving) -> list[Figure]:
    """Return how long proxies are without a control plane that starts again, and what they are sent anew."""
    # Workloads of the rows before are gone after their grace, which is 5 s.
    here.fleet("quiet", seconds=6, at_most=20)
    here.fleet("mark")
    here.mesh.control_plane.stop()
    begun = time.monotonic()
    here.mesh.control_plane = here.mesh.serve()
    ready = time.monotonic()
    opened = here.fleet("wait", what="open", seconds=LONGEST)
    # Who resumes is told nothing until the control plane has settled, and nothing then if nothing changed: that
    # everybody is in sync shows when a change has arrived.
    here.save("one.json", one_service("10.3.2.1"))
    synced = here.fleet("wait", what="EDS", seconds=LONGEST)
    after = here.fleet("quiet", seconds=1)
    cpu, memory = cpu_seconds(here.pid), memory_mb(here.pid)
    sent = (
        f"sent since the stop: {after['resources']}, removed {after['removed']}, {after['bytes'] / 1000:.0f} kB; "
        "one endpoint had changed"
    )
    size = str(here.size)
    return [
        figure("restart: ready", size, "s", [ready - begun], "start of the process to /readyz"),
        figure("restart: all reconnected", size, "s", [opened["opened"] - begun], incomplete(opened)),
        figure("restart: all in sync", size, "s", [synced["last"] - begun], sent + incomplete(synced)),
        figure("restart: server CPU", size, "s", [cpu], f"RSS {memory:.0f} MB, {load()}"),
    ]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def growth(sizes: Sequence[Size], axis: str) -> Iterator[Figure]:
    """Yield each row at each size, and for each the slope along `services` or `proxies`."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for size in sizes:
        with serving(size) as here:
            for row in (*connected(here), *changes(here, rounds=3)):
                points.setdefault((row.benchmark, row.unit), []).append((getattr(size, axis), row.median))
                yield row
    for (name, unit), found in points.items():
        shown = ", ".join(f"{x}: {y:.3g}" for x, y in found)
        yield figure(f"slope of {name}", f"by 1000 {axis}", unit, [slope(found) * 1000], shown)


# --- choosing ------------------------------------------------------------------------------------------------

PARTS = ("ceiling", "storm", "changes", "churn", "restart", "lazy", "growth")


def show(rows: Sequence[Figure]) -> None:
    for row in rows:
        print(f"{row.benchmark:<46} {row.case:<36} {row.median:10.2f} {row.unit:<12} {row.note}", flush=True)


def measure(*, quick: bool = False, only: Sequence[str] = PARTS) -> list[Figure]:
    """Return the rows of the parts chosen."""
    made: list[Figure] = []

    def take(rows: Iterable[Figure]) -> None:
        for row in rows:
            show([row])
            made.append(row)

    small, large = Size(proxies=50, services=200), Size(proxies=1000, services=1000)
    size = small if quick else large
    if "ceiling" in only:
        for each in [small] if quick else [large, Size(proxies=1000, services=5000)]:
            take(ceiling(each))
    if "storm" in only:
        many = [Size(proxies=100, services=1000), Size(proxies=1000, services=5000)]
        many.append(Size(proxies=1000, services=1000, scopes=20))
        for each in [Size(proxies=50, services=200, scopes=5)] if quick else many:
            take(storm(each))
    if {"storm", "changes", "churn", "restart"} & set(only):
        with serving(size) as here:
            take(connected(here))
            if "changes" in only:
                take(changes(here))
            if "churn" in only:
                take(churns(here, (10, 100) if quick else (10, 100, 1000), 5 if quick else 30))
            if "restart" in only:
                take(restart(here))
    if "lazy" in only:
        for batch in (20, 1):
            with serving(replace(size, calls=20, batch=batch)) as here:
                take(connected(here))
                if batch == 1:
                    take(lazy_changes(here))
                    take(restart(here))
    if "growth" in only:
        services = (50, 100, 200) if quick else (100, 1000, 5000, 10_000)
        proxies = (10, 20, 40) if quick else (10, 100, 1000, 2000)
        take(growth([Size(proxies=20 if quick else 100, services=count) for count in services], "services"))
        take(growth([Size(proxies=count, services=100 if quick else 1000) for count in proxies], "proxies"))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small meshes, a minute in all")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--profile", default="", help="write a cProfile of each control plane to FILE")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process started is ended
    if chosen.profile:
        meshes.LATEEN[1:1] = ["-m", "cProfile", "-o", chosen.profile]
    print(write(measure(quick=chosen.quick, only=chosen.only.split(","))))


if __name__ == "__main__":
    main()
