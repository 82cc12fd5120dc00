"""AuthorizationPolicies as filters: their order, their names, what bytes cannot be asked, and what is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lateen.config.parsing import parse
from lateen.envoy.resources import EXTENSION, LISTENER
from lateen.generate.authorization import Step, filter_name
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.model.proxies import Interception, Proxy, ProxyType
from unit.generate.conftest import Generated, deciding, shown, state_of

SERVER = Proxy(
    type=ProxyType.SIDECAR,
    name="server",
    namespace="default",
    addresses=("127.0.0.7",),
    labels={"app": "server"},
    interception=Interception.NONE,
)
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {ports: [{name: http, port: 80}, {name: tcp, port: 90}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: server, labels: {kubernetes.io/service-name: server}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.7]}]
ports: [{name: http, port: 80}, {name: tcp, port: 90}]
---
apiVersion: v1
kind: Service
metadata: {name: authorizer, namespace: security}
spec: {ports: [{name: grpc, port: 9000}]}
"""
PROVIDERS = """
extensionProviders:
- name: mine
  envoyExtAuthzGrpc: {service: security/authorizer.security.svc.cluster.local, port: 9000}
- name: http
  envoyExtAuthzHttp: {service: authorizer.security.svc.cluster.local, port: 9000}
- name: nowhere
  envoyExtAuthzHttp: {service: authorizer.security.svc.cluster.local, port: 1}
"""
AUTHORIZER = "outbound|9000||authorizer.security.svc.cluster.local"
DENY = filter_name(Step.DENY, tcp=False)
MINE = "provider: {name: mine}, rules: [{}]"


def policy(name: str, spec: str, *, namespace: str = "default", annotations: str = "{}") -> str:
    return (
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}, annotations: {annotations}}}\nspec: {{{spec}}}\n"
    )


def filters(generated: Generated, *policies: str, port: int = 80, proxy: Proxy = SERVER) -> list[Mapping[str, Any]]:
    """Return the filters of authorization of a port: 80 is HTTP, 90 is not."""
    resources = generated(SERVICES + "".join(policies), proxy, mesh_config=PROVIDERS)
    (chain,) = resources["Listener"][f"127.0.0.7_{port}"]["filter_chains"]
    found: Sequence[Mapping[str, Any]] = chain["filters"]
    if port == 80:
        found = found[-1]["typed_config"]["http_filters"]
    return deciding(found, resources)


def rules(one: Mapping[str, Any], key: str = "rules") -> dict[str, Any]:
    """Return the policies of an RBAC by name."""
    found: dict[str, Any] = one["typed_config"][key].get("policies", {})
    return found


def test_without_policies_filters_ask_nothing(generated: Generated) -> None:
    assert filters(generated) == []
    assert (
        filters(generated, policy("a", "", namespace="other"), policy("b", "selector: {matchLabels: {app: b}}")) == []
    )


def test_the_order_is_that_of_istio(generated: Generated) -> None:
    """Audit, then CUSTOM, which is two filters, then DENY, then ALLOW; on HTTP as on TCP."""
    policies = [
        policy("allow", "rules: [{}]"),
        policy("deny", "action: DENY, rules: [{}]"),
        policy("custom", f"action: CUSTOM, {MINE}"),
        policy("audit", "action: AUDIT, rules: [{}]"),
    ]
    for port, kind in ((80, "http"), (90, "network")):
        found = filters(generated, *policies, port=port)
        assert [one["name"] for one in found] == [
            f"envoy.filters.{kind}.{name}"
            for name in ("rbac.audit", "rbac.custom", "ext_authz", "rbac.deny", "rbac.allow")
        ]
        assert [one["typed_config"]["@type"].rpartition(".")[2] for one in found] == [
            "RBAC",
            "RBAC",
            "ExtAuthz",
            "RBAC",
            "RBAC",
        ]
        assert all(f".filters.{kind}." in one["typed_config"]["@type"] for one in found)
        assert [one["typed_config"].get("rules", {}).get("action") for one in found] == [
            "LOG",
            None,
            None,
            "DENY",
            None,
        ]


def test_rules_have_the_names_that_logs_show(generated: Generated) -> None:
    two = filters(generated, policy("a", "rules: [{}, {}]"), policy("b", "rules: [{}]", namespace="istio-system"))
    assert sorted(rules(two[0])) == [
        "ns[default]-policy[a]-rule[0]",
        "ns[default]-policy[a]-rule[1]",
        "ns[istio-system]-policy[b]-rule[0]",
    ]


def test_no_rules_match_nothing_and_an_empty_rule_everything(generated: Generated) -> None:
    (nothing,) = filters(generated, policy("a", ""))
    assert rules(nothing) == {
        "ns[default]-policy[a]-rule[0]": {
            "permissions": [{"not_rule": {"any": True}}],
            "principals": [{"not_id": {"any": True}}],
        }
    }
    (everything,) = filters(generated, policy("a", "rules: [{}]"))
    assert rules(everything) == {
        "ns[default]-policy[a]-rule[0]": {"permissions": [{"any": True}], "principals": [{"any": True}]}
    }


def test_of_bytes_less_is_let_through(generated: Generated) -> None:
    """An ALLOW rule that asks for more than a connection has is not there; a DENY rule asks for what is left."""
    spec = "rules: [{to: [{operation: {methods: [GET], ports: ['90']}}]}, {to: [{operation: {paths: [/a]}}]}]"
    (allow,) = filters(generated, policy("a", spec), port=90)
    assert allow["typed_config"]["rules"] == {}
    (deny,) = filters(generated, policy("a", f"action: DENY, {spec}"), port=90)
    assert {name: one["permissions"] for name, one in rules(deny).items()} == {
        "ns[default]-policy[a]-rule[0]": [{"destination_port": 90}],
        "ns[default]-policy[a]-rule[1]": [{"any": True}],
    }


def test_a_dry_run_is_a_shadow(generated: Generated) -> None:
    """Alone it decides nothing; beside another it does not change what that decides."""
    tried = policy("a", "rules: []", annotations="{istio.io/dry-run: 'true'}")
    (alone,) = filters(generated, tried)
    assert "rules" not in alone["typed_config"]
    assert alone["typed_config"]["shadow_rules_stat_prefix"] == "istio_dry_run_allow_"
    (both,) = filters(generated, tried, policy("b", "rules: [{}]"))
    assert list(rules(both)) == ["ns[default]-policy[b]-rule[0]"]
    assert list(rules(both, "shadow_rules")) == ["ns[default]-policy[a]-rule[0]"]


def test_an_http_server_is_not_asked_about_bytes(generated: Generated) -> None:
    ask = policy("a", "action: CUSTOM, provider: {name: http}, rules: [{}]")
    assert len(filters(generated, ask)) == 2
    assert filters(generated, ask, port=90) == []


def test_what_cannot_be_asked_refuses(generated: Generated) -> None:
    """No provider, one whose port is not there or whom the proxy may not call, and two."""
    hidden = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n"
    hidden += "spec: {egress: [{hosts: [./*]}]}\n"
    mine = policy("a", f"action: CUSTOM, {MINE}")
    cases = (
        (policy("a", "action: CUSTOM, provider: {name: unknown}, rules: [{}]"),),
        (policy("a", "action: CUSTOM, provider: {name: nowhere}, rules: [{}]"),),
        (mine, hidden),
        (mine, policy("b", "action: CUSTOM, provider: {name: http}, rules: [{}]")),
    )
    for documents in cases:
        for port in (80, 90):
            found = filters(generated, *documents, port=port)
            mark, refuse = found
            assert "rules" not in mark["typed_config"]
            assert refuse["typed_config"]["rules"]["action"] == "DENY"
            assert all(name.endswith("-deny-due-to-bad-CUSTOM-action") for name in rules(refuse))
            assert len(rules(refuse)) == len(rules(mark, "shadow_rules")) == sum("CUSTOM" in one for one in documents)


def test_whoever_asks_a_server_is_told_of_its_cluster(generated: Generated, gateway_proxy: Proxy) -> None:
    """Proxies that are told of little are told of that."""
    gateway = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
"""
    ask = policy("a", f"action: CUSTOM, {MINE}")
    for proxy in (SERVER, replace(SERVER, asks_on_demand=True), gateway_proxy):
        resources = generated(SERVICES + ask + gateway, proxy, mesh_config=PROVIDERS)
        assert AUTHORIZER in resources["Cluster"], proxy
    assert AUTHORIZER not in generated(SERVICES + gateway, gateway_proxy, mesh_config=PROVIDERS).get("Cluster", {})


def test_identities_of_the_mesh_are_known_by_all_its_names(generated: Generated) -> None:
    """A principal of a trust domain is one of its aliases too; a foreign one stays what it is."""
    spec = "rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b, other/ns/a/sa/b, '*/ns/a/sa/b']}}]}]"
    resources = generated(
        SERVICES + policy("a", spec), SERVER, mesh_config="trustDomain: new\ntrustDomainAliases: [old]"
    )
    (chain,) = resources["Listener"]["127.0.0.7_90"]["filter_chains"]
    (allow,) = deciding(chain["filters"], resources)
    (found,) = rules(allow)["ns[default]-policy[a]-rule[0]"]["principals"]
    assert [one["authenticated"]["principal_name"] for one in found["or_ids"]["ids"]] == [
        {"exact": "spiffe://new/ns/a/sa/b"},
        {"exact": "spiffe://old/ns/a/sa/b"},
        {"exact": "spiffe://other/ns/a/sa/b"},
        {"safe_regex": {"regex": "spiffe://.*/ns/a/sa/b"}},
    ]


def test_an_account_without_namespace_is_of_the_policys(generated: Generated) -> None:
    spec = "rules: [{from: [{source: {serviceAccounts: [web]}}]}]"
    (found,) = filters(generated, policy("a", spec, namespace="istio-system"))
    (principal,) = rules(found)["ns[istio-system]-policy[a]-rule[0]"]["principals"]
    assert "/ns/istio-system/" in principal["authenticated"]["principal_name"]["safe_regex"]["regex"]


def test_a_changed_policy_is_made_again_for_all_who_have_it() -> None:
    """What is remembered between workloads, chains and states is never an old policy, nor one of another namespace."""
    generator = Generator()
    other = replace(SERVER, name="other", labels={"app": "other"})
    for methods in ("GET", "POST", "GET"):
        spec = f"action: DENY, rules: [{{to: [{{operation: {{methods: [{methods}]}}}}]}}]"
        state = state_of(SERVICES + policy("a", spec, namespace="istio-system") + policy("a", spec))
        for proxy in (SERVER, other):
            body = generator.generate(state, proxy).resources[EXTENSION][DENY].body
            assert methods.encode() in body
            assert b"ns[default]-policy[a]" in body
            assert b"ns[istio-system]-policy[a]" in body


def test_no_change_of_policies_is_a_new_listener() -> None:
    """Not the first nor the last one, not another action; and what is not about policies keeps its objects."""
    generator = Generator()
    changes = (
        "",
        policy("a", "rules: [{}]"),
        policy("a", "action: DENY, rules: [{}]"),
        policy("a", f"action: CUSTOM, {MINE}") + policy("b", "rules: []"),
        policy("a", "action: AUDIT, rules: [{}]"),
        "",
    )
    found = [generator.generate(state_of(SERVICES + each, PROVIDERS), SERVER) for each in changes]
    assert len({snapshot.version for snapshot in found}) == len(changes) - 1
    assert len({id(snapshot.resources[LISTENER]) for snapshot in found}) == 1
    assert found[0].resources == found[-1].resources
    assert all(snapshot.resources[EXTENSION].keys() == found[0].resources[EXTENSION].keys() for snapshot in found)


def test_http_and_tcp_have_settings_of_their_own() -> None:
    """Ten names, each with settings of its own kind of filter, for a proxy with policies and for one without."""
    kinds = {filter_name(step, tcp=tcp): "network" if tcp else "http" for tcp in (False, True) for step in Step}
    assert len(kinds) == 2 * len(Step)
    for documents in (SERVICES, SERVICES + policy("a", "") + policy("b", f"action: CUSTOM, {MINE}")):
        told = shown(generate(state_of(documents, PROVIDERS), SERVER))["TypedExtensionConfig"]
        assert {name: one["typed_config"]["@type"].split(".")[5] for name, one in told.items()} == kinds


def test_a_gateway_keeps_its_policies_when_its_listeners_go(gateway_proxy: Proxy) -> None:
    """Connections that drain are judged by them until they are closed."""
    told = shown(generate(state_of(policy("a", "action: DENY, rules: [{}]")), gateway_proxy))
    assert "Listener" not in told
    assert told["TypedExtensionConfig"][DENY]["typed_config"]["rules"]["action"] == "DENY"


def test_a_document_without_namespace_is_of_the_one_it_is_read_for() -> None:
    """Two equal documents that are read for different namespaces are two policies."""
    text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {rules: [{}]}\n"
    first, second = (parse(text.encode(), "f", default_namespace=name).objects[0] for name in ("default", "other"))
    assert first.digest == second.digest
    assert first.key != second.key


def test_gateways_are_guarded_like_workloads(generated: Generated, gateway_proxy: Proxy) -> None:
    """By a selector, and by a reference to the Gateway of the Gateway API that the proxy is of."""
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
"""
    reference = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: %s}]"
    proxy = replace(gateway_proxy, labels={**gateway_proxy.labels, "gateway.networking.k8s.io/gateway-name": "front"})
    for spec, found in (
        ("selector: {matchLabels: {istio: ingressgateway}}", True),
        (reference % "front", True),
        (reference % "back", False),
    ):
        resources = generated(gateway + policy("a", spec), proxy)
        (chain,) = resources["Listener"]["0.0.0.0_80"]["filter_chains"]
        guards = deciding(chain["filters"][0]["typed_config"]["http_filters"], resources)
        assert [one["name"] for one in guards] == (["envoy.filters.http.rbac.allow"] if found else [])


@pytest.mark.parametrize(
    ("value", "issuer", "subject"),
    [
        ("*", {"safe_regex": {"regex": ".+"}}, {"safe_regex": {"regex": ".+"}}),
        ("https://idp/ann", {"exact": "https://idp"}, {"exact": "ann"}),
        ("https://idp/*", {"exact": "https://idp"}, {"safe_regex": {"regex": ".+"}}),
        ("https://idp/a*", {"exact": "https://idp"}, {"prefix": "a"}),
        ("*/ann", {"safe_regex": {"regex": ".+"}}, {"exact": "ann"}),
        ("*.example/ann", {"suffix": ".example"}, {"exact": "ann"}),
        ("*ann", {"safe_regex": {"regex": ".+"}}, {"suffix": "ann"}),
        ("idp*", {"prefix": "idp"}, {"safe_regex": {"regex": ".+"}}),
        ("idp", {"exact": "idp"}, {"exact": ""}),
    ],
)
def test_an_end_user_is_an_issuer_and_a_subject(
    generated: Generated, value: str, issuer: dict[str, Any], subject: dict[str, Any]
) -> None:
    (found,) = filters(generated, policy("a", f"rules: [{{from: [{{source: {{requestPrincipals: ['{value}']}}}}]}}]"))
    (principal,) = rules(found)["ns[default]-policy[a]-rule[0]"]["principals"]
    matchers = [one["sourced_metadata"]["metadata_matcher"] for one in principal["and_ids"]["ids"]]
    assert [[part["key"] for part in one["path"]] for one in matchers] == [["payload", "iss"], ["payload", "sub"]]
    assert [one["value"]["string_match"] for one in matchers] == [issuer, subject]
