"""CUSTOM policies on real Envoys: authorization servers over HTTP and gRPC, asked about what policies mark."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from e2e.authorized_workloads import (
    Connection,
    Document,
    Workload,
    admin,
    applications,
    bootstrap,
    policy,
    running_envoy,
    serving,
)
from lateen.envoy.messages import entry
from ports import free_ports

pytestmark = pytest.mark.e2e

APP = Workload(address="127.72.0.1", namespace="app")
SERVICE = "authorizer.app.svc.cluster.local"


# --- servers -------------------------------------------------------------------------------------------------


class _HttpAuthorizer(BaseHTTPRequestHandler):
    """Does what the request that it is asked about says in `x-ask`, and remembers what it was sent."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    asked: list[dict[str, Any]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append({"path": self.path, "method": self.command, "headers": headers, "body": body})
        wish = headers.get("x-ask", "")
        if wish == "crash":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response({"deny": 401, "error": 503}.get(wish, 200))
        for name in ("x-user", "x-why", "x-seen", "x-secret"):
            self.send_header(name, "from-server")
        self.send_header("content-length", "6")
        self.end_headers()
        self.wfile.write(b"answer")

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def http_authorizer(port: int) -> Iterator[list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []
    handler = type("Handler", (_HttpAuthorizer,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    with serving(server):
        yield asked


def _header(name: str, value: str) -> bytes:
    """A HeaderValueOption."""
    return entry(1, entry(1, name.encode()) + entry(2, value.encode()))


def _check_response(wish: bytes) -> bytes:
    """A CheckResponse, written by hand: status 1, denied 2 (status, headers, body), ok 3 (headers 2)."""
    if b"deny" in wish:
        denied = entry(1, b"\x08\xa3\x03") + entry(2, _header("x-why", "from-server")) + entry(3, b"answer")
        return entry(1, b"\x08\x07") + entry(2, denied)  # PERMISSION_DENIED; 419
    return entry(1, b"") + entry(3, entry(2, _header("x-user", "from-server")))


class _GrpcAuthorizer(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/envoy.service.auth.v3.Authorization/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self._check)

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.asked.append(request)
        if b"error" in request:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as asked")
        return _check_response(b"deny" if b"deny" in request else b"")


@contextmanager
def grpc_authorizer(port: int) -> Iterator[list[bytes]]:
    handler = _GrpcAuthorizer()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield handler.asked
    finally:
        server.stop(0).wait()


def authorizer_documents(port: int, protocol: str, namespace: str = "app") -> list[Document]:
    name = f"{protocol}-check"
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "authorizer", "namespace": namespace},
            "spec": {"ports": [{"name": name, "port": 9000, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "authorizer",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": "authorizer"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}],
            "ports": [{"name": name, "port": port}],
        },
    ]


class Guarded:
    """A workload whose requests an authorization server is asked about."""

    def __init__(self, http: int, tcp: int, admin_port: int, log: Path) -> None:
        self.address = (APP.address, http)
        self.tcp = (APP.address, tcp)
        self.admin_port = admin_port
        self.log = log

    def status(self, path: str = "/checked", headers: Mapping[str, str] | None = None) -> int:
        with Connection(self.address) as connection:
            return connection.request("GET", path, list((headers or {}).items())).status


@contextmanager
def guarded(
    folder: Path,
    provider: Mapping[str, Any],
    *policies: Document,
    protocol: str = "http",
    port: int = 1,
    more: Mapping[str, Any] | None = None,
) -> Iterator[Guarded]:
    http, tcp, admin_port = free_ports(3)
    log = folder / "access.log"
    settings = {"extensionProviders": [provider], "accessLogFile": str(log), **(more or {})}
    documents = [*policies, *APP.documents((http,), (tcp,)), *authorizer_documents(port, protocol)]
    config = bootstrap([APP], documents, None, mesh_config=yaml.safe_dump(settings), admin_port=admin_port)
    with ExitStack() as stack:
        stack.enter_context(applications((http,), (tcp,)))
        stack.enter_context(running_envoy(folder, config))
        yield Guarded(http, tcp, admin_port, log)


def http_provider(**more: Any) -> dict[str, Any]:
    return {"name": "mine", "envoyExtAuthzHttp": {"service": f"app/{SERVICE}", "port": 9000, **more}}


def grpc_provider(**more: Any) -> dict[str, Any]:
    return {"name": "mine", "envoyExtAuthzGrpc": {"service": SERVICE, "port": 9000, "timeout": "30s", **more}}


def custom(*paths: str, name: str = "mine") -> Document:
    spec = {
        "action": "CUSTOM",
        "provider": {"name": name},
        "rules": [{"to": [{"operation": {"paths": list(paths)}}]}] if paths else [{}],
    }
    return policy(f"custom-{name}", spec)


# --- HTTP ----------------------------------------------------------------------------------------------------


def test_an_http_server_decides_about_what_is_marked(tmp_path: Path) -> None:
    """Only marked requests are asked about; a DENY policy comes after it, and so does ALLOW."""
    refused = policy("refused", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/checked/no"]}}]}]})
    allowed = policy("allowed", {"rules": [{"to": [{"operation": {"paths": ["/checked*", "/free"]}}]}]})
    (port,) = free_ports(1)
    provider = http_provider(includeRequestHeadersInCheck=["x-ask"])
    with (
        http_authorizer(port) as asked,
        guarded(tmp_path, provider, custom("/checked*"), refused, allowed, port=port) as app,
    ):
        assert app.status("/free", {"x-ask": "deny"}) == 200
        assert not asked
        assert app.status("/checked") == 200
        assert app.status("/checked", {"x-ask": "deny"}) == 401
        assert app.status("/checked/no", {"x-ask": "deny"}) == 401
        assert app.status("/checked/no") == 403
        assert app.status("/other") == 403
        assert len(asked) == 4
        statistics = admin(app.admin_port, "/stats").splitlines()
        manager = f"http.inbound_{APP.address}_{app.address[1]};"
        assert f"{manager}.ext_authz.denied: 2" in statistics
        assert f"{manager}.ext_authz.ok: 2" in statistics
        assert f"{manager}.ext_authz.failure_mode_allowed: 0" in statistics
    assert "ext_authz_denied" in app.log.read_text()


def test_what_is_sent_to_and_taken_from_an_http_server(tmp_path: Path) -> None:
    """Headers, body and prefix go to the server, and its headers go on, exactly as the provider says."""
    (port,) = free_ports(1)
    provider = http_provider(
        pathPrefix="/check",
        includeRequestHeadersInCheck=["x-ask", "x-a-*", "*-id"],
        includeAdditionalHeadersInCheck={"x-extra": "more"},
        includeRequestBodyInCheck={"maxRequestBytes": 4, "allowPartialMessage": True},
        headersToUpstreamOnAllow=["X-User"],
        headersToDownstreamOnAllow=["x-seen"],
        headersToDownstreamOnDeny=["x-why"],
    )
    with http_authorizer(port) as asked, guarded(tmp_path, provider, custom(), port=port) as app:
        headers = [("x-a-1", "a"), ("trace-id", "t"), ("x-b", "b"), ("x-user", "forged"), ("cookie", "c")]
        with Connection(app.address) as connection:
            answer = connection.request("POST", "/thing?q=1", headers, body=b"0123456789")
        assert answer.status == 200
        sent = asked[0]
        assert (sent["method"], sent["path"], sent["body"]) == ("POST", "/check/thing?q=1", b"0123")
        assert {"x-a-1", "trace-id", "x-extra"} <= sent["headers"].keys()
        assert not {"x-b", "cookie", "x-user"} & sent["headers"].keys()
        arrived = dict(map(tuple, answer.received["headers"]))
        assert arrived["x-user"] == "from-server"
        assert "x-why" not in arrived
        assert answer.received["body"] == "0123456789"
        assert "x-seen" in answer.headers
        assert "x-secret" not in answer.headers
        with Connection(app.address) as connection:
            denied = connection.request("GET", "/thing", [("x-ask", "deny")])
        assert (denied.status, denied.body) == (401, b"answer")
        assert "x-why" in denied.headers
        assert "x-seen" not in denied.headers


@pytest.mark.parametrize("fail_open", [False, True])
@pytest.mark.parametrize("status", ["", "503"])
def test_a_server_that_cannot_say(tmp_path: Path, fail_open: bool, status: str) -> None:
    """A server that fails lets through only with `failOpen`; else the answer is 403, or as the provider says."""
    (port,) = free_ports(1)
    more = {"statusOnError": status} if status else {}
    provider = http_provider(failOpen=fail_open, includeRequestHeadersInCheck=["x-ask"], **more)
    expected = 200 if fail_open else int(status or 403)
    with guarded(tmp_path, provider, custom("/checked"), port=port) as app:
        assert app.status() == expected
        assert app.status("/free") == 200
        with http_authorizer(port):
            assert app.status(headers={"x-ask": "crash"}) == expected
            assert app.status(headers={"x-ask": "error"}) == expected
            assert app.status(headers={"x-ask": "deny"}) == 401


# --- gRPC ----------------------------------------------------------------------------------------------------


def test_a_grpc_server_decides_about_requests_and_connections(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with (
        grpc_authorizer(port) as asked,
        guarded(tmp_path, grpc_provider(), custom(), protocol="grpc", port=port) as app,
    ):
        with Connection(app.address) as connection:
            answer = connection.request("GET", "/")
        assert answer.status == 200
        assert ["x-user", "from-server"] in answer.received["headers"]
        with Connection(app.address) as connection:
            denied = connection.request("GET", "/", [("x-ask", "deny")])
        assert (denied.status, denied.body, denied.headers["x-why"]) == (419, b"answer", "from-server")
        assert app.status(headers={"x-ask": "error"}) == 403
        with Connection(app.tcp) as connection:
            assert connection.line(b"hello") == b"echo hello\n"
        assert len(asked) == 4


def test_a_grpc_server_that_is_away(tmp_path: Path) -> None:
    for fail_open, status, echoed in ((False, 403, b""), (True, 200, b"echo hello\n")):
        provider = grpc_provider(failOpen=fail_open)
        with guarded(tmp_path, provider, custom(), protocol="grpc", port=free_ports(1)[0]) as app:
            assert app.status() == status
            with Connection(app.tcp) as connection:
                assert connection.line(b"hello") == echoed


# --- what cannot be asked ------------------------------------------------------------------------------------


def test_without_a_server_what_is_marked_is_refused(tmp_path: Path) -> None:
    """No such provider, no such service, or two providers: nobody passes, and the log says by which policy."""
    elsewhere = {"name": "mine", "envoyExtAuthzHttp": {"service": "nobody.example.com", "port": 9000, "failOpen": True}}
    cases = (
        (http_provider(failOpen=True), [custom("/checked", name="other")]),
        (elsewhere, [custom("/checked")]),
        (http_provider(failOpen=True), [custom("/checked"), custom("/checked/2", name="other")]),
    )
    for provider, policies in cases:
        with guarded(tmp_path, provider, *policies) as app:
            assert app.status() == 403
            assert app.status("/free") == 200
            with Connection(app.tcp) as connection:
                assert connection.line(b"hello") == b""
        log = app.log.read_text()
        assert "rbac_access_denied_matched_policy[istio-ext-authz-" in log
        assert "-deny-due-to-bad-CUSTOM-action]" in log
