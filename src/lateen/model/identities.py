"""Identities: who a workload is, as its SVID says (SPIFFE ID in the form that Istio gives it).

Standard library only: the agent uses this too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_TRUST_DOMAIN = "cluster.local"
MAX_URI = 2048
"""Bytes of a SPIFFE ID (SPIFFE-ID specification, 2.3)."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A service account of a namespace in a trust domain. ValueError when a part is none.

    Source of the form: SPIFFE-ID specification, and Istio's `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not is_trust_domain(self.trust_domain):
            raise ValueError(f"{self.trust_domain[:80]!r} is not a trust domain (lower case, digits, `.`, `-`, `_`)")
        for part in (self.namespace, self.service_account):
            if not _SEGMENT.fullmatch(part) or part in (".", ".."):
                raise ValueError(f"{part[:80]!r} is not a namespace or a service account")

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """Read `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`, exactly. ValueError for anything else."""
        match uri.split("/") if len(uri) <= MAX_URI else []:
            case ["spiffe:", "", trust_domain, "ns", namespace, "sa", service_account]:
                return cls(trust_domain, namespace, service_account)
        raise ValueError(f"{uri[:200]!r} is not of the form spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT")

    @property
    def uri(self) -> str:
        """The SPIFFE ID, as it stands in the certificate."""
        return f"spiffe://{self.principal}"

    @property
    def principal(self) -> str:
        """What policies call it: the SPIFFE ID without its scheme."""
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        return self.uri


def is_trust_domain(text: str) -> bool:
    """Whether this is a trust domain name (SPIFFE-ID specification, 2.1)."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def control_plane_identity(trust_domain: str) -> Identity:
    """Return who the control plane is: Istio's name for it, which every client checks."""
    return Identity(trust_domain, "istio-system", "istiod")
