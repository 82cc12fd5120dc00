"""An agent under an init system, or as one: systemd is told what it waits for; process 1 reaps, passes signals on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.meshes import APPS, LATEEN, Mesh, Process, eventually, reap, running_mesh
from e2e.test_alive import envoy

pytestmark = pytest.mark.e2e

ORPHANS = """
import os, sys, time
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.05)
        os._exit(0)
    os.wait()
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    states = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            states.append(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[:2])
        except OSError:
            continue
    if not any(state == "Z" and parent == "1" for state, parent in states):
        print("reaped", flush=True)
        break
    time.sleep(0.05)
if "wait" in sys.argv:
    import signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
    print("waiting", flush=True)
    while True:
        signal.pause()
sys.exit(7)
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("inits")) as mesh:
        yield mesh


def can_unshare() -> bool:
    tool = shutil.which("unshare")
    return (
        bool(tool)
        and subprocess.run([tool or "", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode == 0
    )


needs_unshare = pytest.mark.skipif(not can_unshare(), reason="process namespaces need unshare and root")


@contextmanager
def contained(mesh: Mesh, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`lateen run` as process 1 of a namespace of processes."""
    app = mesh.folder / "orphans.py"
    app.write_text(ORPHANS)
    arguments = ["run", "--service", "job", "--control-plane", f"127.0.0.1:{mesh.grpc}", "--", sys.executable, str(app)]
    popen = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", *LATEEN, *arguments, *words],
        stdout=subprocess.PIPE,
        env=mesh.environment,
        cwd=mesh.folder,
    )
    try:
        yield popen
    finally:
        reap(popen)


@needs_unshare
def test_process_1_reaps_orphans_and_keeps_the_exit_code(mesh: Mesh) -> None:
    with contained(mesh) as job:
        out, _ = job.communicate(timeout=100)
    assert out.split() == [b"reaped"]
    assert job.returncode == 7


@needs_unshare
def test_process_1_passes_signals_on(mesh: Mesh) -> None:
    """Stopped by a signal, it drains, the app ends by itself, and its code is that of the container."""
    with contained(mesh, "wait") as job:
        assert job.stdout is not None
        assert [job.stdout.readline(), job.stdout.readline()] == [b"reaped\n", b"waiting\n"]
        (first,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert job.wait(60) == 42


def told(listening: socket.socket) -> set[str]:
    lines = set()
    listening.setblocking(False)
    while True:
        try:
            lines.update(listening.recv(4096).decode().splitlines())
        except BlockingIOError:
            return lines


def test_systemd_is_told(mesh: Mesh, tmp_path: Path) -> None:
    """Ready, alive while Envoy answers and only then, and stopping; the app is told nothing of it.

    A socket that nobody reads takes ten datagrams only: it is read all the time, and signs of life are a second apart.
    """
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        process: Process = mesh.run("told", wait=False, NOTIFY_SOCKET=str(path), WATCHDOG_USEC="2000000")
        heard: set[str] = set()

        def hears(line: str) -> bool:
            heard.update(told(listening))
            return line in heard

        eventually(lambda: hears("READY=1"), what="READY=1")
        mesh.wait_addresses(process)
        eventually(lambda: hears("WATCHDOG=1"), what="a sign of life")
        frozen = envoy(mesh, process)
        os.kill(frozen, signal.SIGSTOP)
        try:
            # One that was asked before may still be on its way.
            eventually(lambda: not told(listening) and not quiet(listening, 5.0), what="silence while Envoy hangs")
        finally:
            os.kill(frozen, signal.SIGCONT)
        heard.clear()
        eventually(lambda: hears("WATCHDOG=1"), what="a sign of life again")
        process.popen.send_signal(signal.SIGTERM)
        eventually(lambda: hears("STOPPING=1"), what="STOPPING=1")
        assert reap(process.popen, 60)


def quiet(listening: socket.socket, seconds: float) -> set[str]:
    """What is told within so many seconds."""
    listening.settimeout(seconds)
    try:
        return set(listening.recv(4096).decode().splitlines())
    except TimeoutError:
        return set()


def test_a_one_shot_job_takes_its_proxy_along(mesh: Mesh) -> None:
    """The proxy is there before the job begins; when the job is done both are gone, with the job's exit code."""
    script = (
        "import os, sys, urllib.request\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': os.environ['HTTP_PROXY']}))\n"
        "sys.exit(33 if opener.open('http://server/').status == 200 else 1)\n"
    )
    mesh.run("server", sys.executable, str(APPS / "echo.py"))
    job = mesh.run("job", sys.executable, "-c", script, port="", flags=("--job",), wait=False)
    assert job.popen.wait(90) == 33, job.tail()
    assert "the app exited" in job.tail()
