"""Istio's certificate request and response on the wire, by hand: two tiny messages need no generated class. Pure.

`istio.v1.auth.IstioCertificateRequest` (istio/api, security/v1alpha1/ca.proto): `csr` = 1 (string),
`validity_duration` = 3 (int64, seconds), `metadata` = 4 (google.protobuf.Struct, not read here).
`IstioCertificateResponse`: `cert_chain` = 1 (repeated string).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lateen.ca.csr import MAX_CSR_BYTES

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
MAX_MESSAGE_BYTES = MAX_CSR_BYTES + 64 * 1024
"""Of a request: the CSR and whatever metadata a client likes to send."""
_MAX_VARINT_BYTES = 10
_CSR, _VALIDITY = 1, 3
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class MalformedError(ValueError):
    """The peer's bytes are not the message that they should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """What a client asks for."""

    csr: bytes = b""
    validity_seconds: int = 0
    """As sent: may be negative or absurd. 0 when it says nothing."""


def decode_request(message: bytes) -> CertificateRequest:
    """Read a request; fields that are not ours are skipped, of a repeated one the last counts. MalformedError."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise MalformedError(f"the request is larger than {MAX_MESSAGE_BYTES >> 10} KiB")
    csr, validity, at = b"", 0, 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise MalformedError("a field number is not one")
        if kind == _VARINT:
            number, at = _varint(message, at)
            validity = _signed(number) if field == _VALIDITY else validity
        elif kind == _LENGTH:
            content, at = _bytes(message, at)
            csr = content if field == _CSR else csr
        elif kind in _FIXED_BYTES:
            _, at = _slice(message, at, _FIXED_BYTES[kind])
        else:
            raise MalformedError("a field has no known wire type")
    return CertificateRequest(csr=csr, validity_seconds=validity)


def encode_response(cert_chain: Iterable[str]) -> bytes:
    """Write a response: one string for each element, in order."""
    response = bytearray()
    for element in cert_chain:
        content = element.encode()
        response += bytes([_CSR << 3 | _LENGTH]) + _encoded_varint(len(content)) + content
    return bytes(response)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at this place and where the next thing starts."""
    value = 0
    for position, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value & (1 << 64) - 1, at + position + 1
    raise MalformedError("a number does not end")


def _bytes(message: bytes, at: int) -> tuple[bytes, int]:
    length, at = _varint(message, at)
    return _slice(message, at, length)


def _slice(message: bytes, at: int, length: int) -> tuple[bytes, int]:
    if length > len(message) - at:
        raise MalformedError("a field is longer than the message")
    return message[at : at + length], at + length


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _encoded_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
