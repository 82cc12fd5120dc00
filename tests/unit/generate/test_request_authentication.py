"""RequestAuthentications in what proxies are served: which rules, with which keys, and when they change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.jwt_authn import JWT_FILTER, NO_KEYS
from lateen.envoy.messages import to_json
from lateen.envoy.resources import EXTENSION, LISTENER, Snapshot
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.changes import changes
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Capability, Proxy, ProxyType

URIS = ("https://a/keys", "https://b/.well-known/openid-configuration", "https://c/unused")
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
"""
POLICIES = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: own}
spec: {jwtRules: [{issuer: 'z', jwksUri: 'https://a/keys'}, {issuer: 'https://b'}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: root, namespace: istio-system}
spec: {jwtRules: [{issuer: m, jwks: '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: others}
spec: {selector: {matchLabels: {app: other}}, jwtRules: [{issuer: other, jwks: '{"keys": [{"kty": "oct", "k": "YQ"}]}'}]}
"""  # noqa: E501
EDGE = Proxy(
    type=ProxyType.GATEWAY,
    name="front",
    namespace="default",
    addresses=("127.0.0.8",),
    labels={"istio": "ingressgateway"},
)


def state_of(documents: str, key_sets: dict[str, str] | None = None, previous: MeshState | None = None) -> MeshState:
    parsed = parse(documents.encode(), "f")
    assert not has_errors(parsed.findings), parsed.findings
    return build_state(parsed.objects, (), MeshConfig(), previous, key_sets=key_sets)


def providers(snapshot: Snapshot) -> dict[str, Any]:
    """Keys and whether routes are looked for again, by issuer."""
    (listener,) = snapshot.resources[LISTENER].values()
    manager = to_json(LISTENER, listener.body)["filter_chains"][0]["filters"][0]["typed_config"]
    found = [item["name"] for item in manager["http_filters"] if item["name"] == JWT_FILTER]
    assert [item["name"] for item in manager["http_filters"]][: len(found)] == found
    told = snapshot.resources[EXTENSION]
    assert (JWT_FILTER in told) == bool(found)
    by_name = to_json(EXTENSION, told[JWT_FILTER].body)["typed_config"]["providers"] if found else {}
    assert all(name.startswith("ns[") and "-policy[" in name for name in by_name)
    return {provider["issuer"]: provider for provider in by_name.values()}


def keys(snapshot: Snapshot) -> dict[str, str]:
    return {issuer: provider["local_jwks"]["inline_string"] for issuer, provider in providers(snapshot).items()}


def test_rules_of_all_policies_act_together() -> None:
    """Of the root namespace and of the proxy's own, ordered by issuer; keys that are missing are nobody's."""
    found = keys(generate(state_of(GATEWAY + POLICIES, {URIS[0]: "A"}), EDGE))
    assert found == {"https://b": NO_KEYS, "m": '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "z": "A"}


def test_policy_without_rules_changes_nothing() -> None:
    policy = "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: a}, spec: {}}"
    assert providers(generate(state_of(GATEWAY + policy), EDGE)) == {}


def test_gateways_look_for_the_route_again() -> None:
    found = providers(generate(state_of(GATEWAY + POLICIES), EDGE))
    assert all(provider["clear_route_cache"] for provider in found.values())


def test_target_reference() -> None:
    """A policy with one is for the proxies of that Gateway alone."""
    policy = (
        "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: a}, spec: "
        "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}], jwtRules: [{issuer: 'https://b'}]}}"
    )
    state = state_of(GATEWAY + policy)
    named = replace(EDGE, labels={**EDGE.labels, "gateway.networking.k8s.io/gateway-name": "web"})
    assert providers(generate(state, EDGE)) == {}
    assert providers(generate(state, named)).keys() == {"https://b"}


key_sets = st.dictionaries(st.sampled_from(URIS), st.sampled_from(("A", "B")))


@given(st.lists(st.tuples(key_sets, st.sampled_from((POLICIES, POLICIES.partition("---")[0], ""))), max_size=6))
def test_following_keys_is_the_same_as_beginning_anew(turns: list[tuple[dict[str, str], str]]) -> None:
    """Whatever keys and policies come, change and go, in states and in what proxies are served."""
    generator = Generator()
    state: MeshState | None = None
    for found, policies in turns:
        state = state_of(GATEWAY + policies, dict(found), state)
        anew = state_of(GATEWAY + policies, dict(found))
        assert (state.version, dict(state.key_sets)) == (anew.version, found)
        followed, made = generator.generate(state, EDGE), generate(anew, EDGE)
        assert followed.version == made.version
        assert followed.resources == made.resources


def test_keys_that_no_proxy_uses_rebuild_nothing() -> None:
    """A change of keys is about those who read them, and never about a listener."""
    generator = Generator()
    first = state_of(GATEWAY + POLICIES, {URIS[0]: "A"})
    before = generator.generate(first, EDGE)
    second = state_of(GATEWAY + POLICIES, {URIS[0]: "A", URIS[2]: "B"}, first)
    assert second.version != first.version
    assert changes(first, second).key_sets == {URIS[2]}
    assert generator.generate(second, EDGE) is before
    third = state_of(GATEWAY + POLICIES, {URIS[0]: "B", URIS[2]: "B"}, second)
    after = generator.generate(third, EDGE)
    assert keys(after)["z"] == "B"
    assert after.resources[LISTENER] is before.resources[LISTENER]
    fourth = state_of(GATEWAY + POLICIES, {URIS[0]: "B", URIS[2]: "B"}, third)
    assert (fourth.version, fourth.key_sets) == (third.version, third.key_sets)
    assert fourth.key_sets is third.key_sets


def test_filter_that_is_still_in_use_asks_nothing() -> None:
    """Once the last policy is gone, for connections of the listener that has it still."""
    offer = generate(state_of(GATEWAY), EDGE).offer(EXTENSION)
    assert JWT_FILTER not in offer.told
    found = offer.get(JWT_FILTER)
    assert found is not None
    assert to_json(EXTENSION, found.body)["typed_config"].keys() == {"@type"}


RULE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.0.0.10, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  gateways: [mesh, edge]
  http:
  - match: [{headers: {'@request.auth.claims.sub': {exact: a}}}]
    directResponse: {status: 201}
  - match: [{withoutHeaders: {'@request.auth.claims.sub': {exact: a}}}]
    directResponse: {status: 202}
---
"""


def test_claims_do_not_route_inside_the_mesh() -> None:
    """A rule for a claim is left out for sidecars and gRPC clients, which would not know what to make of it."""
    for capability in (Capability.ENVOY, Capability.GRPC):
        proxy = Proxy(
            type=ProxyType.SIDECAR, name="c", namespace="default", addresses=("10.9.9.9",), capability=capability
        )
        shown = str(
            [
                to_json(kind, resource.body)
                for kind, named in generate(state_of(RULE + GATEWAY), proxy).resources.items()
                for resource in named.values()
            ]
        )
        assert "202" in shown
        assert "201" not in shown
