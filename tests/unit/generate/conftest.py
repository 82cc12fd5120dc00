"""What the tests of generation share: documents in, resources as JSON out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pytest

from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.envoy.messages import to_json
from lateen.envoy.resources import Snapshot
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Interception, Proxy, ProxyType

Shown = dict[str, dict[str, Any]]
"""Short kind (`Cluster`) -> name -> the resource as JSON."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make goldens` rewrite the expected output."""
    parser.addoption("--update-goldens", action="store_true", help="write out.yaml of every golden case anew")


class Generated(Protocol):
    """Generate from documents: `generated(documents, gateway_proxy)`."""

    def __call__(self, documents: str, proxy: Proxy | None = None, *, mesh_config: str = "") -> Shown: ...


def state_of(documents: str, mesh_config: str = "") -> MeshState:
    """Return the state of a mesh from YAML documents; a bad document fails the test."""
    parsed = parse(documents.encode(), "mesh.yaml")
    assert not has_errors(parsed.findings), parsed.findings
    settings, findings = parse_mesh_config(mesh_config.encode() or b"{}", "mesh-config.yaml")
    assert not has_errors(findings), findings
    return build_state(parsed.objects, (), settings)


def shown(snapshot: Snapshot) -> Shown:
    """Return a snapshot as JSON."""
    return {
        kind.rpartition(".")[2]: {name: to_json(kind, resource.body) for name, resource in sorted(named.items())}
        for kind, named in sorted(snapshot.resources.items())
    }


def deciding(chain_filters: Sequence[Mapping[str, Any]], resources: Shown) -> list[Mapping[str, Any]]:
    """Return the filters of authorization among these that ask anything, with the settings they are served."""
    told = resources["TypedExtensionConfig"]
    served = [told[item["name"]] for item in chain_filters if item["name"] in told]
    return [one for one in served if one["typed_config"].keys() - {"@type", "stat_prefix"}]


@pytest.fixture
def sidecar() -> Proxy:
    """An intercepted sidecar that serves nothing."""
    return Proxy(
        type=ProxyType.SIDECAR, name="client", namespace="default", addresses=("10.9.9.9",), labels={"app": "client"}
    )


@pytest.fixture
def explicit_sidecar() -> Proxy:
    return Proxy(
        type=ProxyType.SIDECAR,
        name="client",
        namespace="default",
        addresses=("127.0.0.9",),
        interception=Interception.NONE,
    )


@pytest.fixture
def gateway_proxy() -> Proxy:
    return Proxy(
        type=ProxyType.GATEWAY,
        name="front",
        namespace="default",
        addresses=("127.0.0.8",),
        labels={"istio": "ingressgateway"},
        port_map={80: 8080},
    )


@pytest.fixture
def generated(sidecar: Proxy) -> Generated:
    """Generate from documents, for the sidecar unless another proxy is given."""

    def run(documents: str, proxy: Proxy | None = None, *, mesh_config: str = "") -> Shown:
        return shown(generate(state_of(documents, mesh_config), proxy or sidecar))

    return run


@pytest.fixture
def make_state() -> Callable[..., MeshState]:
    return state_of


@pytest.fixture
def routes(generated: Generated) -> Callable[[str], list[Mapping[str, Any]]]:
    """Return the routes that a sidecar has to `reviews:9080` under the http rules of a VirtualService."""

    def run(rules: str, more: str = "") -> list[Mapping[str, Any]]:
        found = generated(f"{REVIEWS}---\n{rule_document(rules)}\n{more}")["RouteConfiguration"]["9080"]
        host = next(item for item in found["virtual_hosts"] if item["name"].startswith("reviews."))
        listed: list[Mapping[str, Any]] = host["routes"]
        return listed

    return run


def rule_document(rules: str) -> str:
    """Return a VirtualService of `reviews` with these http rules (YAML list, any indentation)."""
    indented = "\n".join(f"  {line}" for line in rules.strip("\n").splitlines())
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n"
        f"spec:\n  hosts: [reviews]\n  http:\n{indented}\n"
    )


REVIEWS = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.0.0.10
  ports: [{name: http, port: 9080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}, {addresses: [10.1.0.2]}]
ports: [{name: http, port: 9080}]
"""


@pytest.fixture
def reviews() -> str:
    """The documents of a service `reviews` with one HTTP port, 9080, and two endpoints."""
    return REVIEWS
