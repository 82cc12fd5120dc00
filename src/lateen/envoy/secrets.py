"""SDS secrets from Kubernetes Secrets: a gateway's certificate, and the CA of its clients.

Called by `generate.secrets`, which decides who may have which.
"""

from __future__ import annotations

from lateen.config.certificates import ca_of, certificate_of, certificate_problem
from lateen.config.kubernetes import Secret
from lateen.envoy.messages import Fields


def certificate_secret(name: str, secret: Secret) -> Fields | None:
    """Return the TLS certificate of a Secret; None when it holds none that Envoy would take."""
    pair = certificate_of(secret)
    if pair is None or certificate_problem(*pair):
        return None
    chain, key = pair
    return {
        "name": name,
        "tls_certificate": {"certificate_chain": {"inline_bytes": chain}, "private_key": {"inline_bytes": key}},
    }


def ca_secret(name: str, secret: Secret) -> Fields | None:
    """Return the CA of a Secret as a validation context; None when it holds none."""
    ca = ca_of(secret)
    if ca is None:
        return None
    return {"name": name, "validation_context": {"trusted_ca": {"inline_bytes": ca}}}
