"""Names of services while Envoy is relieved, and while the control plane is away. No name is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.meshes import APPS, Mesh, Process, eventually, running_mesh
from e2e.test_interception import WHY_NOT, Caller, children

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

ASKS = """
import json, pathlib, socket, sys
wrong = asked = 0
stop, tally = map(pathlib.Path, sys.argv[1:])
fresh = tally.with_suffix(".new")
while not stop.exists():
    asked += 1
    try:
        socket.getaddrinfo("web", 80, type=socket.SOCK_STREAM)
    except OSError:
        wrong += 1
    # Never half a tally: it is read at any moment.
    fresh.write_text(json.dumps([asked, wrong]))
    fresh.replace(tally)
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running_mesh(tmp_path) as made:
        yield made


@pytest.fixture
def caller(mesh: Mesh) -> Caller:
    app = (sys.executable, str(APPS / "every_protocol.py"))
    mesh.run("web", *app, flags=("--intercept", "netns", "--port", "7000/tcp"))
    return Caller(mesh, "caller", "--intercept", "netns")


def test_no_name_is_lost_when_an_envoy_relieves_another(mesh: Mesh, caller: Caller, tmp_path: Path) -> None:
    """The table is handed over with the socket."""
    stop, tally = tmp_path / "stop", tmp_path / "tally"
    pid = children(caller.process)["envoy"]
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt")
    with subprocess.Popen((*inside, sys.executable, "-c", ASKS, str(stop), str(tally))):

        def asked() -> int:
            # Read while it is written, it may be empty.
            text = tally.read_text() if tally.exists() else ""
            return int(json.loads(text)[0]) if text else 0

        try:
            for _ in range(2):
                before = asked()
                eventually(lambda before=before: asked() > before + 20, what="more questions")  # type: ignore[misc]
                restarted = mesh.command("proxy", "restart", "--all")
                assert restarted.returncode == 0, restarted.stderr
            before = asked()
            eventually(lambda: asked() > before + 20, what="more questions")
        finally:
            stop.touch()
    assert children(caller.process)["envoy"] != pid
    number, wrong = json.loads(tally.read_text())
    assert (wrong, number > 60) == (0, True)


def test_names_are_known_without_the_control_plane(mesh: Mesh, caller: Caller) -> None:
    """Also to an Envoy that starts while it is away: the table is part of the last good configuration."""
    before = caller.call("resolve('web')")
    # A cluster that nobody called yet is not there to be kept.
    caller.call("lines('web', 7000, 'hello')")

    def kept(process: Process) -> bool:
        place = mesh.folder / "state" / "lateen" / "agents"
        (folder,) = place.glob(f"*@{process.addresses['address']}")
        static = json.loads((folder / "configuration.json").read_text())["bootstrap"]["static_resources"]
        called = any(found["name"].startswith("outbound|7000||web.") for found in static["clusters"])
        tables = [json.dumps(found) for found in static["listeners"] if found["name"] == "dns"]
        return called and any("web.default" in table for table in tables)

    eventually(lambda: kept(caller.process), what="the table on disk")
    mesh.control_plane.popen.kill()
    mesh.control_plane.popen.wait()
    pid = children(caller.process)["envoy"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: children(caller.process).get("envoy", pid) != pid, what="another envoy")
    eventually(lambda: caller.call("resolve('web')") == before, what="the name to be known")

    def answered() -> bool:
        (answer,) = caller.call("lines('web', 7000, 'hello')")
        return bool(answer["line"] == "hello")

    eventually(answered, what="a connection by name")
