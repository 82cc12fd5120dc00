"""Validity read out of certificates, against the library that made them."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from key_pairs import key_pair
from lateen.agent.certificate_times import Validity, read_validity


def certificate(begins: dt.datetime, ends: dt.datetime) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([]),
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begins,
        not_valid_after=ends,
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), dt.datetime(2026, 1, 3, 3, 4, 5, tzinfo=dt.UTC)),
        (dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=dt.UTC), dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        (dt.datetime(2050, 1, 1, tzinfo=dt.UTC), dt.datetime(2999, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_validity_is_the_librarys(begins: dt.datetime, ends: dt.datetime) -> None:
    """In both forms of time, with two digits of the year and with four."""
    assert read_validity(certificate(begins, ends)) == Validity(begins=begins.timestamp(), ends=ends.timestamp())


def test_first_of_a_chain_counts() -> None:
    first = certificate(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    assert read_validity(first + key_pair()[0].decode()) == read_validity(first)


@pytest.mark.parametrize("text", ["", "no", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        read_validity(text)


@given(st.integers(0, 600), st.integers(0, 255))
def test_broken_certificate_is_refused_and_never_anything_else(at: int, byte: int) -> None:
    der = bytearray(base64.b64decode("".join(key_pair()[0].decode().splitlines()[1:-1])))
    der[at % len(der)] = byte
    body = base64.b64encode(bytes(der)).decode()
    with contextlib.suppress(ValueError):
        read_validity(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
