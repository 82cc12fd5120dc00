"""Fields that are set but do not act are said; everything else is not."""

import pytest

from lateen.config.acting import ACTING, inert_parts, inert_paths
from lateen.config.decoding import fields_of
from lateen.config.kinds import KINDS
from lateen.config.mesh_config import ACTING_MESH, MeshConfig
from lateen.config.networking import Spec
from lateen.config.parsing import parse
from lateen.config.reasons import REASONS

ISTIO_MUTUAL_GATEWAY = (
    "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], "
    "tls: {mode: ISTIO_MUTUAL, caCrl: /crl, subjectAltNames: [c]}}]}"
)


def inert(kind: str, spec: str) -> list[str]:
    text = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    result = parse(text.encode(), "f")
    assert len(result.objects) == 1, result.findings
    return [finding.path for finding in result.findings if finding.code == "LAT0004"]


@pytest.mark.parametrize(
    ("kind", "spec", "paths"),
    [
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}", []),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, sni: b, caCertificates: /c}}}", []),
        ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL, credentialName: b}}}", []),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {tunnel: {targetHost: b, targetPort: 80}}}",
            [],
        ),
        (
            "DestinationRule",
            "{host: a, subsets: [{name: b, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {enabled: true}}}}]}",
            ["spec.subsets[0].trafficPolicy.loadBalancer.zoneAwareLbSetting"],
        ),
        (
            "Gateway",
            ISTIO_MUTUAL_GATEWAY,
            [],
        ),
        (
            "Sidecar",
            (
                "{egress: [{port: {number: 80, protocol: HTTP}, hosts: ['*/*']}], "
                "ingress: [{port: {number: 1, protocol: TLS}, tls: {mode: SIMPLE, credentialName: c}}]}"
            ),
            [],
        ),
        (
            "ServiceEntry",
            "{hosts: ['*.a.b'], ports: [{number: 80, name: h, protocol: HTTP}], resolution: DYNAMIC_DNS}",
            [],
        ),
        ("WorkloadEntry", "{address: 10.0.0.1, network: n, weight: 5, locality: a/b}", []),
        ("VirtualService", "{hosts: [a], http: [{route: [{destination: {host: b}}], retries: {attempts: 2}}]}", []),
    ],
)
def test_only_fields_without_effect_are_said(kind: str, spec: str, paths: list[str]) -> None:
    assert inert(kind, spec) == paths


def test_session_affinity_of_a_service_is_said_and_the_cluster_s_business_is_not() -> None:
    head = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
    text = head + "spec: {sessionAffinity: ClientIP, loadBalancerIP: 1.2.3.4, ipFamilies: [IPv4]}\n"
    assert [finding.path for finding in parse(text.encode(), "f").findings] == ["spec.sessionAffinity"]


def test_the_table_names_known_fields_only() -> None:
    for struct, acting in (ACTING | ACTING_MESH).items():
        named = (acting.fields or frozenset()) | frozenset(acting.values)
        assert named <= set(fields_of(struct).types), struct


def test_no_kind_acts_not_at_all_without_saying_so() -> None:
    for kind in KINDS.values():
        if not (kind.struct in ACTING and ACTING[kind.struct].as_one):
            assert set(fields_of(kind.struct).types) - set(inert_paths(kind.struct)), kind.name


def test_everything_that_does_not_act_has_a_reason_and_an_alternative_and_nothing_else_has() -> None:
    structs: list[type[Spec]] = [*(kind.struct for kind in KINDS.values()), MeshConfig]
    rows = {part.row for struct in structs for part in inert_parts(struct, table=ACTING | ACTING_MESH)}
    assert sorted(rows - set(REASONS)) == [], "neither acting nor with a reason"
    assert sorted(set(REASONS) - rows) == [], "a reason for something that acts"
    for row, reason in REASONS.items():
        assert all(text and not text.endswith(".") for text in reason), row


def test_a_field_without_effect_is_said_with_its_reason_and_alternative() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
    text += "spec: {hosts: [a], http: [{route: [{destination: {host: a}}], "
    text += "fault: {delay: {exponentialDelay: 1s}}}]}\n"
    reason = REASONS["FaultDelay.exponentialDelay"]
    said = f"`exponentialDelay` is read but has no effect in this version: {reason.why}. Instead: {reason.instead}"
    assert said in [finding.message for finding in parse(text.encode(), "f").findings]


def test_a_kind_without_effect_is_said_once() -> None:
    text = "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: a}\n"
    text += "spec: {tracing: [{randomSamplingPercentage: 5}], metrics: [{providers: [{name: p}]}]}\n"
    (finding,) = parse(text.encode(), "f").findings
    assert (finding.code, finding.path) == ("LAT0004", "spec")
    assert "Instead: " in finding.message


def test_silent_fields_are_no_reason_for_a_word() -> None:
    head = "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: a}\n"
    result = parse((head + "spec: {image: {imageType: debug}}\n").encode(), "f")
    assert result.objects
    assert not result.findings
