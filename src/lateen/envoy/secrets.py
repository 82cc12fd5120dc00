"""SDS secrets from Kubernetes Secrets: a gateway's certificate, and the CA of its clients.

Called by `generate.secrets`, which decides who may have which. Both key conventions of Istio are read:
`tls.crt`, `tls.key`, `ca.crt` (kubernetes.io/tls) and `cert`, `key`, `cacert` (generic).
"""

from __future__ import annotations

import base64
import binascii

from lateen.config.kubernetes import Secret
from lateen.envoy.messages import Fields


def certificate_secret(name: str, secret: Secret) -> Fields | None:
    """Return the TLS certificate of a Secret; None when it holds no chain or no key."""
    chain = _value(secret, "tls.crt", "cert")
    key = _value(secret, "tls.key", "key")
    if chain is None or key is None:
        return None
    return {
        "name": name,
        "tls_certificate": {"certificate_chain": {"inline_bytes": chain}, "private_key": {"inline_bytes": key}},
    }


def ca_secret(name: str, secret: Secret) -> Fields | None:
    """Return the CA of a Secret as a validation context; None when it holds none."""
    ca = _value(secret, "ca.crt", "cacert")
    if ca is None:
        return None
    return {"name": name, "validation_context": {"trusted_ca": {"inline_bytes": ca}}}


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
