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
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from lateen.app.settings import Listening, Settings, StartError
from lateen.ca.authenticators import JoinTokens
from lateen.ca.authority import Authority, Serving
from lateen.ca.files import CaFileError
from lateen.ca.local import LocalProofs
from lateen.ca.rotation import Facts, Phase, Times
from lateen.ca.service import CertificateService, Seams
from lateen.ca.tokens import Tokens
from lateen.discovery.ports import ServerCertificate, UnknownPeerError, peer_of
from lateen.model.identities import Identity
from lateen.registries.sessions import Refusal
from lateen.registries.trust import Trust, TrustBoard, TrustReport

_LOG = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""Between looks at what others may have changed, and at what has grown old."""
ROTATING_SECONDS = 1.0
"""The same while a root is rotated."""
_NAMES = ("localhost", "127.0.0.1", "::1", "istiod.istio-system.svc")


def now() -> dt.datetime:
    """Return the time, in UTC."""
    return dt.datetime.now(dt.UTC)


class Citadel:
    """Authority, tokens and trust of one control plane. `open_citadel` makes one."""

    def __init__(self, authority: Authority, tokens: Tokens, proofs: LocalProofs, board: TrustBoard) -> None:
        self.authority = authority
        self.tokens = tokens
        self.proofs = proofs
        self.board = board
        self.listening = Listening(grpc="", http="", monitoring="")
        """Tokens and agents are told of it."""
        self.waived = False
        """Whether the rotation under way does not wait for workloads that are not connected."""
        self._began = now()
        self._contexts: list[ssl.SSLContext] = []
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
        """Return what a rotation has to know of the agents."""
        trust, reports = self.board.trust, list(self.board.reports.values())
        return rotation_facts(trust, reports, self._began, absent=() if self.waived else None)

    # --- what happens by itself --------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep everything current until cancelled."""
        while True:
            await self.look()
            steady = self.authority.rotation.phase is Phase.STEADY
            await asyncio.sleep(LOOK_SECONDS if steady else ROTATING_SECONDS)

    async def look(self) -> None:
        """Take up what changed, renew what has grown old, carry a rotation on, and tell agents."""
        try:
            await asyncio.to_thread(self._maintain)
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

    def _maintain(self) -> None:
        time, before = now(), self.authority.rotation.phase
        self.tokens.refresh()
        self.authority.refresh(time)
        if self.authority.describe().source != "plugged-in" and self.authority.renew_intermediate(time):
            _LOG.info("intermediate certificate renewed")
        if before is not Phase.STEADY:
            after = self.authority.step_rotation(self.facts(), time).phase
            if after is not before:
                _LOG.info("rotation of the root", phase=after.value)
            if after is Phase.STEADY:
                self.waived = False
        self.refresh_proofs()

    def _trust(self) -> Trust:
        signers = [each.fingerprint for each in self.authority.describe().intermediates if each.signs]
        return Trust(roots=self.authority.bundle(), issuer=signers[0] if signers else "")

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


def rotation_facts(
    trust: Trust, reports: Sequence[TrustReport], since: dt.datetime, *, absent: tuple[str, ...] | None
) -> Facts:
    """Return what agents have said, as the rotation asks for it. Pure."""
    return Facts(
        watching_since=since,
        distrusting=tuple(sorted(report.workload for report in reports if report.trusts != trust.digest)),
        holding_old=tuple(sorted(report.workload for report in reports if report.issuer != trust.issuer)),
        absent=absent,
    )


def _usable(hosts: Collection[str]) -> list[str]:
    """Return the hosts that a certificate may name."""
    return [host for host in hosts if host.isascii() and len(host) < 250 and host not in ("0.0.0.0", "::")]


@dataclass(frozen=True, slots=True)
class WhoAttaches:
    """Who may register workloads: whoever shows a certificate of the mesh."""

    trust_domains: Callable[[], Collection[str]]
    secure: Callable[[], str]
    """Address of the port for mutual TLS."""

    def __call__(self, context: grpc.aio.ServicerContext) -> Identity | Refusal:
        """Return the identity that the connection proves, or why it may not register."""
        try:
            peer = peer_of(context)
        except UnknownPeerError as error:
            return Refusal(message=str(error))
        if peer.identity is None:
            return Refusal(
                message=f"workloads register over mutual TLS, at {self.secure()}: this one has no certificate. "
                "`lateen token create --service-account NAMESPACE/NAME > FILE` makes a token for --token FILE"
            )
        if peer.identity.trust_domain not in self.trust_domains():
            return Refusal(message=f"{peer.identity} is of another trust domain than this mesh")
        return peer.identity


def certificate_handlers(citadel: Citadel) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the gRPC handlers that give out certificates, and tell agents of this machine where."""
    seams = Seams(peer_identity=_identity, is_plain=_is_plain, locate=citadel.locate)
    return CertificateService(citadel.authority, (JoinTokens(citadel.tokens),), seams).handlers()


def _identity(context: grpc.aio.ServicerContext) -> Identity | None:
    try:
        return peer_of(context).identity
    except UnknownPeerError:
        # A certificate of our CA that is no SVID proves nothing; a token may.
        return None


def _is_plain(context: grpc.aio.ServicerContext) -> bool:
    try:
        return not peer_of(context).secure
    except UnknownPeerError:
        return False


def open_citadel(settings: Settings, trust_domain: str, folders: ExitStack) -> Citadel:
    """Open the authority of a control plane. StartError when its folder will not do.

    Without a folder everything is in memory, but for the proofs of this machine's user: `folders` removes those.
    """
    times = Times(least=dt.timedelta(seconds=settings.rotation_pause))
    try:
        authority = Authority.open(settings.ca, trust_domain, now=now(), plugged=settings.ca_files, times=times)
        tokens = Tokens.open(settings.ca, trust_domain)
    except CaFileError as error:
        raise StartError(str(error)) from error
    folder = settings.ca
    if folder is None:
        folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="lateen-ca-")))
    return Citadel(authority, tokens, LocalProofs(tokens, folder), TrustBoard())
