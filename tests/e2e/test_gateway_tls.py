"""TLS at a gateway and towards others, with real Envoys: who gets in, who is let out to, and what is shown."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from e2e.gateway_certificates import write_mesh_certificates
from e2e.meshes import Answer, Mesh, eventually, good, outside_app, request, running_mesh
from e2e.test_goldens_validate import envoy
from e2e.tls_servers import Pair, TlsClient, ask, tls_server
from key_pairs import Authority, encoded
from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.model.proxies import Proxy, ProxyType
from ports import free_port

pytestmark = pytest.mark.e2e

IDLE = (sys.executable, "-c", "import signal; signal.pause()")
CA, CLIENTS, FOREIGN = Authority("servers"), Authority("clients"), Authority("foreign")
HOSTS = ("simple", "mutual", "optional", "named", "crl", "unverified", "exact.wild", "any.wild", "tcp")
SERVER = CA.pair(*(f"{host}.example.com" for host in HOSTS))
RIGHT = CLIENTS.pair("client.example.com")
REVOKED = CLIENTS.pair("client.example.com")
CERTIFICATES: dict[str, Pair | None] = {
    "none": None,
    "right": RIGHT,
    "other name": CLIENTS.pair("somebody.example.com"),
    "foreign CA": FOREIGN.pair("client.example.com"),
    "expired": CLIENTS.pair("client.example.com", expired=True),
    "revoked": REVOKED,
}
ADMITTED = {
    "simple": set(CERTIFICATES),
    "mutual": {"right", "other name", "revoked"},
    "optional": {"none", "right", "other name", "revoked"},
    "named": {"right", "revoked"},
    "crl": {"right", "other name"},
    "unverified": set(CERTIFICATES) - {"none"},
    "exact.wild": {"right", "other name", "revoked"},
    "any.wild": set(CERTIFICATES),
    "tcp": {"right", "other name", "revoked"},
}
"""By server: whose connections get through."""


def secret(name: str, pair: Pair, **more: bytes) -> str:
    values = {"tls.crt": pair[0], "tls.key": pair[1], **{key.replace("_", "."): value for key, value in more.items()}}
    data = ", ".join(f"{key}: {encoded(value)}" for key, value in values.items())
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\ndata: {{{data}}}\n---\n"


def server(name: str, tls: str, *, host: str = "", protocol: str = "HTTPS", port: int = 443) -> str:
    return (
        f"  - port: {{number: {port}, name: {name}, protocol: {protocol}}}\n"
        f'    hosts: ["{host or name + ".example.com"}"]\n    tls: {{{tls}}}\n'
    )


def gateway(*servers: str, name: str = "edge") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n"
        f"spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n{''.join(servers)}---\n"
    )


def rule(name: str, spec: str) -> str:
    return f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n{spec}---\n"


TO_ECHO = "{destination: {host: echo, port: {number: 80}}}"
ROUTES = rule("http", f'  hosts: ["*.example.com"]\n  gateways: [edge]\n  http: [{{route: [{TO_ECHO}]}}]\n') + rule(
    "tcp", f"  hosts: [tcp.example.com]\n  gateways: [edge]\n  tcp: [{{match: [{{port: 443}}], route: [{TO_ECHO}]}}]\n"
)
SECRETS = secret("servers", SERVER, ca_crt=CLIENTS.certificate) + secret(
    "revoking", SERVER, ca_crt=CLIENTS.certificate, ca_crl=CLIENTS.revocations(REVOKED[0])
)
EDGE = gateway(
    server("simple", "mode: SIMPLE, credentialName: servers"),
    server("mutual", "mode: MUTUAL, credentialName: servers"),
    server("optional", "mode: OPTIONAL_MUTUAL, credentialName: servers"),
    server("named", "mode: MUTUAL, credentialName: servers, subjectAltNames: [client.example.com]"),
    server("crl", "mode: MUTUAL, credentialName: revoking"),
    server("unverified", "mode: MUTUAL, credentialName: servers, insecureSkipVerify: true"),
    server("any", "mode: SIMPLE, credentialName: servers", host="*.wild.example.com"),
    server("exact", "mode: MUTUAL, credentialName: servers", host="exact.wild.example.com"),
    server("tcp", "mode: MUTUAL, credentialName: servers", protocol="TLS"),
)


class Bed:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.echo = mesh.run("echo", version="v1", wait=False)
        self.client = mesh.run("client", *IDLE, port="", wait=False)
        self.gateway = mesh.gateway(wait=False)
        mesh.wait_addresses(self.echo, self.client, self.gateway)

    def listener(self, port: int) -> tuple[str, int]:
        """Where the gateway listens for a port of a Gateway."""
        host, _, admin = self.gateway.addresses["admin"].rpartition(":")

        def found() -> tuple[str, int] | None:
            statuses = request(int(admin), "/listeners?format=json", address=host).json.get("listener_statuses", [])
            for status in statuses:
                if status["name"] == f"0.0.0.0_{port}":
                    bound = status["local_address"]["socket_address"]
                    return bound["address"], bound["port_value"]
            return None

        return eventually(found, what=f"port {port}")

    def stat(self, pattern: str) -> int:
        """The sum of the gateway's counters that match."""
        host, _, admin = self.gateway.addresses["admin"].rpartition(":")
        text = request(int(admin), f"/stats?filter={pattern}", address=host).body.decode()
        return sum(
            int(line.rpartition(":")[2]) for line in text.splitlines() if line.rpartition(":")[2].strip().isdigit()
        )


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield Bed(mesh)


KINDS = ("gateways", "virtualservices", "destinationrules", "serviceentries", "secrets")


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all(*KINDS)


@pytest.fixture
def client(bed: Bed, tmp_path: Path) -> TlsClient:
    """A client of the gateway's port 443, with all servers in place."""
    bed.mesh.apply(SECRETS + EDGE + ROUTES)
    found = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    eventually(lambda: found.get("simple.example.com").status == 200, what="HTTPS at the gateway")
    return found


def test_who_gets_in(client: TlsClient) -> None:
    """Nine servers on one port: each asks what its mode says, whoever comes; the most specific name wins."""
    found = {
        name: {whose for whose, pair in CERTIFICATES.items() if not client.refuses(f"{name}.example.com", pair)}
        for name in ADMITTED
    }
    assert found == ADMITTED
    assert client.refuses("nobody.example.org")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_versions_and_ciphers(bed: Bed, client: TlsClient) -> None:
    """TLS 1.2 is the floor unless a server says otherwise; ciphers are those that it names."""

    def spoken(host: str, highest: ssl.TLSVersion, ciphers: str = "") -> tuple[str | None, str] | None:
        context = client.context()
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, highest
        context.set_ciphers(f"{ciphers or 'DEFAULT'}:@SECLEVEL=0")
        try:
            with client.connected(host, context=context) as secure:
                cipher = secure.cipher()
                return secure.version(), cipher[0] if cipher else ""
        except OSError:
            return None

    both = ("simple.example.com", "any.wild.example.com")
    assert [spoken(host, ssl.TLSVersion.TLSv1_1) for host in both] == [None, None]
    assert [(spoken(host, ssl.TLSVersion.TLSv1_3) or "?")[0] for host in both] == ["TLSv1.3", "TLSv1.3"]
    old = "minProtocolVersion: TLSV1_1, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES128-SHA]"
    edge = EDGE.replace("SIMPLE, credentialName: servers", f"SIMPLE, credentialName: servers, {old}", 1)
    bed.mesh.apply(edge)
    eventually(lambda: spoken(both[0], ssl.TLSVersion.TLSv1_1) is not None, what="TLS 1.1")
    assert spoken(both[0], ssl.TLSVersion.TLSv1_1) == ("TLSv1.1", "ECDHE-ECDSA-AES128-SHA")
    assert spoken(both[0], ssl.TLSVersion.TLSv1_3) == ("TLSv1.2", "ECDHE-ECDSA-AES128-SHA")
    assert spoken(both[0], ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256") is None
    assert spoken(both[1], ssl.TLSVersion.TLSv1_1) is None


def test_passthrough_beside_termination(bed: Bed, client: TlsClient, tmp_path: Path) -> None:
    """By server name: what is passed through shows the certificate of the server behind, exact before wildcard."""
    first, second = CA.pair("a.pass.example.com"), CA.pair("b.pass.example.com")
    entries, routes = "", ""
    with tls_server(tmp_path, first, name="first") as one, tls_server(tmp_path, second, name="second") as other:
        for name, behind, sni in (("first", one, "a.pass.example.com"), ("second", other, "*.pass.example.com")):
            entries += service_entry(f"{name}.inside.example.com", behind.port, port=443, protocol="TLS", name=name)
            to = f"{{destination: {{host: {name}.inside.example.com, port: {{number: 443}}}}}}"
            match = f'{{port: 443, sniHosts: ["{sni}"]}}'
            routes += rule(
                name, f'  hosts: ["{sni}"]\n  gateways: [pass]\n  tls: [{{match: [{match}], route: [{to}]}}]\n'
            )
        passing = server("pass", "mode: PASSTHROUGH", host="*.pass.example.com", protocol="TLS")
        bed.mesh.apply(entries + gateway(passing, name="pass") + routes)

        def names() -> list[str]:
            return [client.get(f"{host}.pass.example.com").json["name"] for host in ("a", "b")]

        eventually(lambda: names() == ["first", "second"], what="each to be passed through")
        assert client.get("simple.example.com").status == 200


def test_redirect_to_https(bed: Bed) -> None:
    """A redirect whatever a client says of its connection: the gateway is the edge, and believes nobody."""
    plain = "  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: [shop.example.com]\n"
    bed.mesh.apply(gateway(plain + "    tls: {httpsRedirect: true}\n") + ROUTES)
    address, port = bed.listener(80)
    for headers in ({}, {"x-forwarded-proto": "https"}):
        answer = request(port, "/a?b=c", address=address, headers={"host": "shop.example.com", **headers})
        assert (answer.status, answer.headers["location"]) == (301, "https://shop.example.com/a?b=c")


def test_a_secret_that_is_missing_or_bad_takes_only_its_own_server_down(bed: Bed, client: TlsClient) -> None:
    """And its return brings it back, while connections to the others stay."""
    with client.connected("simple.example.com") as kept:
        broken = secret("revoking", (SERVER[0], RIGHT[1]), ca_crt=CLIENTS.certificate)
        for step in ("delete", "broken"):
            if step == "delete":
                answer = bed.mesh.api("/v1/config/secrets/default/revoking?wait=15", method="DELETE")
                assert answer.status == 200
            else:
                bed.mesh.apply(broken)
            eventually(lambda: client.refuses("crl.example.com", RIGHT), what="the server without its Secret to go")
            assert client.get("simple.example.com").status == 200
            assert ask(kept, "simple.example.com").status == 200
        bed.mesh.apply(SECRETS)
        eventually(lambda: client.get("crl.example.com", RIGHT).status == 200, what="the Secret's return")
        assert ask(kept, "simple.example.com").status == 200


def test_rotation_under_load_fails_nobody(bed: Bed, client: TlsClient) -> None:
    """Eight new certificates while requests run on kept and on new connections; what is shown last is the last."""
    stop, done = threading.Event(), [0, 0]
    failures: list[Exception] = []

    def on_one_connection() -> None:
        try:
            with client.connected("simple.example.com", context=context) as secure:
                while not stop.is_set():
                    assert ask(secure, "simple.example.com").status == 200
                    done[0] += 1
        except (OSError, AssertionError, http.client.HTTPException) as error:
            failures.append(error)

    def on_new_connections() -> None:
        try:
            while not stop.is_set():
                assert client.get("simple.example.com", context=context).status == 200
                done[1] += 1
        except (OSError, AssertionError, http.client.HTTPException) as error:
            failures.append(error)

    context = client.context()
    threads = [threading.Thread(target=work) for work in (on_one_connection, on_new_connections, on_new_connections)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        pair = CA.pair("simple.example.com")
        before = list(done)
        bed.mesh.apply(secret("servers", pair, ca_crt=CLIENTS.certificate))
        eventually(
            lambda: bool(failures) or all(now > then + 3 for now, then in zip(done, before, strict=True)),  # noqa: B023
            what="requests beside the rotation",
        )
    serial = x509.load_pem_x509_certificate(pair[0]).serial_number

    def shown() -> bool:
        with client.connected("simple.example.com") as secure:
            return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"").serial_number == serial

    eventually(shown, what="the last certificate")
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    print(f"requests on the kept connection, on new ones: {done}")


# --- towards others ------------------------------------------------------------------------------------------


def service_entry(host: str, endpoint: int, *, port: int = 80, protocol: str = "HTTP", name: str = "outside") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n"
        f"  hosts: [{host}]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n"
        f"  ports: [{{number: {port}, name: web, protocol: {protocol}}}]\n"
        f"  endpoints: [{{address: 127.0.0.1, ports: {{web: {endpoint}}}}}]\n---\n"
    )


def destination_rule(tls: str, *, selector: bool = False) -> str:
    selected = "  workloadSelector: {matchLabels: {app: client}}\n" if selector else ""
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: outside}\nspec:\n"
        f"  host: shop.example.org\n{selected}"
        f"  trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, tls: {{{tls}}}}}]}}\n---\n"
    )


_WAITED = 12.0
"""Seconds; a request that waits for what does not come on demand waits for 15."""


def out(bed: Bed) -> Answer:
    return bed.client.get("http://shop.example.org/")


@pytest.mark.parametrize("source", ["files", "secret"])
@pytest.mark.parametrize("mode", ["SIMPLE", "MUTUAL"])
def test_a_sidecar_originates_tls(bed: Bed, tmp_path: Path, mode: str, source: str) -> None:
    """HTTP from the application, TLS to the server; the cluster, fetched on demand, does not wait for its secret."""
    with tls_server(
        tmp_path, CA.pair("shop.example.org"), client_ca=CLIENTS.certificate if mode == "MUTUAL" else None
    ) as behind:
        tls, secrets = f"mode: {mode}", ""
        if source == "files":
            tls += f", caCertificates: {tmp_path}/ca.pem"
            (tmp_path / "ca.pem").write_bytes(CA.certificate)
            if mode == "MUTUAL":
                tls += f", clientCertificate: {tmp_path}/c.pem, privateKey: {tmp_path}/k.pem"
                (tmp_path / "c.pem").write_bytes(RIGHT[0])
                (tmp_path / "k.pem").write_bytes(RIGHT[1])
        else:
            tls += ", credentialName: partner"
            secrets = secret("partner", RIGHT, ca_crt=CA.certificate)
        bed.mesh.apply(
            secrets
            + service_entry("shop.example.org", behind.port)
            + destination_rule(tls, selector=source == "secret")
        )
        answer = out(bed)
        assert answer.status == 200, (answer.body, behind.refused)
        assert answer.seconds < _WAITED
        said = answer.json
        assert (said["sni"], said["alpn"], said["version"]) == ("shop.example.org", "http/1.1", "TLSv1.3")
        assert said["client"] == (["client.example.com"] if mode == "MUTUAL" else [])


@pytest.mark.parametrize(
    ("tls", "server_names", "status"),
    [
        ("mode: SIMPLE", ["other.example.org"], 503),
        ("mode: SIMPLE, subjectAltNames: [other.example.org]", ["other.example.org"], 200),
        ("mode: SIMPLE, sni: other.example.org", ["other.example.org"], 200),
        ("mode: SIMPLE, sni: other.example.org", ["shop.example.org"], 503),
        ("mode: SIMPLE, insecureSkipVerify: true", ["other.example.org"], 200),
    ],
)
def test_a_server_of_another_name_is_not_talked_to(
    bed: Bed, tmp_path: Path, tls: str, server_names: list[str], status: int
) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.certificate)
    verified = "" if "insecure" in tls else f", caCertificates: {tmp_path}/ca.pem"
    with tls_server(tmp_path, CA.pair(*server_names)) as behind:
        bed.mesh.apply(service_entry("shop.example.org", behind.port) + destination_rule(tls + verified))
        assert out(bed).status == status


def test_a_server_of_another_ca_or_a_revoked_one_is_not_talked_to(bed: Bed, tmp_path: Path) -> None:
    pair = CA.pair("shop.example.org")
    (tmp_path / "crl.pem").write_bytes(CA.revocations(pair[0]))
    with tls_server(tmp_path, pair) as behind:
        for ca, more, status in ((FOREIGN, "", 503), (CA, "", 200), (CA, f", caCrl: {tmp_path}/crl.pem", 503)):
            (tmp_path / f"{ca.name.rfc4514_string()}.pem").write_bytes(ca.certificate)
            tls = f"mode: SIMPLE, caCertificates: '{tmp_path}/{ca.name.rfc4514_string()}.pem'{more}"
            bed.mesh.apply(service_entry("shop.example.org", behind.port) + destination_rule(tls))
            eventually(lambda status=status: out(bed).status == status, what=f"status {status}")  # type: ignore[misc]


def test_a_host_that_is_resolved_by_its_name(bed: Bed, tmp_path: Path) -> None:
    """Without endpoints in the ServiceEntry: the proxy goes where the request wants to, with TLS."""
    (tmp_path / "ca.pem").write_bytes(CA.certificate)
    for names, status in ((["shop.localhost"], 200), (["other.example.org"], 503)):
        with tls_server(tmp_path, CA.pair(*names)) as behind:
            entry = service_entry("shop.localhost", behind.port, port=behind.port).replace("STATIC", "NONE")
            entry = "\n".join(line for line in entry.splitlines() if "endpoints" not in line) + "\n"
            policy = destination_rule(f"mode: SIMPLE, caCertificates: {tmp_path}/ca.pem")
            policy = policy.replace("shop.example.org", "shop.localhost").replace(
                "number: 80", f"number: {behind.port}"
            )
            bed.mesh.apply(entry + policy)
            assert bed.client.get(f"http://shop.localhost:{behind.port}/").status == status


def test_a_credential_that_is_missing_sends_nothing_and_its_arrival_helps(bed: Bed, tmp_path: Path) -> None:
    """Nothing in plain text, and no waiting for what may never come; a new Secret is used for new connections."""
    with tls_server(tmp_path, CA.pair("shop.example.org"), client_ca=CLIENTS.certificate) as behind:
        bed.mesh.apply(
            service_entry("shop.example.org", behind.port)
            + destination_rule("mode: MUTUAL, credentialName: partner", selector=True).replace(
                "tls:", "connectionPool: {http: {maxRequestsPerConnection: 1}}, tls:"
            )
        )
        answer = out(bed)
        assert (answer.status, answer.seconds < _WAITED) == (503, True)
        for name in ("first.example.com", "second.example.com"):
            bed.mesh.apply(secret("partner", CLIENTS.pair(name), ca_crt=CA.certificate))
            eventually(lambda name=name: out(bed).json["client"] == [name], what=f"the certificate of {name}")  # type: ignore[misc]


def test_a_cluster_that_was_rejected_is_used_once_it_is_right(bed: Bed, tmp_path: Path) -> None:
    """A file that is not there makes Envoy refuse the cluster; nobody else has to wait for that, nor it for ever."""
    client = bed.mesh.run("late", *IDLE, port="")
    with tls_server(tmp_path, CA.pair("shop.example.org")) as behind:
        tls = f"mode: SIMPLE, caCertificates: {tmp_path}/late.pem"
        bed.mesh.apply(service_entry("shop.example.org", behind.port))
        body = destination_rule(tls)
        # Not by `apply`, which wants everybody to have it; but what is asked for next is to be asked for with it.
        assert bed.mesh.api("/v1/config?wait=15", method="POST", body=body.encode()).status == 200
        assert client.get("http://shop.example.org/", timeout=30).status == 503
        assert good(client.get("http://echo/"))
        (tmp_path / "late.pem").write_bytes(CA.certificate)
        bed.mesh.apply(body.replace("SIMPLE", "SIMPLE, subjectAltNames: [shop.example.org]"))
        eventually(lambda: good(client.get("http://shop.example.org/")), what="the cluster that is right")
    client.stop()


def test_egress_gateway_originates_mutual_tls(bed: Bed, tmp_path: Path) -> None:
    """Sidecar, gateway, server outside: the credential is the gateway's, and the sidecar sends it plain HTTP."""
    with tls_server(tmp_path, CA.pair("shop.example.org"), client_ca=CLIENTS.certificate) as behind:
        plain = "  - port: {number: 8000, name: http, protocol: HTTP}\n    hosts: [shop.example.org]\n"
        bed.mesh.apply(gateway(plain, name="out"))
        to_shop = "{destination: {host: shop.example.org, port: {number: 80}}}"
        bed.mesh.apply(
            secret("partner", RIGHT, ca_crt=CA.certificate)
            + service_entry("shop.example.org", behind.port)
            + destination_rule("mode: MUTUAL, credentialName: partner")
            + rule("out", f"  hosts: [shop.example.org]\n  gateways: [out]\n  http: [{{route: [{to_shop}]}}]\n")
        )
        address, port = bed.listener(8000)
        to_gateway = "{destination: {host: gateway.example.org, port: {number: 80}}}"
        entry = service_entry("gateway.example.org", port, name="gateway").replace("127.0.0.1", address)
        bed.mesh.apply(
            entry + rule("to-gateway", f"  hosts: [shop.example.org]\n  http: [{{route: [{to_gateway}]}}]\n")
        )
        answer = eventually(lambda: good(out(bed)), what="the way through the gateway")
        assert (answer.json["sni"], answer.json["client"]) == ("shop.example.org", ["client.example.com"])


# --- the mesh's own certificates -----------------------------------------------------------------------------


@contextmanager
def static_gateway(folder: Path, documents: str) -> Iterator[tuple[TlsClient, Authority]]:
    """A gateway with certificates of the mesh, and without a control plane; its port 443."""
    mesh = write_mesh_certificates(folder)
    port, admin = free_port(), free_port()
    proxy = Proxy(
        type=ProxyType.GATEWAY, name="edge", namespace="default", addresses=("127.0.0.1",),
        labels={"istio": "ingressgateway"}, port_map={443: port}, certificates=True,
    )  # fmt: skip
    parsed = parse(documents.encode(), "mesh.yaml")
    state = build_state(parsed.objects, (), parse_mesh_config(b"{}", "mesh")[0])
    bootstrap = static_bootstrap(generate(state, proxy), proxy)
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = admin
    (folder / "bootstrap.json").write_text(json.dumps(bootstrap))
    command = [str(envoy()), "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log)
    try:
        eventually(lambda: request(admin, "/ready").status == 200, what="Envoy")
        yield TlsClient(folder=folder, address=("127.0.0.1", port), trusts=mesh.certificate), mesh
    finally:
        process.terminate()
        process.wait(30)


def mesh_context(client: TlsClient, pair: Pair | None, *alpn: str) -> ssl.SSLContext:
    """What a sidecar calls with: it checks the server's identity, not its name."""
    context = client.context(pair)
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    return context


def test_istio_mutual_takes_members_of_the_mesh(bed: Bed, tmp_path: Path) -> None:
    """HTTP and bytes; clients show a certificate of the mesh, and of the identity that is named."""
    named = "mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/default/sa/client']"
    with outside_app() as port:
        documents = (
            service_entry("echo.example.net", port)
            + gateway(
                server("istio", "mode: ISTIO_MUTUAL"),
                server("named", named),
                server("tcp", "mode: ISTIO_MUTUAL", protocol="TLS"),
            )
            + ROUTES.replace("host: echo,", "host: echo.example.net,")
        )
        with static_gateway(tmp_path, documents) as (client, mesh):
            whose = {
                "none": None,
                "client": mesh.pair("spiffe://cluster.local/ns/default/sa/client"),
                "other": mesh.pair("spiffe://cluster.local/ns/default/sa/other"),
                "foreign": FOREIGN.pair("spiffe://cluster.local/ns/default/sa/client"),
            }
            found = {
                name: {
                    who
                    for who, pair in whose.items()
                    if not client.refuses(f"{name}.example.com", context=mesh_context(client, pair, "istio-http/1.1"))
                }
                for name in ("istio", "named", "tcp")
            }
            assert found == {"istio": {"client", "other"}, "named": {"client"}, "tcp": {"client", "other"}}
            offers = {"istio": ("h2", "istio-h2"), "tcp": ("istio-peer-exchange", "istio")}
            selected = {}
            for name, offered in offers.items():
                context = mesh_context(client, whose["client"], *offered)
                with client.connected(f"{name}.example.com", context=context) as secure:
                    selected[name] = secure.selected_alpn_protocol()
            assert selected == {"istio": "h2", "tcp": None}
            # The application is told who called, and not what a client says of itself.
            context = mesh_context(client, whose["client"], "istio-http/1.1")
            with client.connected("istio.example.com", context=context) as secure:
                answer = ask(secure, "istio.example.com\r\nx-forwarded-client-cert: By=me\r\nx-forwarded-proto: http")
            headers = answer.json["headers"]
            assert "URI=spiffe://cluster.local/ns/default/sa/client" in headers["x-forwarded-client-cert"]
            assert "By=me" not in headers["x-forwarded-client-cert"]
            assert headers["x-forwarded-proto"] == "https"


def test_auto_passthrough_reaches_who_ends_mutual_tls(bed: Bed, tmp_path: Path) -> None:
    """By server name and the mesh's ALPN, unopened: the certificate that is shown is the workload's own."""
    with tls_server(tmp_path, CA.pair("workload.example.com"), client_ca=CLIENTS.certificate) as behind:
        entry = service_entry("reviews.global", behind.port).replace("MESH_EXTERNAL", "MESH_INTERNAL")
        labels = "labels: {security.istio.io/tlsMode: istio}, ports"
        documents = entry.replace("ports: {web", labels + ": {web") + gateway(
            server("auto", "mode: AUTO_PASSTHROUGH", host="*.global", protocol="TLS")
        )
        with static_gateway(tmp_path, documents) as (member, _):
            client = replace(member, trusts=CA.certificate)
            context = mesh_context(client, RIGHT, "istio-http/1.1", "http/1.1")
            name = "outbound_.80_._.reviews.global"
            answer = client.get(name, context=context)
            assert (answer.json["sni"], answer.json["client"]) == (name, ["client.example.com"])
            assert client.refuses(name, context=mesh_context(client, RIGHT, "http/1.1"))
            assert client.refuses("outbound_.81_._.reviews.global", context=context)
