"""Where a sidecar calls, against real Envoy: egress listeners, an egress proxy, names looked up when called."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from e2e.meshes import Answer, Mesh, Process, eventually, good, outside_app, request, running_mesh
from e2e.tls_servers import TlsClient, tls_server
from key_pairs import Authority, encoded, key_pair
from ports import free_port

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, kw_only=True)
class Bed:
    mesh: Mesh
    client: Process
    gateway: Process


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("outbound-fields")
    with running_mesh(folder) as mesh:
        echo = mesh.run("echo", port="80/http", wait=False)
        other = mesh.run("other", port="9080/http", wait=False)
        client = mesh.run("client", sys.executable, "-c", "import signal; signal.pause()", port="", wait=False)
        gateway = mesh.gateway(wait=False)
        mesh.wait_addresses(echo, other, client, gateway)
        yield Bed(mesh=mesh, client=client, gateway=gateway)


@pytest.fixture
def bed(running: Bed) -> Iterator[Bed]:
    yield running
    running.mesh.delete_all(
        "sidecars", "serviceentries", "peerauthentications", "secrets", "gateways", "virtualservices"
    )


def sidecar(egress: str, *, more: str = "", app: str = "client") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: calls}\nspec:\n"
        f"  workloadSelector: {{labels: {{app: {app}}}}}\n{more}"
        f"{f'  egress:{chr(10)}' if egress else ''}{egress}"
    )


def get_unix(path: Path, target: str, host: str) -> Answer:
    """One HTTP/1.1 request over a Unix socket."""
    import http.client

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Answer(response.status, dict(response.getheaders()), response.read(), 0)


def test_an_egress_listener_serves_the_hosts_that_it_lists(bed: Bed) -> None:
    """By Host header, at its address; every other name is refused there, and the proxy listener goes on."""
    port = free_port()
    bed.mesh.apply(
        sidecar(
            f"  - port: {{number: 80, protocol: HTTP, name: http}}\n    bind: 127.0.0.1\n    captureMode: NONE\n"
            f"    hosts: ['./echo.default.svc.cluster.local']\n"
            f"  - port: {{number: {port}, protocol: HTTP_PROXY, name: proxy}}\n    bind: 127.0.0.1\n"
            f"    hosts: ['./*']\n"
            f"  - hosts: ['./*']\n"
        )
    )

    def through(host: str, at: int) -> Answer:
        return request(at, "/", headers={"host": host})

    answer = eventually(lambda: good(through("other:9080", port)), what="the proxy of the Sidecar")
    assert answer.json["app"] == "other"
    assert through("echo", port).json["app"] == "echo"
    assert through("nobody.example.org", port).status == 502
    assert bed.client.get("http://other:9080/").json["app"] == "other"


def test_an_egress_listener_on_a_unix_socket(bed: Bed, tmp_path: Path) -> None:
    path = tmp_path / "calls.sock"
    bed.mesh.apply(
        sidecar(
            f"  - port: {{number: 0, protocol: HTTP, name: http}}\n    bind: unix://{path}\n"
            "    hosts: ['./echo.default.svc.cluster.local']\n  - hosts: ['./*']\n"
        )
    )
    answer = eventually(lambda: good(get_unix(path, "/u", "echo")), what="the socket")
    assert (answer.json["app"], answer.json["target"]) == ("echo", "/u")
    assert get_unix(path, "/u", "other").status == 502


def test_an_egress_listener_for_bytes(bed: Bed) -> None:
    port = free_port()
    with outside_app() as behind:
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db}\nspec:\n"
            f"  hosts: [db.example.org]\n  ports: [{{number: {port}, name: tcp, protocol: TCP}}]\n"
            f"  resolution: STATIC\n  endpoints: [{{address: 127.0.0.1, ports: {{tcp: {behind}}}}}]\n---\n"
            + sidecar(
                f"  - port: {{number: {port}, protocol: TCP, name: tcp}}\n    captureMode: NONE\n"
                "    bind: 127.0.0.1\n    hosts: ['*/db.example.org']\n  - hosts: ['./*']\n"
            )
        )
        answer = eventually(lambda: good(request(port, "/bytes")), what="the service behind the listener")
        assert answer.json["app"] == "outside"


def test_an_egress_proxy_takes_what_nobody_knows(bed: Bed) -> None:
    bed.mesh.apply(
        sidecar(
            "",
            more="  outboundTrafficPolicy:\n    mode: ALLOW_ANY\n"
            "    egressProxy: {host: other.default.svc.cluster.local, port: {number: 9080}}\n",
        )
    )
    answer = eventually(lambda: good(bed.client.get("http://nobody.example.org/x")), what="the egress proxy")
    assert (answer.json["app"], answer.json["host"]) == ("other", "nobody.example.org")
    assert bed.client.get("http://echo/").json["app"] == "echo"


def test_names_of_a_dynamic_service_are_looked_up(bed: Bed) -> None:
    """Every name that the wildcard covers; under REGISTRY_ONLY, so that nothing else lets it pass."""
    with outside_app() as port:
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: wild}\nspec:\n"
            f"  hosts: ['*.localhost']\n  ports: [{{number: {port}, name: http, protocol: HTTP}}]\n"
            "  resolution: DYNAMIC_DNS\n---\n"
            + sidecar("  - hosts: ['*/*']\n", more="  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
        )
        answer = eventually(lambda: good(bed.client.get(f"http://a.localhost:{port}/")), what="a name of the wildcard")
        assert answer.json["app"] == "outside"
        assert bed.client.get(f"http://127.0.0.1:{port}/").status == 502


def test_a_port_of_a_workload_with_tls_of_its_own(bed: Bed, tmp_path: Path) -> None:
    """The sidecar ends it with the Secret's certificate, once mutual TLS is off for the port."""
    public, private = key_pair("other.example.org")
    (tmp_path / "trusted.pem").write_bytes(public)
    context = ssl.create_default_context(cafile=str(tmp_path / "trusted.pem"))

    def answered() -> bytes:
        with (
            closing(socket.create_connection((address_of(bed, "other"), 9443), 20)) as plain,
            context.wrap_socket(plain, server_hostname="other.example.org") as secure,
        ):
            secure.sendall(b"GET /tls HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n")
            found = b""
            while more := secure.recv(65536):
                found += more
            return found if b" 200 " in found.partition(b"\r\n")[0] else b""

    with outside_app() as port:
        bed.mesh.apply(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: own-tls}\ntype: kubernetes.io/tls\n"
            f"data: {{tls.crt: {encoded(public)}, tls.key: {encoded(private)}}}\n---\n"
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: off}\nspec:\n"
            "  selector: {matchLabels: {app: other}}\n  portLevelMtls: {9443: {mode: DISABLE}}\n---\n"
            + sidecar(
                "",
                app="other",
                more="  ingress:\n  - port: {number: 9443, protocol: HTTPS, name: https}\n"
                f"    defaultEndpoint: 127.0.0.1:{port}\n"
                "    tls: {mode: SIMPLE, credentialName: own-tls}\n",
            )
        )
        reply = eventually(answered, what="TLS at the sidecar")
    assert b"outside" in reply


def test_a_gateway_sends_the_rest_to_its_default_endpoint(bed: Bed) -> None:
    """Requests for a host without rules, and bytes of a port without."""
    with outside_app() as port:
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: rest}\nspec:\n"
            "  selector: {istio: ingressgateway}\n  servers:\n"
            "  - port: {number: 8085, name: http, protocol: HTTP}\n    hosts: ['*']\n"
            f"    defaultEndpoint: 127.0.0.1:{port}\n"
            "  - port: {number: 8086, name: tcp, protocol: TCP}\n    hosts: ['*']\n"
            f"    defaultEndpoint: 127.0.0.1:{port}\n"
        )

        def rest(number: int) -> Answer | None:
            # Envoy shows a listener a moment before its workers take connections.
            address, bound = listener(bed.gateway, number)
            return good(request(bound, "/rest", address=address, headers={"host": "any.example.org"}))

        for number in (8085, 8086):
            answer = eventually(partial(rest, number), what="the default endpoint")
            assert (answer.json["app"], answer.json["host"]) == ("outside", "any.example.org")


def listener(gateway: Process, number: int) -> tuple[str, int]:
    """Where a gateway listens for a port."""
    lines = admin(gateway, "/listeners?format=text").splitlines()
    where = next((line.partition("::")[2] for line in lines if f"_{number}::" in line), "")
    assert where, lines
    host, _, bound = where.rpartition(":")
    return host, int(bound)


def test_names_of_tls_are_looked_up_too(bed: Bed, tmp_path: Path) -> None:
    """By the server name of a connection that a gateway passes on."""
    ca = Authority("servers")
    with tls_server(tmp_path, ca.pair("a.localhost")) as server:
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: wild}\nspec:\n"
            f"  hosts: ['*.localhost']\n  ports: [{{number: {server.port}, name: tls, protocol: TLS}}]\n"
            "  resolution: DYNAMIC_DNS\n---\n"
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: out}\nspec:\n"
            "  selector: {istio: ingressgateway}\n  servers:\n"
            "  - {port: {number: 8443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}\n---\n"
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: out}\nspec:\n"
            "  hosts: ['*.localhost']\n  gateways: [out]\n  tls:\n  - match: [{sniHosts: ['*.localhost']}]\n"
            f"    route: [{{destination: {{host: '*.localhost', port: {{number: {server.port}}}}}}}]\n"
        )
        address = eventually(lambda: listener(bed.gateway, 8443), what="the listener")
        client = TlsClient(folder=tmp_path, address=address, trusts=ca.certificate)
        answer = eventually(lambda: client.get("a.localhost"), what="the server behind the name")
    assert answer.json["sni"] == "a.localhost"


def admin(process: Process, path: str) -> str:
    host, _, port = process.addresses["admin"].removeprefix("http://").rpartition(":")
    return request(int(port), path, address=host).body.decode()


def address_of(bed: Bed, service: str) -> str:
    items = bed.mesh.api("/v1/workloads").json["items"]
    return str(next(item["address"] for item in items if item["service"] == service))
