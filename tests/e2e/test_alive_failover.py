"""Two control planes with one CA and one folder of configuration: either may go, and nothing of the mesh notices."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from e2e.meshes import Mesh, Process, eventually, request
from e2e.test_alive import ROUTES, calls, status
from e2e.traffic import traffic
from lateen.ca.issue import make_root
from lateen.ca.keys import PrivateKey
from ports import free_port, free_ports

pytestmark = pytest.mark.e2e


class Pair:
    """Two control planes, one of which may be gone."""

    def __init__(self, folder: Path) -> None:
        config = folder / "config"
        config.mkdir()
        (config / "routes.yaml").write_text(ROUTES)
        secure, other = free_ports(2)
        self.ca = folder / "ca"
        make_ca(self.ca)
        flags = ("--ca-files", str(self.ca))
        (folder / "mesh").mkdir()
        self.mesh = Mesh(folder / "mesh", config=config, flags=(*flags, "--secure-grpc", f"127.0.0.1:{secure}"))
        self.arguments = [
            "serve", "--grpc", f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{free_port()}",
            "--monitoring", f"127.0.0.1:{free_port()}", "--secure-grpc", f"127.0.0.1:{other}",
            "--config", str(config), *flags,
        ]  # fmt: skip
        self.addresses = f"127.0.0.1:{secure},127.0.0.1:{other}"

    def open(self) -> None:
        """Start the second, and make a token for both."""
        self.second = self.start_second()
        token = self.mesh.command("token", "create", "--service-account", "default/default")
        assert token.returncode == 0, token.stderr
        self.token = self.mesh.folder / "token"
        self.token.write_text(token.stdout)
        self.token.chmod(0o600)

    def start_second(self) -> Process:
        process = self.mesh.start("second", self.arguments)
        http = int(self.arguments[4].rpartition(":")[2])
        eventually(lambda: request(http, "/readyz").status == 200, what="the second control plane")
        return process

    def run(self, service: str) -> Process:
        return self.mesh.run(
            service, flags=("--control-plane", self.addresses, "--token", str(self.token)), version="v1", wait=True
        )


def make_ca(folder: Path) -> None:
    """A root as an operator brings it."""
    key = PrivateKey.generate()
    root = make_root(key, "theirs", now=dt.datetime.now(dt.UTC), serial=1, lifetime=dt.timedelta(days=9))
    folder.mkdir()
    for name in ("ca-cert.pem", "root-cert.pem", "cert-chain.pem"):
        (folder / name).write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "ca-key.pem").touch(mode=0o600)
    (folder / "ca-key.pem").write_bytes(key.pem())


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    try:
        made.open()
        yield made
    finally:
        made.mesh.close()


def end(process: Process) -> None:
    process.popen.kill()
    process.popen.wait()


def connected(mesh: Mesh, process: Process) -> int:
    """How often its Envoy has opened a connection to a control plane."""
    host, _, port = process.addresses["admin"].rpartition(":")
    text = request(int(port), "/stats?filter=control_plane.connected_state", address=host).body.decode()
    return int(text.rpartition(":")[2])


def test_either_may_go(pair: Pair) -> None:
    """Under load, one after the other: no request is lost, changes arrive, and new workloads join by the other one."""
    mesh = pair.mesh
    web, caller = pair.run("web"), pair.run("caller")
    # Each joined by the first; its Envoy may follow the second.
    eventually(lambda: caller.get("http://web/").status == 200, what="the first answer")
    calls(caller)
    with traffic(caller.proxy, "http://web/") as load:
        end(mesh.control_plane)
        eventually(lambda: connected(mesh, caller) == 1, what="its Envoy to find the second")
        load.wait_for_more()
        late = pair.mesh.run("late", flags=("--control-plane", pair.addresses, "--token", str(pair.token)), wait=False)
        line = late.popen.stdout.readline() if late.popen.stdout else b""
        assert line, late.tail()
        late.addresses = json.loads(line)
        eventually(lambda: caller.get("http://late/").status == 200, what="a service that joined by the second")
        mesh.control_plane = mesh.serve()
        # Until it knows them all again, nobody is to come to it.
        mesh.wait_listening(web, caller, late)
        load.wait_for_more()
        end(pair.second)
        eventually(lambda: connected(mesh, web) == 1 and connected(mesh, caller) == 1, what="the first in use again")
        load.wait_for_more()
        assert caller.get("http://late/").status == 200
    assert status(mesh, caller)["configuration"] == "stream"
