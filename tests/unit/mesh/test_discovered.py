"""discoverySelectors: which namespaces are part of the mesh."""

from __future__ import annotations

import pytest

from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.catalogues import Catalogue
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

OBJECTS = "---\n".join(
    [
        *(
            f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
            for name, labels in (("shop", "mesh: 'on', tier: a"), ("lab", "mesh: 'off'"))
        ),
        *(
            "apiVersion: v1\nkind: Service\n"
            f"metadata: {{name: web, namespace: {namespace}}}\nspec: {{ports: [{{port: 80}}]}}\n"
            for namespace in ("shop", "lab", "plain", "istio-system")
        ),
    ]
)


def mesh(text: str) -> MeshConfig:
    config, findings = parse_mesh_config(text.encode(), "f")
    assert not findings
    return config


def state(config: MeshConfig, previous: MeshState | None = None) -> MeshState:
    workloads = [
        WorkloadRegistration(
            service="app", namespace=namespace, name="app-1", address=address, ports=(WorkloadPort(port=80),)
        )
        for namespace, address in (("lab", "127.0.0.2"), ("shop", "127.0.0.3"))
    ]
    objects = parse(OBJECTS.encode(), "f").objects
    return build_state(objects, [Catalogue(name="agents", workloads=workloads)], config, previous=previous)


def namespaces(found: MeshState) -> set[str]:
    return {str(host).split(".")[1] for host in found.services if str(host).startswith("web.")}


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ("[]", {"shop", "lab", "plain", "istio-system"}),
        ("[{matchLabels: {mesh: 'on'}}]", {"shop", "istio-system"}),
        ("[{matchLabels: {mesh: 'on', tier: b}}]", {"istio-system"}),
        ("[{matchLabels: {mesh: 'on'}}, {matchLabels: {mesh: 'off'}}]", {"shop", "lab", "istio-system"}),
        ("[{matchExpressions: [{key: mesh, operator: In, values: ['off']}]}]", {"lab", "istio-system"}),
        ("[{matchExpressions: [{key: mesh, operator: NotIn, values: ['off']}]}]", {"shop", "plain", "istio-system"}),
        ("[{matchExpressions: [{key: tier, operator: Exists}]}]", {"shop", "istio-system"}),
        ("[{matchExpressions: [{key: mesh, operator: DoesNotExist}]}]", {"plain", "istio-system"}),
        ("[{matchLabels: {kubernetes.io/metadata.name: plain}}]", {"plain", "istio-system"}),
        ("[{}]", {"shop", "lab", "plain", "istio-system"}),
    ],
)
def test_namespaces_that_a_selector_takes_and_the_root_namespace_count(selectors: str, expected: set[str]) -> None:
    assert namespaces(state(mesh(f"discoverySelectors: {selectors}"))) == expected


def test_workloads_of_other_namespaces_are_no_endpoints() -> None:
    found = state(mesh("discoverySelectors: [{matchLabels: {mesh: 'on'}}]"))
    assert [item.namespace for item in found.workloads] == ["shop"]


def test_a_change_of_the_selectors_is_the_same_as_building_anew() -> None:
    before = state(mesh("discoverySelectors: [{matchLabels: {mesh: 'on'}}]"))
    changed = state(mesh("discoverySelectors: [{matchLabels: {mesh: 'off'}}]"), previous=before)
    assert changed == state(mesh("discoverySelectors: [{matchLabels: {mesh: 'off'}}]"))
    assert namespaces(changed) == {"lab", "istio-system"}


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        ("{key: a, operator: Equals}", "operator"),
        ("{operator: Exists}", "key"),
        ("{key: a, operator: In}", "values"),
        ("{key: a, operator: Exists, values: [b]}", "values"),
    ],
)
def test_an_expression_that_means_nothing_is_an_error(expression: str, path: str) -> None:
    text = f"discoverySelectors: [{{matchExpressions: [{expression}]}}]"
    (finding,) = parse_mesh_config(text.encode(), "f")[1]
    assert finding.path == f"discoverySelectors[0].matchExpressions[0].{path}"
