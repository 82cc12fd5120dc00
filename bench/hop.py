"""What one sidecar adds to a request, against the least that somebody could configure by hand for the same.

    python bench/hop.py [--quick]

A real mesh: agents, control plane, mutual TLS wherever it would be; of the two sidecars of a call only one is in the
way. `outbound`: the caller's, by `--upstream`, to a service without a sidecar. `proxy`: the same by HTTP_PROXY, the
default. `inbound`: the server's, called by somebody without a sidecar. By hand: a listener, a route, a cluster and
the router, and nothing else, with as many worker threads. Behind all of them is the same nginx, and it is asked
directly too: what a hop adds is its median time less that of no hop. All take turns within a round, so that a noisy
machine is noisy for all. Needs `wrk` and `nginx`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from alive import envoy_pid
from e2e.meshes import eventually, running_mesh
from mutual_tls import cpu_milliseconds, envoy, reached, wrk
from mutual_tls_pairs import hand, hand_cluster, hand_listener
from ports import free_port
from report import Figure, figure, write

BENCHMARK = "one hop"
DIRECT = "no hop"
HAND, HAND_PROXY = "by hand", "by hand, proxy request"
OUTBOUND, PROXY, INBOUND = "outbound", "proxy", "inbound"
COMPARED = ((OUTBOUND, HAND), (INBOUND, HAND), (PROXY, HAND_PROXY))
"""What is divided by what."""
SERVICE = "plain.example"
HAND_IP = "127.80.0.1"
CONNECTIONS = (1, 32)
_SERVICE = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: plain, namespace: default}}
spec:
  hosts: [{SERVICE}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: PORT}}}}]
"""
_NGINX = """
daemon off; worker_processes 1; pid FOLDER/nginx.pid; error_log FOLDER/nginx.log; events {}
http {
  client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d;
  scgi_temp_path FOLDER/e; access_log off; keepalive_requests 100000000;
  server { listen 127.0.0.1:PORT; location / { return 200 "hello\\n"; } }
}
"""
_ABSOLUTE = f"""request = function() return wrk.format("GET", "http://{SERVICE}/") end\n"""
"""What a client sends that honours HTTP_PROXY."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to the application; `pid` is the Envoy on it, 0 for none."""

    name: str
    url: str
    pid: int = 0
    script: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One way under one load in one round: milliseconds, and milliseconds of Envoy's CPU for 1,000 requests."""

    p50: float
    p99: float
    cpu: float


Runs = Mapping[tuple[str, int], Sequence[Run]]
"""By way and number of connections, in the order of the rounds."""


def _ways(stack: ExitStack, folder: Path) -> list[Way]:
    mesh = stack.enter_context(running_mesh(folder))
    (folder / "nginx.conf").write_text(_NGINX.replace("FOLDER", str(folder)))
    start = f"cd {folder} && sed -i s/PORT/$PORT/ nginx.conf && echo $PORT > port && exec nginx -c {folder}/nginx.conf"
    server = mesh.run("web", "sh", "-c", start, PATH=os.environ["PATH"] + ":/usr/sbin")
    port = int((folder / "port").read_text())
    mesh.apply(_SERVICE.replace("PORT", str(port)))
    local = free_port()
    caller = mesh.run("caller", "sleep", "infinity", port="", flags=("--upstream", f"{SERVICE}:80={local}", "--job"))
    inbound = f"http://{server.addresses['inbound']['80']}/"
    outbound = f"http://{caller.addresses['address']}:{local}/"
    pid = envoy_pid(mesh, caller)
    script = folder / "absolute.lua"
    script.write_text(_ABSOLUTE)
    by_hand = hand(HAND_IP, [hand_listener(HAND_IP, 8080, "app")], [hand_cluster("app", "127.0.0.1", port)])
    threads = _option(pid, "--concurrency")
    made = stack.enter_context(envoy(folder / "hand", by_hand, f"http://{HAND_IP}:15000/ready", concurrency=threads))
    for page in (inbound, outbound):
        eventually(lambda page=page: reached(page), what=page)  # type: ignore[misc]
    return [
        Way(name=DIRECT, url=f"http://127.0.0.1:{port}/"),
        Way(name=HAND, url=f"http://{HAND_IP}:8080/", pid=made),
        Way(name=OUTBOUND, url=outbound, pid=pid),
        Way(name=INBOUND, url=inbound, pid=envoy_pid(mesh, server)),
        Way(name=HAND_PROXY, url=f"http://{HAND_IP}:8080/", pid=made, script=str(script)),
        Way(name=PROXY, url=f"{caller.addresses['http_proxy']}/", pid=pid, script=str(script)),
    ]


def _option(pid: int, name: str) -> int:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return int(words[words.index(name) + 1]) if name in words else os.cpu_count() or 1


def _call(way: Way, connections: int, seconds: int) -> Run:
    before = cpu_milliseconds(way.pid) if way.pid else 0.0
    said = wrk(way.url, connections, seconds, *(("-s", way.script) if way.script else ()))
    used = cpu_milliseconds(way.pid) - before if way.pid else 0.0
    return Run(p50=said.p50, p99=said.p99, cpu=used / said.requests * 1000)


def _rounds(ways: Sequence[Way], *, times: int, seconds: int) -> Runs:
    made: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for connections in CONNECTIONS:
        for way in ways:
            _call(way, connections, 1)
    for number in range(times):
        first = number % len(ways)
        for connections in CONNECTIONS:
            for way in (*ways[first:], *ways[:first]):
                made[way.name, connections].append(_call(way, connections, seconds))
    return made


def _figures(runs: Runs) -> Iterator[Figure]:
    for connections in CONNECTIONS:
        load = f"{BENCHMARK}, {connections} connection{'s' if connections > 1 else ''}"
        direct = runs[DIRECT, connections]
        for (way, count), found in runs.items():
            if count == connections:
                yield figure(load, f"{way}: p50", "ms", [run.p50 for run in found])
                yield figure(load, f"{way}: p99", "ms", [run.p99 for run in found])
                if way != DIRECT:
                    yield figure(load, f"{way}: CPU", "ms/1000", [run.cpu for run in found])
        for one, other in COMPARED:
            turns = list(zip(runs[one, connections], runs[other, connections], direct, strict=True))
            added = [(ours.p50 - none.p50) / (theirs.p50 - none.p50) for ours, theirs, none in turns]
            yield figure(f"{load}, ratio", f"{one} / {other}: added to p50", "", added, _half(added))
            cpu = [ours.cpu / theirs.cpu for ours, theirs, _ in turns]
            yield figure(f"{load}, ratio", f"{one} / {other}: CPU", "", cpu, _half(cpu))


def _half(values: Sequence[float]) -> str:
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return f"half of the rounds within {ordered[quarter]:.3f}-{ordered[-1 - quarter]:.3f}"


def measure(*, quick: bool) -> list[Figure]:
    """Return the rows; none where a tool is missing."""
    for tool in ("wrk", "nginx"):
        if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin") is None:
            print(f"hop: left out, because there is no {tool} (Debian and Ubuntu: apt install {tool})", file=sys.stderr)
            return []
    average = os.getloadavg()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        ways = _ways(stack, Path(made))
        runs = _rounds(ways, times=2 if quick else 30, seconds=1)
    note = "before it began"
    return [figure(f"{BENCHMARK}, load average", "1 min", "", [average[0]], note), *_figures(runs)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(write(measure(quick=parser.parse_args().quick)))
