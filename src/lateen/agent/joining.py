"""Decisions on the way to a certificate: whom to ask, whom to trust there, by which token, and when again. Pure.

Problem: the first certificate must come from the right control plane, or whoever sits on its port gets the token and
names the roots. So the roots are taken from what the user gave (`--ca-file`), else from the token, which is as secret
as what it opens; only then from an answer on the loopback, and never for a token that such an answer pointed to: a
stranger on the control plane's port must not make us read a token and send it to him.

Called by `certificates`. Must not know: files, the network, or clocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeAlias

from lateen.agent.addresses import split_host_port
from lateen.agent.certificate_times import Validity
from lateen.agent.errors import JoinError, RefusedError
from lateen.agent.grpc_call import GrpcStatus
from lateen.agent.join_tokens import CREATE, JOIN_AUDIENCE, OUR_ISSUER, JoinToken
from lateen.model.identities import DEFAULT_TRUST_DOMAIN, Identity, control_plane_identity, is_trust_domain

Address: TypeAlias = tuple[str, int]
LOCATE = "/lateen.agent.v1.Join/Locate"
_MAX_ROOTS = 32
_LEEWAY = 60.0
"""Seconds that clocks may differ before a token counts as expired here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where the control plane says that it is."""

    secure: Address
    join: Address
    roots: tuple[str, ...] = ()
    trust_domain: str = ""
    token_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user gave, and whom the certificate is for."""

    namespace: str
    service_account: str
    token_file: str = ""
    ca_file: str = ""

    @property
    def create(self) -> str:
        """The command that makes a token for this workload."""
        return CREATE.format(f"{self.namespace}/{self.service_account}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinPlan:
    """Whom to ask for a certificate, and how."""

    secure: Address
    join: Address
    roots: str
    """PEM: by which the control plane is known."""
    identity: Identity
    token: JoinToken

    @property
    def server(self) -> str:
        """The SPIFFE ID that the control plane must show."""
        return control_plane_identity(self.identity.trust_domain).uri


def read_located(answer: bytes, host: str) -> Located:
    """Read the answer of `Locate`, which came from `host`. JoinError for anything else."""
    try:
        said: dict[str, Any] = json.loads(answer)
        roots, trust_domain = said.get("roots", []), str(said.get("trust_domain", ""))
        if not isinstance(roots, list) or len(roots) > _MAX_ROOTS:
            raise ValueError("roots")
        if trust_domain and not is_trust_domain(trust_domain):
            raise ValueError("trust domain")
        return Located(
            secure=_reachable(str(said["secure"]), host),
            join=_reachable(str(said["join"]), host),
            roots=tuple(map(str, roots)),
            trust_domain=trust_domain,
            token_file=str(said.get("token_file", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise JoinError("the control plane says where it is in a way that this agent does not understand") from error


def _reachable(address: str, host: str) -> Address:
    """A server that listens everywhere is reached where it was reached."""
    found, port = split_host_port(address)
    return (host if found in ("0.0.0.0", "::", "") else found), port


def plan(
    wish: Wish, token: JoinToken, address: Address, located: Located | None, ca_file_roots: str, now: float
) -> JoinPlan:
    """Return whom to ask. `address` is the secure one that the user gave, used when nothing was `located`.

    JoinError when the token cannot open anything, or nobody is there to be trusted.
    """
    trust_domain = token.trust_domain or (located.trust_domain if located else "") or DEFAULT_TRUST_DOMAIN
    check_token(wish, token, now)
    roots = ca_file_roots or "".join(token.roots)
    if not roots and located and wish.token_file:
        roots = "".join(located.roots)
    if not roots:
        raise JoinError(
            f"nothing says which control plane to trust: the token in {token.file} holds no roots",
            "pass the control plane's root certificates with --ca-file FILE",
        )
    secure = located.secure if located else address
    join = located.join if located else (address[0], token.join_port or address[1] + 1)
    return JoinPlan(
        secure=secure,
        join=join,
        roots=roots,
        identity=Identity(trust_domain, wish.namespace, wish.service_account),
        token=token,
    )


def check_token(wish: Wish, token: JoinToken, now: float) -> None:
    """Raise JoinError for a token that the control plane would refuse: here it can be said in words of the user."""
    todo = f"make a new one with `{wish.create}`"
    if token.expires and token.expires + _LEEWAY < now:
        raise JoinError(f"the token in {token.file} expired at {shown(token.expires)}", todo)
    if token.issuer != OUR_ISSUER:
        return
    if token.audience and JOIN_AUDIENCE not in token.audience:
        raise JoinError(f"the token in {token.file} is not for joining (its audience is another)", todo)
    namespace, _, account = token.subject.partition("/")
    if namespace not in ("*", wish.namespace) or account not in ("*", wish.service_account):
        raise JoinError(
            f"the token in {token.file} is for {token.subject[:200]!r}, and this workload is "
            f"{wish.namespace}/{wish.service_account}",
            todo,
        )


def refusal(status: GrpcStatus | None, reason: str, wish: Wish, token: JoinToken | None) -> JoinError:
    """Return what to say when the control plane gave no certificate: by the token, or by the one that there is."""
    if status is None:
        return JoinError(f"the control plane gives no certificate: {reason}")
    said = f"the control plane gives no certificate: {status.message or status.name}"
    if status.name == "UNIMPLEMENTED":
        return JoinError(said, "is that a control plane's port? trying again")
    if status.name not in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return JoinError(said)
    if token is None:
        return RefusedError(said, "trying by the token")
    return RefusedError(said, f"it does not take the token in {token.file}: make a new one with `{wish.create}`")


def shown(seconds: float) -> str:
    """Return a time for people."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "a time out of range"


class Step(Enum):
    """What to do about the certificate now."""

    KEEP = "it is good for a while"
    RENEW = "ask for another by it"
    JOIN = "it is of no use: ask by the token"


def next_step(validity: Validity, renew_at: float, now: float) -> Step:
    """Return what to do at `now`; all are seconds since 1970."""
    if now >= validity.ends:
        return Step.JOIN
    return Step.RENEW if now >= renew_at else Step.KEEP


def renewal_time(validity: Validity, received: float, jitter: float) -> float:
    """Return when to renew: at half of what is left, earlier or later by a tenth (`jitter` is between -1 and 1).

    From its receipt and not from its beginning: that lies in the past, for clocks that are slow.
    """
    return received + (validity.ends - received) / 2 * (1 + 0.1 * jitter)


def clock_problem(validity: Validity, now: float) -> str:
    """Return what a certificate that is new, and not valid now, says about our clock; empty when all is well."""
    if validity.begins > now:
        return (
            f"the new certificate is not valid before {shown(validity.begins)}, and this machine's clock says "
            f"{shown(now)}: the clock is wrong, or the control plane's is"
        )
    if validity.ends <= now:
        return (
            f"the new certificate expired at {shown(validity.ends)}, and this machine's clock says {shown(now)}: "
            "the clock is wrong, or the control plane's is"
        )
    return ""
