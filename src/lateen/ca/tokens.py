"""Tokens: what proves a workload before it has a certificate, and a user to the HTTP API. Signed JWTs, revocable.

Built by `app`; `authenticators` and the API's guards verify with it. A token is given to whoever asked for it and kept
nowhere; what is kept is a record, in `tokens.json` of the CA folder. Verifying touches no file, unless the token is for
one use. `create_join`, `create_api`, `revoke` and `refresh` do: call those in a thread. Several control planes may
share the folder.

Only ES256 is accepted, by our own key, and its `kid` must say so: what the token says of its algorithm chooses nothing
(RFC 8725, 3.1). A signature alone is not enough either: its record must be there, so that what was revoked stays so.
"""

from __future__ import annotations

import base64
import datetime as dt
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from joserfc import jwt as jose
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from lateen.ca.files import CaFileError, locked, open_private_folder, read_private
from lateen.ca.jwts import MAX_JWT_BYTES, read_unverified
from lateen.ca.keys import KeyProblemError, PrivateKey
from lateen.ca.records import Records, TokenRecord
from lateen.ca.values import ANY, Grant, Reason, Refused
from lateen.model.identities import Identity
from lateen.private_files import write_private

ISSUER = "lateen"
ALGORITHM = "ES256"
ROLES = ("viewer", "editor", "admin")
MAX_TTL = dt.timedelta(days=3650)
MAX_RECORDS = 10_000
MAX_NAME = 100
KEY_FILE = "tokens-key.pem"
_EARLY = 60
"""Seconds that `iat` may be in the future: two control planes' clocks differ."""
_LATEST = 1 << 37
"""Seconds: the year 6325. Later ones are no dates."""


class Audience(StrEnum):
    """What a token is for; one is never taken for the other."""

    JOIN = "lateen-join"
    API = "lateen-api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says, after its signature was found to be ours."""

    id: str
    audience: Audience
    subject: str
    issued: dt.datetime
    expires: dt.datetime
    once: bool
    roots: tuple[str, ...] = ()
    """Base64 of DER."""
    join_port: int = 0
    role: str = ""
    name: str = ""


class Tokens:
    """The tokens of one trust domain. `Tokens.open` makes it."""

    def __init__(self, key: PrivateKey, trust_domain: str, records: Records, folder: Path | None) -> None:
        self._key = ECKey.import_key(key.pem())
        self._kid = self._key.thumbprint()
        self._trust_domain = trust_domain
        self._records = records
        self._folder = folder
        self._changing = threading.Lock()

    @classmethod
    def open(cls, folder: Path | None, trust_domain: str) -> Tokens:
        """Find key and records in the CA folder, or begin there; without a folder they live in memory. CaFileError."""
        if folder is None:
            return cls(PrivateKey.generate(), trust_domain, Records(None), None)
        open_private_folder(folder)
        with locked(folder):
            key = _key_of(folder / KEY_FILE)
        records = Records(folder)
        records.refresh()
        return cls(key, trust_domain, records, folder)

    def create_join(
        self,
        namespace: str,
        service_account: str,
        *,
        now: dt.datetime,
        ttl: dt.timedelta,
        once: bool = False,
        roots: Sequence[str] = (),
        join_port: int = 0,
    ) -> tuple[str, TokenRecord]:
        """Make a token to join as `namespace`/`service_account`, each maybe `*`; `roots` are PEM.

        Returns the token, which is kept nowhere, and its record. ValueError when it cannot be; CaFileError.
        """
        for part in (namespace, service_account):
            if part != ANY:
                Identity(self._trust_domain, part, part)  # says what is wrong with it
        more = {"roots": [_der_of(pem) for pem in roots], "join": join_port}
        return self._create(Audience.JOIN, f"{namespace}/{service_account}", now, ttl, once, more)

    def create_api(self, role: str, name: str, *, now: dt.datetime, ttl: dt.timedelta) -> tuple[str, TokenRecord]:
        """Make a token for the HTTP API, in a role; the name says for whom. ValueError when it cannot; CaFileError."""
        if role not in ROLES:
            raise ValueError(f"{role[:40]!r} is not a role: one of {', '.join(ROLES)}")
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise ValueError(f"the name says for whom the token is, in 1 to {MAX_NAME} printable characters")
        return self._create(Audience.API, name, now, ttl, False, {"role": role, "name": name})

    def verify(self, token: str, audience: Audience, now: dt.datetime) -> Grant | Refused:
        """Return what a token allows now. One for one use is used up by this: blocking then. CaFileError then."""
        claims = self.read(token, audience, now)
        if isinstance(claims, Refused):
            return claims
        refused = self._use_up(claims, now) if claims.once else _refusal(self._record(claims.id))
        return refused or _grant(claims)

    def read(self, token: str, audience: Audience, now: dt.datetime) -> Claims | Refused:
        """Return what a token says if we signed it and it is valid now; whether it was used or revoked is not asked."""
        unverified = read_unverified(token)
        if unverified is None:
            return _unproven(f"not a JWT of at most {MAX_JWT_BYTES >> 10} KiB")
        if unverified.header.get("alg") != ALGORITHM or unverified.header.get("kid") != self._kid:
            return _unproven("the token was not made by this control plane (or its CA folder is another one now)")
        try:
            found = jose.decode(token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _unproven("the token's signature is not ours")
        claims = _claims(found)
        if claims is None or found.get("iss") != ISSUER:
            return _unproven("the token's claims are not those of a token of ours")
        if claims.audience is not audience:
            return _unproven(f"the token is for {claims.audience}, not for {audience}")
        if found.get("td") != self._trust_domain:
            return _unproven(f"the token is for another trust domain than {self._trust_domain}")
        if claims.expires <= now:
            return _unproven(f"the token expired at {claims.expires:%Y-%m-%d %H:%M:%SZ}: make a new one")
        if claims.issued > now + dt.timedelta(seconds=_EARLY):
            return _unproven("the token is from the future: compare the clocks of the control planes")
        return claims

    def records(self, now: dt.datetime) -> tuple[TokenRecord, ...]:
        """Return what is known of all tokens, oldest first, those that expired within the last day among them."""
        return self._records.all(now)

    def revoke(self, token_id: str, now: dt.datetime) -> TokenRecord | None:
        """Make a token worthless, by its id; None when there is none of that id. CaFileError."""
        with self._change():
            record = self._records.get(token_id)
            if record is not None and record.revoked is None:
                record = replace(record, revoked=now)
                self._records.put(record, now)
            return record

    def refresh(self) -> None:
        """Take what other control planes changed in the folder: call it every few seconds. CaFileError."""
        with self._changing:
            self._records.refresh()

    def _create(
        self,
        audience: Audience,
        subject: str,
        now: dt.datetime,
        ttl: dt.timedelta,
        once: bool,
        more: dict[str, object],
    ) -> tuple[str, TokenRecord]:
        if not dt.timedelta(seconds=1) <= ttl <= MAX_TTL:
            raise ValueError(f"a token lasts from one second to {MAX_TTL.days} days")
        token_id, issued = secrets.token_hex(8), now.replace(microsecond=0)
        expires = (issued + ttl).replace(microsecond=0)
        times = {"iat": int(issued.timestamp()), "exp": int(expires.timestamp())}
        named = {"iss": ISSUER, "aud": str(audience), "sub": subject, "jti": token_id, "td": self._trust_domain}
        claims = {**named, **times, "once": once, **more}
        token = jose.encode({"alg": ALGORITHM, "kid": self._kid}, claims, self._key, algorithms=[ALGORITHM])
        if len(token) > MAX_JWT_BYTES:
            raise ValueError(f"the token would be larger than {MAX_JWT_BYTES >> 10} KiB: its roots are too many")
        record = TokenRecord(
            id=token_id,
            audience=str(audience),
            subject=subject,
            role=str(more.get("role", "")),
            created=issued,
            expires=expires,
            once=once,
        )
        with self._change():
            if self._records.count(now) >= MAX_RECORDS:
                raise ValueError(f"there are {MAX_RECORDS} tokens already: let some expire")
            self._records.put(record, now)
        return token, record

    def _record(self, token_id: str) -> TokenRecord | None:
        record = self._records.get(token_id)
        if record is None:
            # Signed by us and not known: another control plane on this folder has just made it.
            self.refresh()
            record = self._records.get(token_id)
        return record

    def _use_up(self, claims: Claims, now: dt.datetime) -> Refused | None:
        with self._change():
            record = self._records.get(claims.id)
            refused = _refusal(record)
            if refused is None and record is not None:
                self._records.put(replace(record, used=now), now)
            return refused

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Hold the records while they change, as they are in the folder now."""
        with self._changing, nullcontext() if self._folder is None else locked(self._folder):
            self._records.refresh()
            yield


def _key_of(path: Path) -> PrivateKey:
    """Return the key in a file, made if there is none. The folder is locked."""
    content = read_private(path)
    try:
        if content is not None:
            return PrivateKey.load(content)
        key = PrivateKey.generate()
        write_private(path, key.pem())
    except KeyProblemError as problem:
        raise CaFileError(f"{path}: {problem}") from None
    except OSError as error:
        raise CaFileError(f"{path} cannot be written: {error.strerror or error}") from error
    return key


def _der_of(pem: str) -> str:
    """Return the base64 of a certificate's DER: what stands between the lines of its PEM."""
    body = "".join(line.strip() for line in pem.strip().splitlines() if not line.startswith("-----"))
    base64.b64decode(body, validate=True)
    return body


def _claims(found: dict[str, object]) -> Claims | None:
    """Return the claims in their types, None when one is of another: nothing that we signed, whoever has our key."""
    match found:
        case {
            "jti": str(token_id),
            "aud": str(audience),
            "sub": str(subject),
            "iat": int(issued),
            "exp": int(expires),
            "once": bool(once),
        } if audience in tuple(Audience) and 0 <= issued < _LATEST and 0 <= expires < _LATEST:
            roots, join, role, name = (found.get(claim) for claim in ("roots", "join", "role", "name"))
            if audience == Audience.JOIN and subject.count("/") != 1:
                return None
            return Claims(
                id=token_id,
                audience=Audience(audience),
                subject=subject,
                issued=_time(issued),
                expires=_time(expires),
                once=once,
                roots=tuple(root for root in roots if isinstance(root, str)) if isinstance(roots, list) else (),
                join_port=join if isinstance(join, int) else 0,
                role=role if isinstance(role, str) and role in ROLES else "",
                name=name if isinstance(name, str) else "",
            )
    return None


def _time(seconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)


def _grant(claims: Claims) -> Grant:
    if claims.audience is Audience.API:
        return Grant(who=claims.name, role=claims.role, token=claims.id)
    namespace, _, service_account = claims.subject.partition("/")
    who = f"join token {claims.id} for {claims.subject}"
    return Grant(who=who, namespace=namespace, service_account=service_account, token=claims.id)


def _refusal(record: TokenRecord | None) -> Refused | None:
    if record is None:
        return _unproven("the token is not known here any more: make a new one")
    if record.revoked is not None:
        return _unproven(f"the token {record.id} was revoked")
    if record.used is not None:
        return _unproven(f"the token {record.id} was for one use, and was used at {record.used:%Y-%m-%d %H:%M:%SZ}")
    return None


def _unproven(message: str) -> Refused:
    return Refused(Reason.UNPROVEN, message)
