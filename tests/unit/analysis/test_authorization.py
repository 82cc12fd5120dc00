"""Findings about authorization servers: which policies refuse everything that they match, and why."""

from __future__ import annotations

from lateen.analysis.references import analyse
from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: authorizer, namespace: security}
spec: {ports: [{name: http, port: 9000}]}
"""
MESH = """
extensionProviders:
- name: good
  envoyExtAuthzHttp: {service: authorizer.security.svc.cluster.local, port: 9000}
- name: second
  envoyExtAuthzHttp: {service: security/authorizer.security.svc.cluster.local, port: 9000}
- name: port
  envoyExtAuthzHttp: {service: authorizer.security.svc.cluster.local, port: 9001}
- name: host
  envoyExtAuthzGrpc: {service: authorizer.secure.svc.cluster.local, port: 9000}
- name: namespace
  envoyExtAuthzGrpc: {service: other/authorizer.security.svc.cluster.local, port: 9000}
- name: tracing
  zipkin: {service: zipkin.default.svc.cluster.local, port: 9411}
"""


def custom(provider: str, name: str = "a", *, namespace: str = "default", more: str = "") -> str:
    return (
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]{more}}}\n"
    )


def found(*policies: str) -> list[tuple[str, str, str]]:
    """Code, policy and message of each finding."""
    settings, findings = parse_mesh_config(MESH.encode(), "mesh.yaml")
    assert not has_errors(findings), findings
    parsed = parse((SERVICE + "".join(policies)).encode(), "f")
    assert not has_errors(parsed.findings), parsed.findings
    state = build_state(parsed.objects, (), settings)
    return [(one.code, one.name, one.message) for one in analyse(state, parsed.objects, parsed.positions)]


def test_a_provider_that_can_be_asked_is_no_finding() -> None:
    assert found(custom("good")) == []
    assert found(custom("second")) == []


def test_a_provider_that_cannot_be_asked_is_said_with_the_reason() -> None:
    for provider, code, words in (
        ("goood", "IST0101", "did you mean good?"),
        ("port", "LAT0031", "has no port 9001; its ports are 9000"),
        ("host", "LAT0031", "did you mean authorizer.security.svc.cluster.local?"),
        ("namespace", "LAT0031", "is in namespace security, not other"),
        ("tracing", "LAT0031", "it is not for authorization"),
    ):
        ((found_code, _, message),) = found(custom(provider))
        assert found_code == code, provider
        assert words in message
        assert "is refused" in message


def test_two_providers_for_one_workload_are_found_where_selectors_may_meet() -> None:
    one, two = ", selector: {matchLabels: {app: a}}", ", selector: {matchLabels: {app: b}}"
    more = ", selector: {matchLabels: {app: a, tier: x}}"
    assert found(custom("good", more=one), custom("second", "b", more=two)) == []
    assert found(custom("good", more=one), custom("good", "b")) == []
    assert found(custom("good"), custom("second", namespace="other")) == []
    for pair in (
        (custom("good", more=one), custom("second", "b", more=more)),
        (custom("good", more=one), custom("second", "b")),
        (custom("good", "root", namespace="istio-system"), custom("second", "b")),
    ):
        assert {code for code, _, _ in found(*pair)} == {"LAT0030"}
    codes = found(custom("good", "root", namespace="istio-system"), custom("second", "b"))
    # The root namespace's policy is meant for all; the one that differs from it is told.
    assert [name for _, name, _ in codes] == ["b"]
