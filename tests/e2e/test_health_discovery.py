"""Plain endpoints, without an agent, checked by a gateway: a sick one leaves for everybody, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.meshes import APPS, Mesh, Process, eventually, request, running_mesh, tell
from e2e.tls_servers import tls_server
from key_pairs import Authority
from ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("health-discovery")]

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
TIMES = "period=0.3s timeout=10s failures=2"
"""Nothing here is sick by saying nothing; a server that has not had its turn for a second is not to be."""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, annotations: {{lateen.io/health-check: "{check}"}}}}
spec:
  hosts: [{name}.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
{endpoints}
---
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /tcp}}], route: [{destination: {host: by-tcp.internal}}]}
  - route: [{destination: {host: by-http.internal}}]
---
"""


OTHER = ENTRY.format(name="other", check="tcp", endpoints="  - {address: 127.0.0.9, ports: {http: 9}}")


@dataclass(frozen=True)
class Plain:
    """A server that knows nothing of the mesh."""

    name: str
    port: int
    control: Path

    def become(self, word: str) -> None:
        tell(self.control, word)


@dataclass
class Bed:
    mesh: Mesh
    servers: dict[str, Plain]
    gateway: Process
    client: Process

    def by_gateway(self, path: str) -> Counter[str]:
        """Who answers through the gateway, of twelve requests; a status that is not 200 stands for itself."""
        host, _, port = self.gateway.addresses["listeners"]["80"].rpartition(":")
        return Counter(_who(request(int(port), path, address=host, headers={"host": "any"})) for _ in range(12))

    def by_sidecar(self, host: str) -> Counter[str]:
        return Counter(_who(self.client.get(f"http://{host}.internal/")) for _ in range(12))

    def healthy(self, host: str) -> list[bool]:
        """What the control plane says of the endpoints of a host, in order."""
        items = self.mesh.api("/v1/services").json["items"]
        (found,) = (item for item in items if item["host"] == f"{host}.internal")
        return [endpoint["healthy"] for endpoint in found["endpoints"]]

    def answers(self, path: str, host: str, names: set[str]) -> bool:
        return self.by_gateway(path).keys() == names and self.by_sidecar(host).keys() == names

    def restart_control_plane(self) -> None:
        self.mesh.control_plane.stop()
        self.mesh.control_plane = self.mesh.serve()


def _who(answer: object) -> str:
    status, body = answer.status, answer.body  # type: ignore[attr-defined]
    return str(body.decode()) if status == 200 else str(status)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("plain")
    config = folder / "config"
    config.mkdir()
    kinds = {"one": "ailing.py", "two": "ailing.py", "speaker": "sick_grpc.py"}
    servers, processes = {}, []
    try:
        for name, app in kinds.items():
            control = folder / f"{name}.control"
            control.write_text("ok")
            servers[name] = Plain(name, free_port(), control)
            environment = {"PORT": str(servers[name].port), "NAME": name, "CONTROL": str(control)}
            processes.append(subprocess.Popen([sys.executable, str(APPS / app)], env={**os.environ, **environment}))
        (config / "mesh.yaml").write_text(_documents(servers))
        with running_mesh(folder, config=config) as mesh:
            gateway, client = mesh.gateway(wait=False), mesh.run("client", *SLEEPER, port="", wait=False)
            mesh.wait_addresses(gateway, client)
            yield Bed(mesh, servers, gateway, client)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _documents(servers: dict[str, Plain]) -> str:
    def entry(name: str, check: str, *of: str) -> str:
        lines = [f"  - {{address: 127.0.0.1, ports: {{http: {servers[server].port}}}}}" for server in of]
        return ENTRY.format(name=name, check=f"{check} {TIMES}", endpoints="\n".join(lines))

    return (
        EDGE
        + entry("by-http", "http:///healthz", "one", "two")
        + entry("by-tcp", "tcp", "one", "two")
        + entry("by-grpc", "grpc:///stock", "speaker")
        + entry("elsewhere", f"http://:{servers['one'].port}/healthz", "two")
    )


@pytest.fixture(autouse=True)
def _all_well(bed: Bed) -> Iterator[None]:
    eventually(lambda: bed.answers("/", "by-http", {"one", "two"}), seconds=45, what="both to answer")
    yield
    for server in bed.servers.values():
        server.become("ok")


def test_a_sick_server_is_asked_nothing_through_gateway_and_sidecar_and_comes_back(bed: Bed) -> None:
    """Its page says 500: within seconds nobody sends to it, whoever checked it; after recovery everybody does."""
    bed.servers["one"].become("500")
    eventually(lambda: bed.answers("/", "by-http", {"two"}), seconds=45, what="only the healthy one to answer")
    assert bed.healthy("by-http") == [False, True]
    assert bed.healthy("by-tcp") == [True, True]  # the port is open
    eventually(lambda: bed.healthy("elsewhere") == [False], what="the check of another port")
    assert "endpoint is sick" in bed.mesh.control_plane.log.read_text()
    bed.servers["one"].become("ok")
    eventually(lambda: bed.answers("/", "by-http", {"one", "two"}), seconds=45, what="both to answer again")
    eventually(lambda: bed.healthy("elsewhere") == [True], what="the check of another port")


def test_a_port_that_nobody_listens_on_is_sick(bed: Bed) -> None:
    bed.servers["two"].become("refuse")
    eventually(lambda: bed.answers("/tcp", "by-tcp", {"one"}), seconds=45, what="only the open port to be used")
    bed.servers["two"].become("ok")
    eventually(lambda: bed.answers("/tcp", "by-tcp", {"one", "two"}), seconds=45, what="both to be used again")


def test_grpcs_health_service_is_asked(bed: Bed) -> None:
    bed.servers["speaker"].become("sick")
    eventually(lambda: bed.healthy("by-grpc") == [False], seconds=45, what="the gRPC server to be sick")
    bed.servers["speaker"].become("ok")
    eventually(lambda: bed.healthy("by-grpc") == [True], seconds=45, what="the gRPC server to be well")


def test_a_control_plane_that_comes_back_keeps_who_is_sick(bed: Bed) -> None:
    """All the while nothing is sent to the sick server: proxies that run are told nothing until gateways reported."""
    bed.servers["one"].become("500")
    eventually(lambda: bed.answers("/", "by-http", {"two"}), seconds=45, what="only the healthy one to answer")
    bed.restart_control_plane()
    seen: Counter[str] = Counter()

    def known_again() -> bool:
        seen.update(bed.by_gateway("/") + bed.by_sidecar("by-http"))
        text = bed.mesh.control_plane.log.read_text()
        return "endpoint is sick" in text and bed.healthy("by-http") == [False, True]

    eventually(known_again, what="the new control plane to know")
    bed.mesh.apply(OTHER)  # every proxy has answered that, so what was held back for them has arrived
    seen.update(bed.by_gateway("/") + bed.by_sidecar("by-http"))
    assert seen.keys() == {"two"}
    bed.servers["one"].become("ok")
    eventually(lambda: bed.answers("/", "by-http", {"one", "two"}), seconds=45, what="both to answer again")


def test_a_gateway_that_is_restarted_changes_nothing(bed: Bed) -> None:
    """Its second Envoy knows nothing yet, and calls every endpoint unhealthy until it has asked it."""
    bed.servers["one"].become("500")
    eventually(lambda: bed.answers("/", "by-http", {"two"}), seconds=45, what="only the healthy one to answer")
    known = bed.mesh.control_plane.log.read_text().count("gateway checks health")
    assert bed.mesh.command("proxy", "restart", "--all").returncode == 0
    seen: Counter[str] = Counter()

    def again() -> bool:
        seen.update(bed.by_gateway("/") + bed.by_sidecar("by-http"))
        return bed.mesh.control_plane.log.read_text().count("gateway checks health") > known

    eventually(again, what="the second Envoy to ask")
    for _ in range(20):  # some seconds: it reports once a second
        seen.update(bed.by_gateway("/") + bed.by_sidecar("by-http"))
    assert seen.keys() == {"two"}


def test_a_server_is_asked_over_tls_and_its_certificate_does_not_matter(bed: Bed, tmp_path: Path) -> None:
    """The gateway, and so everybody, takes the one that answers; a plain one does not speak TLS."""
    with tls_server(tmp_path, Authority("unknown").pair("by-https.internal")) as server:
        ports = (server.port, bed.servers["one"].port)
        lines = "\n".join(f"  - {{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
        bed.mesh.apply(ENTRY.format(name="by-https", check=f"https:///any {TIMES}", endpoints=lines))
        eventually(lambda: bed.healthy("by-https") == [True, False], seconds=45, what="the plain one to be sick")


def test_gateways_report_over_mutual_tls(bed: Bed) -> None:
    """On the connection's cluster that discovery uses too; and the debug page shows who says what."""
    host, _, port = bed.gateway.addresses["admin"].rpartition(":")
    dump = request(int(port), "/config_dump?mask=bootstrap", address=host).json
    (bootstrap,) = (found["bootstrap"] for found in dump["configs"] if "bootstrap" in found)
    (way,) = (found for found in bootstrap["static_resources"]["clusters"] if found["name"] == "xds-grpc")
    assert way["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    assert bootstrap["hds_config"]["grpc_services"][0]["envoy_grpc"]["cluster_name"] == "xds-grpc"

    def said() -> tuple[int, set[str]]:
        shown = request(bed.mesh.monitoring, "/debug/health").json
        return shown["gateways"], {name for item in shown["items"] for name in item["gateways"] or [""]}

    eventually(lambda: said() == (1, {bed.gateway.addresses["workload"]}), what="one gateway to have an opinion of all")
