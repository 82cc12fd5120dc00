"""Explanations of small meshes: the verdict, why, where that is written, and what would change it."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from explain_questions import random_policies, random_request
from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.parsing import parse
from lateen.explain.explaining import explain
from lateen.explain.explanations import Check, Explanation, WorkloadVerdict
from lateen.explain.questions import QuestionError, question
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Proxy, ProxyType

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: tcp, port: 7000}]}
"""
WORKLOADS = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 10.0.0.5, labels: {app: reviews, version: v1}, serviceAccount: reviews}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v2}
spec: {address: 10.0.0.6, labels: {app: reviews, version: v2}, serviceAccount: reviews}
"""
VIEWER = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: viewer}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/web/sa/frontend]}}]
    to: [{operation: {methods: [GET], paths: [/reviews/*]}}]
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
"""
CALLER = Proxy(
    type=ProxyType.SIDECAR,
    name="web-1",
    namespace="web",
    service_account="frontend",
    addresses=("10.0.0.9",),
    certificates=True,
)
LINE = "GET http://reviews.default:9080/reviews/1"


def state_of(*documents: str | dict[str, Any], mesh: MeshConfig | None = None) -> MeshState:
    texts = [document if isinstance(document, str) else yaml.safe_dump(document) for document in documents]
    parsed = parse("\n---\n".join(texts).encode(), "mesh.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
    return build_state(parsed.objects, (), mesh or MeshConfig())


def ask(state: MeshState, line: str = LINE, caller: Proxy = CALLER, **options: Any) -> Explanation:
    return explain(state, question(caller, line, assumed_sidecars=True, **options))


def only(explanation: Explanation) -> WorkloadVerdict:
    [verdict] = explanation.workloads
    return verdict


def check(verdict: WorkloadVerdict, action: str) -> Check:
    [found] = [one for one in verdict.checks if one.action == action]
    return found


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


# --- who may call --------------------------------------------------------------------------------------------


def test_a_rule_that_matches_allows() -> None:
    explanation = ask(state_of(SERVICE, VIEWER))
    verdict = only(explanation)

    assert explanation.verdict == verdict.verdict == "allowed"
    assert verdict.status is None
    assert verdict.transport == "mutual TLS"
    assert verdict.principal == explanation.caller.identity == "cluster.local/ns/web/sa/frontend"
    assert verdict.policy is None
    assert check(verdict, "ALLOW").rules[0].matched


def test_one_that_does_not_says_which_conditions_failed_and_where_it_stands() -> None:
    verdict = only(ask(state_of(SERVICE, VIEWER), identity="default/default"))
    [rule] = check(verdict, "ALLOW").rules

    assert (verdict.verdict, verdict.status) == ("denied", 403)
    assert (rule.policy, rule.rule, rule.origin) == ("default/viewer", 0, "mesh.yaml:9")
    assert [str(condition) for condition in rule.failed] == [
        "principal: wanted cluster.local/ns/web/sa/frontend, is cluster.local/ns/default/sa/default"
    ]


def test_the_nearest_rule_is_told_first() -> None:
    far = {"from": [{"source": {"namespaces": ["x"]}}], "to": [{"operation": {"methods": ["PUT"], "paths": ["/x"]}}]}
    near = {"to": [{"operation": {"methods": ["PUT"]}}]}
    verdict = only(ask(state_of(SERVICE, policy("p", rules=[far, near]))))

    assert [(rule.rule, len(rule.failed)) for rule in verdict.nearest] == [(1, 1), (0, 3)]


def test_no_allow_policy_allows() -> None:
    verdict = only(ask(state_of(SERVICE)))

    assert verdict.verdict == "allowed"
    assert "no ALLOW policy" in verdict.reason


def test_a_policy_without_rules_allows_nobody() -> None:
    verdict = only(ask(state_of(SERVICE, policy("nothing"))))
    [rule] = check(verdict, "ALLOW").rules

    assert verdict.verdict == "denied"
    assert (rule.policy, rule.rule) == ("default/nothing", -1)
    assert [rule.failed for rule in check(verdict, "ALLOW").rules] == [[]], "there is no condition to meet"
    assert verdict.nearest == []


def test_a_deny_goes_before_and_cannot_be_overridden() -> None:
    deny = policy("no-get", action="DENY", rules=[{"to": [{"operation": {"methods": ["GET"]}}]}])
    verdict = only(ask(state_of(SERVICE, VIEWER, deny)))

    assert verdict.verdict == "denied"
    assert verdict.policy is None, "it is allowed but for the DENY"
    assert "cannot override a DENY" in verdict.advice
    assert "rule 0 of default/no-get (mesh.yaml:" in verdict.advice
    assert check(verdict, "ALLOW").outcome == "passed", "all that applies is told"


def test_behind_a_deny_the_missing_allow_is_told_too() -> None:
    deny = policy("no-get", action="DENY", rules=[{"to": [{"operation": {"methods": ["GET"]}}]}])
    verdict = only(ask(state_of(SERVICE, VIEWER, deny), identity="a/b"))

    assert verdict.policy is not None
    assert "after that it needs the policy below too" in verdict.advice


def test_workloads_that_differ_are_told_apart() -> None:
    only_v1 = policy("v1", selector={"matchLabels": {"version": "v1"}}, rules=[{}])
    none_v2 = policy("v2", selector={"matchLabels": {"version": "v2"}})
    explanation = ask(state_of(SERVICE, WORKLOADS, only_v1, none_v2))

    assert explanation.verdict == "mixed"
    assert {one.workload: one.verdict for one in explanation.workloads} == {
        "reviews-v1.default": "allowed",
        "reviews-v2.default": "denied",
    }
    assert explanation.workloads[0].addresses == ["10.0.0.5:9080"]


def test_bytes_have_no_methods() -> None:
    """A rule about methods never allows a connection; what does not act is named."""
    explanation = ask(state_of(SERVICE, VIEWER), "GET http://reviews.default:7000/reviews/1")
    verdict = only(explanation)

    assert (verdict.verdict, verdict.status) == ("denied", None)
    assert any("default/viewer" in note and "no rule that acts" in note for note in explanation.notes)
    assert any("carries bytes" in note for note in explanation.notes)
    assert verdict.policy is not None
    assert "methods" not in yaml.safe_dump(verdict.policy)


# --- what would change it ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_the_advised_policy_makes_it_allowed(seed: int) -> None:
    """For any policies: when ALLOW rules alone refuse, applying what is advised is enough."""
    chance = Random(seed)
    policies = random_policies(chance, {"app": "reviews"})
    method, path, headers = random_request(chance)
    headers["host"] = chance.choice(("reviews.default", "reviews.default:9080", "Reviews.Default"))
    line = f"{method} http://reviews.default:{chance.choice((9080, 7000))}{path}"
    options: dict[str, Any] = {
        "headers": [f"{name}={value}" for name, value in headers.items()],
        "plaintext": chance.random() < 0.4,
    }
    before = only(ask(state_of(SERVICE, *policies), line, **options))
    if before.policy is None:
        assert before.verdict == "allowed" or "cannot override" in before.advice
        return

    after = only(ask(state_of(SERVICE, *policies, before.policy), line, **options))

    assert check(after, "ALLOW").outcome == "passed"
    assert after.verdict == ("allowed" if "cannot override" not in before.advice else "denied")


def test_the_advised_policy_is_the_smallest() -> None:
    """One caller, one method, one path, one port, the workloads with the telling label."""
    verdict = only(ask(state_of(SERVICE, WORKLOADS.partition("---")[0], VIEWER), LINE.replace("GET", "PUT")))

    assert verdict.policy == policy(
        "allow-frontend-to-reviews",
        selector={"matchLabels": {"app": "reviews"}},
        action="ALLOW",
        rules=[
            {
                "from": [{"source": {"principals": ["cluster.local/ns/web/sa/frontend"]}}],
                "to": [{"operation": {"methods": ["PUT"], "paths": ["/reviews/1"], "ports": ["9080"]}}],
            }
        ],
    )


def test_the_advised_policy_takes_no_name_that_is_taken() -> None:
    taken = policy("allow-frontend-to-reviews", rules=[{"to": [{"operation": {"methods": ["PUT"]}}]}])
    verdict = only(ask(state_of(SERVICE, taken)))

    assert verdict.policy is not None
    assert verdict.policy["metadata"]["name"] == "allow-frontend-to-reviews-2"


# --- mutual TLS ----------------------------------------------------------------------------------------------


def test_strict_refuses_plain_text_and_says_who_decided() -> None:
    verdict = only(ask(state_of(SERVICE, STRICT), plaintext=True))

    assert (verdict.verdict, verdict.status, verdict.transport) == ("refused", 503, "plain text")
    assert "PeerAuthentication default/strict (mesh.yaml:9)" in verdict.reason
    assert verdict.peer_authentication is not None
    assert verdict.peer_authentication.policy == "default/strict"


def test_strict_takes_mutual_tls() -> None:
    assert only(ask(state_of(SERVICE, STRICT))).verdict == "allowed"


def test_plain_text_proves_nothing() -> None:
    verdict = only(ask(state_of(SERVICE, VIEWER), plaintext=True))

    assert (verdict.verdict, verdict.principal) == ("denied", "")
    [condition] = check(verdict, "ALLOW").rules[0].failed
    assert str(condition) == "principal: wanted cluster.local/ns/web/sa/frontend, is absent"


def test_a_caller_without_certificate_proves_nothing() -> None:
    verdict = only(ask(state_of(SERVICE, VIEWER), caller=replace(CALLER, certificates=False)))

    assert (verdict.verdict, verdict.transport) == ("denied", "plain text")


def test_disabled_mutual_tls_proves_nothing_either() -> None:
    for documents in ((SERVICE, WORKLOADS), (SERVICE,)):
        explanation = ask(state_of(*documents, STRICT.replace("STRICT", "DISABLE")))
        assert {(one.transport, one.principal) for one in explanation.workloads} == {("plain text", "")}


def test_a_workload_says_by_its_label_that_it_has_no_sidecar() -> None:
    labelled = WORKLOADS.replace("{app: reviews,", "{app: reviews, security.istio.io/tlsMode: disabled,")
    explanation = ask(state_of(SERVICE, labelled))

    assert {one.transport for one in explanation.workloads} == {"plain text"}


# --- tokens, authorization servers, audits -------------------------------------------------------------------

TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules:
  - issuer: https://issuer.example
    audiences: [shop]
    jwks: '{"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0"}]}'
"""
GROUPS = policy("dev", rules=[{"when": [{"key": "request.auth.claims[groups]", "values": ["dev"]}]}])
GOOD = '{"iss": "https://issuer.example", "sub": "me", "aud": "shop", "groups": ["dev"]}'


def test_claims_of_a_token_count() -> None:
    state = state_of(SERVICE, TOKENS, GROUPS)

    assert only(ask(state, claims=GOOD)).verdict == "allowed"
    without = only(ask(state))
    assert (without.verdict, without.status) == ("denied", 403)
    assert str(check(without, "ALLOW").rules[0].failed[0]) == "claim groups: wanted dev, is absent"


@pytest.mark.parametrize(
    ("claims", "status", "words"),
    [
        (GOOD.replace("issuer", "other"), 401, "other"),
        (GOOD.replace("shop", "bank"), 403, "bank"),
    ],
)
def test_a_bad_token_is_refused_before_any_policy(claims: str, status: int, words: str) -> None:
    verdict = only(ask(state_of(SERVICE, TOKENS), claims=claims))

    assert (verdict.verdict, verdict.status) == ("denied", status)
    assert words in verdict.reason


def test_a_token_in_a_header_is_read() -> None:
    """Claims `{"iss": "me"}`, of an issuer that nobody knows here."""
    state = state_of(SERVICE, TOKENS)
    token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSJ9.x"

    assert only(ask(state, headers=[f"authorization=Bearer {token}"])).status == 401
    assert only(ask(state, headers=["authorization=Bearer nothing"])).status == 401
    assert only(ask(state, headers=["authorization=Basic x"])).verdict == "allowed"


def test_a_token_is_not_repeated_as_a_credential() -> None:
    token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl"
    explanation = ask(state_of(SERVICE), headers=[f"authorization=Bearer {token}"])

    assert "c2lnbmF0dXJl" not in str(explanation)


def test_an_authorization_server_is_named_when_it_is_asked() -> None:
    config, findings = parse_mesh_config(
        b"extensionProviders: [{name: opa, envoyExtAuthzGrpc: {service: opa.default.svc.cluster.local, port: 9191}}]",
        "m",
    )
    assert config is not None
    assert not has_errors(findings)
    server = SERVICE.replace("reviews", "opa").replace("9080", "9191").replace("name: http", "name: grpc")
    custom = policy(
        "ask",
        selector={"matchLabels": {"app": "reviews"}},
        action="CUSTOM",
        provider={"name": "opa"},
        rules=[{"to": [{"operation": {"paths": ["/reviews/*"]}}]}],
    )
    state = state_of(SERVICE, server, custom, mesh=config)

    asked = only(ask(state))
    assert [(one.action, one.outcome) for one in asked.checks] == [("CUSTOM", "passed"), ("CUSTOM", "asks")]
    assert "if opa agrees" in asked.reason
    passed = only(ask(state, LINE.replace("/reviews/", "/other/")))
    assert [one.outcome for one in passed.checks] == ["passed"]


def test_an_audit_and_a_dry_run_have_no_effect() -> None:
    audit = policy("watch", action="AUDIT", rules=[{}])
    dry = policy("tried", action="DENY", rules=[{}])
    dry["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    verdict = only(ask(state_of(SERVICE, audit, dry)))

    assert verdict.verdict == "allowed"
    assert {one.action: one.outcome for one in verdict.checks} == {"AUDIT": "noted", "DRY RUN": "noted"}


# --- whom it is for ------------------------------------------------------------------------------------------


def test_without_endpoints_the_workload_that_would_be_selected_is_imagined() -> None:
    explanation = ask(state_of(SERVICE))

    assert only(explanation).labels == {"app": "reviews"}
    assert only(explanation).addresses == []
    assert any("imagined" in note for note in explanation.notes)


@pytest.mark.parametrize("host", ["reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local."])
def test_a_host_is_understood_as_a_resolver_would(host: str) -> None:
    found = ask(state_of(SERVICE), f"GET http://{host}:9080/")

    assert found.destination is not None
    assert found.destination.host == "reviews.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        ("GET http://reviews:9080/", "no service has the host reviews", "did you mean reviews.default?"),
        ("GET http://review.default:9080/", "no service has the host", "did you mean reviews.default?"),
        ("GET http://zzz:9080/", "no service has the host", "reviews.default.svc.cluster.local"),
        ("GET http://reviews.default/", "has no port 80", "9080 (HTTP)"),
    ],
)
@pytest.mark.parametrize("mode", ["ALLOW_ANY", "REGISTRY_ONLY"])
def test_what_is_not_there_is_said_with_what_is(line: str, words: str, hint: str, mode: str) -> None:
    """And what becomes of it: it passes through, or is stopped, as the outbound traffic policy says."""
    mesh, _ = parse_mesh_config(f"outboundTrafficPolicy: {{mode: {mode}}}".encode(), "mesh.yaml")
    explanation = ask(state_of(SERVICE, mesh=mesh), line)
    assert explanation.routing is not None
    [missed] = [one for one in explanation.routing.near_misses if one.what == "service"]

    assert explanation.verdict == {"ALLOW_ANY": "allowed", "REGISTRY_ONLY": "refused"}[mode]
    assert words in missed.reason
    assert hint in missed.reason


def test_a_service_that_the_caller_does_not_see_is_said_to_be_there() -> None:
    private = SERVICE.replace("{name: reviews}", '{name: reviews, annotations: {networking.istio.io/exportTo: "."}}')
    routing = ask(state_of(private)).routing
    assert routing is not None
    missed = routing.near_misses[-1]

    assert (missed.what, missed.origin) == ("service", "mesh.yaml:2")
    assert "is not visible to web-1.web" in missed.reason
    assert "exportTo" in missed.reason


def test_outside_the_mesh_nothing_decides() -> None:
    external = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec:
  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  location: MESH_EXTERNAL
  resolution: DNS
"""
    explanation = ask(state_of(external), "GET http://api.example.com/")

    assert (explanation.verdict, explanation.workloads) == ("allowed", [])
    assert any("outside the mesh" in note for note in explanation.notes)


# --- through a gateway ---------------------------------------------------------------------------------------

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: entry, namespace: edge}
spec: {selector: {istio: gw}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [edge/entry]
  http:
  - match: [{uri: {prefix: /reviews}}]
    route: [{destination: {host: reviews, port: {number: 9080}}}]
"""
ENTRY = Proxy(
    type=ProxyType.GATEWAY,
    name="gw-1",
    namespace="edge",
    service_account="gw",
    labels={"istio": "gw"},
    addresses=("10.0.0.8",),
    certificates=True,
)


def test_through_a_gateway_the_workload_sees_the_gateways_identity() -> None:
    explanation = ask(state_of(SERVICE, VIEWER, GATEWAY), "GET http://shop.example/reviews/1", ENTRY)

    assert explanation.gateway is not None
    assert explanation.gateway.verdict == "allowed"
    assert only(explanation).principal == "cluster.local/ns/edge/sa/gw"
    assert explanation.verdict == "denied"


def test_a_gateways_own_policies_see_the_client() -> None:
    inside = policy("inside", rules=[{"from": [{"source": {"remoteIpBlocks": ["192.0.2.0/24"]}}]}])
    inside["metadata"]["namespace"] = "edge"
    state = state_of(SERVICE, GATEWAY, inside)

    near = ask(state, "GET http://shop.example/reviews/1", ENTRY, source_ip="192.0.2.7")
    far = ask(state, "GET http://shop.example/reviews/1", ENTRY, source_ip="198.51.100.7")

    assert (near.verdict, far.verdict) == ("allowed", "denied")
    assert far.workloads == []
    assert far.gateway is not None
    assert far.gateway.policy is not None


def test_what_no_gateway_route_has_is_not_found() -> None:
    state = state_of(SERVICE, GATEWAY)
    for line in ("GET http://other.example/reviews", "GET http://shop.example/nowhere"):
        found = ask(state, line, ENTRY).gateway
        assert found is not None
        assert (found.verdict, found.status) == ("refused", 404)
    with pytest.raises(QuestionError, match="no listener for port 8443"):
        ask(state, "GET http://shop.example:8443/", ENTRY)
