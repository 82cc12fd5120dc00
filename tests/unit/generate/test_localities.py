"""Locality load balancing: what each place prefers, and that places are told apart only when somebody asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.envoy.messages import to_json
from lateen.envoy.resources import CLUSTER, ENDPOINT
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType
from lateen.model.services import Locality
from unit.generate.conftest import state_of

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints:
  - {address: 10.1.0.1, locality: r1/z1/s1, labels: {version: v1, rack: a}}
  - {address: 10.1.0.2, locality: r1/z1/s2, labels: {version: v1}}
  - {address: 10.1.0.3, locality: r1/z2/s1, labels: {version: v1, rack: a}}
  - {address: 10.1.0.4, locality: r2/z1/s1, labels: {version: v2}, weight: 3}
  - {address: 10.1.0.5, locality: r2/z2/s1, labels: {version: v2}}
  - {address: 10.1.0.6, locality: r3, labels: {version: v2}}
"""
CLUSTER_NAME = "outbound|80||a.default.svc.cluster.local"
CLIENT = Proxy(
    type=ProxyType.SIDECAR,
    name="client-1",
    namespace="default",
    addresses=("10.1.9.1",),
    labels={"version": "v1", "rack": "a"},
    locality=Locality("r1", "z1", "s1"),
)
DETECTION = "outlierDetection: {consecutive5xxErrors: 3}"


def rule(policy: str) -> str:
    return (
        SERVICE
        + f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a, namespace: default}}
spec: {{host: a.default.svc.cluster.local, trafficPolicy: {{{policy}}}}}
"""
    )


def locality(setting: str) -> str:
    return rule(f"{DETECTION}, loadBalancer: {{localityLbSetting: {{{setting}}}}}")


def under(text: str, mesh_config: str) -> MeshState:
    parsed = parse(text.encode(), "mesh.yaml")
    config, findings = parse_mesh_config(mesh_config.encode(), "mesh-config.yaml")
    assert not has_errors((*parsed.findings, *findings)), (parsed.findings, findings)
    return build_state(parsed.objects, (), config)


def endpoint_groups(state: MeshState, proxy: Proxy = CLIENT) -> list[dict[str, Any]]:
    assignment = to_json(ENDPOINT, generate(state, proxy).resources[ENDPOINT][CLUSTER_NAME].body)
    return list(assignment["endpoints"])


def priorities(state: MeshState, proxy: Proxy = CLIENT) -> list[int]:
    """The priority of each endpoint, in the order of their addresses."""
    found = {
        endpoint["endpoint"]["address"]["socket_address"]["address"]: group.get("priority", 0)
        for group in endpoint_groups(state, proxy)
        for endpoint in group["lb_endpoints"]
    }
    return [found[address] for address in sorted(found)]


def weights(state: MeshState, proxy: Proxy = CLIENT) -> dict[str, int]:
    """The weight of each locality that has endpoints."""
    return {
        "/".join(group["locality"].values()): group["load_balancing_weight"]
        for group in endpoint_groups(state, proxy)
        if group.get("lb_endpoints")
    }


def cluster(state: MeshState, proxy: Proxy = CLIENT) -> dict[str, Any]:
    found: dict[str, Any] = to_json(CLUSTER, generate(state, proxy).resources[CLUSTER][CLUSTER_NAME].body)
    return found


def in_place(text: str) -> Proxy:
    return replace(CLIENT, locality=Locality.parse(text))


@pytest.mark.parametrize("text", [SERVICE, rule("loadBalancer: {simple: RANDOM}")])
def test_without_outlier_detection_all_are_alike(text: str) -> None:
    assert priorities(state_of(text)) == [0] * 6


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("r1/z1/s1", [0, 1, 2, 3, 3, 3]),
        ("r1/z1", [0, 0, 1, 2, 2, 2]),
        ("r2/z2/s1", [2, 2, 2, 1, 0, 2]),
        ("r3", [1, 1, 1, 1, 1, 0]),
        ("", [0] * 6),
        ("r9/z1/s1", [0] * 6),
    ],
)
def test_outlier_detection_prefers_the_nearest(place: str, wanted: list[int]) -> None:
    """By subzone, zone, region, and then the rest; without gaps in the numbers."""
    state = state_of(rule(DETECTION))
    assert priorities(state, in_place(place)) == wanted
    assert (
        "common_lb_config" not in cluster(state)
        or "locality_weighted_lb_config" not in cluster(state)["common_lb_config"]
    )


def test_failover_names_the_next_region() -> None:
    state = state_of(locality("failover: [{from: r1, to: r3}, {from: r2, to: r1}]"))
    assert priorities(state) == [0, 1, 2, 4, 4, 3]
    assert priorities(state, in_place("r2/z1/s1")) == [2, 2, 2, 0, 1, 3]
    assert cluster(state)["common_lb_config"]["locality_weighted_lb_config"] == {}


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("[version, rack]", [0, 1, 0, 2, 2, 2]),
        ("[rack]", [0, 1, 0, 1, 1, 1]),
        ('["version=v2"]', [1, 1, 1, 0, 0, 0]),
        ("[topology.kubernetes.io/region, topology.kubernetes.io/zone]", [0, 0, 1, 2, 2, 2]),
        ('["topology.kubernetes.io/region=r2", topology.istio.io/subzone]', [1, 1, 1, 0, 0, 1]),
    ],
)
def test_failover_priority_goes_by_labels(labels: str, wanted: list[int]) -> None:
    """An endpoint comes the earlier the more labels, from the first on, it shares; a value is compared with that."""
    assert priorities(state_of(locality(f"failoverPriority: {labels}"))) == wanted


def test_failover_priority_splits_a_locality() -> None:
    """The parts weigh what their endpoints weigh."""
    text = locality('failoverPriority: ["version=v2"]').replace("r2/z2/s1", "r2/z1/s1")
    text = text.replace("labels: {version: v2}, weight: 3", "weight: 3")
    split = {"region": "r2", "zone": "z1", "sub_zone": "s1"}
    parts = [group for group in endpoint_groups(state_of(text)) if group["locality"] == split]
    assert [(part.get("priority", 0), part["load_balancing_weight"]) for part in parts] == [(0, 1), (1, 3)]


def test_priorities_by_label_come_before_those_by_region() -> None:
    state = state_of(locality("failoverPriority: [version], failover: [{from: r1, to: r3}]"))
    assert priorities(state) == [0, 1, 2, 4, 4, 3]


@pytest.mark.parametrize(
    ("share", "wanted"),
    [
        ("{from: r1/*, to: {r1/z1/*: 80, r2/*: 20}}", {"r1/z1/s1": 40, "r1/z1/s2": 40, "r2/z1/s1": 15, "r2/z2/s1": 5}),
        ("{from: r1/z1/s1, to: {r1/z2/s1: 99, r3: 1}}", {"r1/z2/s1": 99, "r3": 1}),
        (
            "{from: r2/*, to: {r1/*: 100}}",
            {"r1/z1/s1": 1, "r1/z1/s2": 1, "r1/z2/s1": 1, "r2/z1/s1": 3, "r2/z2/s1": 1, "r3": 1},
        ),
        (
            '{from: "*", to: {"*": 100}}',
            {"r1/z1/s1": 13, "r1/z1/s2": 13, "r1/z2/s1": 13, "r2/z1/s1": 38, "r2/z2/s1": 13, "r3": 13},
        ),
    ],
)
def test_distribute_gives_shares(share: str, wanted: dict[str, int]) -> None:
    """A share is divided by weight among what a pattern covers; what none covers gets nothing; others are not asked."""
    state = state_of(rule(f"loadBalancer: {{localityLbSetting: {{distribute: [{share}]}}}}"))
    assert weights(state) == wanted
    assert cluster(state)["common_lb_config"]["locality_weighted_lb_config"] == {}


def test_the_mesh_says_it_for_all_and_a_rule_otherwise() -> None:
    """The setting of a rule replaces the mesh's as a whole, and either can switch it off."""
    mesh = "localityLbSetting: {distribute: [{from: r1/*, to: {r1/*: 100}}]}"
    assert set(weights(under(SERVICE, mesh))) == {"r1/z1/s1", "r1/z1/s2", "r1/z2/s1"}
    assert priorities(under(locality("failover: [{from: r1, to: r3}]"), mesh)) == [0, 1, 2, 4, 4, 3]
    assert priorities(under(locality("enabled: false"), mesh)) == [0] * 6
    assert priorities(under(rule(DETECTION), "localityLbSetting: {enabled: false}")) == [0] * 6
    default = "defaultTrafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}}"
    assert priorities(under(SERVICE, default)) == [0, 1, 2, 3, 3, 3]


def test_proxyless_clients_get_the_same() -> None:
    client = replace(CLIENT, capability=Capability.GRPC)
    assert priorities(state_of(rule(DETECTION)), client) == [0, 1, 2, 3, 3, 3]


def test_places_share_a_scope_until_somebody_asks() -> None:
    """Neither where a proxy runs nor its network nor a label that nothing names splits what is served alike."""
    here, there = CLIENT, replace(in_place("r2/z1/s1"), name="b-1", network="n2", labels={"rack": "b"})
    for text, same in (
        (SERVICE, True),
        (rule("loadBalancer: {simple: RANDOM}"), True),
        (locality("enabled: false"), True),
        (rule(DETECTION), False),
    ):
        generator, state = Generator(), state_of(text)
        assert (generator.scope_of(state, here).outbound == generator.scope_of(state, there).outbound) is same


def test_labels_and_network_tell_apart_only_when_priorities_name_them() -> None:
    other = replace(CLIENT, name="b-1", network="n2", labels={"rack": "b"})
    for setting, same in (
        ("failover: [{from: r1, to: r2}]", True),
        ('failoverPriority: ["rack=b"]', True),
        ("failoverPriority: [rack]", False),
        ("failoverPriority: [topology.istio.io/network]", False),
    ):
        generator, state = Generator(), state_of(locality(setting))
        assert (generator.scope_of(state, CLIENT).outbound == generator.scope_of(state, other).outbound) is same


def test_a_rule_that_comes_and_goes_tells_places_apart_and_no_more() -> None:
    """The generator counts what asks: after the rule is gone, both places share again."""
    generator, there = Generator(), in_place("r2/z1/s1")
    plain, asked = state_of(SERVICE), state_of(rule(DETECTION))
    for state, same in ((plain, True), (asked, False), (plain, True)):
        scopes = [generator.scope_of(state, proxy).outbound for proxy in (CLIENT, there)]
        assert (scopes[0] == scopes[1]) is same
        for proxy in (CLIENT, there, replace(there, interception=Interception.NONE)):
            assert generator.generate(state, proxy) == generate(state, proxy)
