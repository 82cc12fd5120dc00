"""Golden cases: folders of `tests/goldens` with `in.yaml`, `proxy.yaml` and the `out.yaml` they must give.

`make goldens` writes the outputs anew; a reviewer reads the difference. `tests/e2e` runs Envoy over them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.envoy.messages import to_json
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream
from lateen.model.services import Locality

GOLDENS = Path(__file__).parents[2] / "goldens"
CASES = sorted(path.parent for path in GOLDENS.glob("*/in.yaml"))


def proxy_of(text: str) -> Proxy:
    """Read a proxy.yaml: the keys of PROXY.yaml (interface), and what only a node's metadata can say."""
    fields = yaml.safe_load(text)
    return Proxy(
        type=ProxyType.GATEWAY if fields["type"] == "gateway" else ProxyType.SIDECAR,
        name=fields["name"],
        namespace=fields.get("namespace", "default"),
        addresses=tuple(fields.get("addresses", ())),
        labels=fields.get("labels", {}),
        locality=Locality.parse(fields.get("locality", "")),
        network=fields.get("network", ""),
        interception=Interception(fields.get("interception", "REDIRECT")),
        capability=Capability(fields.get("capability", "envoy")),
        port_map=fields.get("portMap", {}),
        certificates=fields.get("certificates", fields.get("capability") != "grpc"),
        upstreams=tuple(
            Upstream(host=item["host"], port=item["port"], local_port=item["localPort"])
            for item in fields.get("upstreams", ())
        ),
    )


def resources_of(case: Path) -> dict[str, Any]:
    parsed = parse((case / "in.yaml").read_bytes(), "in.yaml")
    assert not has_errors(parsed.findings), parsed.findings
    mesh_file = case / "mesh-config.yaml"
    mesh_config, _ = parse_mesh_config(mesh_file.read_bytes() if mesh_file.exists() else b"{}", mesh_file.name)
    snapshot = generate(build_state(parsed.objects, (), mesh_config), proxy_of((case / "proxy.yaml").read_text()))
    return {
        kind.rpartition(".")[2]: {name: to_json(kind, named[name].body) for name in sorted(named)}
        for kind, named in sorted(snapshot.resources.items())
    }


def written(resources: dict[str, Any]) -> str:
    """The text of an out.yaml; keys sorted, no aliases."""
    dumper = yaml.SafeDumper
    return yaml.dump(_plain(resources), Dumper=dumper, sort_keys=True, width=120, default_flow_style=False)


def _plain(value: Any) -> Any:
    # MessageToDict repeats objects, which YAML would write as anchors; a copy of each does not.
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, request: pytest.FixtureRequest) -> None:
    """What is generated is what the reviewed file says; run `make goldens` after an intended change."""
    text = written(resources_of(case))
    expected = case / "out.yaml"
    if request.config.getoption("--update-goldens", default=False):
        expected.write_text(text)

    assert text == expected.read_text()


def test_there_are_cases() -> None:
    """A glob that finds nothing would pass silently."""
    assert CASES
