"""Join tokens: reading the file, and what the token says about whom it is for.

A token is our own secret and not a message: what it says is read without checking its signature, to know where to
go and whom to trust there. Reading files is the one effect here. Used by `certificates` and `joining`. Must not know:
the network. No error quotes a token.
"""

from __future__ import annotations

import binascii
import json
import os
import re
import stat
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from lateen.agent.errors import JoinError
from lateen.model.identities import is_trust_domain

MAX_TOKEN_BYTES = 16 * 1024
ANNOUNCED_NAME = "join-token"
"""The only name that a file which somebody else names may have."""
JOIN_AUDIENCE = "lateen-join"
OUR_ISSUER = "lateen"
CREATE = "lateen token create --service-account {} > FILE"
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_ROOTS = 32
_PEM_LINE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A token and what it says. Fields that it lacks are empty: it need not be one of Lateen's."""

    secret: str
    file: str
    issuer: str = ""
    audience: tuple[str, ...] = ()
    subject: str = ""
    """`NAMESPACE/SERVICE_ACCOUNT`; each part may be `*`."""
    trust_domain: str = ""
    roots: tuple[str, ...] = ()
    """PEM."""
    join_port: int = 0
    expires: float = 0.0
    """Seconds since 1970; 0 when it does not say."""
    issued: float = 0.0
    id: str = ""
    """By which it is revoked."""
    once: bool = False
    """Good for one certificate."""

    def __repr__(self) -> str:
        # Without the secret.
        return f"JoinToken({self.file}, for {self.subject})"


def read_token_file(path: str, *, announced: bool = False) -> JoinToken:
    """Read a token from a file. JoinError says what is wrong with it.

    An `announced` file was named by whoever answered on the loopback, which may be anybody: it is read only when it
    looks in every respect as a token file does. Above all it must be our own user's: another user could make one that
    names his own roots, and so become our control plane.
    """
    if announced and not _may_be_read(path):
        raise JoinError(f"the control plane names {path[:200]!r} as its token file, which is no {ANNOUNCED_NAME}")
    try:
        # Not blocking: opening a pipe would wait for its writer.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if announced else 0))
    except OSError as error:
        raise JoinError(f"cannot read the token file {path}: {error.strerror}", _todo_unreadable(announced)) from error
    with os.fdopen(opened, "rb") as file:
        if announced and (problem := _stranger(os.fstat(opened))):
            raise JoinError(
                f"the token file {path}, which the control plane names, {problem}", _todo_unreadable(announced)
            )
        try:
            content = file.read(MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise JoinError(f"cannot read the token file {path}: {error.strerror}") from error
    if len(content) > MAX_TOKEN_BYTES:
        raise JoinError(f"the token file {path} is larger than {MAX_TOKEN_BYTES} bytes, so it holds no token")
    return read_token(content, path)


def is_join_token(path: str) -> bool:
    """Whether the file holds a token of Lateen's, and not what another control plane may take."""
    try:
        return read_token_file(path).issuer == OUR_ISSUER
    except JoinError:
        return False


def read_token(content: bytes, file: str) -> JoinToken:
    """Read a token and its claims (JSON Web Token, RFC 7519). JoinError names the file, and quotes nothing of it."""
    secret = content.decode("ascii", "replace").strip()
    if not _JWT.fullmatch(secret):
        raise JoinError(f"the token file {file} holds no token", _todo_create())
    try:
        claims = json.loads(_decoded(secret.split(".")[1]))
        return _token(secret, file, claims)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Not chained: such errors quote what they could not read.
        raise JoinError(f"the token in {file} cannot be read", _todo_create()) from None


def _token(secret: str, file: str, claims: dict[str, Any]) -> JoinToken:
    audience = claims.get("aud", [])
    trust_domain = str(claims.get("td", ""))
    if trust_domain and not is_trust_domain(trust_domain):
        raise ValueError("trust domain")
    port = int(claims.get("join", 0))
    if not 0 <= port < 65536:
        raise ValueError("port")
    roots = claims.get("roots", [])
    if not isinstance(roots, list) or len(roots) > _MAX_ROOTS:
        raise ValueError("roots")
    return JoinToken(
        secret=secret,
        file=file,
        issuer=str(claims.get("iss", "")),
        audience=(audience,) if isinstance(audience, str) else tuple(map(str, audience)),
        subject=str(claims.get("sub", "")),
        trust_domain=trust_domain,
        roots=tuple(map(_pem, roots)),
        join_port=port,
        expires=float(claims.get("exp", 0)),
        issued=float(claims.get("iat", 0)),
        id=str(claims.get("jti", "")),
        once=claims.get("once") is True,
    )


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _pem(encoded: str) -> str:
    binascii.a2b_base64(encoded, strict_mode=True)
    lines = "".join(f"{encoded[at : at + _PEM_LINE]}\n" for at in range(0, len(encoded), _PEM_LINE))
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def _may_be_read(path: str) -> bool:
    named = PurePath(path)
    return named.is_absolute() and named.name == ANNOUNCED_NAME and "\0" not in path


def _stranger(found: os.stat_result) -> str:
    """Return why a file is not one that the control plane of our own user wrote; empty when it may be."""
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    return "is open to other users" if found.st_mode & 0o077 else ""


def _todo_create() -> str:
    return f"make a new one with `{CREATE.format('NAMESPACE/ACCOUNT')}`"


def _todo_unreadable(announced: bool) -> str:
    if not announced:
        return "correct the file, or pass another with --token FILE; trying again until then"
    return (
        "only the control plane's own user can join without a token: as that user, "
        f"`{CREATE.format('NAMESPACE/ACCOUNT')}`, and pass --token FILE here"
    )
