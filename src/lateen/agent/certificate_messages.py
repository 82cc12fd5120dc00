"""What the certificate authority is asked and answers, as bytes: Istio's `CreateCertificate` by hand.

The request is a string and an integer, the answer a list of strings (istio.v1.auth, `ca.proto`: csr = 1,
validity_duration = 3; cert_chain = 1).
Pure. Used by `certificates`. Must not know: who answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lateen.agent import protobuf_wire
from lateen.agent.protobuf_wire import BYTES, WireError, text_field, varint_field

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
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
    return text_field(1, csr) + (varint_field(3, validity_seconds) if validity_seconds else b"")


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


def read_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, body) of the length-delimited fields; others are skipped. MessageError when it is no message."""
    try:
        for number, kind, _, body in protobuf_wire.read_fields(message):
            if kind == BYTES:
                yield number, body
    except WireError as error:
        raise MessageError(f"the control plane's answer {error}") from error
