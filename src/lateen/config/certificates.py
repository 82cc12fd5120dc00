"""Certificates in Secrets: which keys hold them, and whether Envoy would take them.

Called by `envoy.secrets`, which serves them, and by `analysis`, which says what is wrong. Pure. Both key conventions of
Istio are read: `tls.crt`, `tls.key`, `ca.crt` (kubernetes.io/tls) and `cert`, `key`, `cacert` (generic). No message
quotes a value.
"""

from __future__ import annotations

import base64
import binascii

from lateen.config.kubernetes import Secret


def certificate_of(secret: Secret) -> tuple[bytes, bytes] | None:
    """Return the certificate chain and its private key (PEM), None when the Secret holds no such pair."""
    for chain_key, private_key in (("tls.crt", "tls.key"), ("cert", "key")):
        chain, key = _value(secret, chain_key), _value(secret, private_key)
        if chain is not None and key is not None:
            return chain, key
    return None


def ca_of(secret: Secret) -> bytes | None:
    """Return the CA certificates (PEM), None when the Secret holds none."""
    return _value(secret, "ca.crt", "cacert")


def certificate_problem(chain: bytes, key: bytes) -> str:
    """Return why Envoy would refuse the pair, empty when it would not. One bad secret rejects a whole listener."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        certificates = x509.load_pem_x509_certificates(chain)
        served = certificates[0].public_key()
    except (ValueError, IndexError, UnsupportedAlgorithm):
        return "the certificate is not PEM (-----BEGIN CERTIFICATE-----)"
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "the key is not an unencrypted PEM private key"
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != served.public_bytes(*form):
        return "the key is not that of the certificate"
    return ""


def _value(secret: Secret, *keys: str) -> bytes | None:
    for key in keys:
        if key in secret.string_data:
            # The Kubernetes API server gives string_data precedence over data.
            return secret.string_data[key].encode()
        if key in secret.data:
            try:
                # Line breaks are allowed in it, as in Kubernetes.
                return base64.b64decode("".join(secret.data[key].split()), validate=True)
            except (binascii.Error, ValueError):
                return None
    return None
