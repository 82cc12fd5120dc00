"""Citadel: the certificate authority at work. It keeps certificates, tokens and trust current.

Made by `app.running` from the `ca` room; the gRPC server asks it for its own certificate, the attach stream tells
agents what it publishes, `security_operations` is what administrators do with it. Signing happens on the event loop,
files are touched in a thread. Must not know: HTTP, xDS.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import structlog

from lateen.app.settings import Listening, Settings, StartError
from lateen.ca.authenticators import JoinTokens
from lateen.ca.authority import Authority, Serving
from lateen.ca.connections import is_plain, peer_of
from lateen.ca.files import CaFileError
from lateen.ca.holders import Holder, Holders, bundle_digest
from lateen.ca.issue import Lifetimes
from lateen.ca.local import LocalProofs
from lateen.ca.peers import Peer
from lateen.ca.rotation import Facts, Phase, Times
from lateen.ca.service import CertificateService, Issuance, Seams
from lateen.ca.tokens import Tokens
from lateen.ca.values import Reason
from lateen.discovery.ports import ServerCertificate
from lateen.discovery.values import ForbiddenError
from lateen.model.identities import Identity
from lateen.registries.sessions import Refusal, StreamId
from lateen.registries.trust import Proof, Trust, TrustBoard

_LOG = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""Between looks at what others may have changed, and at what has grown old."""
ROTATING_SECONDS = 1.0
"""The same while a root is rotated."""
_NAMES = ("localhost", "127.0.0.1", "::1", "istiod.istio-system.svc")


def now() -> dt.datetime:
    """Return the time, in UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFigures:
    """What the authority counted (see api.figures)."""

    requests: int = 0
    issued: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    root_expires: float = 0
    signer_expires: float = 0


class Citadel:
    """Authority, tokens and trust of one control plane. `open_citadel` makes one."""

    def __init__(self, authority: Authority, tokens: Tokens, proofs: LocalProofs) -> None:
        self.authority = authority
        self.tokens = tokens
        self.proofs = proofs
        began = now()
        known_from = began if authority.is_new else began + authority.times.leaf
        self._holders = Holders(began, known_from)
        self.board = TrustBoard(LeafHolders(self._holders))
        self.listening = Listening(grpc="", http="", monitoring="")
        """Tokens and agents are told of it."""
        self.waived = False
        """Whether the rotation under way does not wait for workloads that are not connected."""
        self._contexts: list[ssl.SSLContext] = []
        self._given_out = 0
        self._refused: Counter[Reason] = Counter()
        self._served = self._serving()

    # --- what others ask ---------------------------------------------------------------------------------

    def server_certificate(self) -> ServerCertificate:
        """Return what the control plane shows. Called from gRPC's threads."""
        return self._served.certificate

    def http_context(self) -> ssl.SSLContext:
        """Return the TLS context of an HTTP server that others can reach; it is kept current."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        _load(context, self._served.certificate)
        self._contexts.append(context)
        return context

    def locate(self) -> Mapping[str, Any]:
        """Return where agents of this machine find everything."""
        return {
            "secure": self.listening.secure_grpc,
            "join": self.listening.join,
            "roots": list(self.authority.bundle()),
            "trust_domain": self.authority.trust_domain,
            "token_file": str(self.proofs.join_token),
        }

    @property
    def join_port(self) -> int:
        """Where first certificates are given out; 0 before the port is bound."""
        return int(self.listening.join.rpartition(":")[2] or 0)

    def facts(self) -> Facts:
        """Return what a rotation has to know of the agents. On the event loop only, where they come and go."""
        found = self._holders.facts(
            now(),
            trusts=bundle_digest(self.authority.bundle()),
            issuer_id=self.authority.issuer_id(),
            issues_new=self.authority.rotation.issues_new,
        )
        return replace(found, absent=()) if self.waived else found

    def figures(self) -> CertificateFigures:
        """Return what was counted, for metrics."""
        shown = self.authority.describe()
        return CertificateFigures(
            requests=self._given_out + self._refused.total(),
            issued=self._given_out,
            refused={reason.value: count for reason, count in self._refused.items()},
            root_expires=max((each.not_after.timestamp() for each in shown.roots if each.signs), default=0),
            signer_expires=max((each.not_after.timestamp() for each in shown.intermediates if each.signs), default=0),
        )

    def refused(self, reason: Reason) -> None:
        """Note a certificate that was refused."""
        self._refused[reason] += 1

    def issued(self, issuance: Issuance) -> None:
        """Note a certificate that was given out."""
        self._given_out += 1
        identity = issuance.identity
        self._holders.issued(
            f"a workload of {identity.namespace}/{identity.service_account}",
            serial=issuance.serial,
            not_after=issuance.not_after,
            issuer_id=issuance.issuer_id,
            renews=issuance.renews,
            trusts=bundle_digest(self.authority.bundle()),
        )

    # --- what happens by itself --------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep everything current until cancelled."""
        while True:
            await self.look()
            steady = self.authority.rotation.phase is Phase.STEADY
            await asyncio.sleep(LOOK_SECONDS if steady else ROTATING_SECONDS)

    async def look(self) -> None:
        """Take up what changed, renew what has grown old, carry a rotation on, and tell agents."""
        before = self.authority.rotation.phase
        try:
            await asyncio.to_thread(self._renew)
            if before is not Phase.STEADY:
                await self._carry_on(before)
            await asyncio.to_thread(self.refresh_proofs)
        except CaFileError as error:
            _LOG.error("the certificate authority's folder is not as it should be", problem=str(error))
        self.publish()

    def publish(self) -> None:
        """Tell agents whom to trust and who signs, and show a certificate that fits."""
        self.board.publish(self._trust())
        if self._served.is_old(now(), self.authority.bundle()):
            self._served = self._serving()
            for context in self._contexts:
                _load(context, self._served.certificate)

    async def open_for(self, listening: Listening) -> None:
        """Take note of where the control plane listens, before anybody is told. StartError."""
        self.listening = listening
        self._served = self._serving()
        self.board.publish(self._trust())
        try:
            await asyncio.to_thread(self.refresh_proofs)
        except CaFileError as error:
            raise StartError(str(error)) from error

    def refresh_proofs(self) -> None:
        """Write the files by which this machine's user proves who they are. Blocking. CaFileError."""
        self.proofs.refresh(now(), roots=self.authority.bundle(), join_port=self.join_port)

    def _renew(self) -> None:
        time = now()
        self.tokens.refresh()
        self.authority.refresh(time)
        if self.authority.describe().source != "plugged-in" and self.authority.renew_intermediate(time):
            _LOG.info("intermediate certificate renewed")

    async def _carry_on(self, before: Phase) -> None:
        after = (await asyncio.to_thread(self.authority.step_rotation, self.facts(), now())).phase
        if after is not before:
            _LOG.info("rotation of the root", phase=after.value)
        if after is Phase.STEADY:
            self.waived = False

    def _trust(self) -> Trust:
        signers = [each.fingerprint for each in self.authority.describe().intermediates if each.signs]
        issuer = signers[0] if signers and self.authority.rotation.renews else ""
        return Trust(roots=self.authority.bundle(), issuer=issuer)

    def _serving(self) -> _Served:
        addresses = (self.listening.secure_grpc, self.listening.join, self.listening.http)
        bound = (address.rpartition(":")[0].strip("[]") for address in addresses)
        hosts = dict.fromkeys((*_NAMES, socket.gethostname(), *(host for host in bound if host)))
        time, bundle = now(), self.authority.bundle()
        return _Served(time, self.authority.serving(_usable(hosts), now=time), bundle)


def _load(context: ssl.SSLContext, certificate: ServerCertificate) -> None:
    """Give a context a certificate. It reads files only: a private one, for a moment."""
    with tempfile.NamedTemporaryFile(prefix="lateen-") as file:
        file.write(certificate.chain + certificate.key)
        file.flush()
        context.load_cert_chain(file.name)


class _Served:
    """The certificate that the control plane shows."""

    def __init__(self, made: dt.datetime, serving: Serving, bundle: tuple[str, ...]) -> None:
        self._bundle = bundle
        self._renew = made + (serving.not_after - made) / 2
        self.certificate = ServerCertificate(
            chain=serving.chain.encode(), key=serving.key.pem(), roots="".join(bundle).encode()
        )

    def is_old(self, time: dt.datetime, bundle: tuple[str, ...]) -> bool:
        """Whether it is time for another one."""
        return time >= self._renew or bundle != self._bundle


def _usable(hosts: Collection[str]) -> list[str]:
    """Return the hosts that a certificate may name."""
    return [host for host in hosts if host.isascii() and len(host) < 250 and host not in ("0.0.0.0", "::")]


class LeafHolders:
    """What agents answer, told to the authority's book of who holds what (`ca.holders`)."""

    def __init__(self, holders: Holders) -> None:
        self._holders = holders
        self._by_stream: dict[StreamId, Holder] = {}

    def attached(self, stream: StreamId, workload: str, certificate: object) -> None:
        """Note that a workload is connected and shows this certificate."""
        if isinstance(certificate, Peer):
            self._by_stream[stream] = self._holders.attached(
                workload,
                serial=certificate.serial,
                not_after=certificate.not_after,
                issuer_id=certificate.issuer_id,
            )

    def confirmed(self, stream: StreamId, digest: str) -> None:
        """Note which roots it says that it trusts."""
        if (holder := self._by_stream.get(stream)) is not None:
            self._holders.confirmed(holder, digest)

    def detached(self, stream: StreamId, *, for_good: bool) -> None:
        """Note that its stream ended."""
        if (holder := self._by_stream.pop(stream, None)) is not None:
            self._holders.detached(holder, for_good=for_good)


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Who is at the other end of a connection, as far as it has proven it."""

    trust_domains: Callable[[], Collection[str]]
    """Those whose certificates count."""
    secure: Callable[[], str]
    """Address of the port for mutual TLS."""

    def identify(self, context: grpc.aio.ServicerContext) -> Identity | None:
        """Return who asks to be served discovery; None in plain text. ForbiddenError."""
        if is_plain(context):
            return None
        peer = self._peer(context)
        if isinstance(peer, str):
            raise ForbiddenError(peer)
        return peer.identity

    def authenticate(self, context: grpc.aio.ServicerContext) -> Proof | Refusal:
        """Return who asks to register a workload, or why they may not."""
        if is_plain(context):
            return Refusal(
                message=f"workloads register over mutual TLS, at {self.secure()}: this one has no certificate. "
                "`lateen token create --service-account NAMESPACE/NAME > FILE` makes a token for --token FILE"
            )
        peer = self._peer(context)
        return Refusal(message=peer) if isinstance(peer, str) else Proof(identity=peer.identity, certificate=peer)

    def _peer(self, context: grpc.aio.ServicerContext) -> Peer | str:
        peer = peer_of(context, now())
        if peer is None:
            return "no certificate of this mesh that is valid now: the join port gives out first ones, for a token"
        if peer.identity.trust_domain not in self.trust_domains():
            return f"{peer.identity} is of another trust domain than this mesh"
        return peer


def certificate_handlers(citadel: Citadel) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the gRPC handlers that give out certificates, and tell agents of this machine where."""
    seams = Seams(
        peer=lambda context: peer_of(context, now()),
        is_plain=is_plain,
        locate=citadel.locate,
        issued=citadel.issued,
        refused=citadel.refused,
    )
    return CertificateService(citadel.authority, (JoinTokens(citadel.tokens),), seams).handlers()


def open_citadel(settings: Settings, trust_domain: str, folders: ExitStack) -> Citadel:
    """Open the authority of a control plane. StartError when its folder will not do.

    Without a folder everything is in memory, but for the proofs of this machine's user: `folders` removes those.
    """
    times, leaf = (
        Times(least=dt.timedelta(seconds=settings.rotation_pause)),
        dt.timedelta(seconds=settings.certificate_ttl),
    )
    lifetimes = Lifetimes(leaf=leaf, longest_leaf=leaf)
    try:
        authority = Authority.open(
            settings.ca, trust_domain, now=now(), plugged=settings.ca_files, lifetimes=lifetimes, times=times
        )
        tokens = Tokens.open(settings.ca, trust_domain)
    except CaFileError as error:
        raise StartError(str(error)) from error
    folder = settings.ca
    if folder is None:
        folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="lateen-ca-")))
    return Citadel(authority, tokens, LocalProofs(tokens, folder))
