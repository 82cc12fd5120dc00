"""Certificates in Secrets: which keys hold them, and whether Envoy would take them.

Called by `envoy.secrets`, which serves them, and by `analysis`, which says what is wrong. Pure. Both key conventions of
Istio are read, in its order: `cert`, `key`, `cacert`, `crl` (generic), then `tls.crt`, `tls.key`, `tls.ocsp-staple`,
`ca.crt`, `ca.crl` (kubernetes.io/tls). An empty value counts as none. No message quotes a value.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from lateen.config.kubernetes import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import Certificate

SMALLEST_RSA_KEY = 2048
"""Bits; Envoy refuses less."""
CURVES = frozenset(("secp256r1", "secp384r1", "secp521r1"))
"""What Envoy takes of elliptic curves."""
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\r?\n?", re.DOTALL)


def certificate_of(secret: Secret) -> tuple[bytes, bytes] | None:
    """Return the certificate chain and its private key (PEM), None when the Secret holds no such pair."""
    for chain_key, private_key in (("cert", "key"), ("tls.crt", "tls.key")):
        chain, key = _value(secret, chain_key), _value(secret, private_key)
        if chain and key:
            return chain, key
    return None


def staple_of(secret: Secret) -> bytes | None:
    """Return the OCSP response (DER) of the certificate, None when the Secret holds none."""
    if _value(secret, "cert") and _value(secret, "key"):
        return None
    return _value(secret, "tls.ocsp-staple") or None


def ca_of(secret: Secret) -> bytes | None:
    """Return the CA certificates (PEM), None when the Secret holds none."""
    return _value(secret, "cacert") or _value(secret, "ca.crt") or None


def crl_of(secret: Secret) -> bytes | None:
    """Return the revocation list (PEM) that stands beside the CA certificates, None when the Secret holds none."""
    return _value(secret, "crl" if _value(secret, "cacert") else "ca.crl") or None


def certificate_problem(chain: bytes, key: bytes, staple: bytes | None = None) -> str:
    """Return why Envoy would refuse the pair, empty when it would not. One bad secret rejects a whole listener."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    certificates = _certificates(chain)
    if not certificates:
        return "the certificate is not PEM (-----BEGIN CERTIFICATE-----)"
    served = certificates[0].public_key()
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "the key is not an unencrypted PEM private key"
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != served.public_bytes(*form):
        return "the key is not that of the certificate"
    if _must_staple(certificates[0]) and (staple is None or staple_problem(chain, staple)):
        return "it must be shown with an OCSP staple, and tls.ocsp-staple holds none that is good"
    return _kind_problem(served)


def ca_problem(ca: bytes, crl: bytes | None = None) -> str:
    """Return why Envoy would refuse these CA certificates and their revocation list, empty when it would not."""
    from cryptography import x509

    if not _certificates(ca):
        return "the CA is not PEM (-----BEGIN CERTIFICATE-----)"
    if crl is None:
        return ""
    lists = _CRL.findall(crl)
    try:
        for item in lists:
            x509.load_pem_x509_crl(item)
    except ValueError:
        lists = []
    # One without any would be taken by Envoy, and revoke nothing.
    return "" if lists else "the revocation list is not PEM (-----BEGIN X509 CRL-----)"


def staple_problem(chain: bytes, staple: bytes) -> str:
    """Return why Envoy would refuse an OCSP response for a certificate that it takes, empty when it would not."""
    from cryptography.x509.ocsp import OCSPResponseStatus, load_der_ocsp_response

    try:
        response = load_der_ocsp_response(staple)
    except ValueError:
        return "the OCSP staple is not a DER response"
    if response.response_status is not OCSPResponseStatus.SUCCESSFUL:
        return "the OCSP staple is no successful response"
    try:
        serials = [single.serial_number for single in response.responses]
    except ValueError:
        return "the OCSP staple cannot be read"
    if serials != [_certificates(chain)[0].serial_number]:
        return "the OCSP staple is not that of the certificate"
    return ""


def _certificates(pem: bytes) -> list[Certificate]:
    """Return the certificates of a PEM text; none when one of them cannot be read."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return []
    return found


def _kind_problem(key: PublicKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey):
        return "" if key.key_size >= SMALLEST_RSA_KEY else f"its RSA key is shorter than {SMALLEST_RSA_KEY} bits"
    if isinstance(key, EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else f"its curve {key.curve.name} is none of P-256, P-384 and P-521"
    return ""


def _must_staple(certificate: Certificate) -> bool:
    from cryptography.x509 import ExtensionNotFound, TLSFeature, TLSFeatureType

    try:
        found = certificate.extensions.get_extension_for_class(TLSFeature).value
    except (ExtensionNotFound, ValueError):
        return False
    return TLSFeatureType.status_request in found


def _value(secret: Secret, key: str) -> bytes | None:
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
