"""Certificates for tests, made when they are asked for: nothing that looks like a key is kept in the repository."""

from __future__ import annotations

import base64
import datetime as dt
from functools import cache
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def key_pair(host: str = "shop.example.com") -> tuple[bytes, bytes]:
    """A self-signed certificate of a host and its key, PEM. The same pair for the same host."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def encoded(pem: bytes) -> str:
    """As a Secret's data holds it."""
    return base64.b64encode(pem).decode()


class Authority:
    """A certificate authority of a test."""

    def __init__(self, name: str) -> None:
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(self.name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self._certificate = made.add_extension(usage, True).sign(self._key, hashes.SHA256())
        self.certificate = self._certificate.public_bytes(serialization.Encoding.PEM)

    def pair(
        self,
        *names: str,
        key: PrivateKey | None = None,
        expired: bool = False,
        extension: x509.ExtensionType | None = None,
    ) -> tuple[bytes, bytes]:
        """A certificate for these DNS names or URIs, with its key, PEM."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
        found = [x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name) for name in names]
        builder = self._builder(subject, key, expired=expired)
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        if extension is not None:
            builder = builder.add_extension(extension, critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made.public_bytes(serialization.Encoding.PEM), private

    def revocations(self, *revoked: bytes) -> bytes:
        """The revocation list (PEM) with these certificates."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now - dt.timedelta(days=1))
        builder = builder.next_update(now + dt.timedelta(days=1))
        for pem in revoked:
            serial = x509.load_pem_x509_certificate(pem).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - dt.timedelta(hours=1))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def staple(self, certificate: bytes, *, now: dt.datetime) -> bytes:
        """A good OCSP response (DER) for a certificate."""
        one = x509.load_pem_x509_certificate(certificate)
        since, until = now - dt.timedelta(hours=1), now + dt.timedelta(hours=1)
        builder = ocsp.OCSPResponseBuilder().add_response(
            one, self._certificate, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, since, until, None, None
        )
        made = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self._certificate)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _builder(self, subject: x509.Name, key: PrivateKey, *, expired: bool = False) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(now + dt.timedelta(days=-1 if expired else 1))
        )
