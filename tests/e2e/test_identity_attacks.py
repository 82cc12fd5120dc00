"""Attacks on workloads of a real mesh: where secrets could leak, and what a caller's request could reach.

Envoy's admin page and its outbound proxy are on the workload's own loopback address, for processes of this machine.
Who calls its service must not get there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.meshes import Mesh, Process, request, running_mesh

pytestmark = pytest.mark.e2e

SECRET = re.compile(rb"PRIVATE KEY|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.|inline_bytes\W+LS0tLS1CRUdJTiBQUklW")
"""A private key in PEM, the same in base64, or a token."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, Process]]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as found:
        victim = found.run("reviews", port="9080/http", flags=("--service-account", "reviews"), wait=False)
        found.wait_addresses(victim)
        yield found, victim


def place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def admin(process: Process, page: str) -> bytes:
    """Return a page of the workload's Envoy."""
    host, port = place(process.addresses["admin"])
    return request(port, page, address=host).body


def descendants(pid: int) -> list[int]:
    """Return a process and all that it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # one that has just ended
        return []
    return [pid, *(found for child in children for found in descendants(int(child)))]


def content(path: Path) -> bytes:
    """Return what a file of a process says, nothing when that has just ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_no_secret_is_where_others_can_read(mesh: tuple[Mesh, Process]) -> None:
    """Arguments are everybody's to read; the environment goes to children; logs and dumps are sent to people."""
    found, victim = mesh
    pids = [pid for process in found.processes for pid in descendants(process.popen.pid)]
    assert len(pids) >= 4
    shown = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ")]
    readable = {str(path): content(path) for path in shown}
    assert sum(map(bool, readable.values())) >= 8
    readable |= {str(process.log): process.log.read_bytes() for process in found.processes}
    readable["config_dump"] = admin(victim, "/config_dump?include_eds")
    readable["certs"] = admin(victim, "/certs")
    readable["ca show"] = found.api("/v1/ca").body
    pages = ("/debug/state", "/debug/proxies", "/metrics")
    readable["debug"] = b"".join(request(found.monitoring, page).body for page in pages)
    assert b"spiffe://cluster.local/ns/default/sa/reviews" in readable["certs"]
    assert [place for place, content in readable.items() if SECRET.search(content)] == []


@pytest.mark.parametrize(
    "head",
    [
        "CONNECT {admin} HTTP/1.1\r\nhost: {admin}\r\n",
        "GET http://{admin}/config_dump HTTP/1.1\r\nhost: {admin}\r\n",
        "GET /config_dump HTTP/1.1\r\nhost: {admin}\r\n",
        "GET /config_dump HTTP/1.1\r\nhost: reviews\r\nx-envoy-original-dst-host: {admin}\r\n",
        "GET /config_dump HTTP/1.1\r\nhost: reviews\r\nx-envoy-original-host: {admin}\r\n",
        "GET /config_dump HTTP/1.1\r\nhost: reviews\r\nx-envoy-upstream-alt-stat-name: a\r\n:authority: {admin}\r\n",
        "GET /config_dump HTTP/1.0\r\nhost: {admin}\r\n",
        "GET /config_dump HTTP/1.1\r\nhost: reviews\r\nhost: {admin}\r\n",
        "POST /quitquitquit HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\n",
        "GET / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n",
    ],
)
def test_no_request_to_a_service_reaches_its_proxy_s_own_pages(mesh: tuple[Mesh, Process], head: str) -> None:
    _, victim = mesh
    with socket.create_connection(place(victim.addresses["inbound"]["9080"]), 5) as connection:
        connection.settimeout(5)
        connection.sendall(f"{head}connection: close\r\n\r\n".replace("{admin}", victim.addresses["admin"]).encode())
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except (TimeoutError, ConnectionResetError):  # it may close while there is something to read
            pass
    assert b"BootstrapConfigDump" not in answer
    refused = re.match(rb"HTTP/1\.[01] (4\d\d|5\d\d) ", answer)
    assert refused or not answer or b'"app"' in answer, answer[:300]
    assert not head.startswith("CONNECT") or not answer.startswith(b"HTTP/1.1 200")
    assert admin(victim, "/ready").startswith(b"LIVE")
