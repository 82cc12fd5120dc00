"""EnvoyFilters that do nothing are named where that can be known, and those that cannot be applied always."""

from __future__ import annotations

import pytest

from analysis_cases import service
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.preflight.flight import preflight


def said(*documents: str) -> list[str]:
    parsed = parse("---\n".join(documents).encode(), "f.yaml")
    found = preflight(build_state(parsed.objects, (), MeshConfig()), parsed.objects, parsed.positions).findings
    return [f"{one.code} {one.name} {one.path}" for one in found if one.code.startswith("LAT008")]


def envoy_filter(match: str, *, apply_to: str = "CLUSTER", selector: str = "", value: str = "") -> str:
    patch = f"{{operation: MERGE, value: {value or '{connect_timeout: 3s}'}}}"
    chosen = f"workloadSelector: {{labels: {selector}}}, " if selector else ""
    spec = f"{{{chosen}configPatches: [{{applyTo: {apply_to}, match: {match}, patch: {patch}}}]}}"
    head = "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: e, namespace: default}"
    return f"{head}, spec: {spec}}}\n"


@pytest.mark.parametrize(("cluster", "expected"), [("reviews", []), ("reviewz", ["LAT0080 e spec.configPatches[0]"])])
def test_a_cluster_that_is_not_there(cluster: str, expected: list[str]) -> None:
    match = f"{{context: SIDECAR_OUTBOUND, cluster: {{service: {cluster}.default.svc.cluster.local}}}}"
    assert said(service(), envoy_filter(match)) == expected


def test_what_only_workloads_have_is_not_missed_without_any() -> None:
    """Files need not say which workloads there are."""
    assert said(service(), envoy_filter("{context: SIDECAR_INBOUND, cluster: {portNumber: 1}}")) == []


@pytest.mark.parametrize("name", ["virtualOutbound", "0.0.0.0_9080"])
def test_listeners_of_interception_are_meant_too(name: str) -> None:
    match = f"{{context: SIDECAR_OUTBOUND, listener: {{name: {name}}}}}"
    documents = (service(), envoy_filter(match, apply_to="LISTENER", value="{traffic_direction: OUTBOUND}"))
    assert said(*documents) == []
