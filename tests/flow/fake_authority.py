"""A certificate authority in a few lines, for the agent's tests: roots, leaves, join tokens; nothing is checked."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from lateen.model.identities import control_plane_identity

SERVER = control_plane_identity("cluster.local").uri
_USES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class FakeAuthority:
    """One root that signs leaves."""

    name: str = "root"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    backdated: float = 300.0
    """Seconds by which certificates begin before now."""

    def __post_init__(self) -> None:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(subject, self.key.public_key(), 3600).add_extension(constraints, critical=True)
        self.root = builder.sign(self.key, hashes.SHA256())

    @property
    def root_pem(self) -> str:
        return pem(self.root)

    def _builder(self, subject: x509.Name, key: Any, seconds: float) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(seconds=self.backdated))
            .not_valid_after(now + dt.timedelta(seconds=seconds))
        )

    def leaf(self, public_key: Any, uri: str, seconds: float = 3600) -> str:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = self._builder(x509.Name([]), public_key, seconds).add_extension(names, critical=True)
        return pem(builder.add_extension(_USES, critical=False).sign(self.key, hashes.SHA256()))

    def pair(self, uri: str = SERVER, seconds: float = 3600) -> tuple[bytes, bytes]:
        """A key and a certificate for this name, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        return key_pem(key), self.leaf(key.public_key(), uri, seconds).encode()

    def certify(self, csr_pem: str, seconds: float) -> tuple[str, str]:
        """Return the name in the request, and a certificate for it."""
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        assert csr.is_signature_valid
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return uri, self.leaf(csr.public_key(), uri, seconds)

    def token(self, **claims: Any) -> str:
        """A join token for any workload, unless said otherwise. Its signature is none."""
        der = self.root.public_bytes(serialization.Encoding.DER)
        expires = dt.datetime.now(dt.UTC).timestamp() + 3600
        said = {
            "iss": "lateen",
            "aud": "lateen-join",
            "sub": "*/*",
            "td": "cluster.local",
            "exp": expires,
            "roots": [base64.b64encode(der).decode()],
        } | claims
        parts = ({"alg": "ES256"}, {name: value for name, value in said.items() if value is not None})
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return ".".join((*encoded, "c2lnbmF0dXJl"))
