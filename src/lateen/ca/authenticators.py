"""Who is behind a bearer token: our own join tokens, and Kubernetes' service account tokens.

Used by `service`, which asks one after the other. Each knows its own kind by what the token says of itself, which is
not verified yet; one that is of no kind is nobody's. Must not know: certificates, gRPC, how Kubernetes is reached.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog

from lateen.ca.files import CaFileError
from lateen.ca.jwts import read_unverified
from lateen.ca.tokens import ISSUER, Audience, Tokens
from lateen.ca.values import Grant, Reason, Refused
from lateen.model.identities import Identity

log = structlog.get_logger()

PostReview = Callable[[Mapping[str, object]], Awaitable[object]]
"""Posts a TokenReview (authentication.k8s.io/v1) to the API server and returns its answer, the decoded JSON. OSError,
which TimeoutError is, when there is none."""

REVIEW_SECONDS = 10.0
_SERVICE_ACCOUNT = "system:serviceaccount:"
_LEGACY_ISSUER = "kubernetes/serviceaccount"


class Authenticator(Protocol):
    """One kind of token."""

    async def authenticate(self, token: str, now: dt.datetime) -> Grant | Refused | None:
        """Return what the token allows, why it allows nothing, or None when it is of another kind."""


class JoinTokens:
    """Our own (`ca.tokens`)."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def authenticate(self, token: str, now: dt.datetime) -> Grant | Refused | None:
        """See `Authenticator`. A token for one use is used up by this."""
        unverified = read_unverified(token)
        if unverified is None or unverified.claims.get("iss") != ISSUER:
            return None
        try:
            if unverified.claims.get("once"):
                # Writes a file.
                return await asyncio.to_thread(self._tokens.verify, token, Audience.JOIN, now)
            return self._tokens.verify(token, Audience.JOIN, now)
        except CaFileError as error:
            log.error("join tokens cannot be verified", error=str(error))
            return Refused(Reason.UNAVAILABLE, "the control plane cannot read or write its list of tokens; see its log")


class TokenReviews:
    """Kubernetes' tokens: the API server says whose they are."""

    def __init__(self, post: PostReview, audiences: Sequence[str] = ("istio-ca",)) -> None:
        self._post = post
        self._audiences = tuple(audiences)

    async def authenticate(self, token: str, now: dt.datetime) -> Grant | Refused | None:  # noqa: ARG002  its own clock
        """See `Authenticator`. A grant is for the service account that the token is of."""
        unverified = read_unverified(token)
        if unverified is None or not _of_kubernetes(unverified.claims):
            return None
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(self._audiences)},
        }
        try:
            async with asyncio.timeout(REVIEW_SECONDS):
                answer = await self._post(review)
        except OSError as error:  # TimeoutError is one
            log.warning("no token review", error=type(error).__name__)
            return Refused(Reason.UNAVAILABLE, "the Kubernetes API server did not say whose token this is: try again")
        return self._read(answer)

    def _read(self, answer: object) -> Grant | Refused:
        match answer:
            case {"status": {"authenticated": True, "user": {"username": str(name)}, "audiences": [*audiences]}}:
                if not set(self._audiences).intersection(each for each in audiences if isinstance(each, str)):
                    return Refused(Reason.UNPROVEN, f"the token is not for {' or '.join(self._audiences)}")
                return _grant(name)
            case {"status": {"authenticated": True}}:
                # An API server that says nothing of audiences did not look at them.
                return Refused(Reason.UNPROVEN, "the Kubernetes API server did not confirm for whom the token is")
        return Refused(Reason.UNPROVEN, "Kubernetes does not know the token, or it has expired")


def _of_kubernetes(claims: Mapping[str, object]) -> bool:
    return "kubernetes.io" in claims or claims.get("iss") == _LEGACY_ISSUER


def _grant(name: str) -> Grant | Refused:
    """Read `system:serviceaccount:NAMESPACE:NAME`."""
    namespace, colon, service_account = name.removeprefix(_SERVICE_ACCOUNT).partition(":")
    try:
        if not name.startswith(_SERVICE_ACCOUNT) or not colon:
            raise ValueError
        Identity("cluster.local", namespace, service_account)
    except ValueError:
        return Refused(Reason.DENIED, f"{name[:200]!r} is no service account, and only those become workloads")
    return Grant(who=f"Kubernetes {name}", namespace=namespace, service_account=service_account)
