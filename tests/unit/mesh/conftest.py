"""Builds mesh states from YAML text, as the offline commands do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.catalogues import Catalogue
from lateen.model.findings import has_errors
from lateen.model.proxies import Proxy, ProxyType
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

Parse = Callable[[str], tuple[ConfigObject[Any], ...]]


class Build(Protocol):
    def __call__(self, text: str, *registrations: WorkloadRegistration, **mesh: Any) -> MeshState: ...


class MakeProxy(Protocol):
    def __call__(self, *addresses: str, namespace: str = ..., gateway: bool = ..., **labels: str) -> Proxy: ...


class Register(Protocol):
    def __call__(self, name: str, address: str, *ports: int, **fields: Any) -> WorkloadRegistration: ...


@pytest.fixture
def objects() -> Parse:
    """Parse valid YAML."""

    def run(text: str) -> tuple[ConfigObject[Any], ...]:
        parsed = parse(text.encode(), "test.yaml")
        assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
        return parsed.objects

    return run


@pytest.fixture
def build(objects: Parse) -> Build:
    """Build a state of YAML text, registrations, and fields of the MeshConfig."""

    def run(text: str, *registrations: WorkloadRegistration, **mesh: Any) -> MeshState:
        catalogue = Catalogue(name="agents", workloads=registrations)
        return build_state(objects(text), [catalogue], MeshConfig(**mesh))

    return run


@pytest.fixture
def proxy() -> MakeProxy:
    def run(*addresses: str, namespace: str = "default", gateway: bool = False, **labels: str) -> Proxy:
        kind = ProxyType.GATEWAY if gateway else ProxyType.SIDECAR
        return Proxy(type=kind, name="p", namespace=namespace, addresses=addresses, labels=labels)

    return run


@pytest.fixture
def register() -> Register:
    """Make a ready registration of a workload `name` of the service that precedes the first dash."""

    def run(name: str, address: str, *ports: int, **fields: Any) -> WorkloadRegistration:
        declared = tuple(WorkloadPort(port=port, protocol="http", app_port=port + 10000) for port in ports)
        given: dict[str, Any] = {
            "service": name.partition("-")[0],
            "namespace": "default",
            "ready": True,
            "ports": declared,
        } | fields
        return WorkloadRegistration(name=name, address=address, **given)

    return run
