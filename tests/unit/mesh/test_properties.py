"""build_state is a function of the *set* of its inputs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.mesh_config import MeshConfig, MeshOutboundTrafficPolicy, MeshOutboundTrafficPolicyMode
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.mesh.hosts import HostTable
from lateen.mesh.state import MeshState
from lateen.model.catalogues import Catalogue
from lateen.model.names import Hostname, host_matches
from lateen.model.protocols import Protocol
from lateen.model.services import Endpoint, Service, ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

MESH = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {selector: {app: a}, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.default.svc.cluster.local, x.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: a}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b, namespace: other, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {hosts: [x.example.com], resolution: DNS, ports: [{number: 81, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w1, namespace: default}
spec: {address: 1.1.1.1, labels: {app: a}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w2, namespace: default}
spec: {address: 1.1.1.2, labels: {app: a}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r1, namespace: default}
spec: {host: a, subsets: [{name: one, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r2, namespace: default}
spec: {host: a, subsets: [{name: two, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v1, namespace: default}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v2, namespace: default}
spec: {hosts: [a], http: [{route: [{destination: {host: x.example.com}}]}]}
"""
OBJECTS = parse(MESH.encode(), "mesh.yaml").objects
WORKLOADS = tuple(
    WorkloadRegistration(
        service="a", namespace="default", name=f"a-{n}", address=f"127.0.0.{n}", ports=(WorkloadPort(port=80),)
    )
    for n in range(1, 4)
)
SERVICES = tuple(
    Service(host=Hostname(f"{n}.svc"), namespace="n", ports=(ServicePort(number=1, protocol=Protocol.TCP),))
    for n in "ab"
)
ENDPOINTS = {service.host: (Endpoint(address="9.9.9.9", port=1, service_port=1),) for service in SERVICES}
REFERENCE = build_state(
    OBJECTS,
    [
        Catalogue(name="agents", workloads=WORKLOADS),
        Catalogue(name="other", services=SERVICES, endpoints=ENDPOINTS),
    ],
    MeshConfig(),
)


def content(state: MeshState) -> tuple[Any, ...]:
    """A state as a comparable value, the order of its mappings included."""
    return (
        state,
        list(state.services),
        list(state.endpoints),
        list(state.destination_rules),
        list(state.secrets),
    )


@given(st.randoms(use_true_random=False))
def test_the_order_of_inputs_does_not_matter(shuffler: random.Random) -> None:
    def shuffled(items: tuple[Any, ...]) -> list[Any]:
        copy = list(items)
        shuffler.shuffle(copy)
        return copy

    state = build_state(
        shuffled(OBJECTS),
        shuffled(
            (
                Catalogue(name="agents", workloads=tuple(shuffled(WORKLOADS))),
                Catalogue(
                    name="other", services=tuple(shuffled(SERVICES)), endpoints=dict(shuffled(tuple(ENDPOINTS.items())))
                ),
            )
        ),
        MeshConfig(),
    )
    assert content(state) == content(REFERENCE)


@given(st.sets(st.integers(0, len(OBJECTS) - 1)), st.sets(st.integers(0, len(OBJECTS) - 1)))
def test_versions_are_equal_exactly_when_the_objects_are(first: set[int], second: set[int]) -> None:
    one, other = (
        build_state([OBJECTS[index] for index in chosen], [], MeshConfig()).version for chosen in (first, second)
    )
    assert (one == other) == (first == second)


def test_the_version_depends_on_every_input() -> None:
    catalogue = Catalogue(name="agents", workloads=WORKLOADS)
    versions = {
        build_state([], [], MeshConfig()).version,
        build_state(OBJECTS, [], MeshConfig()).version,
        build_state([], [catalogue], MeshConfig()).version,
        build_state([], [Catalogue(name="agents", workloads=WORKLOADS[:2])], MeshConfig()).version,
        build_state([], [Catalogue(name="o", services=SERVICES)], MeshConfig()).version,
        build_state([], [Catalogue(name="o", services=SERVICES, endpoints=ENDPOINTS)], MeshConfig()).version,
        build_state([], [], MeshConfig(trust_domain="x")).version,
    }
    assert len(versions) == 7


def test_equal_settings_have_equal_versions() -> None:
    """Also when one of them says what is the default anyway."""
    said = MeshConfig(outbound_traffic_policy=MeshOutboundTrafficPolicy(mode=MeshOutboundTrafficPolicyMode.ALLOW_ANY))
    assert said == MeshConfig()
    assert build_state([], [], said).version == build_state([], [], MeshConfig()).version


_labels = st.sampled_from(["a", "b", "eu", "shop-eu"])
_names = st.lists(_labels, min_size=1, max_size=4).map(".".join)
_patterns = st.one_of(_names, _names.map("*.{}".format), st.just("*"), st.just("*-eu.a"))


@given(st.sets(_patterns), st.one_of(_names, _names.map("*.{}".format)))
def test_a_host_table_finds_what_a_scan_finds(patterns: set[str], host: str) -> None:
    """All patterns that cover a host, the longest wildcard first and the exact name before."""
    table = HostTable.of({Hostname(pattern): pattern for pattern in patterns})
    expected = sorted(
        (pattern for pattern in patterns if host_matches(pattern, host)), key=lambda p: (p != host, -len(p), p)
    )
    assert [value for _, value in table.candidates(Hostname(host))] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mesh", "mesh"),
        ("gw", "ns/gw"),
        ("./gw", "ns/gw"),
        ("other/gw", "other/gw"),
        ("gw.other.svc.cluster.local", "other/gw"),
        ("gw.other", "other/gw"),
    ],
)
def test_names_of_gateways(name: str, expected: str) -> None:
    from lateen.mesh.references import resolve_gateway

    assert resolve_gateway(name, "ns") == expected
