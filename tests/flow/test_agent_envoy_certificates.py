"""A real Envoy with an agent's certificates: it connects by mTLS, takes other files up, and knows its control plane."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flow.fake_authority import SERVER, FakeAuthority
from flow.fake_control_plane import FakeControlPlane, FakeSecurity, running_securely
from lateen.agent.envoy_process import EnvoyOptions, find_envoy
from lateen.agent.http1 import Http1Error, fetch
from lateen.agent.secret_files import certificate_file, roots_file
from lateen.agent.settings import AgentSettings
from lateen.agent.shared_memory import free_base_id
from lateen.envoy.bootstrap import BootstrapSettings, bootstrap
from lateen.model.proxies import Interception, Proxy, ProxyType
from lateen.private_files import write_private

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="own loopback addresses")]
NAME = "spiffe://cluster.local/ns/shop/sa/reviews"
ADDRESS = "127.64.77.3"


@pytest.fixture(autouse=True)
def _private() -> Iterator[None]:
    """A control plane's token file is its user's alone."""
    before = os.umask(0o077)
    yield
    os.umask(before)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.05)


async def admin(address: str, path: str) -> bytes:
    try:
        async with asyncio.timeout(15):
            return (await fetch(address, 15000, path)).body
    except (OSError, Http1Error, TimeoutError):
        return b""


async def serials(address: str) -> tuple[set[int], set[int]]:
    """Serial numbers of Envoy's own certificates, and of the roots that it trusts."""
    shown = json.loads(await admin(address, "/certs") or "{}").get("certificates", [])
    own = {int(at["serial_number"], 16) for entry in shown for at in entry.get("cert_chain", [])}
    return own, {int(at["serial_number"], 16) for entry in shown for at in entry.get("ca_cert", [])}


async def stat(address: str, name: str) -> int:
    found = (await admin(address, f"/stats?filter=^{name}$")).decode().strip().rpartition(": ")[2]
    return int(found) if found.isdigit() else 0


@asynccontextmanager
async def process(*command: str, folder: Path, log: Path) -> AsyncIterator[None]:
    with log.open("wb") as stderr:
        started = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stderr=stderr, stdout=stderr, env={**os.environ, "TMPDIR": str(folder)}
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                started.terminate()
            await started.wait()


async def test_envoy_follows_its_agents_certificates(tmp_path: Path) -> None:
    """Renewals and other roots; and at last a control plane that was set up anew, with a root that nobody knew."""
    token_file, plane = tmp_path / "join-token", FakeControlPlane()
    first = FakeSecurity(token_file=str(token_file), seconds=6)
    token_file.write_text(first.authority.token())
    async with contextlib.AsyncExitStack() as stack:
        async with running_securely(plane, first) as port:
            settings = AgentSettings(
                mode="sidecar",
                service="reviews",
                namespace="shop",
                service_account="reviews",
                control_plane=f"127.0.0.1:{port}",
            )
            command = (sys.executable, "-m", "lateen.agent", settings.to_json())
            await stack.enter_async_context(process(*command, folder=tmp_path, log=tmp_path / "agent.log"))
            await plane.until(lambda: plane.nodes)
            assert plane.node_peers == [NAME]
            assert plane.nodes[0].metadata["LATEEN"]["certificates"] is True
            address = next(iter(plane.workloads.values()))["address"]
            own, trusted = await until(lambda: _some(address))
            assert trusted == {first.authority.root.serial_number}
            await until(lambda: _others(address, own))
            other = FakeAuthority(name="other")
            await plane.say_trust({"roots": [first.authority.root_pem, other.root_pem]})
            both = trusted | {other.root.serial_number}
            await until(lambda: _trusts(address, both))
        again, second = FakeControlPlane(), FakeSecurity(token_file=str(token_file))
        token_file.write_text(second.authority.token())
        second.secure, second.join = first.secure, first.join
        async with running_securely(again, second, port):
            await again.until(lambda: again.nodes)
            assert again.node_peers == [NAME]
            await until(lambda: _trusts(address, {second.authority.root.serial_number}))


async def _some(address: str) -> tuple[set[int], set[int]] | None:
    found = await serials(address)
    return found if all(found) else None


async def _others(address: str, own: set[int]) -> bool:
    found, _ = await serials(address)
    return bool(found) and not found & own


async def _trusts(address: str, roots: set[int]) -> bool:
    return (await serials(address))[1] == roots


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """A folder as an agent makes it."""

    folder: Path
    authority: FakeAuthority

    def write(self) -> None:
        key, chain = self.authority.pair(NAME)
        (self.folder / "certificates").mkdir(exist_ok=True)
        write_private(self.folder / "certificates" / "default.json", certificate_file(chain.decode(), key.decode()))
        write_private(self.folder / "certificates" / "ROOTCA.json", roots_file(self.authority.root_pem))

    @asynccontextmanager
    async def envoy(self, control_plane: tuple[str, int]) -> AsyncIterator[None]:
        proxy = Proxy(
            type=ProxyType.SIDECAR,
            name="reviews-1",
            namespace="shop",
            addresses=(ADDRESS,),
            interception=Interception.NONE,
            certificates=True,
        )
        settings = BootstrapSettings(
            proxy=proxy, service="reviews", control_plane=control_plane, control_plane_identity=SERVER
        )
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(bootstrap(settings)))
        options = EnvoyOptions(binary=find_envoy(), folder=self.folder)
        async with process(
            *options.command(config, 0, free_base_id()), folder=self.folder, log=self.folder / "envoy.log"
        ):
            yield


async def test_server_of_another_name_is_not_envoys_control_plane(tmp_path: Path) -> None:
    """Every workload of the mesh has a certificate of the same root."""
    security, plane = FakeSecurity(server="spiffe://cluster.local/ns/shop/sa/evil"), FakeControlPlane()
    files = OwnFiles(tmp_path, security.authority)
    files.write()
    async with running_securely(plane, security), files.envoy(("127.0.0.1", security.secure)):
        await until(lambda: stat(ADDRESS, "cluster.xds-grpc.ssl.fail_verify_san"))
        assert plane.nodes == []


async def test_connection_to_the_control_plane_is_tls_1_3(tmp_path: Path) -> None:
    security, plane = FakeSecurity(), FakeControlPlane()
    files = OwnFiles(tmp_path, security.authority)
    files.write()
    async with running_securely(plane, security), files.envoy(("localhost", security.secure)):
        await plane.until(lambda: plane.nodes)
        assert await until(lambda: stat(ADDRESS, r"cluster.xds-grpc.ssl.versions.TLSv1.3"))
        assert (tmp_path / "envoy.log").read_text() == ""
