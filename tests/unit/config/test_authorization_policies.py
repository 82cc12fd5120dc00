"""Rules of AuthorizationPolicy: a table of specs and the paths of what is wrong in them, and what is said of it."""

# ruff: noqa: E501 (a row of the table is one YAML text)

from __future__ import annotations

import pytest

from lateen.config.parsing import parse
from lateen.config.validation.authorization_policies import is_dry_run
from lateen.model.findings import Finding, Severity


def findings(spec: str, *, annotations: str = "{}") -> tuple[Finding, ...]:
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
    return parse(f"{head}metadata: {{name: a, annotations: {annotations}}}\nspec: {spec}\n".encode(), "f").findings


def paths(spec: str, severity: Severity = Severity.ERROR) -> list[str]:
    return [one.path.removeprefix("spec").lstrip(".") for one in findings(spec) if one.severity is severity]


def source(fields: str) -> str:
    return f"{{rules: [{{from: [{{source: {{{fields}}}}}]}}]}}"


def operation(fields: str) -> str:
    return f"{{rules: [{{to: [{{operation: {{{fields}}}}}]}}]}}"


def when(fields: str) -> str:
    return f"{{rules: [{{when: [{{{fields}}}]}}]}}"


SOURCE, OPERATION, WHEN = "rules[0].from[0].source", "rules[0].to[0].operation", "rules[0].when[0]"

GOOD = (
    "{}",
    "{rules: []}",
    "{rules: [{}]}",
    "{selector: {matchLabels: {app: a}}, rules: [{}]}",
    "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]}",
    "{action: CUSTOM, provider: {name: p}, rules: [{}]}",
    source(
        "principals: ['*', 'a/ns/*', '*/sa/b'], requestPrincipals: ['*'], notIpBlocks: [10.0.0.1, 10.0.0.0/8, '::1', '2001:db8::/32', 10.1.2.3/8]"
    ),
    source("serviceAccounts: [a, b/c], trustDomains: ['*', '*.example', 'a*'], ipBlocks: [0.0.0.0/0]"),
    operation("paths: ['/a', '/a/*', '*/b', '*', '/{*}/b/{**}', '/a/{*}', '/{**}'], ports: ['0', '65535', '080']"),
    operation("hosts: [a.com, 'a.com:*', '*.a.com'], methods: [GET, '*', 'P*']"),
    when("key: 'request.headers[x-a]', values: [a]"),
    when("key: 'request.auth.claims[a][b]', notValues: ['*']"),
    when("key: 'experimental.envoy.filters.network.mysql_proxy[a.b]', values: ['[update]']"),
    when("key: source.serviceAccount, values: [a, b/c]"),
)

BAD: list[tuple[str, list[str]]] = [
    # what it is about
    ("{selector: {matchLabels: {app: a}}, targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}}", ["targetRef"]),
    ("{selector: {}, targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]}", ["targetRefs"]),
    ("{targetRef: {kind: Gateway, name: g}}", ["targetRef.kind"]),
    ("{targetRef: {group: gateway.networking.k8s.io, kind: Gateway}}", ["targetRef.name"]),
    ("{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g, namespace: other}}", ["targetRef.namespace"]),
    ("{selector: {matchLabels: {app: 'a*'}}}", ["selector.matchLabels.app"]),
    # actions
    ("{action: DENY}", [""]),
    ("{action: CUSTOM, provider: {name: p}}", [""]),
    ("{action: CUSTOM, rules: [{}]}", [""]),
    ("{action: CUSTOM, provider: {}, rules: [{}]}", ["provider.name"]),
    ("{provider: {name: p}, rules: [{}]}", ["provider"]),
    ("{action: DENY, provider: {name: p}, rules: [{}]}", ["provider"]),
    ("{action: ALOW}", ["action"]),
    ("{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {principals: [a], notNamespaces: [b], ipBlocks: [10.0.0.1]}}]}]}", [f"{SOURCE}.principals", f"{SOURCE}.notNamespaces"]),
    ("{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {requestPrincipals: [a]}}]}]}", [f"{SOURCE}.requestPrincipals"]),
    ("{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: source.namespace, values: [a]}]}]}", [f"{WHEN}.key"]),
    ("{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: 'request.auth.claims[a]', values: [a]}]}]}", [f"{WHEN}.key"]),
    # emptiness
    ("{rules: [{from: []}]}", ["rules[0].from"]),
    ("{rules: [{to: []}]}", ["rules[0].to"]),
    ("{rules: [{from: [{}]}]}", ["rules[0].from[0]"]),
    ("{rules: [{to: [{}]}]}", ["rules[0].to[0]"]),
    (source(""), [SOURCE]),
    (operation(""), [OPERATION]),
    ("{rules: [null]}", ["rules[0]"]),
    (source("principals: ['']"), [f"{SOURCE}.principals[0]"]),
    (operation("paths: [/a, '']"), [f"{OPERATION}.paths[1]"]),
    # sources
    (source("serviceAccounts: [a], principals: [b]"), [f"{SOURCE}.serviceAccounts"]),
    (source("notServiceAccounts: [a], notNamespaces: [b]"), [f"{SOURCE}.serviceAccounts"]),
    (source("serviceAccounts: ['a*', a/b/c, /a, a/]"), [f"{SOURCE}.serviceAccounts[{index}]" for index in range(4)]),
    (source(f"serviceAccounts: [{'a' * 321}]"), [f"{SOURCE}.serviceAccounts[0]"]),
    (source(f"serviceAccounts: [{', '.join('abcdefghijklmnopq')}]"), [f"{SOURCE}.serviceAccounts"]),
    (source("trustDomains: ['a*b', '*a*', a/b]"), [f"{SOURCE}.trustDomains[{index}]" for index in range(3)]),
    (source("ipBlocks: [a, 10.0.0, 10.0.0.0/33, 10.0.0.0/255.0.0.0, 'fe80::1%eth0', 010.0.0.1, 10.0.0.0/08, '']"), [f"{SOURCE}.ipBlocks[{index}]" for index in range(8)]),
    (source("notRemoteIpBlocks: ['::g']"), [f"{SOURCE}.notRemoteIpBlocks[0]"]),
    # operations
    (operation("ports: [http, '-1', '65536', '1.0', ' 1']"), [f"{OPERATION}.ports[{index}]" for index in range(5)]),
    (operation("paths: ['/{**}/a/{*}', '/{**}/{**}', '/a{*}', '/{a}', '/{*}/a b', '/{*}/*', '/{*}//a', '{']"), [f"{OPERATION}.paths[{index}]" for index in range(8)]),
    # conditions
    (when("values: [a]"), [WHEN]),
    (when("key: source.ip"), [WHEN]),
    (when("key: source.ip, values: [a]"), [f"{WHEN}.values[0]"]),
    (when("key: destination.port, notValues: ['99999']"), [f"{WHEN}.notValues[0]"]),
    (when("key: source.serviceAccount, values: ['*']"), [f"{WHEN}.values[0]"]),
    (when("key: source.trustDomain, values: ['a*b']"), [f"{WHEN}.values[0]"]),
    (when("key: request.headers, values: [a]"), [f"{WHEN}.key"]),
    (when("key: 'request.headers[]', values: [a]"), [f"{WHEN}.key"]),
    (when("key: 'request.header[a]', values: [a]"), [f"{WHEN}.key"]),
    (when("key: 'destination.labels[a]', values: [a]"), [f"{WHEN}.key"]),
    (when("key: destination.namespace, values: [a]"), [f"{WHEN}.key"]),
    (when("key: 'request.auth.claims[a]', values: ['']"), [f"{WHEN}.values[0]"]),
]  # fmt: skip


@pytest.mark.parametrize("spec", GOOD)
def test_what_istio_admits_is_admitted(spec: str) -> None:
    assert paths(spec) == []


@pytest.mark.parametrize(("spec", "wrong"), BAD)
def test_what_istio_refuses_is_refused_at_its_place(spec: str, wrong: list[str]) -> None:
    assert paths(spec) == wrong


def test_there_are_limits() -> None:
    assert paths(f"{{rules: [{', '.join(['{}'] * 513)}]}}") == ["rules"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (when("key: source.principle, values: [a]"), "did you mean source.principal?"),
        (when("key: 'request.header[x]', values: [a]"), "did you mean request.headers[x-user]?"),
        (when("key: request.headers, values: [a]"), "write request.headers[x-user]"),
        (when("key: 'destination.labels[a]', values: [a]"), "use the selector"),
        ("{targetRef: {kind: Gatewy, name: g}}", "did you mean `kind: Gateway`, `group: gateway.networking.k8s.io`?"),
        ("{action: DENY}", "add `rules: [{}]`"),
        (operation("ports: [http]"), "in quotes"),
    ],
)
def test_what_to_write_instead_is_said(spec: str, words: str) -> None:
    (message,) = [one.message for one in findings(spec) if one.severity is Severity.ERROR]
    assert words in message


@pytest.mark.parametrize(
    ("spec", "warned"),
    [
        # A connection has nothing that these ask for, so all of them are refused.
        ("{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}", ["rules[0]"]),
        ("{action: DENY, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}", ["rules[0]"]),
        ("{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}]}", []),
        ("{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}", []),
        ("{action: DENY, rules: [{}]}", []),
        ("{action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]}", []),
        # Nothing is served by a waypoint, and nobody hears of an audit.
        ("{targetRef: {kind: Service, name: a}}", ["targetRef.kind"]),
        ("{action: AUDIT, rules: [{}]}", ["action"]),
        # Probably not what was meant.
        ("{selector: {}, rules: [{}]}", ["selector.matchLabels"]),
        (
            source("principals: ['spiffe://cluster.local/ns/a/sa/b', 'a*b']"),
            [f"{SOURCE}.principals[{i}]" for i in (0, 1)],
        ),
        (operation("paths: ['/a/*/b']"), [f"{OPERATION}.paths[0]"]),
        (operation("hosts: ['a.*.com']"), [f"{OPERATION}.hosts[0]"]),
    ],
)
def test_what_is_legal_but_surprising_is_warned_of(spec: str, warned: list[str]) -> None:
    assert paths(spec) == []
    assert paths(spec, Severity.WARNING) == warned


def test_dry_runs_are_for_what_they_are_made_for() -> None:
    """A value that is no boolean, and an action that has none, are refused; Go's spellings are understood."""
    for value, refused in (("true", False), ("F", False), ("yes", True), ("", True)):
        found = findings("{rules: [{}]}", annotations=f"{{istio.io/dry-run: '{value}'}}")
        assert bool(found) == refused, value
    for action in ("{action: AUDIT, rules: [{}]}", "{action: CUSTOM, provider: {name: a}, rules: [{}]}"):
        found = findings(action, annotations="{istio.io/dry-run: 'true'}")
        assert any(one.severity is Severity.ERROR for one in found)
    assert [is_dry_run({"istio.io/dry-run": value}) for value in ("true", "1", "false", "yes")] == [
        True,
        True,
        False,
        False,
    ]
    assert not is_dry_run({})
