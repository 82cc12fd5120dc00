"""Reading CSRs: what is taken, what is refused with words, and that no bytes at all crash it."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ca_requests import csr_for, new_key
from lateen.ca.csr import MAX_CSR_BYTES, BadCsr, Csr, read_csr

URI = "spiffe://cluster.local/ns/default/sa/reviews"


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA", "Ed25519"])
@pytest.mark.parametrize("form", ["PEM", "DER"])
@pytest.mark.parametrize("uri", [URI, ""])
def test_a_request_is_read(kind: str, form: str, uri: str) -> None:
    read = read_csr(csr_for(uri, new_key(kind), form=form))

    assert isinstance(read, Csr)
    assert read.key == new_key(kind).public_key()
    assert read.uri == uri


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_a_key_that_is_not_allowed_is_refused(kind: str) -> None:
    assert "the key must be" in problem(csr_for(URI, new_key(kind)))


def test_a_request_that_another_key_signed_is_refused() -> None:
    """Otherwise anybody could have a certificate for somebody else's key."""
    signed = bytearray(csr_for(URI, form="DER"))
    own, other = (
        key.public_key().public_numbers()
        for key in (new_key(), new_key("P-256 other"))
        if isinstance(key, ec.EllipticCurvePrivateKey)
    )
    at = signed.index(own.x.to_bytes(32, "big"))
    signed[at : at + 64] = other.x.to_bytes(32, "big") + other.y.to_bytes(32, "big")

    assert "not signed by the key" in problem(bytes(signed))


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("istiod.istio-system.svc"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/admin"),
        x509.RFC822Name("a@example.com"),
    ],
)
def test_more_names_than_the_identity_are_refused(name: x509.GeneralName) -> None:
    assert "one URI name at most" in problem(csr_for(URI, names=[name]))


def test_a_dns_name_instead_of_an_identity_is_refused() -> None:
    assert "one URI name at most" in problem(csr_for("", names=[x509.DNSName("istiod")]))


def test_an_oversized_request_is_refused_unread() -> None:
    assert "larger than 16 KiB" in problem(csr_for(URI) + b"\n" * MAX_CSR_BYTES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----",
        b"-----BEGIN CERTIFICATE REQUEST-----\n%%%\n-----END CERTIFICATE REQUEST-----\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        csr_for(URI)[:-40],
        csr_for(URI).replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"),
        b"\x30\x80" * 4000,
        b"\x00" * MAX_CSR_BYTES,
    ],
)
def test_malformed_requests_are_refused(content: bytes) -> None:
    assert problem(content)


@given(st.binary(max_size=600))
def test_no_bytes_crash_it(content: bytes) -> None:
    assert isinstance(read_csr(content), BadCsr)
    assert isinstance(read_csr(b"-----BEGIN" + content), BadCsr)


@given(
    kind=st.sampled_from(["P-256", "RSA", "Ed25519"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 3),
)
def test_no_damage_to_a_good_request_crashes_it(kind: str, changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(csr_for(URI, new_key(kind), form="DER"))
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    del damaged[len(damaged) - cut :]

    assert isinstance(read_csr(bytes(damaged)), Csr | BadCsr)


def problem(content: bytes) -> str:
    read = read_csr(content)
    assert isinstance(read, BadCsr)
    return read.problem
