"""A mesh whose workloads have service accounts, and ways to see which certificates they hold."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from e2e.meshes import Mesh, Process, eventually, request

IDLE = (sys.executable, "-c", "import signal; signal.pause()")
MANY_HANDSHAKES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: many-handshakes}
spec:
  host: server
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 3}}}
---
"""
SERVER = "http://server/"


class Bed:
    """A server, a client and a stranger, each with a service account of its own."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.server = mesh.run("server", flags=("--service-account", "server"), wait=False)
        self.client = self._caller("client")
        self.stranger = self._caller("stranger")
        mesh.wait_addresses(self.server, self.client, self.stranger)
        mesh.apply(MANY_HANDSHAKES)

    @property
    def workloads(self) -> tuple[Process, ...]:
        return self.server, self.client, self.stranger

    @property
    def inbound(self) -> tuple[str, int]:
        """Where the server's sidecar listens for others."""
        host, _, port = self.server.addresses["inbound"]["80"].rpartition(":")
        return host, int(port)

    def straight(self, path: str = "/") -> int:
        """Send a request past the caller's sidecar, in plain text; 0 when there is no answer."""
        host, port = self.inbound
        try:
            return request(port, path, address=host).status
        except OSError:
            return 0

    def _caller(self, name: str) -> Process:
        return self.mesh.run(name, *IDLE, port="", flags=("--service-account", name), wait=False)


def admin(process: Process, path: str) -> str:
    """Ask the admin page of a workload's Envoy."""
    host, _, port = process.addresses["admin"].rpartition(":")
    return request(int(port), path, address=host).body.decode()


def stat(process: Process, ending: str) -> int:
    """The sum of the counters whose names end so."""
    lines = (line.rpartition(": ") for line in admin(process, "/stats").splitlines())
    return sum(int(value) for name, _, value in lines if name.endswith(ending) and value.isdigit())


def roots(process: Process) -> set[int]:
    """Serial numbers of the roots that a workload's Envoy trusts, in whatever it uses them for."""
    return {int(each["serial_number"], 16) for found in _certificates(process) for each in found["ca_cert"]}


def leaves(process: Process) -> set[int]:
    """Serial numbers of the certificates that it shows."""
    return {int(each["serial_number"], 16) for found in _certificates(process) for each in found["cert_chain"]}


def wait_renewed(process: Process, old: set[int]) -> None:
    """Wait until it shows none of these certificates."""
    eventually(lambda: not leaves(process) & old, seconds=60, what="a renewed leaf")


def _certificates(process: Process) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(admin(process, "/certs"))["certificates"]
    return found


def envoy_folder(process: Process) -> Path:
    """The folder in which an agent's Envoy runs: certificates and keys are there."""
    for pid in Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split():
        with suppress(FileNotFoundError):  # a child that has just ended
            if Path(f"/proc/{pid}/exe").readlink().name.startswith("envoy"):
                return Path(f"/proc/{pid}/cwd").readlink()
    raise ValueError("no Envoy")


def private_keys(folder: Path) -> Iterator[str]:
    """A line of each private key in the files of a folder."""
    for file in folder.rglob("*.pem"):
        _, begun, rest = file.read_text().partition("PRIVATE KEY-----\n")
        if begun:
            yield rest.splitlines()[0]


def shows(address: tuple[str, int], trusted: str, identity: Path) -> bool:
    """Whether a workload's inbound port shows a certificate of this root, and takes ours (of `lateen ca issue`)."""
    import socket

    context = ssl.create_default_context(cadata=trusted)
    context.check_hostname = False
    context.load_cert_chain(identity / "cert-chain.pem", identity / "key.pem")
    context.set_alpn_protocols(["istio-http/1.1"])
    try:
        with socket.create_connection(address, 15) as plain, context.wrap_socket(plain) as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n")
            return secure.recv(20).startswith(b"HTTP/1.1 200")
    except ssl.SSLError:
        return False


def listeners(process: Process) -> dict[str, tuple[str, int]]:
    """Where an Envoy listens, by the listeners' names."""
    found = json.loads(admin(process, "/listeners?format=json")).get("listener_statuses", [])
    bound = {each["name"]: each["local_address"].get("socket_address", {}) for each in found}
    return {name: (at["address"], at["port_value"]) for name, at in bound.items() if at}
