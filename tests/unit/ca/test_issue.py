"""Certificates as functions: the same of the same arguments, and none valid beyond what is above it."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ca_requests import NOW, csr_for, new_key
from lateen.ca.csr import Csr, read_csr
from lateen.ca.generations import root_signer
from lateen.ca.issue import BACKDATED, ExpiredCaError, Signer, issue, make_intermediate, make_root, serving
from lateen.ca.keys import PrivateKey
from lateen.model.identities import Identity

REVIEWS = Identity("cluster.local", "default", "reviews")
KEYS = [PrivateKey.generate() for _ in range(2)]
ROOT = make_root(KEYS[0], "cluster.local", now=NOW, serial=1, lifetime=dt.timedelta(days=100))
INTERMEDIATE = make_intermediate(
    KEYS[1].public, root_signer(ROOT, KEYS[0]), "cluster.local", now=NOW, serial=2, lifetime=dt.timedelta(days=10)
)
SIGNER = Signer(certificate=INTERMEDIATE, key=KEYS[1], ends=INTERMEDIATE.not_valid_after_utc)


def request() -> Csr:
    read = read_csr(csr_for(REVIEWS.uri))
    assert isinstance(read, Csr)
    return read


@given(
    after=st.timedeltas(dt.timedelta(0), dt.timedelta(days=9)),
    ttl=st.timedeltas(dt.timedelta(seconds=1), dt.timedelta(days=4000)),
)
def test_a_leaf_is_valid_within_its_signers_time(after: dt.timedelta, ttl: dt.timedelta) -> None:
    now = NOW + after
    made = issue(request(), REVIEWS, SIGNER, now=now, serial=3, ttl=ttl)
    leaf = x509.load_pem_x509_certificate(made.chain[0].encode())

    assert INTERMEDIATE.not_valid_before_utc <= made.not_before <= now
    assert made.not_before >= (now - BACKDATED).replace(microsecond=0)
    assert now <= made.not_after <= min(now + ttl, INTERMEDIATE.not_valid_after_utc)
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (made.not_before, made.not_after)
    leaf.verify_directly_issued_by(INTERMEDIATE)


def test_issuing_is_a_function_of_its_arguments() -> None:
    one, other = (issue(request(), REVIEWS, SIGNER, now=NOW, serial=3, ttl=dt.timedelta(hours=1)) for _ in range(2))

    assert one == other


def test_of_a_request_nothing_is_taken_but_its_key() -> None:
    """Who asks to be a CA, to sign code, or to have a subject, gets the leaf that everybody gets."""
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "spiffe://cluster.local/ns/a/sa/b")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=5), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=True)
        .sign(KEYS[0].signing, hashes.SHA256())
    )
    read = read_csr(greedy.public_bytes(serialization.Encoding.PEM))
    assert isinstance(read, Csr)
    made = issue(read, REVIEWS, SIGNER, now=NOW, serial=3, ttl=dt.timedelta(hours=1))
    leaf = x509.load_pem_x509_certificate(made.chain[0].encode())
    modest = issue(request(), REVIEWS, SIGNER, now=NOW, serial=3, ttl=dt.timedelta(hours=1))

    assert leaf.subject == x509.Name([])
    assert list(leaf.extensions) == list(x509.load_pem_x509_certificate(modest.chain[0].encode()).extensions)


def test_an_intermediate_is_valid_no_longer_than_its_root_and_signs_no_ca() -> None:
    made = make_intermediate(
        KEYS[1].public, root_signer(ROOT, KEYS[0]), "cluster.local", now=NOW, serial=2, lifetime=dt.timedelta(days=999)
    )
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)

    assert made.not_valid_after_utc == ROOT.not_valid_after_utc
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    made.verify_directly_issued_by(ROOT)


def test_nothing_is_signed_after_the_end() -> None:
    with pytest.raises(ExpiredCaError, match="2026-01-11"):
        issue(request(), REVIEWS, SIGNER, now=NOW + dt.timedelta(days=10), serial=3, ttl=dt.timedelta(hours=1))


def test_a_trust_domain_of_any_length_has_a_root() -> None:
    """A subject's organization has 64 characters at most (RFC 5280, appendix A)."""
    root = make_root(KEYS[0], "a" * 255, now=NOW, serial=1, lifetime=dt.timedelta(days=1))

    assert len(root.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)[0].value) == 64


def test_an_rsa_key_may_be_used_for_the_old_key_exchange_and_others_not() -> None:
    enciphers = {}
    for kind in ("RSA", "P-256", "Ed25519"):
        read = read_csr(csr_for("", new_key(kind)))
        assert isinstance(read, Csr)
        made = issue(read, REVIEWS, SIGNER, now=NOW, serial=3, ttl=dt.timedelta(hours=1))
        leaf = x509.load_pem_x509_certificate(made.chain[0].encode())
        enciphers[kind] = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment

    assert enciphers == {"RSA": True, "P-256": False, "Ed25519": False}


def test_an_internationalised_host_name_is_refused_by_the_library_not_misread() -> None:
    with pytest.raises(ValueError, match="A-label"):
        serving(KEYS[1].public, REVIEWS, ["bücher.example"], SIGNER, now=NOW, serial=3, ttl=dt.timedelta(hours=1))
