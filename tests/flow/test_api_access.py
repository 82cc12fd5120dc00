"""The command line and raw clients against the API on real sockets: tokens found, tokens kept, the Unix socket."""

from __future__ import annotations

import datetime as dt
import http.client
import io
import json
import os
import select
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flow.served_api import Served, served_api
from lateen.api import serving
from lateen.cli import security as commands
from lateen.cli.demo.control_plane import ControlPlane
from lateen.cli.main import run

SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}"
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    client.sendall(b"GET /v1/proxies HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n")
    print(client.recv(1000).decode())
"""
ISTIOD = "spiffe://cluster.local/ns/istio-system/sa/istiod"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def lateen(*words: str) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(words)
    assert "Traceback" not in err.getvalue()
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LATEEN_TOKEN", "LATEEN_TOKEN_FILE", "LATEEN_SERVER", "LATEEN_CA_FILE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with served_api(tmp_path) as served:
        served.security.access.token_file = str(token(tmp_path, "admin-token", "h.admin.s"))
        yield served


def token(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text + "\n")
    return folder / name


def lines(api: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in api.security.lines]


def test_the_servers_own_user_needs_no_token(api: Served, tmp_path: Path) -> None:
    """And that it has to look for one first is no refused attempt."""
    (tmp_path / "web.yaml").write_text(SERVICE)
    applied = lateen("apply", "-f", str(tmp_path / "web.yaml"), "--server", api.http)
    listed = lateen("get", "service.v1", "--server", api.http)

    assert (applied.code, listed.code) == (0, 0), applied.err
    assert [(line["action"], line["caller"], line["outcome"]) for line in lines(api)] == [
        ("apply", "the-admin", "done")
    ]


async def test_the_demo_is_the_servers_own_user_too(api: Served) -> None:
    plane = ControlPlane(api.http)
    await plane.workloads_ready(0)
    await plane.apply({"web.yaml": SERVICE}, wait=False)

    assert [(line["action"], line["outcome"]) for line in lines(api)] == [("apply", "done")]
    assert "h.admin.s" not in repr(plane)


def test_the_unix_socket_needs_none_either(api: Served) -> None:
    assert lateen("token", "revoke", "x", "--server", api.unix).code == 1
    assert lateen("token", "create", "--role", "viewer", "--name", "Ann", "--server", api.unix).code == 0
    [line] = lines(api)
    assert (line["how"], line["peer"], line["caller"]) == ("socket", f"uid {os.geteuid()}", f"uid {os.geteuid()}")


@pytest.mark.parametrize("form", ["flag", "value", "file"])
def test_a_token_that_is_given_is_the_one_that_is_used(
    api: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    file = token(tmp_path, "mine", "h.viewer.s")
    words = ["--token-file", str(file)] if form == "flag" else []
    if form == "value":
        monkeypatch.setenv("LATEEN_TOKEN", "h.viewer.s")
    if form == "file":
        monkeypatch.setenv("LATEEN_TOKEN_FILE", str(file))

    assert lateen("get", "vs", "--server", api.http, *words).code == 0
    refused = lateen("audit", "--server", api.http, *words)
    assert refused.code == 1
    assert "needs the role admin; the-viewer has viewer" in refused.err


def test_a_token_that_is_wrong_is_not_replaced_by_a_better_one(api: Served, tmp_path: Path) -> None:
    ended = lateen("get", "vs", "--server", api.http, "--token-file", str(token(tmp_path, "old", "an.old.one")))

    assert ended.code == 1
    assert "expired" in ended.err
    assert "lateen token create" in ended.err
    assert "an.old.one" not in ended.err
    assert api.security.access.asked == ["an.old.one"]


def test_who_cannot_read_the_file_is_told_how_to_get_a_token(api: Served, tmp_path: Path) -> None:
    (tmp_path / "admin-token").unlink()
    for words in (["get", "vs"], ["delete", "vs", "x"], ["token", "list"]):
        ended = lateen(*words, "--server", api.http)

        assert ended.code == 1
        assert "wants a token" in ended.err
        assert "lateen token create" in ended.err
    assert api.security.lines == []


def test_another_file_that_the_server_names_is_not_read(api: Served, tmp_path: Path) -> None:
    api.security.access.token_file = str(token(tmp_path, "id_rsa", "h.admin.s"))
    ended = lateen("get", "vs", "--server", api.http)

    assert ended.code == 1
    assert "is not called admin-token" in ended.err
    assert api.security.access.asked == []


def test_version_says_why_it_does_not_know(api: Served, tmp_path: Path) -> None:
    (tmp_path / "admin-token").unlink()
    ended = lateen("version", "--server", api.http)

    assert ended.code == 0
    assert f"control_plane: not told by {api.http}" in ended.out
    assert "wants a token" in ended.err


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve one fixed answer to each connection; yield the URL and what was received."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", received
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def test_a_redirect_is_not_followed(api: Served, tmp_path: Path) -> None:
    """Least of all with the token."""
    mine = token(tmp_path, "mine", "h.viewer.s")
    answer = f"HTTP/1.1 307 Look\r\nlocation: {api.http}/v1/version\r\ncontent-length: 0\r\n\r\n".encode()
    with answering(answer) as (url, received):
        ended = lateen("get", "vs", "--server", url, "--token-file", str(mine))

    assert ended.code == 3
    assert "redirects" in ended.err
    assert len(received) == 1
    assert api.security.access.asked == []


def test_a_401_repeats_the_request_once_only(tmp_path: Path) -> None:
    file = token(tmp_path, "admin-token", "h.admin.s")
    body = b'{"error": {"code": "unauthenticated", "message": "no"}}'
    answer = f"HTTP/1.1 401 No\r\nlateen-token-file: {file}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    with answering(answer) as (url, received):
        ended = lateen("get", "vs", "--server", url)

    assert ended.code == 1
    assert [b"authorization: bearer h.admin.s" in one.lower() for one in received] == [False, True]


def elsewhere() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no other address")
        return str(probe.getsockname()[0])


def test_a_token_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    """Neither one that was given, nor one that a server elsewhere names."""
    host, received = elsewhere(), []
    mine = token(tmp_path, "admin-token", "h.admin.s")
    body = b'{"error": {"code": "unauthenticated", "message": "this needs a token"}}'
    answer = f"HTTP/1.1 401 No\r\nlateen-token-file: {mine}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_server((host, 0)) as server:
        url = f"http://{host}:{server.getsockname()[1]}"

        def work() -> None:
            for _ in range(2):
                connection, _address = server.accept()
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=work)
        thread.start()
        given = lateen("get", "vs", "--server", url, "--token-file", str(mine))
        named = lateen("get", "vs", "--server", url)
        thread.join(10)

    assert given.code == 2
    assert "not sent" in given.err
    assert "https://" in given.err
    assert named.code == 1
    assert "h.admin.s" not in b"".join(received).decode() + given.err + named.err


def test_what_the_socket_says_of_its_peer_cannot_be_forged(api: Served) -> None:
    """Over TCP no header makes a caller the server's own user, and the peer in the log is who connected."""
    with socket.create_connection(("127.0.0.1", int(api.http.rpartition(":")[2]))) as client:
        client.sendall(
            b"POST /v1/tokens HTTP/1.1\r\nhost: localhost\r\npeer_uid: 0\r\nx-forwarded-for: 192.0.2.9\r\n"
            b"forwarded: for=192.0.2.9\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert lines(api)[0]["peer"] == "127.0.0.1"


def test_the_socket_is_its_owners_only(api: Served) -> None:
    assert stat.S_IMODE(api.path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
def test_another_user_is_nobody_on_the_socket() -> None:
    """Even where the mode of the file would let them in."""
    with tempfile.TemporaryDirectory() as folder, served_api(Path(folder)) as api:
        Path(folder).chmod(0o755)
        api.path.chmod(0o666)
        answer = ask_as_nobody(api.path)

        assert answer.startswith(b"HTTP/1.1 401 "), answer
        assert lateen("get", "vs", "--server", api.unix).code == 0


def ask_as_nobody(path: Path) -> bytes:
    python = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or sys.executable
    try:
        asked = subprocess.run([python, "-c", ASK, str(path)], user=65534, capture_output=True, check=False, cwd="/")
    except PermissionError:
        pytest.skip("nobody else can start this Python")
    return asked.stdout + asked.stderr


@pytest.mark.parametrize("shape", ["one header", "many headers", "path"])
def test_headers_are_bounded(api: Served, shape: str) -> None:
    """A client that never ends its headers is told so and hung up on."""
    begin, more = {
        "one header": (b"GET / HTTP/1.1\r\nx: ", b"y" * 8192),
        "many headers": (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 1024),
        "path": (b"GET /", b"y" * 8192),
    }[shape]
    sent = 0
    with socket.create_connection(("127.0.0.1", int(api.http.rpartition(":")[2])), timeout=10) as client:
        try:
            client.sendall(begin)
            while sent < 16 * 1024 * 1024:
                client.sendall(more)
                sent += len(more)
        except OSError:
            pass

    assert sent < 16 * 1024 * 1024


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nhost: loc"])
def test_a_client_that_is_too_slow_is_hung_up_on(api: Served, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(serving, "HEADER_SECONDS", 0.05)
    with socket.create_connection(("127.0.0.1", int(api.http.rpartition(":")[2])), timeout=10) as client:
        client.sendall(begun)
        try:
            answer = client.recv(100)
        except ConnectionResetError:
            answer = b""

    assert answer == b""


def test_a_client_between_two_requests_is_not(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first byte of a request must come within that time, too, on a machine that is busy.
    monkeypatch.setattr(serving, "HEADER_SECONDS", 2.0)
    host, _, port = api.http.removeprefix("http://").partition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=30)
    for pause in (2.5, 0.0):
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b'{"status":"ok"}'
        select.select([client.sock], [], [], pause)  # returns at once if the server hangs up
    client.close()


@dataclass(frozen=True)
class Signed:
    context: ssl.SSLContext
    roots: Path


def signed(folder: Path, *names: x509.GeneralName) -> Signed:
    """Return a server's TLS context with these names, under a root of its own."""
    now = dt.datetime.now(dt.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mesh")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )

    root = (
        builder(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        builder(x509.Name([]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    chain, roots = folder / "chain.pem", folder / "roots.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    roots.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return Signed(context, roots)


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.mark.parametrize(
    ("names", "trusted", "code"),
    [
        ([x509.UniformResourceIdentifier(ISTIOD)], True, 0),
        ([x509.DNSName("localhost"), x509.UniformResourceIdentifier(ISTIOD)], True, 0),
        ([x509.DNSName("localhost")], True, 3),
        ([x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/web")], True, 3),
        ([x509.UniformResourceIdentifier(ISTIOD), x509.UniformResourceIdentifier("spiffe://a/ns/b/sa/c")], True, 3),
        ([x509.UniformResourceIdentifier(ISTIOD)], False, 3),
    ],
    ids=["control plane", "with a name", "another name", "a workload", "two identities", "without --ca-file"],
)
def test_over_https_the_control_plane_is_known_by_its_identity(
    tmp_path: Path, names: list[x509.GeneralName], trusted: bool, code: int
) -> None:
    """A workload's certificate is of the same root, and no control plane's."""
    made = signed(tmp_path, *names)
    with served_api(tmp_path, made.context) as api:
        words = ["--ca-file", str(made.roots)] if trusted else []
        mine = token(tmp_path, "mine", "h.viewer.s")
        ended = lateen("get", "vs", "--server", api.https, "--token-file", str(mine), *words)

        assert ended.code == code, ended.err
        assert (api.security.access.asked == []) is (code != 0), "no token to whom is not trusted"
        if code:
            assert "--ca-file" in ended.err


def test_over_https_a_host_name_does_as_well(tmp_path: Path) -> None:
    made = signed(tmp_path, x509.DNSName("localhost"))
    with served_api(tmp_path, made.context) as api:
        url = api.https.replace("127.0.0.1", "localhost")
        mine = token(tmp_path, "mine", "h.viewer.s")

        assert lateen("get", "vs", "--server", url, "--token-file", str(mine), "--ca-file", str(made.roots)).code == 0


def test_the_token_alone_is_on_stdout(api: Served) -> None:
    joins = lateen("token", "create", "--service-account", "a/b", "--one-time", "--ttl", "5m", "--server", api.unix)
    calls = lateen("token", "create", "--role", "editor", "--name", "Ann", "--server", api.http)

    assert (joins.out, calls.out) == ("h.id-1.secret\n", "h.id-2.secret\n")
    assert "id-1: joins as a/b" in joins.err
    assert "once" in joins.err
    assert "id-2: editor of the API, as Ann" in calls.err
    assert "secret" not in joins.err + calls.err
    assert [wanted.seconds for wanted in api.security.operations.wanted] == [300, 3600]


def test_tokens_are_listed_and_revoked_by_a_beginning(api: Served) -> None:
    for name in ("Ann", "Bob"):
        lateen("token", "create", "--role", "editor", "--name", name, "--server", api.unix)
    table = lateen("token", "list", "--server", api.unix)
    several = lateen("token", "revoke", "id-", "--server", api.unix)
    revoked = lateen("token", "revoke", "id-2", "--server", api.unix)
    listed = json.loads(lateen("token", "list", "-o", "json", "--server", api.unix).out)

    assert table.out.splitlines()[0].split() == ["ID", "FOR", "WHO", "EXPIRES", "STATE"]
    assert several.code == 1
    assert "id-1, id-2" in several.err
    assert "revoked id-2 of Bob" in revoked.err
    assert [item["revoked"] for item in listed] == [False, True]


@pytest.mark.parametrize("words", ["token list", "audit", "ca show", "ca rotate --force"])
def test_tables_fit_80_columns(api: Served, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lateen("token", "create", "--role", "editor", "--name", "Ann " * 50 + "x", "--server", api.unix)
    lateen("token", "create", "--service-account", "a/" + "b" * 200, "--server", api.unix)
    ended = lateen(*words.split(), "--server", api.unix)

    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) > 1
    assert max(map(len, ended.out.splitlines())) <= 80


def test_the_authority_is_shown(api: Served) -> None:
    shown = lateen("ca", "show", "--server", api.unix)
    assert "abababababababab" in shown.out
    assert "trust domain cluster.local; no rotation" in shown.err
    assert lateen("ca", "show", "--pem", "--server", api.unix).out == "PEM\n"
    assert json.loads(lateen("ca", "show", "-o", "json", "--server", api.unix).out)["trust_domain"] == "cluster.local"


def test_a_rotation_is_waited_for_and_says_who_is_missing(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    operations = api.security.operations
    looks = 0

    def look(show: Callable[[], Any] = operations.ca) -> Any:
        nonlocal looks
        looks += 1
        if looks > 3:
            operations.missing = ()
        return show()

    monkeypatch.setattr(operations, "ca", look)
    monkeypatch.setattr(commands, "POLL_SECONDS", 0.01)
    ended = lateen("ca", "rotate", "--wait", "--server", api.unix)

    assert ended.code == 0
    assert "missing: reviews-v1-1.default" in ended.err
    assert "no rotation is under way" in ended.err


def test_a_rotation_that_takes_too_long_is_a_timeout(api: Served) -> None:
    ended = lateen("ca", "rotate", "intermediate", "--wait", "--timeout", "0", "--server", api.unix)
    again = lateen("ca", "rotate", "--server", api.unix)

    assert ended.code == 4
    assert "reviews-v1-1.default" in ended.err
    assert again.code == 1
    assert "--force goes on" in again.err


def test_a_certificate_with_a_key_of_this_host(api: Served, tmp_path: Path) -> None:
    """The key is in its file only: not in what was sent, not in what was printed."""
    out = tmp_path / "made"
    ended = lateen("ca", "issue", "--service-account", "shop/web", "--out", str(out), "--server", api.unix)
    key = (out / "key.pem").read_text()
    secret = key.splitlines()[1]

    assert ended.code == 0, ended.err
    assert "PRIVATE KEY" in key
    assert (out / "cert-chain.pem").read_text().startswith("chain of ")
    assert (out / "root-cert.pem").read_text() == "roots"
    assert "spiffe://cluster.local/ns/shop/sa/web" in ended.err
    assert secret not in ended.out + ended.err + b"".join(api.security.lines).decode()


def test_a_csr_is_signed_to_stdout(api: Served, tmp_path: Path) -> None:
    csr = tmp_path / "web.csr"
    csr.write_text("-----BEGIN CERTIFICATE REQUEST-----\n")
    ended = lateen("ca", "issue", "--service-account", "shop/web", "--csr", str(csr), "--server", api.unix)

    assert ended.code == 0
    assert ended.out == "chain of 36\n"


def test_the_audit_log_is_shown(api: Served) -> None:
    lateen("token", "create", "--role", "viewer", "--name", "Ann", "--server", api.http)
    lateen("token", "revoke", "id-1", "--server", api.unix)
    table = lateen("audit", "--server", api.unix).out.splitlines()
    records = json.loads(lateen("audit", "-o", "json", "--limit", "1", "--server", api.unix).out)

    assert table[0].split() == ["TIME", "WHO", "ACTION", "ABOUT", "OUTCOME"]
    assert "token revoke" in table[1]
    assert "token create" in table[2]
    assert "viewer Ann, Token id-1" in table[2]
    assert [record["action"] for record in records] == ["token revoke"]
