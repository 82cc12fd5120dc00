"""What Envoy would refuse in a TLS Secret. Each was shown to Envoy 1.40 too."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import TLSFeature, TLSFeatureType

from key_pairs import Authority, encoded, key_pair
from lateen.config.certificates import (
    ca_of,
    ca_problem,
    certificate_of,
    certificate_problem,
    crl_of,
    staple_of,
    staple_problem,
)
from lateen.config.kubernetes import Secret

CA = Authority("ca")


def test_a_good_pair_is_read_under_both_names() -> None:
    chain, key = key_pair()
    assert certificate_of(Secret(data={"tls.crt": encoded(chain), "tls.key": encoded(key)})) == (chain, key)
    assert certificate_of(Secret(string_data={"cert": chain.decode(), "key": key.decode()})) == (chain, key)
    assert certificate_problem(chain, key) == ""
    assert ca_of(Secret(data={"ca.crt": encoded(chain)})) == chain


def test_the_generic_names_come_first_and_empty_values_count_as_none() -> None:
    values = {"cert": "a", "key": "b", "cacert": "c", "crl": "d"}
    others = {"tls.crt": "e", "tls.key": "f", "ca.crt": "g", "ca.crl": "h", "tls.ocsp-staple": "i"}
    both = Secret(string_data={**others, **values})
    assert (certificate_of(both), ca_of(both), crl_of(both), staple_of(both)) == ((b"a", b"b"), b"c", b"d", None)
    kept = Secret(string_data={**others, **dict.fromkeys(values, "")})
    assert (certificate_of(kept), ca_of(kept), crl_of(kept), staple_of(kept)) == ((b"e", b"f"), b"g", b"h", b"i")
    assert certificate_of(Secret(data={"tls.crt": "!", "tls.key": encoded(b"f")})) is None
    assert (ca_of(Secret()), crl_of(Secret()), staple_of(Secret())) == (None, None, None)


@pytest.mark.parametrize(
    ("chain", "key", "problem"),
    [
        (b"junk", key_pair()[1], "the certificate is not PEM"),
        (b"", key_pair()[1], "the certificate is not PEM"),
        (key_pair()[0], b"junk", "not an unencrypted PEM private key"),
        (key_pair()[0], key_pair("other.example.com")[1], "not that of the certificate"),
        (*CA.pair("a", key=rsa.generate_private_key(65537, 1024)), "shorter than 2048"),
        (*CA.pair("a", key=ec.generate_private_key(ec.SECP256K1())), "none of P-256"),
        (*CA.pair("a", extension=TLSFeature([TLSFeatureType.status_request])), "must be shown with an OCSP staple"),
    ],
)
def test_what_envoy_would_refuse_is_named_and_never_quoted(chain: bytes, key: bytes, problem: str) -> None:
    found = certificate_problem(chain, key)
    assert problem in found
    assert "junk" not in found


def test_a_chain_is_as_good_as_its_worst_certificate() -> None:
    chain, key = CA.pair("a")
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert certificate_problem(chain + CA.certificate, key) == ""
    assert "not PEM" in certificate_problem(chain + broken, key)
    assert "not PEM" in ca_problem(CA.certificate + broken)


def test_a_revocation_list_that_revokes_nothing_by_mistake_is_a_problem() -> None:
    """Envoy takes a text without a list in it, and goes on to let everybody in."""
    good = CA.revocations()
    assert ca_problem(CA.certificate, good) == ca_problem(CA.certificate, good + good) == ""
    assert "revocation list is not PEM" in ca_problem(CA.certificate, b"junk")
    broken = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    assert "revocation list is not PEM" in ca_problem(CA.certificate, good + broken)


def test_a_staple_must_be_of_the_certificate() -> None:
    chain, key = CA.pair("a", extension=TLSFeature([TLSFeatureType.status_request]))
    staple = CA.staple(chain, now=dt.datetime.now(dt.UTC))
    assert staple_problem(chain, staple) == certificate_problem(chain, key, staple) == ""
    assert "not that of the certificate" in staple_problem(CA.pair("b")[0], staple)
    assert "not a DER response" in staple_problem(chain, b"junk")
    assert "must be shown with an OCSP staple" in certificate_problem(chain, key, b"junk")
