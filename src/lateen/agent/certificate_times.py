"""From when until when a certificate is valid: the one thing that an agent reads in its own certificate.

A dozen lines of DER, because the library that reads all of X.509 would add more memory than the agent has. Pure.
Used by `certificates`. Must not know: files.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Seconds since 1970."""

    begins: float
    ends: float


def read_validity(pem: str) -> Validity:
    """Read the validity of the first certificate of a chain. ValueError when there is none."""
    encoded = pem.partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = binascii.a2b_base64(encoded)
        # RFC 5280 section 4.1: Certificate { tbsCertificate { version [0]?, serialNumber, signature, issuer, validity
        fields = _children(_children(der)[0][1])[0][1]
        parts = _children(fields)
        if parts[0][0] == _VERSION:
            parts = parts[1:]
        begins, ends = _children(parts[3][1])[:2]
        return Validity(begins=_time(*begins), ends=_time(*ends))
    except (IndexError, binascii.Error) as error:
        raise ValueError("this is no certificate") from error


def issuer_of(chain: str) -> str:
    """Return the SHA-256 of the certificate that signed the first of a chain, the second one; empty without one."""
    second = chain.partition(_END)[2].partition(_BEGIN)[2].partition(_END)[0]
    return sha256(binascii.a2b_base64(second)).hexdigest() if second.strip() else ""


def _children(body: bytes) -> list[tuple[int, bytes]]:
    """Return (tag, content) of each DER value in a row."""
    found, at = [], 0
    while at < len(body):
        tag, size = body[at], body[at + 1]
        at += 2
        if size & 0x80:
            digits = size & 0x7F
            if not 0 < digits <= 4:
                raise ValueError("this is no certificate")
            size = int.from_bytes(body[at : at + digits], "big")
            at += digits
        if at + size > len(body):
            raise ValueError("this certificate was cut short")
        found.append((tag, body[at : at + size]))
        at += size
    return found


def _time(tag: int, content: bytes) -> float:
    """RFC 5280 section 4.1.2.5: two digits of the year until 2049 (50 and above are of the last century), then four."""
    text = content.decode("ascii", "replace")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("this is no certificate")
    if len(text) != 15 or not text[:14].isdigit() or text[14] != "Z":
        raise ValueError("this is no certificate")
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC).timestamp()
