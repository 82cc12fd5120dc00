"""`lateen join` and `lateen leave` on hosts of their own, routed to each other: nothing here goes over loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.meshes import APPS, eventually
from e2e.virtual_hosts import LATEEN, Network, VirtualHost, network, wait_ready, why_not

WHY_NOT = why_not()
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{route: [{destination: {host: web}}]}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: any}
spec:
  metadata: {labels: {app: any}}
  template: {serviceAccount: any}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
GET = """
import sys, urllib.request as u
proxies = {"http": sys.argv[2]} if sys.argv[2] else {}
print(u.build_opener(u.ProxyHandler(proxies)).open(sys.argv[1], timeout=15).read().decode())
"""
TALK = """
import socket, sys
sys.path.insert(0, sys.argv[1])
made = socket.create_connection((sys.argv[2], int(sys.argv[3])), 15)
made.sendall(b"GET /chat HTTP/1.1\\r\\nhost: any\\r\\nupgrade: websocket\\r\\nconnection: upgrade\\r\\n"
    b"sec-websocket-version: 13\\r\\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n")
stream = made.makefile("rb")
print(stream.readline().decode().strip(), flush=True)
while stream.readline().strip():
    pass
for line in sys.stdin:
    made.sendall(line.encode())
    print(stream.read(len(line)).decode().strip(), flush=True)
"""
GRPC = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(channel.unary_unary("/test.Echo/Say")(b"hello", timeout=15, wait_for_ready=True).decode())
"""


@dataclass
class Bed:
    """A control plane on a host, and the network that it is in."""

    net: Network
    plane: VirtualHost
    config: Path

    def serve(self) -> None:
        self.process = self.plane.start(
            *LATEEN, "serve", "--secure-grpc", "[::]:15012", "--join", "[::]:15013", "--state", "/var/lib/lateen-plane",
            "--config", str(self.config), log="plane",
        )  # fmt: skip

        def ready() -> bool:
            assert self.process.poll() is None, self.plane.log("plane")
            script = "import urllib.request as u; u.urlopen('http://127.0.0.1:15080/readyz', timeout=2)"
            return self.plane.run(sys.executable, "-c", script).returncode == 0

        eventually(ready, seconds=60, what="the control plane")

    def token(self, account: str, *flags: str) -> str:
        made = self.plane.run(
            *LATEEN, "token", "create", "--service-account", account, *flags, LATEEN_SERVER="http://127.0.0.1:15080"
        )
        assert made.returncode == 0, made.stderr
        file = self.config.parent / f"{len(list(self.config.parent.glob('*.token')))}.token"
        file.write_text(made.stdout)
        return str(file)

    def at(self, version: int = 4) -> str:
        host = self.plane.addresses[version]
        return f"[{host}]:15012" if version == 6 else f"{host}:15012"

    def join(self, host: VirtualHost, name: str, *flags: str, version: int = 4, account: str = "") -> None:
        token = self.token(f"default/{account or name}", "--one-time")
        done = host.lateen(
            "join", "--control-plane", self.at(version), "--token", token, "--no-start", "--name", name,
            "--service-account", account or name, *flags,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        host.start_unit(name)
        wait_ready(host, name, host.addresses[version])


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("hosts")
    config = folder / "config"
    config.mkdir()
    (config / "mesh.yaml").write_text(GATEWAY)
    with network(folder) as net:
        made = Bed(net, net.host("plane"), config)
        made.serve()
        yield made


@pytest.fixture(scope="module")
def web(bed: Bed) -> VirtualHost:
    """A server whose app listens on loopback, at its port."""
    host = bed.net.host("web")
    host.start(sys.executable, str(APPS / "echo.py"), log="app", PORT="8080", NAME="web")
    bed.join(host, "web", "--service", "web", "--port", "8080/http")
    return host


@pytest.fixture(scope="module")
def any_protocol(bed: Bed) -> VirtualHost:
    """A server whose app knows nothing: its connections are intercepted on the host."""
    host = bed.net.host("any")
    host.start(sys.executable, str(APPS / "every_protocol.py"), log="app", PORT="80", PORT_7000="7", PORT_9000="9")
    ports = ("--port", "80/http", "--port", "7000/tcp", "--port", "9000/grpc")
    group = ("--service", "any", "--workload-group", "any")
    bed.join(host, "any", *group, *ports, "--intercept", "host", "--app-user", "nobody", "--hops", "inbound")
    return host


@pytest.fixture(scope="module")
def client(bed: Bed, web: VirtualHost, any_protocol: VirtualHost) -> VirtualHost:
    """A client that reaches the control plane by IPv6, and the others by what they registered."""
    del web, any_protocol
    host = bed.net.host("client")
    upstreams = ("any:80=10080", "any:7000=17000", "any:9000=19000")
    flags = [word for upstream in upstreams for word in ("--upstream", upstream)]
    bed.join(host, "client", "--service", "client", *flags, version=6)
    return host


def get(host: VirtualHost, url: str, proxy: str = "http://127.0.0.1:15001") -> dict[str, object]:
    answer: dict[str, object] = json.loads(host.python(GET, url, proxy))
    return answer


# --- the mesh across hosts -----------------------------------------------------------------------------------


def test_hosts_call_each_other_by_mutual_tls(client: VirtualHost) -> None:
    """Everybody is STRICT, so that whatever is answered came by mutual TLS, between routed hosts."""
    answer = eventually(lambda: get(client, "http://web:8080/"), what="an answer")
    assert answer["app"] == "web"
    assert "spiffe://cluster.local/ns/default/sa/client" in json.dumps(answer)


def test_an_intercepted_app_is_called_in_http_tcp_and_grpc(client: VirtualHost) -> None:
    answer = eventually(lambda: get(client, "http://any/"), what="an answer")
    assert "spiffe://cluster.local/ns/default/sa/client" in str(answer["caller"])
    said = eventually(lambda: client.python(GRPC, "127.0.0.1:19000"), what="gRPC")
    assert said.strip() == "said hello"
    script = "import socket; s=socket.create_connection(('127.0.0.1', 17000), 15); s.sendall(b'one\\n'); "
    line = json.loads(client.python(f"{script} print(s.makefile().readline())"))
    assert line["line"] == "one"


def test_plain_text_past_the_sidecars_is_refused(client: VirtualHost, web: VirtualHost) -> None:
    done = client.run(sys.executable, "-c", GET, f"http://{web.ip}:8080/", "")
    assert done.returncode != 0


def test_a_gateway_joins_too(bed: Bed, web: VirtualHost) -> None:
    del web
    host = bed.net.host("gateway")
    bed.join(host, "ingress", "--gateway", "--label", "istio=ingressgateway", account="ingress")
    outside = bed.net.host("outside")
    answer = eventually(lambda: get(outside, f"http://{host.ip}:80/", ""), what="an answer by the gateway")
    assert answer["app"] == "web"


def test_a_websocket_lives_through_a_restart_of_the_control_plane(bed: Bed, client: VirtualHost) -> None:
    eventually(lambda: get(client, "http://any/"), what="an answer")
    # What nobody called yet is fetched from the control plane, which is away soon.
    eventually(lambda: get(client, "http://web:8080/"), what="an answer by name")
    inside = ("nsenter", "-t", str(client.holder.pid), "-n", "-m", sys.executable, "-c", TALK)
    talk = subprocess.Popen(
        (*inside, str(APPS), "127.0.0.1", "10080"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert talk.stdin is not None
    assert talk.stdout is not None

    def say(word: str) -> str:
        assert talk.stdin is not None
        assert talk.stdout is not None
        talk.stdin.write(f"{word}\n")
        talk.stdin.flush()
        return talk.stdout.readline().strip()

    try:
        assert " 101 " in f"{talk.stdout.readline().strip()} "
        assert say("before") == "before"
        bed.process.kill()
        bed.process.wait()
        try:
            assert say("without") == "without"
            assert get(client, "http://web:8080/")["app"] == "web"
        finally:
            bed.serve()
        assert say("after") == "after"
    finally:
        talk.kill()
        talk.communicate()


def test_a_host_that_starts_again_needs_no_token(bed: Bed, web: VirtualHost, client: VirtualHost) -> None:
    """Tokens for one use are used up: the agent goes on with the certificate that join got."""
    process = web.processes[-1]
    process.terminate()
    process.wait(30)
    web.start_unit("web")
    wait_ready(web, "web", web.ip)
    assert "gives no certificate" not in web.log("web")
    eventually(lambda: get(client, "http://web:8080/")["app"] == "web", what="an answer")


# --- joining twice, leaving ----------------------------------------------------------------------------------


@pytest.fixture
def fresh(bed: Bed) -> VirtualHost:
    return bed.net.host(f"fresh{len(bed.net.hosts)}")


def joining(bed: Bed, host: VirtualHost, token: str, *flags: str, where: str = "") -> tuple[int, str]:
    done = host.lateen("join", "--control-plane", where or bed.at(), "--token", token, "--no-start", *flags)
    return done.returncode, done.stdout + done.stderr


def test_joining_twice_changes_nothing_and_leaving_leaves_nothing(bed: Bed, fresh: VirtualHost) -> None:
    """All flags but one the same: what differs is said. The one token was for one use."""
    before, token = fresh.tree(), bed.token("default/default", "--one-time")
    flags = ("--service", "web", "--port", "8080/http")
    code, said = joining(bed, fresh, token, *flags)
    assert code == 0, said
    joined = fresh.tree()
    code, said = joining(bed, fresh, token, *flags)
    assert code == 0, said
    assert "nothing of it changes" in said
    assert fresh.tree() == joined
    code, said = joining(bed, fresh, token, *flags, "--version", "v2")
    assert code == 0, said
    assert '+"version": "v2"' in said
    assert '"v2"' in fresh.read("/etc/lateen/web.json")
    for path in ("/etc/lateen/web.json", "/etc/lateen/web.token"):
        assert fresh.run("stat", "-c", "%a", path).stdout.strip() == "600"
    assert fresh.lateen("leave", "web").returncode == 0
    assert fresh.tree() == before


def test_leaving_stops_an_agent_that_runs_and_works_when_half_is_gone(bed: Bed, fresh: VirtualHost) -> None:
    fresh.run("mkdir", "-p", "-m", "0700", "/run/lateen-web", check=True)  # systemd's
    before = fresh.tree()
    assert joining(bed, fresh, bed.token("default/default"), "--service", "web", "--port", "8080")[0] == 0
    process = fresh.start_unit("web")
    state = "/var/lib/lateen/workloads/web"
    status = ("proxy", "status", "--state", state, "-o", "json")
    eventually(lambda: '"pid"' in fresh.lateen(*status).stdout, what="the agent")
    fresh.run("rm", "/etc/systemd/system/lateen-web.service", "/etc/lateen/web.json", check=True)
    done = fresh.lateen("leave", "--all")
    assert done.returncode == 0, done.stderr
    assert process.wait(30) in (0, 128 + 15)
    assert fresh.tree() == before


def test_what_was_changed_since_is_kept_and_said(bed: Bed, fresh: VirtualHost) -> None:
    assert joining(bed, fresh, bed.token("default/default"), "--service", "web", "--port", "8080")[0] == 0
    unit = "/etc/systemd/system/lateen-web.service"
    fresh.run("sh", "-c", f"echo '# mine' >> {unit}", check=True)
    done = fresh.lateen("leave", "web")
    assert done.returncode == 0
    assert f"kept {unit}" in done.stderr
    assert "# mine" in fresh.read(unit)
    assert "revoke" in done.stderr
    assert fresh.lateen("leave", "web").returncode == 1


# --- what stands in the way ----------------------------------------------------------------------------------


def test_each_obstacle_is_named_and_nothing_is_written(bed: Bed, fresh: VirtualHost, tmp_path: Path) -> None:
    good, other = bed.token("default/default"), bed.token("shop/default")
    foreign = tmp_path / "roots.pem"
    foreign.write_text(foreign_root())
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("no token\n")
    before, flags = fresh.tree(), ("--service", "web", "--port", "8080")
    for code, words, token, more, where in (
        (1, "is for 'shop/default'", other, (), ""),
        (1, "holds no token", str(nonsense), (), ""),
        (3, "cannot be reached", good, (), f"{bed.plane.ip}:15999"),
        (3, "does not resolve", good, (), "plane.invalid:15012"),
        (1, "is not the control plane that the roots name", good, ("--ca-file", str(foreign)), ""),
        (1, "is not this machine's", good, ("--address", "192.0.2.7"), ""),
    ):
        found, said = joining(bed, fresh, token, *flags, *more, where=where)
        assert (found, words in said) == (code, True), said
        assert "nothing was written" in said
        assert fresh.tree() == before


def test_a_used_token_and_a_taken_port(bed: Bed, fresh: VirtualHost) -> None:
    """Before the token is shown to anybody, the port is found: it is still good afterwards."""
    token, flags = bed.token("default/default", "--one-time"), ("--service", "web", "--port", "8080")
    before = fresh.tree()
    taker = fresh.start(
        sys.executable, "-c", "import socket,signal; s=socket.create_server(('', 15021)); signal.pause()", log="taker"
    )
    eventually(lambda: "15021" in fresh.run("ss", "-ltn").stdout or None, what="the taker")
    code, said = joining(bed, fresh, token, *flags)
    assert code == 1, said
    assert ":15021 is taken by another process" in said
    taker.kill()
    taker.wait()
    code, said = joining(bed, fresh, token, *flags, "--check")
    assert code == 0, said
    assert fresh.tree() == before
    assert joining(bed, fresh, token, *flags)[0] == 0
    assert fresh.lateen("leave", "web").returncode == 0
    code, said = joining(bed, fresh, token, *flags)
    assert (code, "used" in said) == (1, True), said
    assert fresh.tree() == before


def foreign_root() -> str:
    """Return a root certificate of nobody's."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_dry_run_shows_everything_but_the_token(bed: Bed, fresh: VirtualHost) -> None:
    before, token = fresh.tree(), bed.token("default/default", "--one-time")
    code, said = joining(bed, fresh, token, "--service", "web", "--port", "8080", "--dry-run")
    assert code == 0, said
    for word in ("/etc/systemd/system/lateen-web.service", "ExecStart=", '"service": "web"', "multi-user.target.wants"):
        assert word in said, textwrap.shorten(said, 500)
    assert Path(token).read_text().strip() not in said
    assert fresh.tree() == before
