"""A gateway serves HTTPS with the certificate of before when it starts while the control plane is away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.meshes import Mesh, Process, eventually, running_mesh
from e2e.test_alive import kill_agent
from e2e.test_gateway_tls import CA, SERVER, TO_ECHO, gateway, rule, secret, server
from e2e.tls_servers import TlsClient

pytestmark = pytest.mark.e2e

CONFIG = (
    secret("servers", SERVER)
    + gateway(server("simple", "mode: SIMPLE, credentialName: servers"))
    + rule("http", f'  hosts: ["*.example.com"]\n  gateways: [edge]\n  http: [{{route: [{TO_ECHO}]}}]\n')
)


def shown(folder: Path, process: Process) -> bytes:
    """The certificate that the gateway shows, and that a request gets through."""
    listener = process.addresses["listeners"]["443"]
    host, _, port = listener.rpartition(":")
    client = TlsClient(folder=folder, address=(host, int(port)), trusts=CA.certificate)
    assert client.get("simple.example.com").status == 200
    with client.connected("simple.example.com") as secure:
        return secure.getpeercert(binary_form=True) or b""


def kept(mesh: Mesh, process: Process, file: str) -> Path:
    (folder,) = (mesh.folder / "state" / "lateen" / "agents").glob(f"*@{process.addresses['address']}")
    return folder / file


def is_kept(mesh: Mesh, process: Process) -> bool:
    document = json.loads(kept(mesh, process, "configuration.json").read_text())
    listeners = [item["name"] for item in document["bootstrap"]["static_resources"]["listeners"]]
    return "0.0.0.0_443" in listeners and not document["missing"] and kept(mesh, process, "secrets.json").exists()


def test_a_gateway_keeps_its_certificates(tmp_path: Path) -> None:
    """Killed with its control plane gone, it comes back with the same certificate; nobody else can read the key.

    The fetch of the secrets is no second proxy.
    """
    config = tmp_path / "config"
    config.mkdir()
    (config / "edge.yaml").write_text(CONFIG)
    (tmp_path / "mesh").mkdir()
    with running_mesh(tmp_path / "mesh", config=config) as mesh:
        mesh.run("echo", version="v1")
        first = mesh.gateway()
        before = eventually(lambda: shown(tmp_path, first), what="HTTPS at the gateway")
        assert before
        eventually(lambda: is_kept(mesh, first), what="the gateway's secrets on disk")
        assert kept(mesh, first, "secrets.json").stat().st_mode & 0o777 == 0o600
        assert "PRIVATE KEY" not in kept(mesh, first, "configuration.json").read_text()
        proxies = json.loads(mesh.command("proxy-status", "-o", "json").stdout)
        assert sum("ingress" in json.dumps(proxy) for proxy in proxies) == 1
        mesh.control_plane.popen.kill()
        mesh.control_plane.popen.wait()
        kill_agent(mesh, first)
        second = mesh.gateway()
        assert eventually(lambda: shown(tmp_path, second), what="HTTPS without a control plane") == before
