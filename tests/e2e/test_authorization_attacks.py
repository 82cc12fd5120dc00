"""Attempts to get round AuthorizationPolicies, on real Envoys: whatever the trick, what was judged is what arrives."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.authorized_workloads import (
    Authority,
    Connection,
    Document,
    Workload,
    applications,
    bootstrap,
    policy,
    running_envoy,
    serving,
)
from ports import free_ports

pytestmark = pytest.mark.e2e

APP = Workload(address="127.71.0.1", namespace="app")
FRIEND = "spiffe://cluster.local/ns/alpha/sa/web"
STRANGER = "spiffe://cluster.local/ns/alpha/sa/stranger"


@contextmanager
def guarded(
    folder: Path, *policies: Document, authority: Authority | None = None, mesh_config: str = ""
) -> Iterator[tuple[str, int]]:
    """Run a workload with policies; yields where it listens."""
    http, tcp, admin_port = free_ports(3)
    documents = [*policies, *APP.documents((http,), (tcp,))]
    config = bootstrap([APP], documents, authority, mesh_config=mesh_config, admin_port=admin_port)
    with applications((http,), (tcp,)), running_envoy(folder, config):
        yield APP.address, http


# --- identities ----------------------------------------------------------------------------------------------

FORGED = (
    ("x-forwarded-client-cert", f"By=spiffe://cluster.local/ns/app/sa/server;Hash=0;URI={FRIEND}"),
    ("x-envoy-peer-metadata-id", "sidecar~10.0.0.1~web.alpha~alpha.svc.cluster.local"),
    ("x-envoy-internal", "true"),
    ("x-envoy-external-address", "127.0.0.1"),
    ("x-envoy-original-path", "/"),
    ("x-istio-attributes", FRIEND),
    ("x-client-principal", FRIEND),
)


def test_nobody_becomes_another_by_a_header(tmp_path: Path) -> None:
    """A peer is who its certificate's URI says. Headers, other names of the certificate and none at all say nothing.

    A DNS name of the form `spiffe://…` would count, as Envoy looks at those too: the mesh's authority issues none.
    """
    authority = Authority(tmp_path)
    known = policy("friends", {"rules": [{"from": [{"source": {"principals": [FRIEND.removeprefix("spiffe://")]}}]}]})
    strangers = {
        "no certificate": authority.client(),
        "another identity": authority.client(STRANGER),
        "a DNS name beside the identity": authority.client(STRANGER, dns=("web.alpha.svc.cluster.local",)),
        "the subject alone": authority.client(common_name=FRIEND),
        "a longer name": authority.client(f"{FRIEND}-2"),
        "a longer path": authority.client(f"{FRIEND}/x"),
        "a longer trust domain": authority.client(FRIEND.replace("cluster.local", "x.cluster.local")),
        "other case": authority.client(FRIEND.replace("web", "Web")),
    }
    with guarded(tmp_path, known, authority=authority) as address:
        with Connection(address, authority.client(FRIEND)) as connection:
            assert connection.request("GET", "/").status == 200
        for name, tls in strangers.items():
            with Connection(address, tls) as connection:
                assert connection.request("GET", "/").status == 403, name
                for header in FORGED:
                    assert connection.request("GET", "/", [header]).status == 403, (name, header)


def test_namespaces_and_accounts_are_whole_parts_of_an_identity(tmp_path: Path) -> None:
    """No identity is of a namespace because its name holds it somewhere."""
    authority = Authority(tmp_path)
    source = {"source": {"namespaces": ["alpha"]}}, {"source": {"serviceAccounts": ["beta/web"]}}
    near = policy("near", {"rules": [{"from": list(source)}]})
    passing = {FRIEND: 200, "spiffe://cluster.local/ns/beta/sa/web": 200}
    refused = (
        "spiffe://cluster.local/ns/alpha-2/sa/web",
        "spiffe://cluster.local/ns/x-alpha/sa/web",
        "spiffe://cluster.local/ns/beta/sa/alpha",
        "spiffe://cluster.local/ns/beta/sa/web-2",
        "spiffe://cluster.local/ns/beta/sa/x-web",
        "spiffe://cluster.local/ns/bet/sa/web",
        "spiffe://cluster.local/x/ns/alpha/sa/web",
    )
    with guarded(tmp_path, near, authority=authority) as address:
        for uri, status in (passing | dict.fromkeys(refused, 403)).items():
            with Connection(address, authority.client(uri)) as connection:
                assert connection.request("GET", "/").status == status, uri
        with Connection(address, authority.client(common_name="x/ns/alpha/sa/web")) as connection:
            assert connection.request("GET", "/").status == 403


def test_the_address_of_a_connection_is_not_what_a_header_says(tmp_path: Path) -> None:
    blocked = policy("blocked", {"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["127.0.0.2"]}}]}]})
    with guarded(tmp_path, blocked) as address:
        for header in (("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.1"), ("forwarded", "for=192.0.2.1")):
            with Connection(address, source="127.0.0.2") as connection:
                assert connection.request("GET", "/", [header]).status == 403
            with Connection(address, source="127.0.0.3") as connection:
                assert connection.request("GET", "/", [(header[0], "127.0.0.2")]).status == 200


# --- paths ---------------------------------------------------------------------------------------------------

MODES = ("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
ADMIN = policy("admin", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin", "/admin/*"]}}]}]})
ATTACKS: Mapping[str, tuple[int, int, int, int]] = {
    # path: what each mode answers, in the order of MODES
    "/admin": (403, 403, 403, 403),
    "/admin/x": (403, 403, 403, 403),
    "/admin?x=/public": (403, 403, 403, 403),
    "/admin#x": (400, 400, 400, 400),
    "/public#/../admin": (400, 400, 400, 400),
    "http://app/admin": (403, 403, 403, 403),
    "http://other/x/../admin": (200, 403, 403, 403),
    "/./admin": (200, 403, 403, 403),
    "/x/../admin": (200, 403, 403, 403),
    "/../admin": (200, 403, 403, 403),
    "/%2e/admin": (200, 403, 403, 403),
    "/x/%2e%2e/admin": (200, 403, 403, 403),
    "/x/.%2E/admin": (200, 403, 403, 403),
    "/%61dmin": (200, 403, 403, 403),
    "/x\\..\\admin": (200, 403, 403, 403),
    "\\admin": (400, 400, 400, 400),
    "//admin": (200, 200, 403, 403),
    "/x//../admin": (200, 200, 200, 200),
    "///admin//x": (200, 200, 403, 403),
    "/%2fadmin": (200, 200, 200, 403),
    "/x%2f..%2fadmin": (200, 200, 200, 403),
    "/x/..%2fadmin": (200, 200, 200, 403),
    "/x/..%5cadmin": (200, 200, 200, 403),
    "/%5cadmin": (200, 200, 200, 403),
    "/x/..;/admin": (200, 403, 403, 403),
    "/x/..;a=1/admin": (200, 403, 403, 403),
    # Other paths to whoever reads them by RFC 3986, as Envoy and Istio do: the guide says so.
    "/ADMIN": (200, 200, 200, 200),
    "/admin;x=1": (200, 200, 200, 200),
    "/x/%2e%2e;/admin": (200, 200, 200, 200),
    "/%2561dmin": (200, 200, 200, 200),
}


@pytest.mark.parametrize("number", range(len(MODES)), ids=MODES)
def test_paths_are_normalized_before_they_are_judged(tmp_path: Path, number: int) -> None:
    """Each mode refuses what Istio documents; and what passes arrives as it was judged, which is not `/admin`."""
    mesh_config = f"pathNormalization: {{normalization: {MODES[number]}}}"
    with guarded(tmp_path, ADMIN, mesh_config=mesh_config) as address:
        found: dict[str, int] = {}
        for path in ATTACKS:
            with Connection(address) as connection:
                answer = connection.request("GET", path)
            found[path] = answer.status
            if answer.status == 200:
                arrived = answer.received["path"].partition("?")[0]
                assert arrived != "/admin", path
                assert not arrived.startswith("/admin/"), path
    assert found == {path: answers[number] for path, answers in ATTACKS.items()}


def test_paths_are_normalized_without_being_asked(tmp_path: Path) -> None:
    """The default is BASE, Istio's."""
    with guarded(tmp_path, ADMIN) as address, Connection(address) as connection:
        assert connection.request("GET", "/x/../admin").status == 403
        assert connection.request("GET", "//admin").status == 200


def test_allowed_paths_cannot_be_left(tmp_path: Path) -> None:
    """A prefix that is allowed is no way to its neighbours."""
    public = policy("public", {"rules": [{"to": [{"operation": {"paths": ["/public/*", "/users/{*}/photo"]}}]}]})
    mesh_config = "pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}"
    refused = (
        *(
            "/public",
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..%2fadmin",
            "/public/..\\admin",
            "/PUBLIC/x",
        ),
        *("/users/a/b/photo", "/users//photo", "/users/a%2fb/photo", "/users/a/photo/x", "/users/a/photo/"),
    )
    with guarded(tmp_path, public, mesh_config=mesh_config) as address:
        with Connection(address) as connection:
            for path in ("/public/x", "/public//x", "/public/a/../b", "/users/ann/photo", "/users/ann/photo?size=1"):
                assert connection.request("GET", path).status == 200, path
        for path in refused:
            with Connection(address) as connection:
                assert connection.request("GET", path).status in (400, 403), path


# --- hosts ---------------------------------------------------------------------------------------------------

SECRET = policy(
    "secret", {"action": "DENY", "rules": [{"to": [{"operation": {"hosts": ["secret.example", "*.secret.example"]}}]}]}
)
Sent = tuple[str, str | None, Sequence[tuple[str, str]]]
DISGUISES: tuple[Sent, ...] = (
    ("/", "secret.example", ()),
    ("/", "SECRET.example", ()),
    ("/", "secret.example:80", ()),
    ("/", "secret.example:", ()),
    ("/", "secret.example.", ()),
    ("/", "Secret.Example.:8080", ()),
    ("/", "a.secret.example:1", ()),
    ("/", "A.b.secret.example.", ()),
    ("http://secret.example/", "open.example", ()),
    ("http://SECRET.example:80/", "open.example", ()),
    ("/", "open.example", (("host", "secret.example"),)),
    ("/", "secret.example", (("host", "open.example"),)),
)


def test_a_host_that_is_refused_is_refused_however_it_is_written(tmp_path: Path) -> None:
    """Case, a port, a dot at the end, an absolute URL and a second Host change nothing."""
    with guarded(tmp_path, SECRET) as address:
        for path, host, headers in DISGUISES:
            with Connection(address) as connection:
                answer = connection.request("GET", path, headers, host=host)
            assert answer.status in (400, 403), (path, host, headers)
        for host in ("open.example", "open.example:80", "secret.example.org", "notsecret.example"):
            with Connection(address) as connection:
                assert connection.request("GET", "/", host=host).status == 200, host


def test_a_host_that_is_allowed_is_allowed_as_it_is_written(tmp_path: Path) -> None:
    """As under Istio: another port or a dot at the end are other hosts, whose entries must be written."""
    opened = policy("open", {"rules": [{"to": [{"operation": {"hosts": ["open.example", "ports.example:*"]}}]}]})
    with guarded(tmp_path, opened) as address:
        for host, status in {
            "open.example": 200,
            "OPEN.example": 200,
            "open.example:80": 403,
            "open.example.": 403,
            "open.example.evil": 403,
            "ports.example:1": 200,
            "ports.example": 403,
        }.items():
            with Connection(address) as connection:
                assert connection.request("GET", "/", host=host).status == status, host
        with Connection(address) as connection:
            assert connection.request("GET", "http://evil.example/", host="open.example").status == 403
        with Connection(address) as connection:
            assert connection.request("GET", "/", [("host", "open.example")], host="evil.example").status in (400, 403)


# --- what is known to be open --------------------------------------------------------------------------------


def test_a_server_that_speaks_first_is_heard_before_the_verdict(tmp_path: Path) -> None:
    """Envoy judges bytes by the caller's first one: until then the server's are passed on. The guide says so."""
    http, tcp, admin_port = free_ports(3)
    nobody = policy("nobody", {})
    config = bootstrap([APP], [nobody, *APP.documents((http,), (tcp,))], None, admin_port=admin_port)
    with (
        serving(Greeter(("127.0.0.1", tcp), Greeting)),
        running_envoy(tmp_path, config),
        Connection((APP.address, tcp)) as connection,
    ):
        assert connection.line_unasked() == b"hello\n"
        assert connection.line(b"ping") == b""


class Greeter(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Greeting(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"hello\n")
        for line in self.rfile:
            self.wfile.write(line)
