"""Mutual TLS between two real sidecars: every mode, every sort of client, every protocol; connects or not.

No control plane: both Envoys run static bootstraps of one mesh, with certificates in the folders they run in. One pair
per mode; each case is one connection. Besides: certificates and roots that are replaced under load lose no request.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import itertools
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from e2e.mesh_certificates import Leaf, Root, write_leaf, write_roots
from e2e.meshes import APPS, eventually
from key_pairs import key_pair
from lateen.agent.envoy_process import find_envoy
from lateen.config.mesh_config import MeshConfig, MeshTLSProtocol, TLSConfig
from lateen.config.parsing import parse
from lateen.discovery.hub import Hub
from lateen.discovery.ports import Port
from lateen.discovery.server import serve
from lateen.envoy.bootstrap import BootstrapSettings, bootstrap
from lateen.envoy.mutual_tls import HTTP_ALPN, TCP_ALPN
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.catalogues import Catalogue
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from ports import free_port

pytestmark = pytest.mark.e2e

DOCUMENTS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mode}
spec: {mtls: {mode: MODE}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: many-handshakes}
spec:
  host: server
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 3}}}
"""
PROTOCOLS = {8001: "http", 8002: "http2", 8003: "tcp", 8004: ""}
SECONDS = 20
"""For an answer: nothing below waits for it in vain, as what is refused is closed."""
LOCAL = 10_000
"""A service port plus this is where the client's sidecar listens for it."""
ME, THEM = "spiffe://cluster.local/ns/default/sa/client", "spiffe://cluster.local/ns/default/sa/server"


# --- the bed -------------------------------------------------------------------------------------------------


class Sidecar:
    """A real Envoy with the static bootstrap of a proxy, in a folder with certificates."""

    def __init__(
        self, folder: Path, state: MeshState, proxy: Proxy, *, adapt: Callable[[Any], None] = lambda _: None
    ) -> None:
        content = static_bootstrap(generate(state, proxy), proxy)
        adapt(content)
        self._start(folder, proxy.addresses[0], content)

    @classmethod
    def of_control_plane(cls, folder: Path, address: str, content: Any) -> Self:
        """One whose bootstrap leads to a control plane."""
        made = cls.__new__(cls)
        made._start(folder, address, content)
        return made

    def _start(self, folder: Path, address: str, content: Any) -> None:
        self.folder, self.address = folder, address
        file = folder / "bootstrap.json"
        file.write_text(json.dumps(content))
        self._log = (folder / "envoy.log").open("wb")
        command = [find_envoy(), "-c", str(file), "--disable-hot-restart", "--concurrency", "1"]
        self.process = subprocess.Popen(
            [*command, "-l", "warning"], cwd=folder, stdout=self._log, stderr=subprocess.STDOUT
        )

    def ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / "envoy.log").read_text()
        return self.admin("/ready").startswith("LIVE")

    def admin(self, path: str) -> str:
        with closing(http.client.HTTPConnection(self.address, 15000, timeout=SECONDS)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def stat(self, name: str) -> int:
        """The sum of the counters whose names end so."""
        lines = (line.rsplit(": ", 1) for line in self.admin("/stats").splitlines() if ": " in line)
        return sum(int(value) for key, value in lines if key.endswith(name) and value.isdigit())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._log.close()


_DEFAULTS = MeshConfig()


class Bed:
    """A mesh with a server of every protocol, a client, and an impostor with another's certificate."""

    NUMBERS = itertools.count()
    """Beds of one run have addresses of their own: Envoys of one user would share a port in silence. Those of other
    tests that run at the same time begin otherwise."""

    def __init__(self, folder: Path, mode: str, stack: ExitStack, settings: MeshConfig = _DEFAULTS) -> None:
        number = next(self.NUMBERS)
        self.server_ip, self.impostor_ip, self.client_ip = (f"127.76.{number}.{last}" for last in (1, 2, 3))
        self.mode = mode
        self.folder = folder
        self.root = Root()
        self.app_port, self.impostor_port = free_port(), free_port()
        self._app(stack)
        parsed = parse(DOCUMENTS.replace("MODE", mode).encode(), "mesh.yaml")
        assert not parsed.findings
        workloads = Catalogue(name="agents", workloads=self.registrations())
        state = build_state(parsed.objects, (workloads,), settings)
        self.state = state
        self.server = self._sidecar(stack, state, "server", self.server_ip, THEM)
        self.client = self._sidecar(stack, state, "client", self.client_ip, ME)
        for sidecar in (self.server, self.client):
            eventually(sidecar.ready, seconds=60, what="Envoy")
        eventually(lambda: self.plain(self.app_port, b"up\n", "127.0.0.1"), what="the application")
        stack.enter_context(self._impostor())

    def _app(self, stack: ExitStack) -> None:
        chain, key = (self.folder / name for name in ("app.pem", "app.key"))
        for path, content in zip((chain, key), key_pair("app.example"), strict=True):
            path.write_bytes(content)
        app = [sys.executable, str(APPS / "any_protocol.py"), str(self.app_port), str(chain), str(key)]
        process = stack.enter_context(subprocess.Popen(app))
        stack.callback(process.terminate)

    def registrations(self) -> tuple[WorkloadRegistration, ...]:
        ports = tuple(
            WorkloadPort(port=port, protocol=name, app_port=self.app_port) for port, name in PROTOCOLS.items()
        )
        server = WorkloadRegistration(
            service="server",
            name="server",
            namespace="default",
            address=self.server_ip,
            service_account="server",
            ports=ports,
            ready=True,
            identity=THEM,
        )
        port = WorkloadPort(port=self.impostor_port, protocol="tcp")
        impostor = replace(server, service="impostor", name="impostor", address=self.impostor_ip, ports=(port,))
        return server, impostor

    def _sidecar(self, stack: ExitStack, state: MeshState, name: str, address: str, identity: str) -> Sidecar:
        folder = self.folder / name
        folder.mkdir()
        write_leaf(folder, self.root.leaf(identity))
        write_roots(folder, [self.root])
        declared = [("server", port, port + LOCAL) for port in PROTOCOLS]
        proxy = Proxy(
            type=ProxyType.SIDECAR,
            name=name,
            namespace="default",
            addresses=(address,),
            interception=Interception.NONE,
            certificates=True,
            upstreams=tuple(
                Upstream(host=host, port=port, local_port=local)
                for host, port, local in (*declared, ("impostor", self.impostor_port, 19999))
            )
            if name == "client"
            else (),
        )
        sidecar = Sidecar(folder, state, proxy)
        stack.callback(sidecar.close)
        return sidecar

    @contextmanager
    def _impostor(self) -> Iterator[None]:
        """A server of the mesh, but not of the account that the service runs as."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.root.leaf(f"{THEM}-not").files(self.folder, "impostor"))
        with socket.create_server((self.impostor_ip, self.impostor_port)) as listening:

            def serve() -> None:
                with suppress(OSError):
                    while True:
                        connection, _ = listening.accept()
                        with suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
                            wrapped.sendall(b"bytes " + wrapped.recv(100))

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield
            listening.shutdown(socket.SHUT_RDWR)

    # --- clients -----------------------------------------------------------------------------------------

    def plain(self, port: int, sent: bytes, address: str) -> str:
        """What comes back for these bytes in plain text; empty when the connection is refused or closed."""
        try:
            with socket.create_connection((address, port), SECONDS) as connection:
                return exchange(connection, sent)
        except OSError:
            return ""

    def tls(self, port: int, sent: bytes, leaf: Leaf | None, alpn: tuple[str, ...], newest: str = "") -> str:
        """The same over TLS, straight to the server's sidecar."""
        context = client_context(self.folder, leaf, alpn)
        if newest:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            with (
                socket.create_connection((self.server_ip, port), SECONDS) as bare,
                context.wrap_socket(bare) as connection,
            ):
                return exchange(connection, sent)
        except OSError:
            return ""


def client_context(folder: Path, leaf: Leaf | None, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """A client that trusts everybody, with this certificate if any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if leaf is not None:
        context.load_cert_chain(*leaf.files(folder, "client-of-the-test"))
    return context


def exchange(connection: socket.socket, sent: bytes) -> str:
    """Send, and return the body that comes back, or the bytes."""
    connection.settimeout(SECONDS)
    connection.sendall(sent)
    received = b""
    while True:
        chunk = connection.recv(65536)
        received += chunk
        head, end, body = received.partition(b"\r\n\r\n")
        if end and b"content-length: %d\r" % len(body) in head.lower() + b"\r":
            return body.decode() if head.startswith(b"HTTP/1.1 200") else ""
        if not chunk or (received.endswith(b"\n") and not end and not received.startswith(b"HTTP")):
            return received.decode(errors="replace") if not received.startswith(b"HTTP") else ""


GET = b"GET / HTTP/1.1\r\nhost: server:8001\r\nx-forwarded-client-cert: By=me;URI=forged\r\n\r\n"
LINE = b"hello\n"
TALKS = {
    "http1": (8001, GET, HTTP_ALPN),
    "http2": (8002, GET, HTTP_ALPN),
    "tcp": (8003, LINE, TCP_ALPN),
    "sniffed http": (8004, GET, HTTP_ALPN),
    "sniffed tcp": (8004, LINE, TCP_ALPN),
}
"""Port, what the application sends, what a client of the mesh offers."""

CLIENTS = (
    "sidecar",
    "mesh",
    "plain text",
    "foreign TLS",
    "foreign TLS with a certificate of the mesh",
    "no certificate",
    "another root",
    "expired",
    "not yet valid",
    "TLS 1.2",
)


def call(bed: Bed, client: str, protocol: str) -> str:
    """What one client is answered."""
    port, sent, alpn = TALKS[protocol]
    match client:
        case "sidecar":
            return bed.plain(port + LOCAL, sent, bed.client_ip)
        case "plain text":
            return bed.plain(port, sent, bed.server_ip)
        case "foreign TLS":
            return bed.tls(port, sent, None, ("http/1.1",))
        case "foreign TLS with a certificate of the mesh":
            return bed.tls(port, sent, bed.root.leaf(ME), ())
        case "mesh":
            return bed.tls(port, sent, bed.root.leaf(ME), alpn)
        case "no certificate":
            return bed.tls(port, sent, None, alpn)
        case "another root":
            return bed.tls(port, sent, Root("another").leaf(ME), alpn)
        case "expired":
            return bed.tls(port, sent, bed.root.leaf(ME, ends=dt.timedelta(minutes=-1)), alpn)
        case "not yet valid":
            return bed.tls(port, sent, bed.root.leaf(ME, begins=dt.timedelta(hours=1)), alpn)
        case "TLS 1.2":
            return bed.tls(port, sent, bed.root.leaf(ME), alpn, newest="1.2")
    raise AssertionError(client)


PEER = f'By={THEM};Subject="";URI={ME}'
"""What a server's application learns last of a caller with a certificate, whatever that one says himself."""
FORGED = "By=me;URI=forged"
"""What the application of the client says itself: its sidecar takes it away."""


def expected(mode: str, client: str, protocol: str) -> str:
    """The table: what the application sees and says, empty for a connection that comes to nothing."""
    http = "http" in protocol
    seen = {"http2": "http2 "}.get(protocol, "http1 ") if http else "bytes hello\n"
    opaque = protocol not in ("http1", "http2")
    # Its own TLS is the application's business: what the client says of itself nobody else can read.
    own_tls = "tls " + ("http1 " + FORGED if http else seen)
    match mode, client:
        case "STRICT" | "PERMISSIVE", "sidecar":
            return seen + PEER if http else seen
        case "STRICT" | "PERMISSIVE", "mesh":
            return f"{seen}{FORGED},{PEER}" if http else seen
        case "STRICT", "foreign TLS with a certificate of the mesh":
            # Whoever has a certificate is in; what it offers tells HTTP from bytes on a sniffed port only.
            sniffed = seen + FORGED if http else seen
            return f"{seen}{FORGED},{PEER}" if protocol in ("http1", "http2") else sniffed
        case ("PERMISSIVE" | "DISABLE", "plain text") | ("DISABLE", "sidecar"):
            return seen
        case "DISABLE", _ if opaque:
            return own_tls
        case "PERMISSIVE", "foreign TLS" | "foreign TLS with a certificate of the mesh" if opaque:
            return own_tls
    return ""


MODES = ("STRICT", "PERMISSIVE", "DISABLE")


@pytest.fixture(scope="module", params=MODES)
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with ExitStack() as stack:
        yield Bed(tmp_path_factory.mktemp("mesh"), request.param, stack)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("protocol", TALKS)
def test_who_gets_through(bed: Bed, client: str, protocol: str) -> None:
    """The answer is the application's word for what it saw; a forged proof never reaches it in plain text."""
    answer = re.sub("Hash=[0-9a-f]{64};", "", call(bed, client, protocol))

    assert answer == expected(bed.mode, client, protocol)


# --- beyond the table ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with ExitStack() as stack:
        yield Bed(tmp_path_factory.mktemp("strict"), "STRICT", stack)


def test_a_server_of_another_account_is_not_called(strict: Bed) -> None:
    """It has a certificate of the mesh, and stands at an endpoint of the service; but it is not who runs it."""
    refused = strict.client.stat(".ssl.fail_verify_san")

    assert strict.plain(19999, LINE, strict.client_ip) == ""
    assert strict.client.stat(".ssl.fail_verify_san") == refused + 1


@pytest.mark.parametrize(
    ("port", "sent", "seen"),
    [(8001, GET, "http1"), (8002, GET, "http2"), (8003, LINE, "bytes"), (8004, LINE, "bytes"), (8004, GET, "http1")],
)
def test_tunnels_offer_what_they_carry(strict: Bed, port: int, sent: bytes, seen: str) -> None:
    """Bytes in a tunnel to a sniffed port are bytes for the server too, though the port's requests offer HTTP."""
    with socket.create_connection((strict.client_ip, 15001), SECONDS) as connection:
        connection.sendall(b"CONNECT server:%d HTTP/1.1\r\nhost: server:%d\r\n\r\n" % (port, port))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")

        answer = exchange(connection, sent)

    assert answer.startswith(f"{seen} ")
    assert (ME in answer) == (port in (8001, 8002))


def test_an_older_tls_is_taken_where_the_mesh_says_so(tmp_path: Path) -> None:
    """Its sidecars speak TLS 1.3 among each other all the same."""
    settings = MeshConfig(mesh_mtls=TLSConfig(min_protocol_version=MeshTLSProtocol.TLSV1_2))
    with ExitStack() as stack:
        bed = Bed(tmp_path, "STRICT", stack, settings)

        assert [call(bed, client, "tcp") for client in ("TLS 1.2", "sidecar")] == ["bytes hello\n"] * 2
        assert bed.client.stat("ssl.versions.TLSv1.3") == 1


class Load:
    """Requests through both sidecars, one connection of the application each, until it ends."""

    def __init__(self, bed: Bed) -> None:
        self.answers: Counter[str] = Counter()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(bed,)) for _ in range(4)]

    def _run(self, bed: Bed) -> None:
        while not self._ended.is_set():
            answer = bed.plain(8001 + LOCAL, GET, bed.client_ip)
            self.answers["good" if answer.startswith("http1 By=") else f"bad: {answer}"] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def taken(sidecar: Sidecar) -> int:
    """How often it took a secret from its files."""
    return sidecar.stat("ssl_socket_factory.ssl_context_update_by_sds")


def replaced(bed: Bed, load: Load, write: Callable[[Path, Sidecar], None]) -> None:
    """Write files for both sidecars, and wait until both took them and requests went on."""
    before = [taken(sidecar) for sidecar in (bed.server, bed.client)]
    requests = sum(load.answers.values())
    for sidecar in (bed.server, bed.client):
        write(sidecar.folder, sidecar)
    for sidecar, known in zip((bed.server, bed.client), before, strict=True):
        eventually(lambda sidecar=sidecar, known=known: taken(sidecar) > known, what="the new secret")  # type: ignore[misc]
    eventually(lambda: sum(load.answers.values()) > requests + 20, what="requests")


def identity_of(bed: Bed, sidecar: Sidecar) -> str:
    return THEM if sidecar is bed.server else ME


def test_certificates_are_replaced_under_load(strict: Bed) -> None:
    """Twenty times on both sides; no request fails, and new connections have new certificates."""
    handshakes = strict.client.stat(".ssl.handshake")
    with Load(strict) as load:
        for _ in range(20):
            replaced(
                strict, load, lambda folder, sidecar: write_leaf(folder, strict.root.leaf(identity_of(strict, sidecar)))
            )

    assert set(load.answers) == {"good"}, load.answers
    assert strict.client.stat(".ssl.handshake") > handshakes + 20


def test_roots_are_replaced_under_load(tmp_path: Path) -> None:
    """Old, then both, then certificates of the new one, then the new one alone; then nobody else is let in."""
    with ExitStack() as stack:
        bed = Bed(tmp_path, "STRICT", stack)
        old, new = bed.root, Root("new")
        with Load(bed) as load:
            replaced(bed, load, lambda folder, _: write_roots(folder, [old, new]))
            replaced(bed, load, lambda folder, it: write_leaf(folder, new.leaf(identity_of(bed, it))))
            replaced(bed, load, lambda folder, _: write_roots(folder, [new]))

        assert set(load.answers) == {"good"}, load.answers
        assert bed.tls(8001, GET, old.leaf(ME), HTTP_ALPN) == ""
        assert bed.tls(8001, GET, new.leaf(ME), HTTP_ALPN) != ""


# --- intercepted ---------------------------------------------------------------------------------------------

UNSERVED, EXEMPT, OUTLAW = 7001, 7002, 7003
"""Ports that no service has: of the workload's mode, exempt from it by a policy, and STRICT by a policy."""


class Intercepted:
    """The `virtualInbound` of a sidecar of the same workload, without the firewall rules that would lead to it.

    The PROXY protocol says where a connection was meant to go, in the place of the kernel.
    """

    def __init__(self, bed: Bed, stack: ExitStack) -> None:
        self.bed = bed
        folder = bed.folder / "intercepted"
        folder.mkdir()
        write_leaf(folder, bed.root.leaf(THEM))
        write_roots(folder, [bed.root])
        self.address = f"{bed.server_ip}0"
        workload = replace(bed.registrations()[0], address=self.address)
        ports = f"{{{EXEMPT}: {{mode: DISABLE}}, {OUTLAW}: {{mode: STRICT}}}}"
        policy = (
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: mode}\nspec:\n"
            f"  selector: {{matchLabels: {{app: server}}}}\n  mtls: {{mode: {bed.mode}}}\n  portLevelMtls: {ports}\n"
        )
        parsed = parse(policy.encode(), "policy.yaml")
        state = build_state(parsed.objects, (Catalogue(name="agents", workloads=(workload,)),), MeshConfig())
        proxy = Proxy(
            type=ProxyType.SIDECAR,
            name="server",
            namespace="default",
            addresses=(self.address,),
            labels={"app": "server"},
            certificates=True,
        )
        self.sidecar = Sidecar(folder, state, proxy, adapt=self._adapted)
        stack.callback(self.sidecar.close)
        eventually(self.sidecar.ready, seconds=60, what="Envoy")

    def _adapted(self, content: Any) -> None:
        content["admin"]["address"]["socket_address"]["address"] = self.address
        resources = content["static_resources"]
        [listener] = [one for one in resources["listeners"] if one["name"] == "virtualInbound"]
        listener["address"]["socket_address"]["address"] = self.address
        type_url = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
        listener["listener_filters"][0] = {"name": "proxy_protocol", "typed_config": {"@type": type_url}}
        resources["listeners"] = [listener]
        for cluster in resources["clusters"]:
            if cluster["name"] == "InboundPassthroughCluster":
                # What was meant for a port of no service reaches the application all the same.
                socket_address = {"address": "127.0.0.1", "port_value": self.bed.app_port}
                endpoint = {"endpoint": {"address": {"socket_address": socket_address}}}
                cluster |= {"type": "STATIC", "lb_policy": "ROUND_ROBIN"}
                cluster["load_assignment"] = {
                    "cluster_name": cluster["name"],
                    "endpoints": [{"lb_endpoints": [endpoint]}],
                }

    def call(self, port: int, sent: bytes, leaf: Leaf | None, alpn: tuple[str, ...], *, tls: bool) -> str:
        head = f"PROXY TCP4 {self.bed.client_ip} {self.address} 1000 {port}\r\n".encode()
        try:
            with socket.create_connection((self.address, 15006), SECONDS) as bare:
                if not tls:
                    return exchange(bare, head + sent)
                bare.sendall(head)
                with client_context(self.bed.folder, leaf, alpn).wrap_socket(bare) as connection:
                    return exchange(connection, sent)
        except OSError:
            return ""


@pytest.fixture(scope="module")
def intercepted(bed: Bed) -> Iterator[Intercepted]:
    with ExitStack() as stack:
        yield Intercepted(bed, stack)


@pytest.mark.parametrize("client", ["mesh", "plain text", "foreign TLS"])
@pytest.mark.parametrize("protocol", TALKS)
def test_who_gets_through_an_intercepted_port(intercepted: Intercepted, client: str, protocol: str) -> None:
    """All ports share one listener, and each has the chains that it would have alone."""
    port, sent, alpn = TALKS[protocol]
    leaf = intercepted.bed.root.leaf(ME) if client == "mesh" else None
    offered = alpn if client == "mesh" else ("http/1.1",)
    answer = intercepted.call(port, sent, leaf, offered, tls=client != "plain text")

    assert re.sub("Hash=[0-9a-f]{64};", "", answer) == expected(intercepted.bed.mode, client, protocol)


@pytest.mark.parametrize("client", ["mesh", "plain text", "foreign TLS"])
@pytest.mark.parametrize("port", [UNSERVED, EXEMPT, OUTLAW])
def test_ports_of_no_service(intercepted: Intercepted, client: str, port: int) -> None:
    """They follow the workload, unless the policy names them."""
    mode = {UNSERVED: intercepted.bed.mode, EXEMPT: "DISABLE", OUTLAW: "STRICT"}[port]
    leaf = intercepted.bed.root.leaf(ME) if client == "mesh" else None
    offered = TCP_ALPN if client == "mesh" else ("http/1.1",)

    assert intercepted.call(port, LINE, leaf, offered, tls=client != "plain text") == expected(mode, client, "tcp")


# --- on demand -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_is_fetched_on_demand_speaks_mutual_tls(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The first request, the first tunnel of bytes to a sniffed port, the first to a TCP port: all fetch what they
    need from a control plane, and all get through to a STRICT server; and a policy that switches the server's mutual
    TLS off, or on again, reaches the client.
    """
    with ExitStack() as stack:
        bed = await asyncio.to_thread(Bed, tmp_path_factory.mktemp("on-demand"), "STRICT", stack)
        generator = Generator()
        hub = Hub(
            lambda state, proxy: generator.generate(state, replace(proxy, certificates=True)),
            lambda state, proxy: generator.scope_of(state, replace(proxy, certificates=True)),
        )
        hub.settle()
        hub.publish(bed.state)
        async with serve(hub, [Port(address="127.0.0.1:0")]) as ports, asyncio.TaskGroup() as tasks:
            run = tasks.create_task(hub.run())
            await asyncio.to_thread(_calls_on_demand, bed, stack, ports[0])
            off = parse(DOCUMENTS.replace("MODE", "DISABLE").encode(), "mesh.yaml")
            workloads = Catalogue(name="agents", workloads=bed.registrations())
            hub.publish(build_state(off.objects, (workloads,), MeshConfig(), bed.state))
            await asyncio.to_thread(eventually, lambda: not _through(bed, 8003, LINE), what="plain text")
            hub.publish(bed.state)
            await asyncio.to_thread(eventually, lambda: _through(bed, 8003, LINE), what="mutual TLS again")
            run.cancel()


def _calls_on_demand(bed: Bed, stack: ExitStack, control_plane: int) -> None:
    folder = bed.folder / "on-demand"
    folder.mkdir()
    write_leaf(folder, bed.root.leaf(ME))
    write_roots(folder, [bed.root])
    proxy = Proxy(
        type=ProxyType.SIDECAR,
        name="asking",
        namespace="default",
        addresses=(f"{bed.client_ip}0",),
        interception=Interception.NONE,
    )
    settings = BootstrapSettings(proxy=proxy, service="asking", control_plane=("127.0.0.1", control_plane))
    sidecar = Sidecar.of_control_plane(folder, proxy.addresses[0], bootstrap(settings))
    stack.callback(sidecar.close)
    eventually(sidecar.ready, seconds=60, what="Envoy")
    assert "outbound|" not in sidecar.admin("/clusters"), "it was told before it asked"

    assert _through(bed, 8004, LINE) == "bytes hello\n"
    assert _through(bed, 8003, LINE) == "bytes hello\n"
    request = b"GET http://server:8004/ HTTP/1.1\r\nhost: server:8004\r\n\r\n"
    assert ME in bed.plain(15001, request, proxy.addresses[0])
    assert _through(bed, 8004, LINE) == "bytes hello\n"
    assert bed.server.stat(".ssl.handshake") >= 4


def _through(bed: Bed, port: int, sent: bytes) -> str:
    """What comes back through a tunnel of the sidecar that asks."""
    with socket.create_connection((f"{bed.client_ip}0", 15001), SECONDS) as connection:
        connection.sendall(b"CONNECT server:%d HTTP/1.1\r\nhost: server:%d\r\n\r\n" % (port, port))
        try:
            return exchange(connection, sent) if connection.recv(4096).startswith(b"HTTP/1.1 200") else ""
        except OSError:
            return ""
