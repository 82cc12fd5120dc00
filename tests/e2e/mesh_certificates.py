"""Certificates of a mesh for tests that need no control plane: roots, leaves, and the files that Envoy watches."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from lateen.envoy.bootstrap import CERTIFICATE_SECRET, CERTIFICATES_FOLDER, ROOTS_SECRET

DAY = dt.timedelta(days=1)
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True)
class Leaf:
    """A workload's certificate and key, PEM."""

    chain: str
    key: str

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both for a client that takes files."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_text(self.chain)
        key.write_text(self.key)
        return chain, key


class Root:
    """A self-signed root that issues leaves itself."""

    def __init__(self, name: str = "root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + 10 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()

    def leaf(self, identity: str, *, begins: dt.timedelta = -DAY, ends: dt.timedelta = DAY) -> Leaf:
        """Issue a certificate of this URI; the times are from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(made.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


def write_leaf(folder: Path, leaf: Leaf) -> None:
    """Put a workload's certificate where the Envoy that runs in `folder` looks for it."""
    chain, key = {"inline_string": leaf.chain}, {"inline_string": leaf.key}
    _write(folder, CERTIFICATE_SECRET, {"tls_certificate": {"certificate_chain": chain, "private_key": key}})


def write_roots(folder: Path, roots: Sequence[Root]) -> None:
    """Put the roots that it trusts there."""
    bundle = {"inline_string": "".join(root.pem for root in roots)}
    _write(folder, ROOTS_SECRET, {"validation_context": {"trusted_ca": bundle}})


def _write(folder: Path, name: str, content: dict[str, object]) -> None:
    place = folder / CERTIFICATES_FOLDER
    place.mkdir(exist_ok=True)
    fresh = place / f".{name}.new"
    fresh.write_text(json.dumps({"resources": [{"@type": _SECRET, "name": name, **content}]}))
    fresh.replace(place / f"{name}.json")
