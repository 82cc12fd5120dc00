"""Identities at work in a real mesh: who may call whom, in which mode, and what nobody gets to see."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import pytest

from e2e.identity_bed import IDLE, SERVER, Bed, envoy_folder, listeners, private_keys, stat
from e2e.meshes import Process, eventually, good, running_mesh
from e2e.test_gateway_tls import secret
from e2e.tls_servers import TlsClient
from e2e.traffic import Traffic, traffic
from flow.xds_client import Variant, XdsClient
from key_pairs import Authority
from lateen.envoy.resources import LISTENER, SECRET

pytestmark = pytest.mark.e2e

ONLY_CLIENT = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-client}
spec:
  selector: {matchLabels: {app: server}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]
"""
NO_STRANGERS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-strangers}
spec:
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/stranger]}}]}]
"""
PEER = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: MODE}}
"""


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("identity")
    mesh_config = folder / "mesh.yaml"
    mesh_config.write_text(f"accessLogFile: {folder / 'access.log'}\n")
    with running_mesh(folder, mesh_config=mesh_config) as mesh:
        yield Bed(mesh)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all("peerauthentications", "authorizationpolicies")


def statuses(bed: Bed) -> tuple[int, int, int]:
    """What the client, the stranger, and a plaintext client past all sidecars get from the server."""
    return bed.client.get(SERVER).status, bed.stranger.get(SERVER).status, bed.straight()


def test_workloads_without_flags_speak_mutual_tls(bed: Bed) -> None:
    """Of two that were told nothing of certificates, the server sees handshakes, and who its caller is."""
    mesh = bed.mesh
    server, caller = mesh.run("plain-server", wait=False), mesh.run("plain-caller", *IDLE, port="", wait=False)
    mesh.wait_addresses(server, caller)
    answer = eventually(lambda: good(caller.get("http://plain-server/")), what="an answer")
    assert answer.json["app"] == "plain-server"
    assert stat(server, ".ssl.handshake") > 0
    assert stat(server, ".ssl.fail_verify_error") == 0
    for process in (server, caller):
        assert process.stop() in (0, 143)


def test_a_policy_goes_by_the_caller_s_certificate(bed: Bed) -> None:
    """Its own service account gets in, another one and plain text do not; the access log says by which policy."""
    log = bed.mesh.folder / "access.log"
    assert statuses(bed) == (200, 200, 200)
    bed.mesh.apply(ONLY_CLIENT)
    eventually(lambda: statuses(bed) == (200, 403, 403), what="the ALLOW policy")
    bed.mesh.delete_all("authorizationpolicies")
    eventually(lambda: statuses(bed) == (200, 200, 200), what="no policy")
    bed.mesh.apply(NO_STRANGERS)
    eventually(lambda: statuses(bed) == (200, 403, 200), what="the DENY policy")

    def logged() -> bool:
        # Envoy writes its log when 64 kB have come together, or after 10 seconds.
        bed.client.get(SERVER, headers={"user-agent": "x" * 16_000})
        said = log.read_text()
        return "policy[none]" in said and "rbac_access_denied_matched_policy[ns[default]-policy[no-strangers]" in said

    eventually(logged, what="the access log")


def test_modes_change_live_without_a_failed_request(bed: Bed) -> None:
    """STRICT refuses plain text and no caller of the mesh; under load, no change by way of PERMISSIVE refuses one."""
    plain = {"STRICT": 0, "PERMISSIVE": 200, "DISABLE": 200}
    changes = ("STRICT", "PERMISSIVE", "DISABLE", "PERMISSIVE", "STRICT", "PERMISSIVE", "DISABLE")
    with traffic(bed.client.proxy, SERVER) as load:
        for mode in changes:
            bed.mesh.apply(PEER.replace("MODE", mode))
            wait_for_plain(bed, plain[mode])
            # Not at once: a connection that was begun just before may show its handshake after.
            eventually(lambda mode=mode: speaks_tls(bed, load) is (mode != "DISABLE"), seconds=40, what=mode)  # type: ignore[misc]
    print(load)


def speaks_tls(bed: Bed, load: Traffic) -> bool:
    """Whether the server sees handshakes of those who call it now."""
    before = stat(bed.server, ".ssl.handshake")
    load.wait_for_more()
    return stat(bed.server, ".ssl.handshake") > before


def wait_for_plain(bed: Bed, status: int) -> None:
    eventually(lambda: bed.straight() == status, what=f"{status} for plain text")


CERTIFICATE_OF = Authority("edge")
HOST = "shop.example.com"
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: server}}]}]
---
"""


def test_a_gateway_s_key_goes_to_the_gateway_only(bed: Bed, tmp_path: Path) -> None:
    """HTTPS from a Secret works over the authenticated stream; in plain text nobody gets the key, whoever they say."""
    mesh, pair = bed.mesh, CERTIFICATE_OF.pair(HOST)
    gateway = mesh.gateway("ingress", "--service-account", "gateway")
    mesh.apply(secret("shop", pair) + EDGE)
    address = eventually(lambda: bound(gateway), what="the gateway's listener")
    client = TlsClient(folder=tmp_path, address=address, trusts=CERTIFICATE_OF.certificate)
    assert eventually(lambda: client.get(HOST).status == 200, what="HTTPS")
    name = str(gateway.addresses["workload"])
    secrets = mesh.command("proxy-config", "secrets", name, "-o", "json")
    assert secrets.returncode == 0, secrets.stderr
    assert "[redacted]" in secrets.stdout
    names = [str(each["name"]) for each in json.loads(secrets.stdout)]
    key = pair[1].decode().splitlines()[1]
    assert key not in secrets.stdout
    assert "PRIVATE" not in secrets.stdout
    node = f"router~{gateway.addresses['address']}~{name}~default.svc.cluster.local"
    issued = mesh.command("ca", "issue", "--service-account", "default/gateway", "--out", str(tmp_path / "id"))
    assert issued.returncode == 0, issued.stderr
    files = (tmp_path / "id" / file for file in ("root-cert.pem", "key.pem", "cert-chain.pem"))
    proven = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    ready = next(json.loads(line) for line in mesh.control_plane.log.read_text().splitlines() if "secure_grpc" in line)
    for variant in VARIANTS:
        given = asyncio.run(secrets_given(ready["secure_grpc"], node, names, variant, proven))
        assert any(b"PRIVATE KEY" in body for body in given.values())
        assert asyncio.run(secrets_given(ready["grpc"], node, names, variant)) == {}


VARIANTS: tuple[Variant, ...] = ("delta", "sotw")


def bound(gateway: Process) -> tuple[str, int] | None:
    return next((at for name, at in listeners(gateway).items() if name.endswith("_443")), None)


async def secrets_given(
    address: str, node: str, names: Sequence[str], variant: Variant, credentials: grpc.ChannelCredentials | None = None
) -> Mapping[str, bytes]:
    """Say to be a gateway of the mesh, and ask for its keys."""
    metadata = {"NAMESPACE": "default", "SERVICE_ACCOUNT": "gateway", "LABELS": {"istio": "ingressgateway"}}
    async with XdsClient(address, variant, credentials, node, metadata) as client:
        await client.subscribe(SECRET, *names)
        # What exists comes at once, so before the answer to a later question.
        await client.subscribe(LISTENER, *(("*",) if variant == "delta" else ()))
        await client.until(lambda: any(each.kind == LISTENER for each in client.received))
        return dict(client.held.get(SECRET, {}))


def test_no_key_is_left_but_where_it_is_kept_nor_is_told(bed: Bed) -> None:
    """After SIGTERM and after SIGKILL only the workload's own folder holds its key, for its next life and its owner.

    No log and no command line ever held a secret.
    """
    mesh, began = bed.mesh, time.time()
    commands: set[bytes] = set()
    with watching(commands):
        token = mesh.command("token", "create", "--service-account", "default/short").stdout.strip()
        assert token.count(".") == 2
        file = mesh.folder / "short.token"
        file.write_text(token)
        ending = [
            mesh.run("short", *IDLE, port="", flags=("--service-account", "short", "--token", str(file)), wait=False)
            for _ in range(2)
        ]
        mesh.wait_addresses(*ending)
        folders = [envoy_folder(process) for process in ending]
        keys = {key for folder in folders for key in private_keys(folder)}
        assert len(keys) == 2
        ending[0].popen.send_signal(signal.SIGTERM)
        ending[1].popen.kill()
        for process in ending:
            process.popen.wait(45)
        eventually(lambda: not any(folder.exists() for folder in folders), what="the folders' end")
    file.unlink()
    kept = [path for path in recent_files(began) if any(key in path_text(path) for key in keys)]
    assert {path.parent.parent for path in kept} == {mesh.folder / "state" / "lateen" / "agents"}
    assert {path.name for path in kept} == {"identity.json"}
    assert {(path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) for path in kept} == {(0o600, 0o700)}
    keys |= {key for process in bed.workloads for key in private_keys(envoy_folder(process))}
    state = mesh.folder / "state"
    keys |= set(private_keys(state))
    tokens = {path.read_text().strip() for path in state.rglob("*-token")} | {token}
    assert len(keys) >= 5 + 2
    assert len(tokens) == 3
    secrets = {each.encode() for each in keys | tokens | {one.rpartition(".")[2] for one in tokens}}
    assert not [line for line in commands if any(each in line for each in secrets)]
    for log in mesh.folder.glob("*.log"):
        content = log.read_bytes()
        assert not any(each in content for each in secrets), log


class watching:  # noqa: N801  reads as a function where it is used
    """Notes the command line of every process that is seen meanwhile."""

    def __init__(self, commands: set[bytes]) -> None:
        self._commands = commands
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            for found in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self._commands.add(found.read_bytes())
                except OSError:
                    continue


def recent_files(began: float) -> Iterator[Path]:
    """Small files of temporary places that were written since then."""
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        for folder, names, files in os.walk(place):
            names[:] = [name for name in names if name not in (".git", "src", "node_modules")]
            for name in files:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except OSError:
                    continue
                if status.st_mtime >= began and status.st_size < 1 << 20 and path.is_file():
                    yield path


def path_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
