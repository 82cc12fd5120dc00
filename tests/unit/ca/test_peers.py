"""Reading the certificate of a peer that TLS has verified."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from ca_requests import NOW, csr_for
from key_pairs import key_pair
from lateen.ca.authority import Authority
from lateen.ca.issue import Issued, pem_of
from lateen.ca.keys import PrivateKey
from lateen.ca.peers import read_peer
from lateen.ca.service import peer_address
from lateen.model.identities import Identity

REVIEWS = Identity("cluster.local", "default", "reviews")
HOUR = dt.timedelta(hours=1)


def leaf(authority: Authority) -> bytes:
    made = authority.issue(csr_for(""), REVIEWS, now=NOW)
    assert isinstance(made, Issued)
    return made.chain[0].encode()


def test_a_peer_is_who_its_certificate_says_while_it_is_valid() -> None:
    authority = Authority.open(None, "cluster.local", now=NOW)
    shown = leaf(authority)
    peer = read_peer(shown, NOW)

    assert peer is not None
    assert (peer.identity, peer.not_after, peer.issuer_id) == (REVIEWS, NOW + 24 * HOUR, authority.issuer_id())
    assert read_peer(shown, NOW + 24 * HOUR) is None
    assert read_peer(shown, NOW - HOUR) is None


def test_another_roots_leaf_is_told_apart() -> None:
    authority = Authority.open(None, "cluster.local", now=NOW)
    peer = read_peer(leaf(Authority.open(None, "cluster.local", now=NOW)), NOW)

    assert peer is not None
    assert peer.issuer_id != authority.issuer_id()


def test_a_certificate_with_two_identities_is_nobodys() -> None:
    key = PrivateKey.generate()
    names = [x509.UniformResourceIdentifier(f"spiffe://cluster.local/ns/default/sa/{name}") for name in "ab"]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public)
        .serial_number(1)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(key.signing, hashes.SHA256())
    )

    assert read_peer(pem_of(made).encode(), NOW) is None


@given(st.binary(max_size=100))
def test_what_is_no_svid_is_nobodys(content: bytes) -> None:
    assert read_peer(content, NOW) is None
    assert read_peer(key_pair()[0], dt.datetime.now(dt.UTC)) is None


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:[::1]:5000", "::1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::1"),
        ("ipv6:[::ffff:10.0.0.1]:5000", "10.0.0.1"),
    ],
)
def test_grpcs_names_of_peers_are_read(peer: str, address: str) -> None:
    assert peer_address(peer) == ipaddress.ip_address(address)


@given(st.text(max_size=50))
def test_no_name_of_a_peer_crashes_it(peer: str) -> None:
    peer_address(peer)
    peer_address(f"ipv6:{peer}")
