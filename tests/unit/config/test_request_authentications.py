"""RequestAuthentication: what is refused, what is warned of, and where it is said."""

# ruff: noqa: E501 (a row of a table is one YAML text)

from __future__ import annotations

import json

import pytest
from joserfc import jwk

from lateen.config.parsing import parse
from lateen.config.request_claims import claim_path
from lateen.model.findings import Severity

KEYS = json.dumps({"keys": [jwk.ECKey.generate_key("P-256", {"kid": "a"}).as_dict(private=False)]})
SYMMETRIC = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


def findings(spec: str, severity: Severity, kind: str = "RequestAuthentication") -> list[str]:
    group = "security" if kind == "RequestAuthentication" else "networking"
    text = f"{{apiVersion: {group}.istio.io/v1, kind: {kind}, metadata: {{name: a, namespace: ns}}, spec: {spec}}}"
    found = parse(text.encode(), "f").findings
    return [one.path.removeprefix("spec").lstrip(".") for one in found if one.severity is severity]


def rule(fields: str) -> str:
    return f"{{jwtRules: [{{issuer: 'https://a', {fields}}}]}}"


ERRORS = [
    ("{}", []),
    (rule(""), []),
    ("{jwtRules: [{jwksUri: 'https://a/keys'}]}", []),
    (f"{{jwtRules: [{{jwks: '{KEYS}'}}]}}", ["jwtRules[0].issuer"]),
    (rule(f"jwks: '{KEYS}'"), []),
    (rule(f"jwks: '{SYMMETRIC}'"), []),
    (rule("jwks: nonsense"), ["jwtRules[0].jwks"]),
    (rule("jwks: '{\"keys\": []}'"), ["jwtRules[0].jwks"]),
    (rule('jwks: \'{"keys": [{"kty": "RSA", "n": "AA"}]}\''), ["jwtRules[0].jwks"]),
    (rule("jwks: '{\"keys\": [{}]}'"), ["jwtRules[0].jwks"]),
    (rule(f"jwks: '{KEYS}', jwksUri: 'https://a/keys'"), ["jwtRules[0].jwksUri"]),
    (rule("jwksUri: 'https://a/keys', jwks_uri: 'https://a/keys'"), ["jwtRules[0].jwks_uri"]),
    (rule("jwks_uri: 'https://a/keys'"), []),
    (rule("jwksUri: 'ftp://a/keys'"), ["jwtRules[0].jwksUri"]),
    (rule("jwksUri: 'file:///etc/passwd'"), ["jwtRules[0].jwksUri"]),
    (rule("jwksUri: 'https://'"), ["jwtRules[0].jwksUri"]),
    (rule("jwksUri: 'https://a:99999/'"), ["jwtRules[0].jwksUri"]),
    (rule("jwksUri: 'https://u:p@a/'"), ["jwtRules[0].jwksUri"]),
    (rule(f"jwksUri: 'https://a/{'x' * 2048}'"), ["jwtRules[0].jwksUri"]),
    (rule("audiences: ['']"), ["jwtRules[0].audiences[0]"]),
    (rule("fromHeaders: [{name: x-a, prefix: 'B '}, {prefix: c}, {name: 'a b'}]"), ["jwtRules[0].fromHeaders[1].name", "jwtRules[0].fromHeaders[2].name"]),
    (rule("fromParams: [a, ''], fromCookies: ['']"), ["jwtRules[0].fromCookies[0]", "jwtRules[0].fromParams[1]"]),
    (rule("outputPayloadToHeader: 'a b'"), ["jwtRules[0].outputPayloadToHeader"]),
    (rule("outputClaimToHeaders: [{header: x-a, claim: a}, {header: 'x:a', claim: a}]"), ["jwtRules[0].outputClaimToHeaders[1].header"]),
    (rule("outputClaimToHeaders: [{header: x-a}, {claim: a}]"), ["jwtRules[0].outputClaimToHeaders[0].claim", "jwtRules[0].outputClaimToHeaders[1].header"]),
    (rule("timeout: soon"), ["jwtRules[0].timeout"]),
    (rule("timeout: 0s"), ["jwtRules[0].timeout"]),
    (rule("timeout: 500ms"), []),
    (rule("spaceDelimitedClaims: ['']"), ["jwtRules[0].spaceDelimitedClaims[0]"]),
    ("{selector: {matchLabels: {app: '*'}}}", ["selector.matchLabels.app"]),
    ("{selector: {matchLabels: {app: a}}, targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: a}}", ["targetRef"]),
    ("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]}", []),
    ("{targetRefs: [{group: '', kind: Service, name: a, namespace: ns}]}", ["targetRefs[0].namespace"]),
    ("{targetRefs: [{group: apps, kind: Deployment, name: a}]}", ["targetRefs[0].kind"]),
    ("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway}]}", ["targetRefs[0].name"]),
    ("{targetRefs: [{name: a}]}", ["targetRefs[0].kind"]),
    ("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a, namespace: other}]}", ["targetRefs[0].namespace"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "paths"), ERRORS)
def test_errors(spec: str, paths: list[str]) -> None:
    """Every error of an object is found, at the field where it is."""
    assert sorted(findings(spec, Severity.ERROR)) == sorted(paths)


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        (rule("jwksUri: 'https://a/keys'"), []),
        (rule("jwksUri: 'http://a/keys'"), ["jwtRules[0].jwksUri"]),
        (rule("jwksUri: 'http://127.0.0.1:80/keys'"), []),
        (rule("jwksUri: 'http://localhost/keys'"), []),
        ("{jwtRules: [{issuer: me@example.com}]}", ["jwtRules[0].issuer"]),
        (f"{{jwtRules: [{{issuer: me@example.com, jwks: '{KEYS}'}}]}}", []),
        ("{targetRefs: [{group: '', kind: Service, name: a}]}", ["targetRefs[0].kind"]),
        ("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]}", []),
        (
            rule("outputPayloadToHeader: X-A, outputClaimToHeaders: [{header: x-a, claim: a}]"),
            ["jwtRules[0].outputClaimToHeaders[0].header"],
        ),
    ],
)
def test_warnings(spec: str, paths: list[str]) -> None:
    """What is legal but will not do what was meant is said."""
    assert findings(spec, Severity.WARNING) == paths
    assert findings(spec, Severity.ERROR) == []


def test_no_key_is_quoted() -> None:
    """A key set that cannot be used does not appear in what is said about it."""
    text = f"{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {{name: a}}, spec: {rule('jwks: s3cret')}}}"

    (found,) = parse(text.encode(), "f").findings

    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("x-sub", None),
        ("@request.auth.claims.sub", ("sub",)),
        ("@Request.Auth.Claims.sub", ("sub",)),
        ("@request.auth.claims.a.b", ("a", "b")),
        ("@request.auth.claims[a][b.c]", ("a", "b.c")),
        ("@request.auth.claims[a.b]", ("a.b",)),
        ("@request.auth.claims", ("",)),
        ("@request.auth.claims.", ("",)),
        ("@request.auth.claims[]", ("",)),
        ("@request.auth.claimsub", ("",)),
    ],
)
def test_names_of_claims(name: str, path: tuple[str, ...] | None) -> None:
    assert claim_path(name) == path


@pytest.mark.parametrize(
    ("gateways", "name", "paths"),
    [
        ("[g]", "@request.auth.claims.sub", []),
        ("[mesh, g]", "@request.auth.claims.sub", []),
        ("[mesh]", "@request.auth.claims.sub", ["http[0].match[0].headers[@request.auth.claims.sub]"]),
        ("[]", "@request.auth.claims.sub", ["http[0].match[0].headers[@request.auth.claims.sub]"]),
        ("[g]", "@request.auth.claims.", ["http[0].match[0].headers[@request.auth.claims.]"]),
        ("[g]", "@request.auth.other", ["http[0].match[0].headers[@request.auth.other]"]),
    ],
)
def test_claims_are_for_gateways(gateways: str, name: str, paths: list[str]) -> None:
    """A VirtualService routes by claims only where it is bound to a gateway."""
    match = f"match: [{{headers: {{'{name}': {{exact: a}}}}}}]"
    spec = f"{{hosts: [a], gateways: {gateways}, http: [{{{match}, directResponse: {{status: 200}}}}]}}"

    found = findings(spec, Severity.ERROR, "VirtualService")

    assert found == paths
