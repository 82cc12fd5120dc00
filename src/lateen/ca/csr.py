"""Certificate signing requests: bounded reading of bytes that anybody may have sent. Pure.

Called by `authority`. Whatever is wrong is the peer's fault, and comes back as words for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lateen.ca.keys import MAX_RSA_BITS, MIN_RSA_BITS

MAX_CSR_BYTES = 16 * 1024
_PEM_MARK = b"-----BEGIN"

LeafKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
"""Keys that a certificate may be for."""

_FAULTS = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InternalError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
    x509.AttributeNotFound,
)
"""What the parser raises for bytes that are not a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Csr:
    """A request whose sender holds the private key: its own signature was right."""

    key: LeafKey
    uri: str
    """The identity that it asks for, unchecked; empty when it names none."""


@dataclass(frozen=True, slots=True)
class BadCsr:
    """Why a request cannot be taken."""

    problem: str


def read_csr(content: bytes) -> Csr | BadCsr:
    """Read a CSR, PEM or DER, of at most MAX_CSR_BYTES. Its subject and every extension but the URI SAN are ignored.

    The key is EC P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519.
    """
    if len(content) > MAX_CSR_BYTES:
        return BadCsr(f"the CSR is larger than {MAX_CSR_BYTES >> 10} KiB")
    try:
        return _read(content)
    except _FAULTS:
        # The parser's words are about its grammar, and may quote the bytes.
        return BadCsr("the CSR is not a PKCS #10 request in PEM or DER form")


def _read(content: bytes) -> Csr | BadCsr:
    pem = content.lstrip()[: len(_PEM_MARK)] == _PEM_MARK
    request = x509.load_pem_x509_csr(content) if pem else x509.load_der_x509_csr(content)
    key = request.public_key()
    # Before the signature is checked: a huge modulus would make that slow.
    if not _acceptable(key):
        return BadCsr(f"the key must be EC P-256 or P-384, RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, or Ed25519")
    assert isinstance(key, LeafKey)
    if not request.is_signature_valid:
        return BadCsr("the CSR is not signed by the key that it is for")
    names = _alternative_names(request)
    if len(names) > 1 or not all(isinstance(name, x509.UniformResourceIdentifier) for name in names):
        return BadCsr("the CSR may ask for one URI name at most, the SPIFFE ID, and for no DNS, IP or other names")
    return Csr(key=key, uri=str(names[0].value) if names else "")


def _acceptable(key: object) -> bool:
    match key:
        case ec.EllipticCurvePublicKey():
            return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        case rsa.RSAPublicKey():
            return MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)


def _alternative_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
