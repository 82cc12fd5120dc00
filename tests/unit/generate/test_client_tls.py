"""TLS towards upstreams: names, credentials, and who may have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from key_pairs import Authority
from lateen.model.proxies import Proxy
from unit.generate.conftest import Generated
from unit.generate.test_gateway_tls import secret

CA = Authority("ca")
PAIR = CA.pair("client")
CREDENTIAL = secret("cred", cert=PAIR[0], key=PAIR[1], cacert=CA.certificate)
CLUSTER = "outbound|80||shop.example.com"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def documents(tls: str, *, more: str = "", protocol: str = "HTTP", names: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{{number: 80, name: web, protocol: {protocol}, targetPort: 443}}]
  {names}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: shop.example.com
  {more}
  trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, tls: {{{tls}}}}}]}}
"""


SELECTED = "workloadSelector: {matchLabels: {app: client}}"


def context(found: Mapping[str, Any]) -> Mapping[str, Any]:
    config: Mapping[str, Any] = found["Cluster"][CLUSTER]["transport_socket"]["typed_config"]
    return config


def names_of(validation: Mapping[str, Any]) -> set[str]:
    return {item["matcher"]["exact"] for item in validation.get("match_typed_subject_alt_names", ())}


def test_the_name_comes_from_each_request_and_is_checked(generated: Generated) -> None:
    found = generated(documents("mode: SIMPLE"))
    upstream = found["Cluster"][CLUSTER]["typed_extension_protocol_options"][OPTIONS]["upstream_http_protocol_options"]

    assert upstream == {"auto_sni": True, "auto_san_validation": True}
    assert (context(found)["auto_host_sni"], context(found)["auto_sni_san_validation"]) == (True, True)
    shared = context(found)["common_tls_context"]
    assert shared["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    assert "alpn_protocols" not in shared
    assert shared["validation_context"] == {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}}


@pytest.mark.parametrize(
    ("tls", "entry", "checked"),
    [
        ("mode: SIMPLE, sni: a.example.com", "", {"a.example.com"}),
        ("mode: SIMPLE, sni: a.example.com, subjectAltNames: [b]", "", {"b"}),
        ("mode: SIMPLE, subjectAltNames: ['spiffe://a/b']", "", {"spiffe://a/b"}),
        ("mode: SIMPLE", "subjectAltNames: [c]", {"c"}),
        ("mode: SIMPLE, subjectAltNames: [b]", "subjectAltNames: [c]", {"b"}),
    ],
)
def test_names_that_are_given_are_checked_instead(
    generated: Generated, tls: str, entry: str, checked: set[str]
) -> None:
    found = generated(documents(tls, names=entry))

    assert names_of(context(found)["common_tls_context"]["validation_context"]) == checked
    assert "auto_sni_san_validation" not in context(found)


def test_nothing_is_verified_when_told_so(generated: Generated) -> None:
    found = generated(documents("mode: SIMPLE, insecureSkipVerify: true"))

    assert "validation_context" not in context(found)["common_tls_context"]
    assert "auto_sni_san_validation" not in context(found)


def test_http2_upstreams_are_offered_h2(generated: Generated) -> None:
    found = generated(documents("mode: SIMPLE", protocol="HTTP2"))

    assert context(found)["common_tls_context"]["alpn_protocols"] == ["h2"]


def test_files_and_a_revocation_list(generated: Generated) -> None:
    tls = "mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, caCrl: /crl"
    shared = context(generated(documents(tls)))["common_tls_context"]

    assert shared["validation_context"] == {"trusted_ca": {"filename": "/ca"}, "crl": {"filename": "/crl"}}
    assert shared["tls_certificates"] == [{"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "/k"}}]


@pytest.mark.parametrize(
    ("mode", "secrets"),
    [
        ("SIMPLE", ["kubernetes://cred-cacert"]),
        ("MUTUAL", ["kubernetes://cred", "kubernetes://cred-cacert"]),
        ("MUTUAL, insecureSkipVerify: true", ["kubernetes://cred"]),
    ],
)
def test_a_credential_for_a_sidecar_that_the_rule_selects(
    generated: Generated, sidecar: Proxy, mode: str, secrets: list[str]
) -> None:
    found = generated(documents(f"mode: {mode}, credentialName: cred", more=SELECTED) + CREDENTIAL, sidecar)

    assert list(found["Secret"]) == secrets
    assert ("tls_certificate_sds_secret_configs" in context(found)["common_tls_context"]) is mode.startswith("MUTUAL")


def test_a_sidecar_that_the_rule_does_not_select_has_no_credential_and_no_tls(generated: Generated) -> None:
    """Istio's way: such a rule is for the egress gateway, and what the application sends may be TLS already."""
    found = generated(documents("mode: MUTUAL, credentialName: cred") + CREDENTIAL)

    assert "Secret" not in found
    assert "transport_socket" not in found["Cluster"][CLUSTER]


@pytest.mark.parametrize("reason", ["missing", "of another namespace", "withheld"])
def test_without_its_secret_a_cluster_trusts_nobody_and_sends_nothing_plain(
    generated: Generated, sidecar: Proxy, reason: str
) -> None:
    proxy = replace(sidecar, private_keys=reason != "withheld")
    namespace = "other" if reason == "of another namespace" else "default"
    more = "" if reason == "missing" else CREDENTIAL.replace("namespace: default", f"namespace: {namespace}")
    found = generated(documents("mode: MUTUAL, credentialName: cred", more=SELECTED) + more, proxy)

    assert "Secret" not in found
    shared = context(found)["common_tls_context"]
    assert shared["validation_context"] == {"verify_certificate_hash": ["0" * 64]}
    assert "tls_certificate_sds_secret_configs" not in shared
    assert "auto_sni_san_validation" not in context(found)
