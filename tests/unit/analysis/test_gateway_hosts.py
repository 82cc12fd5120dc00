"""VirtualServices that share a host at a gateway: only rules that are never used are reported."""

from __future__ import annotations

import pytest

from analysis_cases import codes, document

EDGE = document(
    "Gateway", "g", "{selector: {a: b}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]}"
)


def rules(name: str, *matches: str, host: str = "a.test", gateway: str = "g", at: int = 1) -> str:
    listed = ", ".join(f"{{{f'match: [{one}], ' if one else ''}directResponse: {{status: 200}}}}" for one in matches)
    born = f', creationTimestamp: "2026-01-01T00:00:0{at}Z"'
    return document("VirtualService", name, f"{{hosts: [{host}], gateways: [{gateway}], http: [{listed}]}}", extra=born)


A, B = "{uri: {prefix: /a}}", "{uri: {prefix: /b}}"


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([rules("v", A), rules("w", B, at=2)], []),
        ([rules("v", A), rules("w", A, B, at=2)], ["LAT0057 VirtualService/w spec.http[0]"]),
        ([rules("v", A, at=2), rules("w", A, at=1)], ["LAT0057 VirtualService/v spec.http[0]"]),
        ([rules("v", A, ""), rules("w", B, at=2)], []),
        ([rules("v", A, ""), rules("w", B, "", at=2)], ["LAT0057 VirtualService/w spec.http[1]"]),
        ([rules("v", ""), rules("w", "{uri: {prefix: /}}", at=2)], ["LAT0057 VirtualService/w spec.http[0]"]),
        ([rules("v", "{uri: {prefix: /}}"), rules("w", "{uri: {prefix: ''}}", at=2)], []),
        ([rules("v", A), rules("w", f"{A}, {B}", at=2)], []),
        (
            [rules("v", A), rules("w", "{name: other, uri: {prefix: /a}}", at=2)],
            ["LAT0057 VirtualService/w spec.http[0]"],
        ),
        ([rules("v", A), rules("w", A, host="b.test", at=2)], []),
        ([rules("v", A), rules("w", A, gateway="default/g", at=2)], ["LAT0057 VirtualService/w spec.http[0]"]),
    ],
)
def test_a_rule_that_an_older_one_leaves_nothing_is_found(documents: list[str], expected: list[str]) -> None:
    """Merged by age, what takes everything last; a rule with a match of its own left is used."""
    assert codes(EDGE, *documents) == expected


SIDECAR = document(
    "Sidecar",
    "s",
    "{workloadSelector: {labels: {app: a}}, ingress: [{port: {number: 443, name: https, protocol: HTTPS}, "
    "defaultEndpoint: '127.0.0.1:8080', tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]}",
)
SERVICE = document("Service", "a", "{selector: {app: a}, ports: [{name: https, port: 443}]}")


def peers(spec: str) -> str:
    return document("PeerAuthentication", "p", spec)


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([], True),
        ([peers("{mtls: {mode: STRICT}}")], True),
        ([peers("{mtls: {mode: DISABLE}}")], False),
        ([peers("{selector: {matchLabels: {app: a}}, portLevelMtls: {443: {mode: DISABLE}}}")], False),
        ([peers("{selector: {matchLabels: {app: a}}, portLevelMtls: {444: {mode: DISABLE}}}")], True),
        ([peers("{selector: {matchLabels: {version: v1}}, mtls: {mode: DISABLE}}")], False),
    ],
)
def test_tls_of_an_ingress_acts_without_mutual_tls_only(documents: list[str], found: bool) -> None:
    """Where a policy goes by a label that nothing here tells of, nothing is said."""
    expected = ["LAT0056 Sidecar/s spec.ingress[0].tls"] if found else []
    assert [one for one in codes(SERVICE, SIDECAR, *documents) if "Sidecar" in one] == expected
