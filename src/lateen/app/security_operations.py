"""What administrators do with tokens and the certificate authority, and who callers of the API are.

Fulfils the protocols of `api.control_plane` with `citadel`. Must not know: HTTP.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from lateen.api.control_plane import (
    AuthorityStatus,
    Caller,
    CertificateStatus,
    IssuedCertificate,
    OperationError,
    Refused,
    Role,
    TokenStatus,
    WantedToken,
)
from lateen.app.citadel import Citadel, now
from lateen.ca import values
from lateen.ca.authority import CertificateInfo
from lateen.ca.files import CaFileError
from lateen.ca.records import TokenRecord
from lateen.ca.rotation import Phase
from lateen.ca.service import Issuance
from lateen.ca.tokens import Audience
from lateen.model.identities import Identity, control_plane_identity

ResultT = TypeVar("ResultT")


class TokenAccess:
    """Who callers are: what their token says."""

    def __init__(self, citadel: Citadel) -> None:
        self._citadel = citadel

    @property
    def token_file(self) -> str:
        """The file with an administrator's token for this machine's user."""
        return str(self._citadel.proofs.admin_token)

    def authenticate(self, token: str) -> Caller | Refused:
        """Return whose token this is."""
        grant = self._citadel.tokens.verify(token, Audience.API, now())
        if isinstance(grant, values.Refused):
            return Refused(reason=grant.message)
        if not grant.role:
            return Refused(reason="the token has no role")
        return Caller(name=grant.who, role=Role(grant.role), how="token")


class SecurityOperations:
    """Tokens and the certificate authority, for administrators."""

    def __init__(self, citadel: Citadel) -> None:
        self._citadel = citadel

    async def create_token(self, wanted: WantedToken) -> tuple[str, TokenStatus]:
        """Make a token, for a workload or for a caller of the API."""
        token, record = await _in_thread(self._create, wanted)
        return token, _token_status(record)

    def tokens(self) -> Sequence[TokenStatus]:
        """Return what is known of all tokens, the newest first."""
        return [_token_status(record) for record in reversed(self._citadel.tokens.records(now()))]

    async def revoke_token(self, token_id: str) -> TokenStatus:
        """Make a token worthless."""
        record = await _in_thread(self._citadel.tokens.revoke, token_id, now())
        if record is None:
            raise OperationError("not_found", f"there is no token {token_id[:40]!r}", "`lateen token list` shows them")
        return _token_status(record)

    def ca(self) -> AuthorityStatus:
        """Return how the certificate authority stands."""
        shown = self._citadel.authority.describe()
        rotating = shown.phase is not Phase.STEADY
        return AuthorityStatus(
            trust_domain=shown.trust_domain,
            roots=tuple(map(_certificate_status, shown.roots)),
            intermediates=tuple(map(_certificate_status, shown.intermediates)),
            rotating=rotating,
            phase=shown.phase.value if rotating else "",
            missing=shown.waits_for,
        )

    async def rotate(self, what: Literal["root", "intermediate"], *, force: bool) -> AuthorityStatus:
        """Begin a rotation. `force` does not wait for who is not connected; during one, it goes on at once."""
        citadel = self._citadel
        if what == "intermediate":
            await _in_thread(lambda: citadel.authority.renew_intermediate(now(), force=True))
        elif citadel.authority.rotation.phase is Phase.STEADY:
            begun = await _in_thread(citadel.authority.start_rotation, now())
            if isinstance(begun, values.Refused):
                raise OperationError("conflict", begun.message)
            citadel.waived = force
        elif force:
            citadel.waived = True
            facts = citadel.facts()
            await _in_thread(lambda: citadel.authority.step_rotation(facts, now(), force=True))
        else:
            phase = citadel.authority.rotation.phase.value
            raise OperationError("conflict", f"a rotation is under way: it is {phase}", "`lateen ca show` says why")
        citadel.publish()
        return self.ca()

    async def issue(self, subject: str, csr: str, seconds: int) -> IssuedCertificate:
        """Sign a CSR on an administrator's word."""
        authority = self._citadel.authority
        namespace, _, service_account = subject.partition("/")
        try:
            identity = Identity(authority.trust_domain, namespace, service_account)
            ttl = dt.timedelta(seconds=seconds) if seconds else None
        except (ValueError, OverflowError) as error:
            raise OperationError("invalid", str(error)) from error
        if identity == control_plane_identity(authority.trust_domain):
            # Every proxy would take its holder for us, and he needs no more than a role for it.
            raise OperationError("invalid", f"{identity} is the control plane's own: nobody else gets it")
        issued = authority.issue(csr.encode(), identity, now=now(), ttl=ttl)
        if isinstance(issued, values.Refused):
            raise OperationError("invalid", issued.message)
        # A rotation waits for its end, too: nobody can tell its holder of other roots.
        self._citadel.issued(
            Issuance(
                identity=identity,
                serial=issued.serial,
                not_after=issued.not_after,
                peer="",
                proof="an administrator",
                issuer_id=authority.issuer_id(),
                renews=None,
            )
        )
        return IssuedCertificate(
            chain=issued.chain_pem,
            roots="".join(authority.bundle()),
            identity=identity.uri,
            not_after=issued.not_after.timestamp(),
        )

    def _create(self, wanted: WantedToken) -> tuple[str, TokenRecord]:
        citadel, ttl = self._citadel, dt.timedelta(seconds=wanted.seconds)
        if wanted.role is not None:
            return citadel.tokens.create_api(wanted.role.value, wanted.name, now=now(), ttl=ttl)
        namespace, _, service_account = wanted.subject.partition("/")
        return citadel.tokens.create_join(
            namespace,
            service_account,
            now=now(),
            ttl=ttl,
            once=wanted.one_time,
            roots=citadel.authority.bundle(),
            join_port=citadel.join_port,
        )


async def _in_thread(work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Do something that touches files; what cannot be done is the asker's to know."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except ValueError as error:
        raise OperationError("invalid", str(error)) from error
    except CaFileError as error:
        raise OperationError("conflict", str(error)) from error


def _token_status(record: TokenRecord) -> TokenStatus:
    return TokenStatus(
        id=record.id,
        audience="join" if record.audience == Audience.JOIN else "api",
        subject=record.subject,
        role=Role(record.role) if record.role else None,
        created=record.created.timestamp(),
        expires=record.expires.timestamp(),
        one_time=record.once,
        used=record.used is not None,
        revoked=record.revoked is not None,
    )


def _certificate_status(shown: CertificateInfo) -> CertificateStatus:
    return CertificateStatus(
        sha256=shown.fingerprint,
        pem=shown.pem,
        subject=shown.subject,
        not_before=shown.not_before.timestamp(),
        not_after=shown.not_after.timestamp(),
        active=shown.signs,
    )
