"""The guides' YAML does on real Envoy what the guides promise. One mesh for all of them.

Two versions of `reviews` (v1 in eu/a, v2 in us/b), two of `ledger` that speaks bytes, a caller in eu/a, and a gateway.
Each test applies the blocks of its guide as they stand; only addresses that the reader has and this machine does not
are put in.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.meshes import APPS, Answer, Mesh, Process, eventually, outside_app, request, running_mesh, tunnel
from e2e.tls_servers import TlsClient, tls_server
from key_pairs import Authority, encoded

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("guides")]

GUIDES = Path(__file__).parents[2] / "docs" / "guide"
IDLE = (sys.executable, "-c", "import signal; signal.pause()")
LINES = (sys.executable, str(APPS / "tcp.py"))
URL = "http://reviews:9080"
KINDS = ("sidecars", "virtualservices", "destinationrules", "gateways", "serviceentries", "secrets")
CA = Authority("guides")
TO_V2 = "route: [{destination: {host: reviews, subset: v2}}]"


def blocks(guide: str) -> list[str]:
    """The YAML of a guide."""
    return re.findall(r"```yaml\n(.*?)```", (GUIDES / f"{guide}.md").read_text(encoding="utf-8"), re.DOTALL)


class Bed:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        places = {"v1": "eu/a", "v2": "us/b"}
        reviews = [
            mesh.run("reviews", version=version, port="9080/http", flags=("--locality", place), wait=False)
            for version, place in places.items()
        ]
        ledgers = [mesh.run("ledger", *LINES, version=version, port="5432/tcp", wait=False) for version in places]
        self.me = mesh.run("me", *IDLE, port="", flags=("--locality", "eu/a"), wait=False)
        self.gateway = mesh.gateway(wait=False)
        mesh.wait_addresses(*reviews, *ledgers, self.me, self.gateway)
        eventually(lambda: set(self.versions(8)) == {"v1", "v2"}, what="both versions answer")

    def get(self, path: str = "/", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.me.get(URL + path, headers={"host": "reviews:9080", **named})

    def versions(self, times: int, **headers: str) -> Counter[str]:
        """Who answered, or the status of what was no success."""
        found = (self.get(**headers) for _ in range(times))
        return Counter(answer.json["version"] if answer.status == 200 else str(answer.status) for answer in found)

    def listener(self, port: int) -> tuple[str, int]:
        """Where the gateway listens for a port of a Gateway."""
        return eventually(lambda: bound(self.gateway, port), what=f"port {port}")


def bound(gateway: Process, port: int) -> tuple[str, int] | None:
    host, _, admin = gateway.addresses["admin"].rpartition(":")
    statuses = request(int(admin), "/listeners?format=json", address=host).json.get("listener_statuses", [])
    for status in statuses:
        if status["name"] == f"0.0.0.0_{port}":
            found = status["local_address"]["socket_address"]
            return found["address"], found["port_value"]
    return None


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield Bed(mesh)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all(*KINDS)


def test_traffic_shifting(bed: Bed) -> None:
    """Testers get v2, of all others about one in ten does; without the rule both versions answer as before."""
    bed.mesh.apply(blocks("traffic-shifting")[0])
    assert bed.versions(10, x_tester="yes") == {"v2": 10}
    found = bed.versions(200)
    assert set(found) == {"v1", "v2"}
    assert 3 <= found["v2"] <= 45  # of 200 with a chance of a tenth, but for one in five million
    assert "reviews" in bed.mesh.command("get", "vs").stdout

    undone = bed.mesh.command("delete", "vs", "reviews")
    assert undone.returncode == 0, undone.stderr
    eventually(lambda: bed.versions(20)["v2"] > 4, what="both versions")


def test_faults(bed: Bed) -> None:
    """The header chooses the fault, and everything else is well."""
    bed.mesh.apply(blocks("faults")[0])
    assert bed.get(x_fault="slow").seconds > 0.9  # Envoy counts a delay from when its event loop last woke up
    assert bed.get(x_fault="broken").status == 555
    assert bed.get().status == 200


def test_timeouts_and_retries(bed: Bed) -> None:
    """Half a second for what delays; four tries of what fails."""
    bed.mesh.apply(blocks("timeouts-and-retries")[0])
    slow = bed.get("/delay/30")
    assert slow.status == 504
    assert slow.seconds < 10
    failed = bed.get("/status/503")
    assert (failed.status, failed.json["headers"]["x-envoy-attempt-count"]) == (503, "4")


def test_mirroring(bed: Bed) -> None:
    """v1 answers, and v2 gets the same requests."""
    mirrored = blocks("mirroring")[0]
    to_v2 = mirrored.replace("route: [{destination: {host: reviews, subset: v1}}]", TO_V2).partition("    mirrors:")[0]
    bed.mesh.apply(to_v2)
    before = bed.get("/count").json["count"]
    bed.mesh.apply(mirrored)
    assert bed.versions(20) == {"v1": 20}

    bed.mesh.apply(to_v2)
    eventually(lambda: bed.get("/count").json["count"] >= before + 20, what="20 mirrored requests at v2")


def test_circuit_breaking(bed: Bed) -> None:
    """With one request under way and one waiting, others at the same time are refused, and said to be."""
    bed.mesh.apply(blocks("circuit-breaking")[0])
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: bed.get("/delay/1"), range(12)))
    refused = [answer for answer in found if answer.status == 503]
    assert refused
    assert all(answer.headers["x-envoy-overloaded"] == "true" for answer in refused)
    assert any(answer.status == 200 for answer in found)


def test_circuit_breaking_ejects(bed: Bed) -> None:
    """An endpoint that fails three times in a row is left out, and never more than half of them."""
    bed.mesh.apply(blocks("circuit-breaking")[0])

    def one_left() -> bool:
        for _ in range(8):
            bed.get("/status/500")
        return len(bed.versions(10)) == 1

    eventually(one_left, what="an ejection")
    assert set(bed.versions(10)) <= {"v1", "v2"}


def test_locality_failover(bed: Bed) -> None:
    """The near one answers until it fails; then the other region does."""
    bed.mesh.apply(blocks("locality-failover")[0])
    eventually(lambda: bed.versions(10) == {"v1": 10}, what="the near one")
    bed.get("/status/500")
    eventually(lambda: bed.versions(5) == {"v2": 5}, what="the other region")


def test_egress(bed: Bed) -> None:
    """The host leads outside, with the header that the rule sets; unknown hosts are refused once they are to be."""
    services, _, closed = blocks("egress")
    with outside_app() as port:
        bed.mesh.apply(services.replace("18080", str(port)))
        answer = eventually(lambda: good_json(bed.me.get("http://api.payments.example/")), what="an answer")
        assert (answer.json["app"], answer.json["headers"]["x-caller"]) == ("outside", "shop")
        unknown = f"http://127.0.0.1:{port}/"
        assert bed.me.get(unknown).status == 200
        bed.mesh.apply(closed)
        assert bed.me.get(unknown).status == 502
        assert bed.me.get("http://api.payments.example/").status == 200


def test_egress_tls(bed: Bed, tmp_path: Path) -> None:
    """Plain HTTP in, TLS with the right server name out, the other side's certificate checked."""
    (tmp_path / "ca.pem").write_bytes(CA.certificate)
    with tls_server(tmp_path, CA.pair("api.partner.example")) as server:
        here = "resolution: STATIC\n  endpoints: [{address: 127.0.0.1}]"
        documents = blocks("egress")[1].replace("resolution: DNS", here)
        documents = documents.replace("targetPort: 443", f"targetPort: {server.port}")
        bed.mesh.apply(documents.replace("caCertificates: system", f"caCertificates: {tmp_path / 'ca.pem'}"))
        answer = eventually(lambda: good_json(bed.me.get("http://api.partner.example/")), what="the other side")
        assert answer.json["sni"] == "api.partner.example"

        bed.mesh.apply(documents)
        assert bed.me.get("http://api.partner.example/").status == 503


def good_json(answer: Answer) -> Answer | None:
    return answer if answer.status == 200 else None


def test_ingress_tls(bed: Bed, tmp_path: Path) -> None:
    """HTTPS with the Secret's certificate, a redirect on the other port, 404 beside the path."""
    certificate, key = CA.pair("shop.example.com")
    data = f"{{tls.crt: {encoded(certificate)}, tls.key: {encoded(key)}}}"
    secret = (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: shop-cert}}\ntype: kubernetes.io/tls\ndata: {data}\n---\n"
    )
    bed.mesh.apply(secret + blocks("ingress-tls")[0])
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    answer = eventually(lambda: good_json(client.get("shop.example.com", path="/reviews")), what="HTTPS")
    assert answer.json["app"] == "reviews"
    assert client.get("shop.example.com", path="/else").status == 404
    address, port = bed.listener(80)
    plain = request(port, "/reviews", address=address, headers={"host": "shop.example.com"})
    assert (plain.status, plain.headers["location"]) == (301, "https://shop.example.com/reviews")


def test_sessions(bed: Bed) -> None:
    """A user stays with one version, and users are spread; a cookie is given to who has none."""
    by_header, by_cookie = blocks("sessions")
    bed.mesh.apply(by_header)
    chosen = [bed.versions(4, x_user=f"user-{number}") for number in range(24)]
    assert all(len(found) == 1 for found in chosen)
    assert {version for found in chosen for version in found} == {"v1", "v2"}

    bed.mesh.apply(by_cookie)
    first = bed.get()
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("session=")
    assert bed.versions(8, cookie=cookie) == {first.json["version"]: 8}


def test_tcp_routing(bed: Bed) -> None:
    """New connections lead to v2."""
    bed.mesh.apply(blocks("tcp-and-tls-routing")[0])

    def version() -> bytes:
        with tunnel(bed.me.proxy, "ledger:5432") as (connection, stream):
            connection.sendall(b"line\n")
            return stream.readline()

    assert {version() for _ in range(8)} == {b"v2 line\n"}


def test_tls_routing(bed: Bed, tmp_path: Path) -> None:
    """The gateway goes by the server name and shows the certificate of what is behind it."""
    with tls_server(tmp_path, CA.pair("a.ledger.example.com")) as server:
        behind = (
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: behind}\nspec:\n"
            "  hosts: [behind.example]\n  resolution: STATIC\n  endpoints: [{address: 127.0.0.1}]\n"
            f"  ports: [{{number: 5432, name: tls, protocol: TLS, targetPort: {server.port}}}]\n"
        )
        bed.mesh.apply(blocks("tcp-and-tls-routing")[1].replace("host: ledger,", "host: behind.example,") + behind)
        client = TlsClient(folder=tmp_path, address=bed.listener(9443), trusts=CA.certificate)
        answer = eventually(lambda: good_json(client.get("a.ledger.example.com")), what="TLS passed through")
        assert answer.json["sni"] == "a.ledger.example.com"
        assert client.refuses("b.ledger.example.com")


def test_delegation(bed: Bed) -> None:
    """Each team's rules act below its path."""
    bed.mesh.apply(blocks("delegation")[0])
    assert bed.get("/stars/top/1").json["target"] == "/top/1"
    assert bed.get("/stars/other").json["target"] == "/stars/other"
    texts = bed.get("/texts")
    assert (texts.status, texts.body) == (503, b"texts are being moved\n")
    assert bed.get("/else").status == 200


def test_sidecar_scoping(bed: Bed) -> None:
    """What is listed is reached; another service and unknown hosts are not."""
    bed.mesh.apply(blocks("sidecar-scoping")[0])
    assert bed.get().status == 200
    assert bed.me.get("http://ledger:5432/").status == 502
    assert bed.me.get("http://unknown.example/").status == 502


def test_analyze_in_ci(bed: Bed) -> None:
    """One error with its code, in each format, and exit code 1."""
    (bed.mesh.folder / "mesh.yaml").write_text(blocks("analyze-in-ci")[0])
    for output in ("table", "github", "sarif", "json"):
        found = bed.mesh.command("analyze", "-f", "mesh.yaml", "-o", output)
        assert (found.returncode, "IST0101" in found.stdout) == (1, True), found.stderr


def test_proxy_config_shows_where_things_are_from(bed: Bed) -> None:
    """As every guide says under "Check"."""
    bed.mesh.apply(blocks("traffic-shifting")[0])
    bed.get()
    listed = bed.mesh.command("proxy-status")
    name = next(line.split()[0] for line in listed.stdout.splitlines() if line.startswith("me"))
    shown = bed.mesh.command("proxy-config", "routes", name)
    assert shown.returncode == 0, shown.stderr
    assert "ORIGIN" in shown.stdout
    assert re.search(r":\d+$", shown.stdout, re.MULTILINE), shown.stdout
