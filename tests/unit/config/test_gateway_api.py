"""Rules of the Gateway API's kinds: what is refused, at which path."""

from __future__ import annotations

import pytest

from lateen.config.parsing import parse

PARENT = "parentRefs: [{name: g}]"


def paths(kind: str, spec: str) -> list[str]:
    text = f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    parsed = parse(text.encode(), "f.yaml")
    assert bool(parsed.objects) is not bool(parsed.findings), parsed.findings
    return [finding.path for finding in parsed.findings]


def gateway(listeners: str, more: str = "") -> str:
    return f"{{gatewayClassName: c, listeners: [{listeners}]{more}}}"


def rule(text: str) -> str:
    return f"{{{PARENT}, rules: [{{{text}}}]}}"


def filtered(text: str) -> str:
    return rule(f"filters: [{text}]")


TLS = "tls: {certificateRefs: [{name: s}]}"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Gateway", gateway("{name: a, port: 80, protocol: HTTP}"), []),
        ("Gateway", gateway(f"{{name: a, port: 443, protocol: HTTPS, {TLS}}}"), []),
        ("Gateway", gateway(f"{{name: a, port: 80, protocol: HTTP, {TLS}}}"), ["spec.listeners[0].tls"]),
        ("Gateway", gateway("{name: a, port: 443, protocol: TLS}"), ["spec.listeners[0]"]),
        ("Gateway", gateway("{name: a, port: 443, protocol: HTTPS, tls: {}}"), ["spec.listeners[0].tls"]),
        (
            "Gateway",
            gateway("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}"),
            ["spec.listeners[0].tls.mode"],
        ),
        ("Gateway", gateway("{name: a, port: 0, protocol: HTTP}"), ["spec.listeners[0].port"]),
        ("Gateway", gateway("{name: A, port: 1, protocol: HTTP}"), ["spec.listeners[0].name"]),
        ("Gateway", gateway("{name: a, port: 1, protocol: TCP, hostname: a.b}"), ["spec.listeners[0].hostname"]),
        ("Gateway", gateway("{name: a, port: 1, protocol: HTTP, hostname: a.*.b}"), ["spec.listeners[0].hostname"]),
        ("Gateway", gateway("{name: a, port: 1, protocol: HTTP, hostname: 10.0.0.1}"), ["spec.listeners[0].hostname"]),
        (
            "Gateway",
            gateway("{name: a, port: 1, protocol: HTTP}, {name: a, port: 1, protocol: HTTP}"),
            ["spec.listeners[1]", "spec.listeners[1].name"],
        ),
        ("Gateway", gateway(""), ["spec.listeners"]),
        (
            "Gateway",
            gateway("{name: a, port: 1, protocol: HTTP}", ", addresses: [{value: nope}]"),
            ["spec.addresses[0].value"],
        ),
        ("GatewayClass", "{controllerName: nope}", ["spec.controllerName"]),
        ("HTTPRoute", f"{{{PARENT}}}", []),
        ("HTTPRoute", "{parentRefs: [{name: g}, {name: g}]}", ["spec.parentRefs[1]"]),
        ("HTTPRoute", "{parentRefs: [{name: g, sectionName: a}, {name: g, sectionName: b}]}", []),
        ("HTTPRoute", "{hostnames: [A.b]}", ["spec.hostnames[0]"]),
        ("HTTPRoute", rule("backendRefs: [{name: a}]"), ["spec.rules[0].backendRefs[0]"]),
        ("HTTPRoute", rule("backendRefs: [{name: a, port: 1, weight: -1}]"), ["spec.rules[0].backendRefs[0].weight"]),
        ("HTTPRoute", rule("matches: [{path: {value: a}}]"), ["spec.rules[0].matches[0].path.value"]),
        ("HTTPRoute", rule("matches: [{path: {value: //a}}]"), ["spec.rules[0].matches[0].path.value"]),
        (
            "HTTPRoute",
            rule("matches: [{path: {type: RegularExpression, value: '(?=a)'}}]"),
            ["spec.rules[0].matches[0].path.value"],
        ),
        (
            "HTTPRoute",
            rule("matches: [{headers: [{name: 'a b', value: c}]}]"),
            ["spec.rules[0].matches[0].headers[0].name"],
        ),
        ("HTTPRoute", rule("matches: [{method: FETCH}]"), ["spec.rules[0].matches[0].method"]),
        ("HTTPRoute", rule("timeouts: {request: 1s, backendRequest: 2s}"), ["spec.rules[0].timeouts.backendRequest"]),
        ("HTTPRoute", rule("timeouts: {request: 1.5s}"), ["spec.rules[0].timeouts.request"]),
        ("HTTPRoute", filtered("{type: CORS}"), ["spec.rules[0].filters[0]"]),
        (
            "HTTPRoute",
            filtered("{type: RequestRedirect, requestRedirect: {}, urlRewrite: {}}"),
            ["spec.rules[0].filters[0].urlRewrite"],
        ),
        (
            "HTTPRoute",
            filtered("{type: RequestRedirect, requestRedirect: {statusCode: 404}}"),
            ["spec.rules[0].filters[0].requestRedirect.statusCode"],
        ),
        (
            "HTTPRoute",
            filtered("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /}}}"),
            ["spec.rules[0].filters[0].urlRewrite.path", "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch"],
        ),
        (
            "HTTPRoute",
            rule(
                "matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: "
                "{type: ReplacePrefixMatch, replacePrefixMatch: /}}}]"
            ),
            ["spec.rules[0]"],
        ),
        ("GRPCRoute", rule("matches: [{method: {}}]"), ["spec.rules[0].matches[0].method"]),
        ("GRPCRoute", rule("matches: [{method: {service: 'a/b'}}]"), ["spec.rules[0].matches[0].method.service"]),
        ("TCPRoute", f"{{{PARENT}, rules: []}}", ["spec.rules"]),
        (
            "TLSRoute",
            f"{{{PARENT}, hostnames: [], rules: [{{backendRefs: [{{name: a, port: 1}}]}}]}}",
            ["spec"],
        ),
        ("ReferenceGrant", "{from: [], to: [{group: '', kind: Secret}]}", ["spec.from"]),
        (
            "GatewayClass",
            "{controllerName: a.b/c, parametersRef: {group: A, kind: '5', name: ''}}",
            [
                "spec.parametersRef",  # it has no effect
                "spec.parametersRef.group",
                "spec.parametersRef.kind",
                "spec.parametersRef.name",
            ],
        ),
        (
            "Gateway",
            "{gatewayClassName: a, listeners: [{name: a, port: 80, protocol: 'a*'}]}",
            ["spec.listeners[0].protocol"],
        ),
        (
            "Gateway",
            "{gatewayClassName: a, listeners: [{name: a, port: 8,protocol: X, allowedRoutes: {kinds: [{kind: '-'}]}}]}",
            ["spec.listeners[0].allowedRoutes.kinds[0].kind"],
        ),
        (
            "TCPRoute",
            "{parentRefs: [{name: g, sectionName: 'a*'}], rules: [{backendRefs: [{name: a, port: 1}]}]}",
            ["spec.parentRefs[0].sectionName"],
        ),
        (
            "HTTPRoute",
            "{rules: [{matches: [{headers: [{name: a, value: b}, {name: a, value: c}]}]}]}",
            ["spec.rules[0].matches[0].headers[1]"],
        ),
        (
            "BackendTLSPolicy",
            "{targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a.b}}",
            ["spec.validation"],
        ),
        ("HTTPRoute", rule("matchs: []"), ["spec.rules[0].matchs"]),
    ],
)
def test_what_is_refused(kind: str, spec: str, expected: list[str]) -> None:
    assert paths(kind, spec) == expected


def test_a_tls_route_of_v1alpha2_may_have_no_host_names_and_several_rules() -> None:
    """The rules are younger than that version, whose documents are still about."""
    rules = "[{backendRefs: [{name: a, port: 1}]}, {backendRefs: [{name: b, port: 1}]}]"
    for version, errors in (("v1alpha2", []), ("v1", ["spec", "spec.rules"])):
        text = (
            f"apiVersion: gateway.networking.k8s.io/{version}\nkind: TLSRoute\nmetadata: {{name: a}}\n"
            f"spec: {{parentRefs: [{{name: g}}], rules: {rules}}}\n"
        )
        assert [one.path for one in parse(text.encode(), "f").findings] == errors
