"""What the certificate authority is asked and answers, as bytes: Istio's `CreateCertificate` by hand.

Protobuf by hand, because a library for two messages would double an agent's memory. The request is a string and an
integer, the answer a list of strings (istio.v1.auth, `ca.proto`: csr = 1, validity_duration = 3; cert_chain = 1).
Pure. Used by `certificates`. Must not know: who answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
_MAX_CERTIFICATES = 16
_CERTIFICATES = re.compile(r"\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+")


class MessageError(ValueError):
    """The answer is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificates:
    """What the authority made, PEM."""

    chain: str
    """The workload's own certificate, then the intermediate ones."""
    roots: str
    """All roots to trust."""


def encode_request(csr: str, validity_seconds: int = 0) -> bytes:
    """Return the request; 0 seconds leaves the validity to the authority."""
    return text_field(1, csr) + (bytes([3 << 3 | _VARINT]) + _varint(validity_seconds) if validity_seconds else b"")


def decode_answer(answer: bytes) -> IssuedCertificates:
    """Read the answer: the leaf, intermediate ones, and last of all the roots. MessageError for anything else."""
    chain = []
    for number, body in read_fields(answer):
        if number == 1:
            chain.append(_certificates(body))
    if not 2 <= len(chain) <= _MAX_CERTIFICATES:
        raise MessageError(f"the control plane answered with a chain of {len(chain)} certificates")
    return IssuedCertificates(chain="".join(chain[:-1]), roots=chain[-1])


def _certificates(body: bytes) -> str:
    text = body.decode("ascii", "replace")
    if not _CERTIFICATES.fullmatch(text):
        raise MessageError("the control plane answered with something that is no certificate")
    return text.strip() + "\n"


def text_field(number: int, body: str | bytes) -> bytes:
    """Return a string, bytes or a message as a field of this number."""
    content = body.encode() if isinstance(body, str) else body
    return bytes([number << 3 | _BYTES]) + _varint(len(content)) + content


def read_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, body) of the length-delimited fields; others are skipped. MessageError when it is no message."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES:
            size, at = _read_varint(message, at)
            if size > len(message) - at:
                raise MessageError("the control plane's answer was cut short")
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        else:
            raise MessageError("the control plane's answer is no protobuf message")
    if at != len(message):
        raise MessageError("the control plane's answer was cut short")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position in range(_LONGEST_VARINT):
        if at + position >= len(message):
            break
        byte = message[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise MessageError("the control plane's answer is no protobuf message")
