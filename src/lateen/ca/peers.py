"""Who the peer of an mTLS connection is, from the certificate that the TLS library has verified. Pure.

`app` gives it to `service` and to the attach stream. The library looked once, when the connection was made; connections
outlive certificates, so whether it is still valid is asked here each time.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from lateen.ca.issue import issuer_id
from lateen.model.identities import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer's certificate, as far as it matters."""

    identity: Identity
    not_after: dt.datetime
    serial: int
    issuer_id: str
    """Compare with `Authority.issuer_id`."""


def read_peer(leaf: bytes, now: dt.datetime) -> Peer | None:
    """Read a *verified* certificate, PEM (gRPC's `x509_pem_cert`); None unless it is valid now and has one SPIFFE ID.

    An X.509-SVID has exactly one URI (X509-SVID, 2); with more, one could choose who one is.
    """
    try:
        certificate = x509.load_pem_x509_certificate(leaf)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        peer = Peer(
            identity=Identity.parse(uri),
            not_after=certificate.not_valid_after_utc,
            serial=certificate.serial_number,
            issuer_id=issuer_id(certificate),
        )
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    return peer if certificate.not_valid_before_utc <= now < peer.not_after else None
