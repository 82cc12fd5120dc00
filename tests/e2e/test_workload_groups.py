"""WorkloadGroup and ProxyConfig with real agents: what a workload is by its group, and what its Envoy begins with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import APPS, Mesh, Process, eventually, good, request, running_mesh

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("workload_groups")]

MESH_CONFIG = """
defaultConfig:
  concurrency: 2
  proxyMetadata: {COLOUR: mesh, SHAPE: round}
  proxyStatsMatcher: {inclusionSuffixes: [membership_total]}
"""
SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: stock}
spec:
  hosts: [stock.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: stock}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: stock}
spec:
  host: stock.internal
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stock}
spec:
  hosts: [stock.internal]
  http: [{route: [{destination: {host: stock.internal, subset: v2}}]}]
"""


def group(version: str, *, guarded: str = "no") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: stock}}
spec:
  metadata: {{labels: {{app: stock, version: {version}}}}}
  template:
    labels: {{version: from-the-template, tier: back, guarded: "{guarded}"}}
    serviceAccount: stock
    locality: region/zone
    ports: {{http: 8080}}
"""


PROXY_CONFIGS = """
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all}
spec: {environmentVariables: {COLOUR: namespace, SIZE: small}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: stock}
spec:
  selector: {matchLabels: {app: stock}}
  concurrency: 3
  environmentVariables: {COLOUR: workload}
"""


@dataclass(frozen=True)
class Bed:
    mesh: Mesh
    client: Process
    stock: Process


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder: Path = tmp_path_factory.mktemp("mesh")
    mesh_config = folder / "mesh.yaml"
    mesh_config.write_text(MESH_CONFIG)
    with running_mesh(folder, mesh_config=mesh_config) as mesh:
        mesh.apply(PROXY_CONFIGS)
        stock = joining(mesh)
        said = "there is no WorkloadGroup stock in the namespace default"
        eventually(lambda: said in stock.log.read_text(), what="the refusal")
        mesh.apply(SERVICE + "---" + group("v2"))
        client = mesh.run("client", *SLEEPER, port="", wait=False)
        mesh.wait_addresses(stock, client)
        yield Bed(mesh, client, stock)


def joining(mesh: Mesh, *flags: str, account: str = "stock", name: str = "stock") -> Process:
    arguments = [
        "run", "--workload-group", name, "--service-account", account, "--print-addresses",
        "--control-plane", f"127.0.0.1:{mesh.grpc}", *flags, "--", sys.executable, str(APPS / "echo.py"),
    ]  # fmt: skip
    return mesh.start("stock", arguments, {"NAME": "stock"})


def admin(process: Process, path: str) -> Any:
    host, _, port = process.addresses["admin"].rpartition(":")
    return request(int(port), path, address=host).json


def concurrency(process: Process) -> int:
    options: dict[str, int] = admin(process, "/server_info")["command_line_options"]
    return options["concurrency"]


def environment(process: Process) -> set[str]:
    """The environment of the agent's Envoy."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
    envoys = [child for child in children if b"--config-path" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return {text.decode() for text in Path(f"/proc/{envoys[0]}/environ").read_bytes().split(b"\0")}


def test_a_workload_that_waited_for_its_group_has_its_name_labels_account_locality_and_ports(bed: Bed) -> None:
    (item,) = [item for item in bed.mesh.api("/v1/workloads").json["items"] if item["name"].startswith("stock")]
    assert (item["name"], item["labels"]["version"], item["labels"]["tier"]) == ("stock-1", "v2", "back")
    assert (item["locality"], item["service_account"]) == ("region/zone", "stock")
    assert list(bed.stock.addresses["inbound"]) == ["8080"]
    node = admin(bed.stock, "/server_info")["node"]
    assert node["metadata"]["LABELS"]["version"] == "v2"
    assert (node["locality"]["region"], node["locality"]["zone"]) == ("region", "zone")


def test_a_subset_by_a_label_of_the_group_reaches_it_and_follows_the_group(bed: Bed) -> None:
    eventually(lambda: good(bed.client.get("http://stock.internal/")), what="the subset v2")
    bed.mesh.apply(group("v1"))
    eventually(lambda: bed.client.get("http://stock.internal/").status == 503, what="nobody in the subset v2")
    bed.mesh.apply(group("v2"))
    eventually(lambda: good(bed.client.get("http://stock.internal/")), what="the subset v2 again")


def test_a_policy_by_a_label_of_the_group_follows_the_group_too(bed: Bed) -> None:
    """Envoy's node still says the labels with which it was started."""
    policy = (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: guard}\n"
        "spec: {selector: {matchLabels: {guarded: 'yes'}}, action: DENY, rules: [{}]}\n---"
    )
    bed.mesh.apply(policy + group("v2"))
    eventually(lambda: good(bed.client.get("http://stock.internal/")), what="an answer")
    bed.mesh.apply(group("v2", guarded="yes"))
    eventually(lambda: bed.client.get("http://stock.internal/").status == 403, what="the policy")
    bed.mesh.apply(group("v2"))
    eventually(lambda: good(bed.client.get("http://stock.internal/")), what="an answer again")


def test_a_proxy_begins_with_what_the_nearest_proxyconfig_says(bed: Bed) -> None:
    assert (concurrency(bed.stock), concurrency(bed.client)) == (3, 2)
    assert {"COLOUR=workload", "SIZE=small", "SHAPE=round"} <= environment(bed.stock)
    assert {"COLOUR=namespace", "SIZE=small", "SHAPE=round"} <= environment(bed.client)
    host, _, port = bed.client.addresses["admin"].rpartition(":")
    assert b"membership_total" in request(int(port), "/stats", address=host).body


def test_another_service_account_than_the_group_s_is_refused(bed: Bed) -> None:
    stranger = joining(bed.mesh, account="other")
    eventually(lambda: "have the service account 'stock'" in stranger.log.read_text(), what="the refusal")
    assert stranger.stop() != 0
