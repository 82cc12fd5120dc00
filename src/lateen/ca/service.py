"""The gRPC edge of the CA: Istio's `CreateCertificate`, and `Locate`, on raw bytes.

Given to the control plane's gRPC server by `app`, which serves it on the plaintext, the mTLS and the join port and says
here which is which. Rules: whoever has a certificate renews that identity and no other; else a bearer token decides; in
plaintext a token is taken from loopback only, for it would be read on the way. The CSR never adds to what was proven.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import structlog

from lateen.ca.authenticators import Authenticator
from lateen.ca.authority import Authority
from lateen.ca.csr import BadCsr, Csr, read_csr
from lateen.ca.failures import Failures
from lateen.ca.issue import Issued
from lateen.ca.jwts import MAX_JWT_BYTES
from lateen.ca.peers import Peer
from lateen.ca.values import Grant, Reason, Refused
from lateen.ca.wire import METHOD, CertificateRequest, MalformedError, decode_request, encode_response
from lateen.model.identities import Identity, control_plane_identity

log = structlog.get_logger()

LOCATE_METHOD = "/lateen.agent.v1.Join/Locate"
_LONGEST_ASKED = 10 * 365 * 24 * 3600
"""Seconds; what is asked beyond is the same wish."""
_BEARER = "bearer "

_STATUS = {
    Reason.UNPROVEN: grpc.StatusCode.UNAUTHENTICATED,
    Reason.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuance:
    """One certificate that was issued: for the audit log and the metrics."""

    identity: Identity
    serial: int
    not_after: dt.datetime
    peer: str
    proof: str
    """What proved it, in words: `certificate`, or whose token."""
    issuer_id: str
    """The `Authority.issuer_id` of then."""
    renews: int | None
    """The serial number of the certificate that proved it: its holder now has this one instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What the service asks of the rest of the control plane."""

    peer: Callable[[grpc.aio.ServicerContext], Peer | None]
    """Who the peer is by mTLS (`connections.peer_of`); None when it showed no certificate that is valid now."""
    is_plain: Callable[[grpc.aio.ServicerContext], bool]
    """Whether the connection is not encrypted."""
    locate: Callable[[], Mapping[str, object]]
    """The answer to `Locate`."""
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    issued: Callable[[Issuance], None] = lambda _: None
    refused: Callable[[Reason], None] = lambda _: None


class CertificateService:
    """Answers certificate requests; `handlers` are for a `grpc.aio` server."""

    def __init__(
        self,
        authority: Authority,
        authenticators: Sequence[Authenticator],
        seams: Seams,
        failures: Failures | None = None,
    ) -> None:
        self._authority = authority
        self._authenticators = tuple(authenticators)
        self._seams = seams
        self._failures = Failures() if failures is None else failures

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of both methods. Messages are raw bytes."""
        return _handler(METHOD, self._create_certificate), _handler(LOCATE_METHOD, self._locate)

    async def _create_certificate(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            answer = await self._answer(request, context)
        except Exception:
            # At the edge: gRPC would send the exception's text to the peer.
            log.exception("certificate request failed", peer=context.peer())
            await _abort(context, grpc.StatusCode.INTERNAL, "a bug in the control plane; its log has the trace")
        if isinstance(answer, Refused):
            self._seams.refused(answer.reason)
            if answer.reason is not Reason.TOO_MANY:  # those that led to it were logged
                log.warning("certificate refused", peer=context.peer(), why=answer.reason.value, reason=answer.message)
            await _abort(context, _STATUS[answer.reason], answer.message)
        return answer

    async def _answer(self, message: bytes, context: grpc.aio.ServicerContext) -> bytes | Refused:
        peer = self._seams.peer(context)
        grant = await self._by_token(context) if peer is None else self._by_certificate(peer)
        if isinstance(grant, Refused):
            return grant
        try:
            request = decode_request(message)
        except MalformedError as error:
            return Refused(Reason.MALFORMED, f"not an IstioCertificateRequest: {error}")
        csr = read_csr(request.csr)
        if isinstance(csr, BadCsr):
            return Refused(Reason.MALFORMED, csr.problem)
        identity = self._identity(grant, csr)
        if isinstance(identity, Refused):
            return identity
        issued = self._authority.issue(csr, identity, now=self._seams.clock(), ttl=_ttl(request))
        if isinstance(issued, Refused):
            return issued
        self._note(issued, grant, peer, context)
        return encode_response((*issued.chain, "".join(self._authority.bundle())))

    def _by_certificate(self, peer: Peer) -> Grant | Refused:
        own = peer.identity
        if own.trust_domain != self._authority.trust_domain:
            return Refused(Reason.DENIED, f"{own} is not of the trust domain {self._authority.trust_domain}")
        return Grant(who="certificate", namespace=own.namespace, service_account=own.service_account)

    async def _by_token(self, context: grpc.aio.ServicerContext) -> Grant | Refused:
        address = peer_address(context.peer())
        if self._seams.is_plain(context) and not _is_loopback(address):
            return Refused(Reason.UNPROVEN, "not in plaintext: a token would be read on the way. Use the join port")
        place = _place(address)
        if not self._failures.take(place, asyncio.get_running_loop().time()):
            return Refused(Reason.TOO_MANY, "too many failed proofs from this address: try again in a second")
        token = _bearer(context)
        grant = token if isinstance(token, Refused) else await self._authenticate(token)
        if isinstance(grant, Grant) or grant.reason is Reason.UNAVAILABLE:  # the latter is our failure
            self._failures.give_back(place)
        return grant

    async def _authenticate(self, token: str) -> Grant | Refused:
        now = self._seams.clock()
        for authenticator in self._authenticators:
            grant = await authenticator.authenticate(token, now)
            if grant is not None:
                return grant
        return Refused(
            Reason.UNPROVEN, "the token is of no kind that is taken here: make one with `lateen token create`"
        )

    def _identity(self, grant: Grant, csr: Csr) -> Identity | Refused:
        """Return the identity that is asked for, if the grant allows it."""
        domain = self._authority.trust_domain
        if csr.uri:
            try:
                asked = Identity.parse(csr.uri)
            except ValueError as error:
                return Refused(Reason.MALFORMED, f"the CSR's URI: {error}")
        elif grant.names_one:
            asked = Identity(domain, grant.namespace, grant.service_account)
        else:
            return Refused(Reason.MALFORMED, "the proof is for any identity: the CSR must name one (URI SAN)")
        if asked == control_plane_identity(domain):
            return Refused(Reason.DENIED, f"{asked} is the control plane's own")
        if asked.trust_domain != domain or not grant.allows(asked):
            allowed = f"spiffe://{domain}/ns/{grant.namespace}/sa/{grant.service_account}"
            return Refused(Reason.DENIED, f"the CSR asks for {asked}, but the proof ({grant.who}) is for {allowed}")
        return asked

    def _note(self, issued: Issued, grant: Grant, peer: Peer | None, context: grpc.aio.ServicerContext) -> None:
        log.info(
            "certificate issued",
            identity=issued.identity.uri,
            serial=f"{issued.serial:x}",
            until=issued.not_after.isoformat(),
            peer=context.peer(),
            proof=grant.who,
        )
        self._seams.issued(
            Issuance(
                identity=issued.identity,
                serial=issued.serial,
                not_after=issued.not_after,
                peer=context.peer(),
                proof=grant.who,
                issuer_id=self._authority.issuer_id(),
                renews=None if peer is None else peer.serial,
            )
        )

    async def _locate(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        # It names a file of ours, and says whom to trust to whoever has not checked us: for this host's processes only.
        if not (self._seams.is_plain(context) and _is_loopback(peer_address(context.peer()))):
            await _abort(context, grpc.StatusCode.UNIMPLEMENTED, "Locate is asked in plaintext, on loopback")
        return json.dumps(self._seams.locate()).encode()


def peer_address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | str:
    """Return the address in gRPC's name of a peer (`ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5`); of another one the text."""
    family, _, rest = unquote(peer).partition(":")
    if family in ("ipv4", "ipv6"):
        try:
            found = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]").partition("%")[0])
        except ValueError:
            return peer
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return found if mapped is None else mapped
    return peer


def _is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address | str) -> bool:
    return address.startswith("unix:") if isinstance(address, str) else address.is_loopback


def _place(address: ipaddress.IPv4Address | ipaddress.IPv6Address | str) -> str:
    """Return what shares a bucket of failures: an address, or the /64 that one host has of IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _bearer(context: grpc.aio.ServicerContext) -> str | Refused:
    """Return the bearer token (RFC 6750, 2.1) of a request."""
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if len(values) != 1:
        return Refused(Reason.UNPROVEN, "no proof: send a certificate, or one header `authorization: Bearer TOKEN`")
    value = values[0]
    if not isinstance(value, str) or value[: len(_BEARER)].lower() != _BEARER:
        return Refused(Reason.UNPROVEN, "the header `authorization` is not of the form `Bearer TOKEN`")
    if len(value) > MAX_JWT_BYTES + len(_BEARER):
        return Refused(Reason.UNPROVEN, f"the token is larger than {MAX_JWT_BYTES >> 10} KiB")
    return value[len(_BEARER) :].strip()


def _ttl(request: CertificateRequest) -> dt.timedelta:
    """Return how long the certificate is wanted for; nothing and nonsense are zero, which is the default."""
    return dt.timedelta(seconds=min(max(request.validity_seconds, 0), _LONGEST_ASKED))


async def _abort(context: grpc.aio.ServicerContext, status: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(status, message)
    raise AssertionError("abort raises")


def _handler(path: str, method: Callable[[bytes, Any], Any]) -> grpc.GenericRpcHandler:
    service, _, name = path.strip("/").rpartition("/")
    return grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(method)})
