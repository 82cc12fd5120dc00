"""The outside of a JWT: bounded reading of what anybody may have sent, before any signature is looked at. Pure.

Used by `tokens` and `authenticators`. What it returns is *unverified*: good for deciding whose token it claims to be.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_JWT_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """Header and claims as they stand in the token."""

    header: Mapping[str, object]
    claims: Mapping[str, object] = field(repr=False)


def read_unverified(token: str) -> UnverifiedJwt | None:
    """Return what a token in compact form (RFC 7515, 3.1) says of itself, None when it is none of at most 8 KiB."""
    if len(token) > MAX_JWT_BYTES:
        return None
    parts = [_decoded(part) for part in token.split(".", 3)]
    if len(parts) != 3 or None in parts:
        return None
    header, claims = _document(parts[0]), _document(parts[1])
    return None if header is None or claims is None else UnverifiedJwt(header, claims)


def _decoded(part: str) -> bytes | None:
    """Return the bytes of base64url without padding (RFC 7515, 2), in their one canonical spelling."""
    try:
        content = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return content if base64.urlsafe_b64encode(content).rstrip(b"=") == part.encode() else None


def _document(content: bytes | None) -> Mapping[str, object] | None:
    try:
        document = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
