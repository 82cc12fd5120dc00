"""What the room's parts tell each other: a proof that was taken, and a refusal.

A peer's fault is a value here, never an exception. No value holds a key or a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lateen.model.identities import Identity

ANY = "*"
"""In a grant: any namespace, any service account."""


class Reason(Enum):
    """Why something is refused; the gRPC edge has a status for each."""

    UNPROVEN = "unproven"
    """Nobody knows who is asking."""
    DENIED = "denied"
    """It is known who is asking, and they may not have this."""
    MALFORMED = "malformed"
    """What was asked is not in the form that it must have."""
    TOO_MANY = "too many"
    UNAVAILABLE = "unavailable"
    """Our side cannot answer now: asking again later may help."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is not granted. `message` is for the user who asked, and for the log."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a proof allows: to become one of these identities, or to use the HTTP API in this role."""

    who: str
    """For the log: whose proof this is."""
    namespace: str = ""
    """`*` for any; empty in a grant for the API, which may become nobody."""
    service_account: str = ""
    role: str = ""
    """viewer, editor or admin; empty in a grant to join."""
    token: str = ""
    """The `jti` of the token it came by, for the log. Not the token."""

    def allows(self, identity: Identity) -> bool:
        """Whether the holder may become this identity, trust domain aside."""
        return self.namespace in (ANY, identity.namespace) and self.service_account in (ANY, identity.service_account)

    @property
    def names_one(self) -> bool:
        """Whether it is for exactly one identity, so that a CSR need not say which."""
        return bool(self.namespace and self.service_account) and ANY not in (self.namespace, self.service_account)
