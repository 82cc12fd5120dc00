"""Certificate signing requests for tests, as an agent makes them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def new_key(kind: str = "P-256") -> Key:
    """A key; the same one for the same words."""
    match kind.split(maxsplit=1)[0]:
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "P-521":
            return ec.generate_private_key(ec.SECP521R1())
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case "RSA-1024":
            return rsa.generate_private_key(65537, 1024)
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ec.generate_private_key(ec.SECP256R1())


def csr_for(uri: str, key: Key | None = None, *, names: Sequence[x509.GeneralName] = (), form: str = "PEM") -> bytes:
    """A CSR that names an identity, or none."""
    key = key or new_key()
    builder = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
    wanted = [*([x509.UniformResourceIdentifier(uri)] if uri else []), *names]
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    encoding = serialization.Encoding.PEM if form == "PEM" else serialization.Encoding.DER
    return builder.sign(key, digest).public_bytes(encoding)
