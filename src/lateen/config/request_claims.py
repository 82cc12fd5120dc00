"""Names of a token's claims where a VirtualService matches headers: `@request.auth.claims.sub`.

Called by validation and by whoever makes routes. Source: Istio's task "JWT claim based routing": a dot stands between
the steps of a path, or each step is in brackets when claims have dots in their names. `@` cannot stand in a header, so
no request can be mistaken for one.
"""

from __future__ import annotations

_PREFIX = "@request.auth.claims"


def claim_path(name: str) -> tuple[str, ...] | None:
    """Return the path to a claim, None when the name is that of a header. A step is empty where the name is broken."""
    if not name.lower().startswith(_PREFIX):
        return None
    rest = name[len(_PREFIX) :]
    if rest.startswith("[") and rest.endswith("]"):
        return tuple(rest[1:-1].split("]["))
    return tuple(rest[1:].split(".")) if rest.startswith(".") else ("",)
