"""Certificates, as functions of their arguments: root, intermediate, a workload's leaf, the control plane's own.

Called by `authority`, which holds the keys. Pure: time and serial numbers are parameters, EC signatures are
deterministic (RFC 6979). Must not know: files, tokens, who asked.

The forms are those of X.509-SVID (SPIFFE) and RFC 5280. A leaf has an empty subject, so its SAN is critical (RFC 5280,
4.2.1.6), and exactly one URI (X509-SVID, 2).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lateen.ca.csr import Csr, LeafKey
from lateen.ca.keys import PrivateKey, PublicKey
from lateen.model.identities import Identity

BACKDATED = dt.timedelta(minutes=5)
"""A certificate is valid from so long ago: clocks differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long certificates last."""

    root: dt.timedelta = dt.timedelta(days=3650)
    intermediate: dt.timedelta = dt.timedelta(days=365)
    leaf: dt.timedelta = dt.timedelta(hours=24)
    """When the request says nothing."""
    longest_leaf: dt.timedelta = dt.timedelta(hours=24)
    """When it asks for more. There is no revocation: this is how long a stolen key is of use, and how long the rotation
    of a root may have to wait."""


DEFAULT_LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A CA certificate with its key, and what is above it."""

    certificate: x509.Certificate
    key: PrivateKey
    above: tuple[x509.Certificate, ...] = ()
    """From the one that signed it upwards, without the root."""
    ends: dt.datetime
    """When the first of its chain, root included, is no longer valid."""

    @property
    def chain(self) -> tuple[str, ...]:
        """What goes with every leaf (PEM), the root not among it."""
        return tuple(pem_of(certificate) for certificate in (self.certificate, *self.above))


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A leaf and what leads from it to a root."""

    chain: tuple[str, ...]
    """PEM, each one certificate: the leaf, then intermediates."""
    not_before: dt.datetime
    not_after: dt.datetime
    serial: int
    identity: Identity

    @property
    def chain_pem(self) -> str:
        """The chain as one file."""
        return "".join(self.chain)


class ExpiredCaError(ValueError):
    """The signer's own certificate, or one above it, is no longer valid."""


def make_root(
    key: PrivateKey, trust_domain: str, *, now: dt.datetime, serial: int, lifetime: dt.timedelta
) -> x509.Certificate:
    """Make a self-signed root for a trust domain."""
    name = _ca_name("root", trust_domain, serial)
    builder = _builder(name, name, key.public, now - BACKDATED, now + lifetime, serial)
    return _sign(_as_ca(builder, key.public, path_length=1), key)


def make_intermediate(
    public: PublicKey, root: Signer, trust_domain: str, *, now: dt.datetime, serial: int, lifetime: dt.timedelta
) -> x509.Certificate:
    """Make an intermediate that may sign leaves only, valid for no longer than its root. ExpiredCaError."""
    start, end = _validity(root, now, lifetime)
    name = _ca_name("intermediate", trust_domain, serial)
    builder = _builder(name, root.certificate.subject, public, start, end, serial)
    return _sign(_with_authority(_as_ca(builder, public, path_length=0), root), root.key)


def issue(csr: Csr, identity: Identity, signer: Signer, *, now: dt.datetime, serial: int, ttl: dt.timedelta) -> Issued:
    """Make a workload's certificate: for the CSR's key and the identity, of what the CSR asks for nothing else.

    `ttl` counts from now (`leaf_ttl` makes it of a request). It never outlives the signer's chain. ExpiredCaError.
    """
    return _leaf(csr.key, identity, signer, (), now=now, serial=serial, ttl=ttl)


def serving(
    public: PublicKey,
    identity: Identity,
    hosts: Sequence[str],
    signer: Signer,
    *,
    now: dt.datetime,
    serial: int,
    ttl: dt.timedelta,
) -> Issued:
    """Make the control plane's own certificate, with its identity and host names or IP addresses. ExpiredCaError."""
    return _leaf(public, identity, signer, [_host_name(host) for host in hosts], now=now, serial=serial, ttl=ttl)


def leaf_ttl(asked: dt.timedelta | None, lifetimes: Lifetimes) -> dt.timedelta:
    """Return how long a leaf is to last: what was asked for, within the policy; nothing or nonsense is the default."""
    if asked is None or asked <= dt.timedelta():
        return min(lifetimes.leaf, lifetimes.longest_leaf)
    return min(asked, lifetimes.longest_leaf)


def pem_of(certificate: x509.Certificate) -> str:
    """Return the certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate (DER), hexadecimal: what `openssl x509 -fingerprint -sha256` shows."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_id(certificate: x509.Certificate) -> str:
    """Return how a certificate's leaves name it (their authority key identifier), hexadecimal."""
    return _key_identifier(certificate).digest.hex()


def issuer_id(leaf: x509.Certificate) -> str:
    """Return the `key_id` of who signed a certificate, empty when it does not say."""
    try:
        named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    return (named.key_identifier or b"").hex()


def _leaf(
    public: LeafKey,
    identity: Identity,
    signer: Signer,
    hosts: Sequence[x509.GeneralName],
    *,
    now: dt.datetime,
    serial: int,
    ttl: dt.timedelta,
) -> Issued:
    start, end = _validity(signer, now, ttl)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri), *hosts])
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        _builder(x509.Name([]), signer.certificate.subject, public, start, end, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Key encipherment is the old RSA key exchange; other keys cannot (RFC 8446 does without for all).
        .add_extension(_usage(enciphers=isinstance(public, rsa.RSAPublicKey)), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(names, critical=True)
    )
    leaf = _sign(_with_authority(builder, signer), signer.key)
    return Issued(
        chain=(pem_of(leaf), *signer.chain), not_before=start, not_after=end, serial=serial, identity=identity
    )


def _validity(signer: Signer, now: dt.datetime, lifetime: dt.timedelta) -> tuple[dt.datetime, dt.datetime]:
    """Return from when and until when, in whole seconds (RFC 5280, 4.1.2.5), within what the signer itself is."""
    start = max(now - BACKDATED, signer.certificate.not_valid_before_utc).replace(microsecond=0)
    end = min(now + lifetime, signer.ends).replace(microsecond=0)
    if end <= now:
        raise ExpiredCaError(f"the CA's certificate has expired: valid until {signer.ends:%Y-%m-%d %H:%M:%SZ}")
    return start, end


def _builder(
    subject: x509.Name, issuer: x509.Name, public: LeafKey, start: dt.datetime, end: dt.datetime, serial: int
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public,
        serial_number=serial,
        not_valid_before=start,
        not_valid_after=end,
    )


def _as_ca(builder: x509.CertificateBuilder, public: PublicKey, path_length: int) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _with_authority(builder: x509.CertificateBuilder, signer: Signer) -> x509.CertificateBuilder:
    named = _key_identifier(signer.certificate)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)
    return builder.add_extension(identifier, critical=False)


def _key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        # A plugged-in CA's: RFC 5280, 4.2.1.2 has it, older tools left it out.
        key = certificate.public_key()
        assert isinstance(key, PublicKey)
        return x509.SubjectKeyIdentifier.from_public_key(key)


def _usage(*, signs_certificates: bool = False, enciphers: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=enciphers,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _ca_name(role: str, trust_domain: str, serial: int) -> x509.Name:
    """Name a CA. Every one differently: verifiers look for an issuer by its name, and two roots must not share one."""
    # 64: the upper bound of both attributes (RFC 5280, appendix A).
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Lateen {role} CA {serial % (1 << 64):016x}"),
        ]
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    signing = key.signing
    if isinstance(signing, ec.EllipticCurvePrivateKey):
        digest = hashes.SHA384() if isinstance(signing.curve, ec.SECP384R1) else hashes.SHA256()
        return builder.sign(signing, digest, ecdsa_deterministic=True)
    return builder.sign(signing, hashes.SHA256())
