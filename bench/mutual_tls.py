"""What mutual TLS between two sidecars costs, against a pair of Envoys that somebody configured by hand for the same.

    python bench/mutual_tls.py [--quick] [--features]

Certificates, protocol (TLS 1.3), worker threads (one each), backend and load are the same; everything runs at once and
takes its turn in each round, so that a noisy machine is noisy for all. Ratios are made within a round. Processes are
not pinned; with two cores they all want the same ones, so CPU time is the steadier figure: requests/s also contain the
backend and the load generator. `--features` takes one thing at a time out of what Lateen generates and shows what it
cost. Needs `wrk`; takes `nginx` for a backend if there is one, else an Envoy that answers itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from e2e.mesh_certificates import Root, write_leaf, write_roots
from e2e.meshes import eventually
from lateen.agent.envoy_process import find_envoy
from mutual_tls_pairs import (
    CLIENT,
    EVERYTHING,
    FEATURES,
    FRESH,
    KEPT,
    LOCAL,
    SERVER,
    Pair,
    backend,
    by_hand,
    lateen,
    without,
)
from ports import free_port
from report import Figure, figure, write

BENCHMARK = "mutual TLS"
PLAIN, PERMISSIVE, STRICT, POLICY = (
    "Lateen, plain text",
    "Lateen, PERMISSIVE",
    "Lateen, STRICT",
    "Lateen, STRICT and a policy",
)
HAND_PLAIN, HAND = "by hand, plain text", "by hand, mutual TLS"
COMPARED = (
    (PLAIN, HAND_PLAIN),
    (PERMISSIVE, HAND),
    (STRICT, HAND),
    (POLICY, HAND),
    (PERMISSIVE, PLAIN),
    (HAND, HAND_PLAIN),
)
"""What is divided by what."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One way to call a pair."""

    name: str
    connections: int
    port: int = KEPT
    close: bool = False


LOADS = (
    Load(name="1 connection", connections=1),
    Load(name="32 connections", connections=32),
    Load(name="a new connection each", connections=8, port=FRESH, close=True),
)
"""The last one: the client's application closes after each request, and its sidecar makes a new connection too."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one pair did under one load in one round. CPU is in milliseconds for 1,000 requests."""

    rate: float
    p50: float
    p99: float
    client_cpu: float
    server_cpu: float

    @property
    def costs(self) -> Mapping[str, float]:
        """Figures of which more is worse, by name."""
        return {
            "time for a request": 1 / self.rate,
            "p50": self.p50,
            "p99": self.p99,
            "CPU": self.client_cpu + self.server_cpu,
        }


@dataclass(frozen=True, kw_only=True)
class Running:
    """A pair whose Envoys run."""

    pair: Pair
    client_pid: int
    server_pid: int

    def stat(self, name: str) -> int:
        """Return the sum of the server's counters whose names end so."""
        with urllib.request.urlopen(f"http://{self.pair.server_ip}:15000/stats?filter={name}$", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines)


# --- processes -----------------------------------------------------------------------------------------------


@contextmanager
def envoy(folder: Path, content: Any, probe: str, *, concurrency: int = 1) -> Iterator[int]:
    """Run an Envoy in this folder until the block ends; `probe` is a page that it serves once it is up."""
    folder.mkdir(exist_ok=True)
    (folder / "bootstrap.json").write_text(json.dumps(content))
    command = [find_envoy(), "-c", "bootstrap.json", "--disable-hot-restart", "-l", "error"]
    command += ["--concurrency", str(concurrency)]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        eventually(lambda: reached(probe), what=f"Envoy in {folder}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def reached(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)


@contextmanager
def application(folder: Path) -> Iterator[tuple[int, str]]:
    """Run the fastest backend there is; yield its port and what it is."""
    port = free_port()
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        with envoy(folder / "app", backend(port), f"http://127.0.0.1:{port}/"):
            yield port, "Envoy's direct_response"
        return
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}"
        f" http {{ {places} access_log off; keepalive_requests 100000000;"
        f' server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }} }}'
    )
    process = subprocess.Popen([found, "-p", str(folder), "-e", f"{folder}/nginx.log", "-c", f"{folder}/nginx.conf"])
    try:
        eventually(lambda: reached(f"http://127.0.0.1:{port}/"), what="nginx")
        yield port, "nginx"
    finally:
        process.terminate()
        process.wait(10)


def start(stack: ExitStack, folder: Path, root: Root, pair: Pair) -> Running:
    """Run both Envoys of a pair."""
    pids = []
    for side, content, identity, address in (
        ("server", pair.server, SERVER, pair.server_ip),
        ("client", pair.client, CLIENT, pair.client_ip),
    ):
        place = folder / f"{pair.server_ip}-{side}"
        place.mkdir()
        write_leaf(place, root.leaf(identity))
        write_roots(place, [root])
        pids.append(stack.enter_context(envoy(place, content, f"http://{address}:15000/ready")))
    running = Running(pair=pair, server_pid=pids[0], client_pid=pids[1])
    eventually(lambda: reached(f"http://{pair.client_ip}:{KEPT + LOCAL}/"), what=pair.name)
    return running


def cpu_milliseconds(pid: int) -> float:
    """Return what all threads of a process have used, finer than the ticks of /proc/PID/stat."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


# --- load ----------------------------------------------------------------------------------------------------

_SCALE = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) requests in")
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What wrk found; latencies in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float


def wrk(url: str, connections: int, seconds: int, *flags: str) -> Said:
    """Let wrk call; AssertionError for an answer that is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *flags, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said, f"{url}: {said}"
    [count], [rate] = _COUNT.findall(said), _RATE.findall(said)
    latency = {share: float(value) * _SCALE[unit] for share, value, unit in _LATENCY.findall(said)}
    return Said(requests=int(count), rate=float(rate), p50=latency["50"], p99=latency["99"])


def call(running: Running, load: Load, seconds: int) -> Run:
    """Let wrk call the client's Envoy."""
    pids = (running.client_pid, running.server_pid)
    before = [cpu_milliseconds(pid) for pid in pids]
    url = f"http://{running.pair.client_ip}:{load.port + LOCAL}/"
    said = wrk(url, load.connections, seconds, *(("-H", "Connection: close") if load.close else ()))
    client, server = (cpu_milliseconds(pid) - known for pid, known in zip(pids, before, strict=True))
    thousands = said.requests / 1000
    return Run(rate=said.rate, p50=said.p50, p99=said.p99, client_cpu=client / thousands, server_cpu=server / thousands)


Runs = Mapping[tuple[str, str], Sequence[Run]]
"""By pair and load, in the order of the rounds."""


def rounds(pairs: Sequence[Running], loads: Sequence[Load], *, times: int, seconds: int) -> Runs:
    """Call every pair with every load, so many times in turns; who begins changes with each round."""
    made: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for running in pairs:
        for load in loads:
            call(running, load, 1)
    for number in range(times):
        for load in loads:
            first = number % len(pairs)
            for running in (*pairs[first:], *pairs[:first]):
                made[running.pair.name, load.name].append(call(running, load, seconds))
    return made


# --- figures -------------------------------------------------------------------------------------------------


def absolute(runs: Runs) -> Iterator[Figure]:
    """Return the figures of each pair under each load."""
    for (pair, load), found in runs.items():
        for kind, unit, values in (
            ("requests/s", "1/s", [run.rate for run in found]),
            ("p50", "ms", [run.p50 for run in found]),
            ("p99", "ms", [run.p99 for run in found]),
            ("CPU of the client's Envoy", "ms/1000", [run.client_cpu for run in found]),
            ("CPU of the server's Envoy", "ms/1000", [run.server_cpu for run in found]),
        ):
            yield figure(f"{BENCHMARK}, {load}", f"{pair}: {kind}", unit, values)


def ratios(runs: Runs, loads: Sequence[Load], compared: Sequence[tuple[str, str]]) -> Iterator[Figure]:
    """Return what one pair costs over what another costs in the same round, for each load and sort of cost."""
    for load in loads:
        for one, other in compared:
            both = list(zip(runs[one, load.name], runs[other, load.name], strict=True))
            for kind in both[0][0].costs:
                values = sorted(a.costs[kind] / b.costs[kind] for a, b in both)
                quarter = len(values) // 4
                best = min(a.costs[kind] for a, _ in both) / min(b.costs[kind] for _, b in both)
                half = f"half of the rounds within {values[quarter]:.3f}-{values[-1 - quarter]:.3f}"
                note = f"{half}; best rounds {best:.3f}"
                yield figure(f"{BENCHMARK}, ratio, {load.name}", f"{one} / {other}: {kind}", "", values, note)


def _measure(
    pairs: Sequence[Pair],
    compared: Sequence[tuple[str, str]],
    loads: Sequence[Load],
    *,
    app: str,
    folder: Path,
    quick: bool,
) -> list[Figure]:
    root, average = Root(), os.getloadavg()
    with ExitStack() as stack:
        running = [start(stack, folder, root, pair) for pair in pairs]
        runs = rounds(running, loads, times=2 if quick else 20, seconds=1)
        fresh = {one.pair.name: (one.stat("ssl.handshake"), one.stat("ssl.session_reused")) for one in running}
    made = [
        figure(f"{BENCHMARK}, load average", f"{minutes} min", "", [value], f"before it began; backend: {app}")
        for minutes, value in zip((1, 5, 15), average, strict=True)
    ]
    made += [
        figure(f"{BENCHMARK}, handshakes", name, "", [handshakes], f"{reused} of them resumed a session")
        for name, (handshakes, reused) in fresh.items()
        if handshakes
    ]
    return [*made, *absolute(runs), *ratios(runs, loads, compared)]


def measure(*, quick: bool, features: bool = False) -> list[Figure]:
    """Return the rows; those of `features` instead, if they are wanted."""
    if shutil.which("wrk") is None:
        print("mutual_tls: left out, because there is no wrk (Debian and Ubuntu: apt install wrk)", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        port, app = stack.enter_context(application(folder))
        pairs, compared = (_feature_pairs if features else _pairs)(port)
        # Alone, what a filter costs drowns in the waking up of idle processes.
        loads = LOADS[1:] if features else LOADS
        return _measure(pairs, compared, loads, app=app, folder=folder, quick=quick)


def _pairs(app: int) -> tuple[list[Pair], Sequence[tuple[str, str]]]:
    makers = {
        PERMISSIVE: partial(lateen, app=app, mode="PERMISSIVE"),
        HAND: partial(by_hand, app=app, mutual_tls=True),
        STRICT: partial(lateen, app=app, mode="STRICT"),
        POLICY: partial(lateen, app=app, mode="STRICT", policy=True),
        PLAIN: partial(lateen, app=app, mode="DISABLE"),
        HAND_PLAIN: partial(by_hand, app=app, mutual_tls=False),
    }
    return [Pair.of(name, number, make) for number, (name, make) in enumerate(makers.items(), start=1)], COMPARED


def _feature_pairs(app: int) -> tuple[list[Pair], Sequence[tuple[str, str]]]:
    """STRICT as it is, without one thing each, and the pair made by hand."""
    plain = [
        Pair.of(STRICT, 1, partial(lateen, app=app, mode="STRICT")),
        Pair.of(HAND, 2, partial(by_hand, app=app, mutual_tls=True)),
    ]

    def stripped(client: str, server: str, feature: str) -> tuple[Any, Any]:
        return without(lateen(client, server, app, mode="STRICT"), feature)

    names = {feature: f"{STRICT} without {feature}" for feature in FEATURES}
    less = [
        Pair.of(name, number, partial(stripped, feature=feature))
        for number, (feature, name) in enumerate(names.items(), start=3)
    ]
    return [*plain, *less], [(STRICT, HAND), *((STRICT, name) for name in names.values()), (names[EVERYTHING], HAND)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--features", action="store_true", help="what each part of what Lateen generates costs")
    chosen = parser.parse_args()
    print(write(measure(quick=chosen.quick, features=chosen.features)))
