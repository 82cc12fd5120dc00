"""SDS secrets from Kubernetes Secrets: a certificate with its key, and the CA of the other side.

Called by `generate.secrets`, which decides who may have which.
"""

from __future__ import annotations

from lateen.config.certificates import ca_of, certificate_of, crl_of, staple_of, staple_problem
from lateen.config.kubernetes import Secret
from lateen.envoy.messages import Fields


def certificate_secret(name: str, secret: Secret) -> Fields:
    """Return the TLS certificate of a Secret that holds a good one (see `config.certificates`).

    A staple that is not the certificate's is left out: with it Envoy would refuse the certificate.
    """
    pair = certificate_of(secret)
    assert pair is not None
    chain, key = pair
    certificate: Fields = {"certificate_chain": {"inline_bytes": chain}, "private_key": {"inline_bytes": key}}
    staple = staple_of(secret)
    if staple is not None and not staple_problem(chain, staple):
        certificate["ocsp_staple"] = {"inline_bytes": staple}
    return {"name": name, "tls_certificate": certificate}


def ca_secret(name: str, secret: Secret) -> Fields:
    """Return the CA of a Secret that holds a good one as a validation context, with its revocation list."""
    context: Fields = {"trusted_ca": {"inline_bytes": ca_of(secret)}}
    if (crl := crl_of(secret)) is not None:
        context["crl"] = {"inline_bytes": crl}
    return {"name": name, "validation_context": context}
