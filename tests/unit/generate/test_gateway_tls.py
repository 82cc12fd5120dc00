"""TLS servers of a gateway: modes, certificates, and what happens without them."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from key_pairs import Authority, encoded
from lateen.generate.gateways import unserved_servers
from lateen.generate.view import view_of
from lateen.model.proxies import Proxy
from unit.generate.conftest import Generated, state_of

CA = Authority("ca")
PAIR = CA.pair("a.example.com")
FILES = "serverCertificate: /c.pem, privateKey: /k.pem"


def server(tls: str, hosts: str = "[a.example.com]", *, name: str = "https", protocol: str = "HTTPS") -> str:
    port = f"{{number: 443, name: {name}, protocol: {protocol}}}"
    return f"  - {{port: {port}, hosts: {hosts}, tls: {{{tls}}}}}\n"


def gateway(*servers: str) -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: front}\n"
        f"spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n{''.join(servers)}"
    )


def secret(name: str, place: str = "default", **values: bytes) -> str:
    """Keys with `_` for the dot: `tls_crt`."""
    data = ", ".join(f"{key.replace('_', '.', 1)}: {encoded(value)}" for key, value in values.items())
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {place}}}\ndata: {{{data}}}\n"


CERTIFICATE = secret("cred", tls_crt=PAIR[0], tls_key=PAIR[1])
WITH_CA = secret("cred", tls_crt=PAIR[0], tls_key=PAIR[1], ca_crt=CA.certificate)


def chains(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed: list[Mapping[str, Any]] = found["Listener"]["0.0.0.0_443"]["filter_chains"] if "Listener" in found else []
    return listed


def context(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The TLS context of the only server."""
    (chain,) = chains(found)
    config: Mapping[str, Any] = chain["transport_socket"]["typed_config"]
    return config


def test_files_and_what_is_asked_of_clients(generated: Generated, gateway_proxy: Proxy) -> None:
    tls = (
        f"mode: OPTIONAL_MUTUAL, {FILES}, caCertificates: /ca.pem, caCrl: /crl.pem, "
        "subjectAltNames: ['spiffe://a/ns/b/sa/c', d.example.com], verifyCertificateHash: [ab], "
        "minProtocolVersion: TLSV1_1, cipherSuites: [AES128-SHA, NONE, AES128-SHA]"
    )
    found = context(generated(gateway(server(tls)), gateway_proxy))
    validation = found["common_tls_context"]["validation_context"]

    assert found["require_client_certificate"] is False
    assert (validation["trusted_ca"], validation["crl"]) == ({"filename": "/ca.pem"}, {"filename": "/crl.pem"})
    names = [(item["san_type"], item["matcher"]["exact"]) for item in validation["match_typed_subject_alt_names"]]
    assert names[:2] == [("URI", "spiffe://a/ns/b/sa/c"), ("DNS", "d.example.com")]
    assert validation["verify_certificate_hash"] == ["ab"]
    assert found["common_tls_context"]["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_1",
        "cipher_suites": ["AES128-SHA"],
    }


def test_a_client_ca_in_the_secret_brings_its_revocation_list(generated: Generated, gateway_proxy: Proxy) -> None:
    revoked = CA.revocations()
    both = secret("cred", tls_crt=PAIR[0], tls_key=PAIR[1], ca_crt=CA.certificate, ca_crl=revoked)
    found = generated(gateway(server("mode: MUTUAL, credentialName: cred")) + both, gateway_proxy)
    combined = context(found)["common_tls_context"]["combined_validation_context"]

    assert combined["validation_context_sds_secret_config"]["name"] == "kubernetes://cred-cacert"
    validation = found["Secret"]["kubernetes://cred-cacert"]["validation_context"]
    assert base64.b64decode(validation["trusted_ca"]["inline_bytes"]) == CA.certificate
    assert base64.b64decode(validation["crl"]["inline_bytes"]) == revoked
    assert "crl" not in found["Secret"]["kubernetes://cred"]["tls_certificate"]


def test_a_ca_of_its_own_credential_comes_first(generated: Generated, gateway_proxy: Proxy) -> None:
    tls = "mode: MUTUAL, credentialName: cred, caCertCredentialName: clients"
    found = generated(gateway(server(tls)) + WITH_CA + secret("clients", ca_crt=PAIR[0]), gateway_proxy)

    assert list(found["Secret"]) == ["kubernetes://clients-cacert", "kubernetes://cred"]
    assert "trusted_ca" in found["Secret"]["kubernetes://clients-cacert"]["validation_context"]


def test_unverified_clients_are_asked_all_the_same(generated: Generated, gateway_proxy: Proxy) -> None:
    tls = "mode: MUTUAL, credentialName: cred, insecureSkipVerify: true, subjectAltNames: [x]"
    found = context(generated(gateway(server(tls)) + WITH_CA, gateway_proxy))
    default = found["common_tls_context"]["combined_validation_context"]["default_validation_context"]

    assert default == {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
    assert found["require_client_certificate"] is True


def test_a_good_staple_is_shown_and_a_bad_one_left_out(generated: Generated, gateway_proxy: Proxy) -> None:
    staple = CA.staple(PAIR[0], now=dt.datetime.now(dt.UTC))
    for value, shown in ((staple, True), (b"junk", False)):
        values = secret("cred", tls_crt=PAIR[0], tls_key=PAIR[1], tls_ocspstaple=value).replace(
            "tls.ocsps", "tls.ocsp-s"
        )
        found = generated(gateway(server("mode: SIMPLE, credentialName: cred")) + values, gateway_proxy)
        assert ("ocsp_staple" in found["Secret"]["kubernetes://cred"]["tls_certificate"]) is shown


def test_one_of_two_certificates_is_enough(generated: Generated, gateway_proxy: Proxy) -> None:
    documents = gateway(server("mode: SIMPLE, credentialNames: [missing, cred]")) + CERTIFICATE
    configs = context(generated(documents, gateway_proxy))["common_tls_context"]["tls_certificate_sds_secret_configs"]

    assert [item["name"] for item in configs] == ["kubernetes://cred"]


def reasons(documents: str, proxy: Proxy) -> list[tuple[str, str]]:
    found = unserved_servers(view_of(state_of(documents), proxy))
    return [(item.server, item.reason) for item in found]


@pytest.mark.parametrize(
    ("tls", "secrets", "reason"),
    [
        ("mode: SIMPLE, credentialName: cred", "", "there is no Secret 'cred' in namespace default"),
        (
            "mode: SIMPLE, credentialName: cred",
            secret("cred", tls_crt=PAIR[0]),
            "it has no readable tls.crt and tls.key",
        ),
        ("mode: SIMPLE, credentialName: cred", secret("cred", tls_crt=b"x", tls_key=PAIR[1]), "is not PEM"),
        ("mode: SIMPLE, credentialName: other/cred", secret("cred", "other"), "is in another namespace than the proxy"),
        ("mode: SIMPLE, credentialName: vault://cred", "", "credentials of the kind vault:// are not known"),
        ("mode: MUTUAL, credentialName: cred", CERTIFICATE, "it has no readable ca.crt"),
        ("mode: MUTUAL, credentialName: cred, caCertCredentialName: ca", WITH_CA, "there is no Secret 'ca'"),
        (
            "mode: MUTUAL, credentialName: cred",
            secret("cred", tls_crt=PAIR[0], tls_key=PAIR[1], ca_crt=CA.certificate, ca_crl=b"x"),
            "the revocation list is not PEM",
        ),
        ("mode: ISTIO_MUTUAL", "", "needs a certificate of the mesh"),
    ],
)
def test_a_server_without_what_it_needs_takes_no_other_with_it(
    generated: Generated, gateway_proxy: Proxy, tls: str, secrets: str, reason: str
) -> None:
    """And it can be seen why; no value of a Secret is in the words."""
    good = server("mode: SIMPLE, credentialName: good", "[good.example.com]", name="good")
    documents = gateway(server(tls), good) + secrets + secret("good", cert=PAIR[0], key=PAIR[1])
    found = generated(documents, gateway_proxy)

    assert [chain["filter_chain_match"]["server_names"] for chain in chains(found)] == [["good.example.com"]]
    assert list(found["Secret"]) == ["kubernetes://good"]
    ((name, why),) = reasons(documents, gateway_proxy)
    assert name == "https"
    assert reason in why


def test_no_private_key_for_a_proxy_that_has_not_proven_who_it_is(generated: Generated, gateway_proxy: Proxy) -> None:
    """Neither for servers nor for clients; what needs no key is served as before."""
    proxy = replace(gateway_proxy, private_keys=False)
    from_files = server(f"mode: MUTUAL, {FILES}, caCertificates: /ca", "[files.example.com]", name="files")
    mixed = server(f"mode: MUTUAL, {FILES}, caCertCredentialName: cred", "[ca.example.com]", name="mixed")
    mixed = mixed.replace("caCertCredentialName", "caCertificates: /x, caCertCredentialName")
    documents = gateway(server("mode: SIMPLE, credentialName: cred"), from_files, mixed) + WITH_CA
    found = generated(documents, proxy)

    names = [chain["filter_chain_match"]["server_names"][0] for chain in chains(found)]
    assert names == ["files.example.com", "ca.example.com"]
    assert list(found["Secret"]) == ["kubernetes://cred-cacert"]
    assert "private_key" not in str(found["Secret"])
    ((name, why),) = reasons(documents, proxy)
    assert (name, "proven its identity" in why) == ("https", True)


def test_a_secret_that_no_configuration_names_is_not_sent(generated: Generated, gateway_proxy: Proxy) -> None:
    unused = secret("unused", tls_crt=PAIR[0], tls_key=PAIR[1])
    found = generated(gateway(server("mode: SIMPLE, credentialName: cred")) + CERTIFICATE + unused, gateway_proxy)

    assert list(found["Secret"]) == ["kubernetes://cred"]


@pytest.mark.parametrize(("protocol", "alpn"), [("HTTPS", ["h2", "http/1.1"]), ("TLS", None)])
def test_istio_mutual(
    generated: Generated, gateway_proxy: Proxy, reviews: str, protocol: str, alpn: list[str] | None
) -> None:
    """The gateway's own certificate and the roots of the mesh, both from its agent's files."""
    rule = (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n"
        "  hosts: [a.example.com]\n  gateways: [front]\n"
        "  tcp: [{route: [{destination: {host: reviews, port: {number: 9080}}}]}]\n"
    )
    tls = "mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/default/sa/a']"
    documents = reviews + gateway(server(tls, protocol=protocol)) + rule
    found = generated(documents, replace(gateway_proxy, certificates=True))
    shared = context(found)["common_tls_context"]

    assert context(found)["require_client_certificate"] is True
    assert shared.get("alpn_protocols") == alpn
    assert [item["name"] for item in shared["tls_certificate_sds_secret_configs"]] == ["default"]
    combined = shared["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"]["name"] == "ROOTCA"
    assert combined["default_validation_context"]["match_typed_subject_alt_names"][0]["san_type"] == "URI"
    assert "Secret" not in found


MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.global]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 53, name: dns, protocol: UDP}]
  endpoints:
  - {address: 10.1.0.1, labels: {version: v1, security.istio.io/tlsMode: istio}}
  - {address: 10.1.0.2, labels: {version: v1}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [outside.global]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.global
  trafficPolicy: {tls: {mode: SIMPLE}, outlierDetection: {consecutive5xxErrors: 7}}
  subsets: [{name: v1, labels: {version: v1}}]
"""


def test_auto_passthrough(generated: Generated, gateway_proxy: Proxy) -> None:
    """By server name, only the mesh's own services that the hosts cover, only endpoints that end mutual TLS."""
    servers = server("mode: AUTO_PASSTHROUGH", "['*.global']", protocol="TLS")
    found = generated(MESH + gateway(servers), gateway_proxy)
    plain, subset = "outbound_.80_._.reviews.global", "outbound_.80_.v1_.reviews.global"

    assert [chain["filter_chain_match"]["server_names"] for chain in chains(found)] == [[plain], [subset]]
    assert set(chains(found)[0]["filter_chain_match"]["application_protocols"]) >= {"istio", "istio-http/1.1"}
    assert [chain["filters"][0]["typed_config"]["cluster"] for chain in chains(found)] == [plain, subset]
    assert all("transport_socket" not in chain for chain in chains(found))
    assert list(found["Cluster"]) == [plain, subset]
    cluster = found["Cluster"][plain]
    assert "transport_socket" not in cluster
    assert cluster["outlier_detection"]["consecutive_5xx"] == 7
    addresses = [
        item["endpoint"]["address"]["socket_address"]["address"]
        for item in found["ClusterLoadAssignment"][plain]["endpoints"][0]["lb_endpoints"]
    ]
    assert addresses == ["10.1.0.1"]


def test_auto_passthrough_of_other_hosts_lets_nothing_through(generated: Generated, gateway_proxy: Proxy) -> None:
    servers = server("mode: AUTO_PASSTHROUGH", "['*.local']", protocol="TLS")

    assert "Listener" not in generated(MESH + gateway(servers), gateway_proxy)


def test_modes_share_a_port(generated: Generated, gateway_proxy: Proxy) -> None:
    """Each by its server names; a second server of the same name is not served."""
    found = generated(
        MESH
        + gateway(
            server("mode: AUTO_PASSTHROUGH", "['*.global']", name="mesh", protocol="TLS"),
            server("mode: SIMPLE, credentialName: cred", "[a.example.com]", name="simple"),
            server("mode: MUTUAL, credentialName: cred", "['*.example.com']", name="mutual"),
            server("mode: SIMPLE, credentialName: cred", "[a.example.com]", name="again"),
        )
        + WITH_CA,
        gateway_proxy,
    )

    assert [chain["filter_chain_match"]["server_names"][0] for chain in chains(found)] == [
        "outbound_.80_._.reviews.global",
        "outbound_.80_.v1_.reviews.global",
        "a.example.com",
        "*.example.com",
    ]
