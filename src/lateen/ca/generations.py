"""A root with the intermediate that signs for it, and the two of them that a rotation needs. Pure but for new keys.

Used by `authority`, `keeping` and `plugged`. Must not know: files.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace

from cryptography import x509

from lateen.ca.issue import Lifetimes, Signer, make_intermediate, make_root, pem_of
from lateen.ca.keys import PrivateKey
from lateen.ca.rotation import Rotation


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What is trusted together, and who signs for it."""

    roots: tuple[x509.Certificate, ...]
    """One; of a plugged-in CA there may be several, of which one leads to the signer."""
    root_key: PrivateKey | None = None
    """None when we do not hold it: plugged in."""
    signer: Signer
    """The intermediate."""

    @property
    def pems(self) -> tuple[str, ...]:
        """The roots, PEM."""
        return tuple(pem_of(root) for root in self.roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaState:
    """All that an authority is, and what it keeps."""

    current: Generation
    next: Generation | None = None
    """The one to come, while a rotation is under way."""
    rotation: Rotation = field(default_factory=Rotation)

    @property
    def generations(self) -> tuple[Generation, ...]:
        """All whose roots are trusted now."""
        return (self.current,) if self.next is None else (self.current, self.next)

    @property
    def signer(self) -> Signer:
        """Who signs workloads' leaves now."""
        signing = self.next if self.next is not None and self.rotation.issues_new else self.current
        return signing.signer


def new_generation(trust_domain: str, now: dt.datetime, lifetimes: Lifetimes) -> Generation:
    """Make a root and its first intermediate, with new keys."""
    key, serial = PrivateKey.generate(), x509.random_serial_number()
    root = make_root(key, trust_domain, now=now, serial=serial, lifetime=lifetimes.root)
    return _with_new_intermediate(root, key, trust_domain, now, lifetimes)


def renewed(
    generation: Generation, trust_domain: str, now: dt.datetime, lifetimes: Lifetimes, *, force: bool = False
) -> Generation:
    """Return the generation with a new intermediate if half its life is over (or `force`), else the same object."""
    certificate = generation.signer.certificate
    half = certificate.not_valid_before_utc + (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / 2
    if generation.root_key is None or (now < half and not force):
        return generation
    root = generation.roots[0]
    # One that can be no longer valid than the one that is there would be renewed again at each look.
    if not force and certificate.not_valid_after_utc >= root.not_valid_after_utc:
        return generation
    return _with_new_intermediate(root, generation.root_key, trust_domain, now, lifetimes)


def renewed_state(
    state: CaState, trust_domain: str, now: dt.datetime, lifetimes: Lifetimes, *, force: bool = False
) -> CaState:
    """Return the state with new intermediates where they are due, else the same object."""
    current = renewed(state.current, trust_domain, now, lifetimes, force=force)
    following = state.next and renewed(state.next, trust_domain, now, lifetimes, force=force)
    if current is state.current and following is state.next:
        return state
    return replace(state, current=current, next=following)


def root_signer(root: x509.Certificate, key: PrivateKey) -> Signer:
    """Return the root as one who signs."""
    return Signer(certificate=root, key=key, ends=root.not_valid_after_utc)


def _with_new_intermediate(
    root: x509.Certificate, key: PrivateKey, trust_domain: str, now: dt.datetime, lifetimes: Lifetimes
) -> Generation:
    own, serial = PrivateKey.generate(), x509.random_serial_number()
    made = make_intermediate(
        own.public, root_signer(root, key), trust_domain, now=now, serial=serial, lifetime=lifetimes.intermediate
    )
    signer = Signer(certificate=made, key=own, ends=min(made.not_valid_after_utc, root.not_valid_after_utc))
    return Generation(roots=(root,), root_key=key, signer=signer)
