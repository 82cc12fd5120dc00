"""TCP, gRPC and HTTP/2 through real sidecars, and what happens when workloads come, go and stop."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from e2e.meshes import APPS, Mesh, eventually, good, running_mesh, tunnel
from e2e.traffic import traffic
from ports import free_port

pytestmark = pytest.mark.e2e

IDLE = (sys.executable, "-c", "import signal; signal.pause()")
TCP = (sys.executable, str(APPS / "tcp.py"))
GRPC = (sys.executable, str(APPS / "grpc_echo.py"))


class Bed:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.tcp_port, self.grpc_port = free_port(), free_port()
        apps = [
            mesh.run("lines", *TCP, port="7000/tcp", version="v1", wait=False),
            mesh.run("lines", *TCP, port="7000/tcp", version="v2", wait=False),
            mesh.run("talk", *GRPC, port="50051/grpc", version="v1", wait=False),
            mesh.run("talk", *GRPC, port="50051/grpc", version="v2", wait=False),
            mesh.run("web", port="80", wait=False),  # no protocol: sniffed
        ]
        upstreams = ("--upstream", f"lines:7000={self.tcp_port}", "--upstream", f"talk:50051={self.grpc_port}")
        self.client = mesh.run("client", *IDLE, port="", flags=upstreams, wait=False)
        mesh.wait_addresses(*apps, self.client)
        self.address = self.client.proxy[0]
        eventually(lambda: len(self.lines(8)) == 2, what="both versions of the TCP service")
        eventually(lambda: {self.say(b"up") for _ in range(8)} == {b"v1 up", b"v2 up"}, what="both of the gRPC service")

    def lines(self, times: int) -> Counter[str]:
        """One connection each; who answered."""
        seen: Counter[str] = Counter()
        for _ in range(times):
            with socket.create_connection((self.address, self.tcp_port), 20) as connection:
                connection.sendall(b"hello\n")
                version, _, line = connection.makefile("rb").readline().partition(b" ")
                assert line == b"hello\n"
                seen[version.decode()] += 1
        return seen

    def say(self, text: bytes, method: str = "/test.Echo/Say", **metadata: str) -> bytes:
        with grpc.insecure_channel(f"{self.address}:{self.grpc_port}") as channel:
            call = channel.unary_unary(method)
            try:
                answer: bytes = call(text, timeout=20, metadata=tuple(metadata.items()))
            except grpc.RpcError as error:
                raise OSError(str(error)) from error
            return answer


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield Bed(mesh)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all("virtualservices", "destinationrules")


def route(host: str, kind: str, body: str) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec:\n"
        f"  host: {host}\n  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]\n"
        f"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}}}\nspec:\n"
        f"  hosts: [{host}]\n  {kind}:\n{body}"
    )


def test_tcp_spreads_over_both_versions(bed: Bed) -> None:
    assert set(bed.lines(30)) == {"v1", "v2"}


def test_tcp_route_to_a_subset(bed: Bed) -> None:
    """All new connections go where the TCP route says."""
    bed.mesh.apply(
        route(
            "lines",
            "tcp",
            "  - match: [{port: 7000}]\n    route: [{destination: {host: lines, subset: v2, port: {number: 7000}}}]\n",
        )
    )
    eventually(lambda: bed.lines(20) == {"v2": 20}, what="connections to v2 only")


def test_tcp_weights(bed: Bed) -> None:
    body = (
        "  - route:\n    - {destination: {host: lines, subset: v1}, weight: 80}\n"
        "    - {destination: {host: lines, subset: v2}, weight: 20}\n"
    )
    bed.mesh.apply(route("lines", "tcp", body))
    eventually(lambda: bed.lines(50)["v1"] >= 35, what="80/20")
    seen = bed.lines(200)
    assert 10 <= seen["v2"] <= 78, "all but once in a thousand million times"


def test_tcp_by_connect(bed: Bed) -> None:
    """An application that knows HTTP proxies reaches a TCP service by CONNECT."""
    with tunnel(bed.client.proxy, "lines:7000") as (connection, stream):
        connection.sendall(b"hi\n")
        assert stream.readline() in (b"v1 hi\n", b"v2 hi\n")


def test_grpc_routes_by_method_and_header(bed: Bed) -> None:
    body = (
        "  - match: [{uri: {prefix: /test.Echo}, headers: {x-who: {exact: v2}}}]\n"
        "    route: [{destination: {host: talk, subset: v2}}]\n"
        "  - route: [{destination: {host: talk, subset: v1}}]\n"
    )
    bed.mesh.apply(route("talk", "http", body))
    assert {bed.say(b"a", **{"x-who": "v2"}) for _ in range(5)} == {b"v2 a"}
    assert {bed.say(b"b") for _ in range(5)} == {b"v1 b"}


def test_grpc_fault(bed: Bed) -> None:
    """An abort with a gRPC status reaches the client as that status."""
    body = (
        "  - fault: {abort: {grpcStatus: PERMISSION_DENIED, percentage: {value: 100}}}\n"
        "    route: [{destination: {host: talk}}]\n"
    )
    bed.mesh.apply(route("talk", "http", body))
    with pytest.raises(OSError, match="PERMISSION_DENIED"):
        bed.say(b"x")


def test_sniffed_port_speaks_http(bed: Bed) -> None:
    """A port without a protocol is recognised as HTTP and routed by host."""
    answer = eventually(lambda: good(bed.client.get("http://web/")), what="the sniffed service")
    assert answer.json["app"] == "web"


def test_workload_registers_and_is_gone_when_it_leaves(bed: Bed) -> None:
    """An app is callable once `run` says so; after SIGTERM its service has no endpoint."""
    visitor = bed.mesh.run("visitor", version="v1")
    eventually(lambda: bed.client.get("http://visitor/").status == 200, what="the visitor")
    assert "visitor-v1-1" in bed.mesh.api("/v1/workloads").body.decode()
    assert visitor.stop() in (0, 143)
    assert "visitor-v1-1" not in bed.mesh.api("/v1/workloads").body.decode()
    assert bed.client.get("http://visitor/").status >= 500


def test_killed_agent_leaves_nothing_and_expires(bed: Bed) -> None:
    """kill -9 of the agent takes its Envoy and app along, and the registration goes after the lease."""
    visitor = bed.mesh.run("victim", version="v1")
    eventually(lambda: bed.client.get("http://victim/").status == 200, what="the victim")
    visitor.popen.kill()
    visitor.popen.wait(60)
    host, _, port = visitor.addresses["admin"].rpartition(":")

    def gone() -> bool:
        try:
            socket.create_connection((host, int(port)), 0.5).close()
        except OSError:
            return True
        return False

    eventually(gone, what="Envoy to die with its agent")
    eventually(
        lambda: "victim" not in bed.mesh.api("/v1/workloads").body.decode(), seconds=60, what="the end of the lease"
    )


def test_sigterm_loses_no_request_in_flight(bed: Bed) -> None:
    """Requests in flight when SIGTERM arrives all finish; the other replica takes the new ones."""
    leaver = bed.mesh.run("steady", version="v1")
    stayer = bed.mesh.run("steady", version="v2")
    eventually(
        lambda: {bed.client.get("http://steady/").json["version"] for _ in range(10)} == {"v1", "v2"}, what="both"
    )
    over = threading.Event()
    seen: list[Counter[int]] = [Counter() for _ in range(8)]

    def load(number: int) -> None:
        while not over.is_set():
            path = "/delay/0.5" if number % 2 else "/"
            seen[number][bed.client.get(f"http://steady{path}").status] += 1

    def more() -> None:
        before = [each.total() for each in seen]
        eventually(lambda: all(each.total() > some for each, some in zip(seen, before, strict=True)), what="answers")

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(load, number) for number in range(8)]
        try:
            more()
            assert leaver.stop() in (0, 143)
            more()
        finally:
            over.set()
        for each in running:
            each.result()
    assert stayer.popen.poll() is None
    assert {status for each in seen for status in each} == {200}, seen
    stayer.stop()


def test_gateway_waits_for_tcp_connections(bed: Bed) -> None:
    """A connection that is open when SIGTERM arrives goes on until its client is done."""
    outside = free_port()
    bed.mesh.apply(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: lines}\nspec:\n"
        "  selector: {istio: ingressgateway}\n"
        f"  servers: [{{port: {{number: {outside}, name: tcp, protocol: TCP}}, hosts: ['*']}}]\n---\n"
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: outside}\nspec:\n"
        "  hosts: ['*']\n  gateways: [lines]\n"
        f"  tcp:\n  - match: [{{port: {outside}}}]\n"
        "    route: [{destination: {host: lines, port: {number: 7000}}}]\n"
    )
    gateway = bed.mesh.gateway("ingress")
    address, _, port = gateway.addresses["listeners"][str(outside)].rpartition(":")
    with socket.create_connection((address, int(port)), 20) as connection:
        stream = connection.makefile("rwb", buffering=0)
        stream.write(b"before\n")
        assert stream.readline().endswith(b" before\n")
        gateway.popen.terminate()
        eventually(lambda: "going away" in gateway.tail(), what="the gateway to go away")
        for number in range(3):
            stream.write(b"after\n")
            assert stream.readline().endswith(b" after\n"), number
    assert gateway.popen.wait(60) in (0, 143)
    bed.mesh.delete_all("gateways")


def test_app_exit_code_is_the_command_s(bed: Bed) -> None:
    quick = bed.mesh.run("quick", sys.executable, "-c", "raise SystemExit(7)", port="", wait=False)
    assert quick.popen.wait(90) == 7


def test_control_plane_restart_loses_no_request(bed: Bed) -> None:
    """Requests go on while the control plane is killed, away for long, and back; then config is live again."""
    assert bed.client.get("http://web/").status == 200
    with traffic(bed.client.proxy, "http://web/"):
        bed.mesh.control_plane.popen.kill()
        bed.mesh.control_plane.popen.wait(60)
        killed = time.monotonic()
        # Long enough that agents and Envoys are deep in their back-off: the hard case.
        eventually(lambda: time.monotonic() - killed > 8, what="the outage to pass")
        bed.mesh.control_plane = bed.mesh.serve()
        newcomer = bed.mesh.run("newcomer")
        eventually(lambda: good(bed.client.get("http://newcomer/")), seconds=40, what="new config after the restart")
        eventually(lambda: '"web"' in bed.mesh.api("/v1/workloads").body.decode(), what="who was there before")
    newcomer.stop()
