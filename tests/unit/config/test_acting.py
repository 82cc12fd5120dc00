"""Fields that are set but do not act are said; everything else is not."""

import pytest

from lateen.config.acting import ACTING, inert_paths
from lateen.config.decoding import fields_of
from lateen.config.kinds import KINDS
from lateen.config.mesh_config import ACTING_MESH
from lateen.config.parsing import parse

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


def test_no_kind_acts_not_at_all() -> None:
    for kind in KINDS.values():
        assert set(fields_of(kind.struct).types) - set(inert_paths(kind.struct)), kind.name
