"""The authority: holds the keys, signs, and carries a rotation through restarts.

Built by `app`. Signing takes a third of a millisecond and touches no file, so it may run on the event loop. What
changes the authority (`start_rotation`, `step_rotation`, `renew_intermediate`, `refresh`) reads and writes files when
there is a folder: call that in a thread. Several control planes may share a folder: each change is made under its lock,
on what is there.

Must not know: who asks and how they proved themselves.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from lateen.ca import keeping, rotation
from lateen.ca.csr import BadCsr, Csr, read_csr
from lateen.ca.files import CaFileError, locked, open_private_folder
from lateen.ca.generations import CaState, new_generation, renewed_state
from lateen.ca.issue import (
    DEFAULT_LIFETIMES,
    ExpiredCaError,
    Issued,
    Lifetimes,
    fingerprint,
    issue,
    key_id,
    leaf_ttl,
    pem_of,
    serving,
)
from lateen.ca.keys import PrivateKey
from lateen.ca.plugged import load_plugged, plugged_content
from lateen.ca.rotation import DEFAULT_TIMES, Facts, Phase, Rotation, Times
from lateen.ca.values import Reason, Refused
from lateen.model.identities import Identity, control_plane_identity


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateInfo:
    """A CA certificate, for people."""

    subject: str
    fingerprint: str
    """SHA-256, hexadecimal."""
    pem: str
    not_before: dt.datetime
    not_after: dt.datetime
    signs: bool
    """Whether leaves are issued under it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What `lateen ca show` shows. Holds no key."""

    trust_domain: str
    source: str
    """`memory`, `folder` or `plugged-in`."""
    roots: tuple[CertificateInfo, ...]
    """All that are trusted now."""
    intermediates: tuple[CertificateInfo, ...]
    phase: Phase
    phase_since: dt.datetime | None
    waits_for: tuple[str, ...]
    """What the rotation waited for when it was stepped last."""
    old_leaves_end: dt.datetime | None
    issued: int
    """Leaves for workloads, since this process started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The control plane's own certificate: for a TLS server."""

    chain: str
    """PEM: leaf, intermediates."""
    key: PrivateKey
    not_after: dt.datetime


class Authority:
    """Certificates of one trust domain. `Authority.open` makes one."""

    def __init__(
        self,
        state: CaState,
        trust_domain: str,
        *,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
        times: Times = DEFAULT_TIMES,
    ) -> None:
        self.trust_domain = trust_domain
        self._state = state
        self._lifetimes = lifetimes
        self._times = replace(times, leaf=lifetimes.longest_leaf)
        self._folder: Path | None = None
        self._stored: bytes | None = None
        self._plugged: Path | None = None
        self._plugged_content: tuple[bytes | None, ...] = ()
        self._waits: tuple[str, ...] = ()
        self._issued = 0
        self.is_new = False
        """Whether its root was made by this process: then no leaf of it is older than the process."""
        self._changing = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: Path | None,
        trust_domain: str,
        *,
        now: dt.datetime,
        plugged: Path | None = None,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
        times: Times = DEFAULT_TIMES,
    ) -> Authority:
        """Find the authority in its folder, or make one there; without a folder it lives in memory.

        `plugged` is a folder with a CA of the user's: that one signs, and nothing is kept. CaFileError.
        """
        if plugged is not None:
            made = cls(CaState(current=load_plugged(plugged, now)), trust_domain, lifetimes=lifetimes, times=times)
            made._plugged, made._plugged_content = plugged, plugged_content(plugged)
            return made
        if folder is None:
            fresh = CaState(current=new_generation(trust_domain, now, lifetimes))
            made = cls(fresh, trust_domain, lifetimes=lifetimes, times=times)
            made.is_new = True
            return made
        open_private_folder(folder)
        with locked(folder), _words_for(folder):
            content = keeping.stored(folder)
            is_new = content is None
            if content is None:
                state = CaState(current=new_generation(trust_domain, now, lifetimes))
                content = keeping.save(folder, state, trust_domain, before=None)
            else:
                state = keeping.load(folder, content, trust_domain)
        made = cls(state, trust_domain, lifetimes=lifetimes, times=times)
        made._folder, made._stored, made.is_new = folder, content, is_new
        return made

    @property
    def rotation(self) -> Rotation:
        """Where the rotation of the root is; steady when there is none."""
        return self._state.rotation

    @property
    def times(self) -> Times:
        """How long its phases wait."""
        return self._times

    def bundle(self) -> tuple[str, ...]:
        """Return the roots to trust now, PEM, in an order that does not change without them."""
        return tuple(pem for generation in self._state.generations for pem in generation.pems)

    def issuer_id(self) -> str:
        """Return the key identifier of who signs leaves now. While a rotation is under way, a leaf with another one
        (`peers.Peer.issuer_id`) is old."""
        return key_id(self._state.signer.certificate)

    def issue(
        self, csr: bytes | Csr, identity: Identity, *, now: dt.datetime, ttl: dt.timedelta | None = None
    ) -> Issued | Refused:
        """Sign a leaf for an identity that the caller has proven. The CSR may name that identity, or none."""
        request = read_csr(csr) if isinstance(csr, bytes) else csr
        if isinstance(request, BadCsr):
            return Refused(Reason.MALFORMED, request.problem)
        if identity.trust_domain != self.trust_domain:
            return Refused(Reason.DENIED, f"{identity} is not of the trust domain {self.trust_domain}")
        if request.uri not in ("", identity.uri):
            return Refused(Reason.DENIED, f"the CSR asks for {request.uri[:200]!r}, but the proof is for {identity}")
        try:
            issued = issue(
                request,
                identity,
                self._state.signer,
                now=now,
                serial=x509.random_serial_number(),
                ttl=leaf_ttl(ttl, self._lifetimes),
            )
        except ExpiredCaError as expired:
            return Refused(Reason.UNAVAILABLE, str(expired))
        self._issued += 1
        return issued

    def serving(self, hosts: Sequence[str], *, now: dt.datetime) -> Serving:
        """Make the control plane's own certificate for host names and IP addresses. ExpiredCaError.

        It is the old root's until a rotation is over. Cheap enough for each handshake, a third of a millisecond; make
        another one at half its life, and whenever the bundle changes.
        """
        key = PrivateKey.generate()
        made = serving(
            key.public,
            control_plane_identity(self.trust_domain),
            hosts,
            self._state.current.signer,
            now=now,
            serial=x509.random_serial_number(),
            ttl=leaf_ttl(None, self._lifetimes),
        )
        return Serving(chain=made.chain_pem, key=key, not_after=made.not_after)

    def start_rotation(self, now: dt.datetime) -> Rotation | Refused:
        """Make a new root and begin to distribute it; `step_rotation` carries it on. CaFileError."""
        if self._plugged is not None:
            return Refused(Reason.DENIED, "a plugged-in CA is rotated by its owner: change the files of --ca-files")
        with self._change() as apply:
            phase = self._state.rotation.phase
            if phase is not Phase.STEADY:
                return Refused(Reason.DENIED, f"a rotation is under way: it is {phase}")
            fresh = new_generation(self.trust_domain, now, self._lifetimes)
            begun = rotation.start(self._state.rotation, now)
            apply(replace(self._state, next=fresh, rotation=begun))
        return self._state.rotation

    def step_rotation(self, facts: Facts, now: dt.datetime, *, force: bool = False) -> Rotation:
        """Carry a rotation on if the facts allow. Call it every few seconds while it is not steady. CaFileError."""
        with self._change() as apply:
            state = self._state
            self._waits = () if force else rotation.waits(state.rotation, facts, now, times=self._times)
            after = rotation.step(state.rotation, facts, now, times=self._times, force=force)
            if after.phase is Phase.STEADY and state.next is not None:
                apply(CaState(current=state.next))
            elif after != state.rotation:
                apply(replace(state, rotation=after))
        return self._state.rotation

    def renew_intermediate(self, now: dt.datetime, *, force: bool = False) -> bool:
        """Make a new intermediate when half the life of the present one is over; return whether it did. CaFileError.

        Nobody's trust changes: leaves carry their intermediate with them, old ones stay valid.
        """
        with self._change() as apply:
            after = renewed_state(self._state, self.trust_domain, now, self._lifetimes, force=force)
            if after is self._state:
                return False
            apply(after)
        return True

    def refresh(self, now: dt.datetime) -> bool:
        """Take what other control planes changed in the folder, or the user in a plugged-in CA's; whether it did.

        CaFileError when that is no good: what was there before stays in force.
        """
        if self._plugged is None:
            before = self._state
            with self._change():
                return self._state is not before
        with self._changing:
            content = plugged_content(self._plugged)
            if content == self._plugged_content:
                return False
            self._state = CaState(current=load_plugged(self._plugged, now))
            self._plugged_content = content
            return True

    def describe(self) -> Description:
        """Return what can be shown of it."""
        state = self._state
        signers = [generation.signer.certificate for generation in state.generations]
        return Description(
            trust_domain=self.trust_domain,
            source=self._source,
            roots=tuple(
                _info(root, signs=root == _root_of(state)) for each in state.generations for root in each.roots
            ),
            intermediates=tuple(_info(each, signs=each == state.signer.certificate) for each in signers),
            phase=state.rotation.phase,
            phase_since=state.rotation.since,
            waits_for=self._waits if state.rotation.phase is not Phase.STEADY else (),
            old_leaves_end=state.rotation.old_leaves_end,
            issued=self._issued,
        )

    @property
    def _source(self) -> str:
        if self._plugged is not None:
            return "plugged-in"
        return "memory" if self._folder is None else "folder"

    @contextmanager
    def _change(self) -> Iterator[Callable[[CaState], None]]:
        """Hold the authority while it changes, with its newest state; what is given to the yielded call is kept."""
        folder = self._folder
        with self._changing, nullcontext() if folder is None else locked(folder), _words_for(folder):
            if folder is not None:
                self._reload(folder)
            yield self._keep

    def _reload(self, folder: Path) -> None:
        content = keeping.stored(folder)
        if content is None:
            raise CaFileError(f"{folder / keeping.FILE} is gone: this control plane goes on with what it has in memory")
        if content != self._stored:
            self._state, self._stored = keeping.load(folder, content, self.trust_domain), content

    def _keep(self, state: CaState) -> None:
        if self._folder is not None:
            self._stored = keeping.save(self._folder, state, self.trust_domain, before=self._state)
        self._state = state


def _root_of(state: CaState) -> x509.Certificate:
    """Return the root that leads to whoever signs now."""
    for generation in state.generations:
        if generation.signer is state.signer:
            top = (generation.signer.certificate, *generation.signer.above)[-1]
            signed_it = (root for root in generation.roots if root in (top,) or root.subject == top.issuer)
            return next(signed_it, generation.roots[0])
    raise AssertionError("the signer is of one of the generations")


def _info(certificate: x509.Certificate, *, signs: bool) -> CertificateInfo:
    return CertificateInfo(
        subject=certificate.subject.rfc4514_string(),
        fingerprint=fingerprint(certificate),
        pem=pem_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        signs=signs,
    )


@contextmanager
def _words_for(folder: Path | None) -> Iterator[None]:
    """Make an operating system's error one that names the folder."""
    try:
        yield
    except OSError as error:
        raise CaFileError(f"the CA's folder {folder} cannot be written: {error.strerror or error}") from error
