"""Several services of one host: each namespace sees one of them, by Istio's order."""

from __future__ import annotations

from typing import Any

import pytest

from lateen.mesh.queries import (
    endpoints_of,
    every_service,
    instances_of,
    service_seen,
    services_for,
    virtual_addresses,
    visible_services,
)
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname

NGINX = Hostname("nginx.hidden.svc.cluster.local")
HIDDEN = """
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: hidden, annotations: {networking.istio.io/exportTo: "."}}
spec: {clusterIP: 10.0.0.9, selector: {app: nginx}, ports: [{port: 443, name: https}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: nginx-1, namespace: hidden}
spec: {address: 10.1.0.1, labels: {app: nginx}}
---
"""


def entry(namespace: str, port: int, export: str = "'*'", *, age: int = 1) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e{port}, namespace: {namespace}, creationTimestamp: "2026-01-0{age}T00:00:00Z"}}
spec: {{hosts: [{NGINX}], location: MESH_EXTERNAL, resolution: DNS, exportTo: [{export}],
  ports: [{{number: {port}, name: https, protocol: HTTPS}}]}}
---
"""


def seen(state: MeshState, namespace: str) -> tuple[str, int] | None:
    service = service_seen(state, NGINX, namespace)
    found = [one for one in visible_services(state, namespace) if one.host == NGINX]
    assert found == ([service] if service is not None else [])
    return None if service is None else (service.namespace, service.ports[0].number)


def test_who_does_not_see_a_service_sees_the_entry_of_the_same_host(build: Any) -> None:
    """Each has its own endpoints: neither side's workloads are mixed into the other's."""
    state = build(HIDDEN + entry("default", 8443))
    assert seen(state, "default") == seen(state, "other") == ("default", 8443)
    assert seen(state, "hidden") == ("hidden", 443)
    at = [one.address for one in endpoints_of(state, NGINX, 443, owner="hidden")]
    assert at == ["10.1.0.1"]
    assert [one.address for one in endpoints_of(state, NGINX, 8443, owner="default")] == [NGINX]
    assert [one.namespace for one in every_service(state)] == ["default", "hidden"]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        (entry("a", 1, "."), {"a": ("a", 1), "b": None}),
        (entry("a", 1, ".") + entry("b", 2, "."), {"a": ("a", 1), "b": ("b", 2), "c": None}),
        # Private before named before public, whatever the age.
        (entry("a", 1, ".", age=3) + entry("b", 2, "a", age=2) + entry("c", 3), {"a": ("a", 1), "b": ("c", 3)}),
        (entry("b", 2, "a", age=2) + entry("c", 3), {"a": ("b", 2), "b": ("c", 3)}),
        # The oldest of two that are exported alike owns the host, as without any visibility.
        (entry("a", 1, age=2) + entry("b", 2, age=1) + entry("c", 3, "."), {"a": ("b", 2), "c": ("c", 3)}),
        # Nobody takes a Kubernetes Service's host from those who see it.
        (HIDDEN.replace('"."', '"*"') + entry("a", 1, "."), {"a": ("hidden", 443), "hidden": ("hidden", 443)}),
        # What a workload says of its service exports nothing.
        (HIDDEN + entry("hidden", 5), {"hidden": ("hidden", 443), "a": None}),
    ],
)
def test_a_namespace_sees_one_by_istios_order(
    build: Any, documents: str, expected: dict[str, tuple[str, int] | None]
) -> None:
    state = build(documents)
    assert {namespace: seen(state, namespace) for namespace in expected} == expected


def test_a_registered_workload_does_not_export_the_service_that_it_names(build: Any, register: Any) -> None:
    state = build(HIDDEN, register("nginx-1", "10.1.0.1", 443, namespace="hidden"))
    assert (seen(state, "hidden"), seen(state, "default")) == (("hidden", 443), None)
    assert not state.doubles


def test_a_sidecar_names_the_one_it_means(build: Any, proxy: Any) -> None:
    """`namespace/host` is that namespace's service, as far as it is visible; `*/host` the one that is seen anyhow."""
    both = entry("a", 1, "c") + entry("b", 2)

    def imports(entries: str) -> list[tuple[str, int]]:
        sidecar = f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: c}}
spec: {{egress: [{{hosts: {entries}}}]}}
"""
        found = services_for(build(both + sidecar), proxy(namespace="c"))
        return [(one.namespace, one.ports[0].number) for one in found]

    assert imports("['*/*']") == imports(f"['*/{NGINX}']") == imports(f"['a/{NGINX}']") == imports("['a/*']")
    assert imports("['a/*']") == [("a", 1)]
    assert imports(f"['b/{NGINX}']") == imports("['b/*']") == [("b", 2)]
    assert imports(f"['hidden/{NGINX}']") == []


def test_a_workload_serves_the_service_of_its_namespace_whoever_sees_it(build: Any, proxy: Any) -> None:
    state = build(HIDDEN + entry("default", 8443))
    (one,) = instances_of(state, proxy("10.1.0.1", namespace="hidden"))
    (other,) = instances_of(state, proxy("10.7.7.7", namespace="hidden", app="nginx"))
    assert (one.service.namespace, one.port.number) == ("hidden", 443)
    assert (other.service, other.endpoint.address) == (one.service, "10.7.7.7")
    assert instances_of(state, proxy("10.1.0.1", namespace="default")) == ()


def test_one_virtual_address_per_host_when_any_of_its_services_needs_one(build: Any) -> None:
    """The Service has an address of its own, the entry that others see has none."""
    one, two = build(HIDDEN + entry("default", 8443)), build(HIDDEN.replace("10.0.0.9", "None") + entry("default", 1))
    assert list(virtual_addresses(one)) == list(virtual_addresses(two)) == [NGINX]
    assert not virtual_addresses(build(HIDDEN))


def test_a_mesh_without_them_holds_nothing_for_them(build: Any) -> None:
    state = build(entry("a", 1) + entry("b", 2) + HIDDEN.replace('"."', '"*"'))
    assert (state.doubles, state.index.services.instead, state.index.services.doubles) == ({}, {}, {})
