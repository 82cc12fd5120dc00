"""Policies by who calls, at gateways where a caller may have made that up."""

from __future__ import annotations

import pytest

from analysis_cases import codes, document, running, workload
from key_pairs import Authority, encoded, key_pair

PRINCIPAL = "from: [{source: {principals: [cluster.local/ns/a/sa/a]}}]"
LABELS = {"istio": "edge", "tier": "front"}


def edge(tls: str = "mode: OPTIONAL_MUTUAL, insecureSkipVerify: true") -> str:
    port = "port: {number: 443, name: https, protocol: HTTPS}"
    server = f"{{{port}, hosts: [a.test], tls: {{credentialName: s, {tls}}}}}"
    return document("Gateway", "g", f"{{selector: {{istio: edge}}, servers: [{server}]}}")


def policy(rule: str = PRINCIPAL, scope: str = "", namespace: str = "istio-system") -> str:
    return document("AuthorizationPolicy", "p", f"{{rules: [{{{rule}}}]{scope}}}", namespace=namespace)


def unverified(*documents: str, known: bool = False) -> list[str]:
    mesh = running(workload("", labels=LABELS)) if known else None
    return [one for one in codes(*documents, running=mesh) if "LAT0061" in one]


FOUND = ["LAT0061 AuthorizationPolicy/p spec.rules[0]"]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (PRINCIPAL, True),
        ("from: [{source: {notNamespaces: [a]}}]", True),
        ("when: [{key: source.namespace, values: [a]}]", True),
        ("from: [{source: {requestPrincipals: ['*']}}]", False),
        ("from: [{source: {ipBlocks: [10.0.0.0/8]}}]", False),
        ("", False),
    ],
)
def test_rules_that_go_by_who_calls(rule: str, *, found: bool) -> None:
    assert unverified(edge(), policy(rule)) == (FOUND if found else [])


@pytest.mark.parametrize(
    "tls",
    ["mode: OPTIONAL_MUTUAL", "mode: MUTUAL", "mode: SIMPLE", "mode: SIMPLE, insecureSkipVerify: true"],
)
def test_a_server_that_verifies_clients_or_asks_for_none_is_left_alone(tls: str) -> None:
    assert not unverified(edge(tls), policy())


@pytest.mark.parametrize(
    ("scope", "namespace", "known", "found"),
    [
        (", selector: {matchLabels: {istio: edge}}", "istio-system", False, True),
        (", selector: {matchLabels: {app: reviews}}", "istio-system", False, False),
        (", selector: {matchLabels: {tier: front}}", "istio-system", False, False),
        (", selector: {matchLabels: {tier: front}}", "istio-system", True, True),
        (", selector: {matchLabels: {istio: edge}}", "default", False, False),
        (", selector: {matchLabels: {istio: edge}}", "default", True, True),
        ("", "default", True, True),
        ("", "other", True, False),
    ],
)
def test_policies_that_are_surely_about_a_proxy_of_the_gateway(
    scope: str, namespace: str, *, known: bool, found: bool
) -> None:
    """Proxies of any namespace serve a Gateway: where none is known, only the root namespace's policies are."""
    assert unverified(edge(), policy(scope=scope, namespace=namespace), known=known) == (FOUND if found else [])


def of_the_api(mode: str) -> list[str]:
    chain, key = key_pair("a.test")
    authority = "".join(f"    {line}\n" for line in Authority("clients").certificate.decode().splitlines())
    validation = f"{{mode: {mode}, caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]}}"
    listener = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}}"
    gateway = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        f"spec:\n  gatewayClassName: istio\n  tls: {{frontend: {{default: {{validation: {validation}}}}}}}\n"
        f"  listeners: [{listener}]\n"
    )
    config_map = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata:\n  ca.crt: |\n{authority}"
    pair = f"{{tls.crt: {encoded(chain)}, tls.key: {encoded(key)}}}"
    return [gateway, config_map, f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {pair}\n"]


@pytest.mark.parametrize(
    ("mode", "target", "found"),
    [
        ("AllowInsecureFallback", "edge", True),
        ("AllowInsecureFallback", "other", False),
        ("AllowValidOnly", "edge", False),
    ],
)
def test_a_gateway_of_the_api_that_lets_anybody_in(mode: str, target: str, *, found: bool) -> None:
    scope = f", targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {target}}}]"
    assert unverified(*of_the_api(mode), policy(scope=scope, namespace="default")) == (FOUND if found else [])
