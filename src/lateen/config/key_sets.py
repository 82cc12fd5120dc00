"""JSON Web Key Sets (RFC 7517): reading one that somebody else wrote, and where the keys of a JWTRule come from.

Called by validation for keys that stand in a document, and by `lateen.keysets` for those that are fetched. Of a fetched
set only what checks a signature is kept: public members of keys that Envoy can use, in one spelling, so that equal keys
give equal bytes in proxies and nothing else of a document that was fetched ever leaves the control plane.
Symmetric keys are not taken from the network: who can read them there could sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwk
from joserfc.errors import JoseError

from lateen.config.durations import seconds
from lateen.config.security import JWTRule

DISCOVERY_PATH = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0, section 4: below the issuer, without its closing slash."""
DEFAULT_TIMEOUT_SECONDS = 5.0
"""Of `timeout`, as Istio's reference says."""
MAX_KEYS = 256
"""More is no key set but an attempt to keep somebody busy."""

_DETAILS = ("kid", "alg", "use")
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""Public members by type of key."""
_SECRET = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth"))
"""Members of private keys (RFC 7518, section 6)."""
_CURVES = {"EC": ("P-256", "P-384", "P-521"), "OKP": ("Ed25519",)}
_MAX_MEMBER = 4096
"""Characters: an RSA modulus of 16,384 bits has 2,731."""


class KeySetError(ValueError):
    """The text is not a key set that can be used; the message never quotes it."""


def key_source(rule: JWTRule) -> str:
    """Return where a rule's keys are to be fetched: a key set, or a discovery document. Empty for keys in the rule."""
    if rule.jwks:
        return ""
    return jwks_uri(rule) or rule.issuer.removesuffix("/") + DISCOVERY_PATH


def key_sources(rules: Iterable[JWTRule]) -> dict[str, float]:
    """Return the sources of some rules, each with the seconds that a fetch may take: the longest that a rule gives."""
    found: dict[str, float] = {}
    for rule in rules:
        if source := key_source(rule):
            given = seconds(rule.timeout) if rule.timeout else DEFAULT_TIMEOUT_SECONDS
            found[source] = max(found.get(source, 0.0), given)
    return found


def jwks_uri(rule: JWTRule) -> str:
    """Return the URI of the rule's key set, in either of the two ways to write the field."""
    return rule.jwks_uri or rule.jwks_uri_snake


def is_discovery(source: str) -> bool:
    """Whether a source is an OpenID discovery document, which names the key set."""
    return source.partition("?")[0].endswith(DISCOVERY_PATH)


def read_key_set(content: bytes) -> str:
    """Return a fetched key set in one spelling. Raises KeySetError when it has no key that Envoy can use.

    Keys of unknown types and for other uses than signatures are passed over (RFC 7517, section 5).
    """
    found = [key for key in map(_public, _keys(content)) if key is not None]
    if not found:
        raise KeySetError("the key set has no public RSA, EC or Ed25519 key for signatures")
    return msgspec.json.encode({"keys": found}).decode()


def key_set_problem(text: str) -> str:
    """Return what is wrong with a key set of a document, empty when nothing is. Its keys may be symmetric."""
    try:
        keys = _keys(text.encode())
    except KeySetError as error:
        return str(error)
    if not keys:
        return "the key set has no keys"
    for number, key in enumerate(keys):
        if not isinstance(key, dict) or not isinstance(key.get("kty"), str):
            return f"key {number} of the key set has no type (`kty`)"
        if not _is_key(key):
            return f"key {number} of the key set is not a valid {key['kty'][:20]} key"
    return ""


def without_private_members(text: str, *, hidden: str = "") -> str:
    """Return a key set of a document without what only a signer needs; the same text when it has nothing of that.

    With `hidden`, which stands in its place then, secrets that signer and verifier share go as well: to be shown.
    """
    try:
        document = _document(text.encode())
        keys = _keys(text.encode())
    except KeySetError:
        return hidden or text
    found = [_without_private(key, hidden) for key in keys]
    return text if found == keys else msgspec.json.encode({**document, "keys": found}).decode()


def _without_private(key: Any, hidden: str) -> Any:
    if not isinstance(key, dict):
        return hidden or key
    secret = _SECRET | {"k"} if hidden else _SECRET
    if not key.keys() & secret:
        return key
    return {name: hidden if name in secret else value for name, value in key.items() if hidden or name not in secret}


def read_discovery(content: bytes) -> str:
    """Return the `jwks_uri` of a discovery document. Raises KeySetError when it has none."""
    uri = _document(content).get("jwks_uri")
    if not isinstance(uri, str) or not uri:
        raise KeySetError("the discovery document has no jwks_uri")
    return uri


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeySetError("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise KeySetError("the answer is not a JSON object")
    return document


def _keys(content: bytes) -> list[Any]:
    keys = _document(content).get("keys")
    if not isinstance(keys, list):
        raise KeySetError("the key set has no list of `keys`")
    if len(keys) > MAX_KEYS:
        raise KeySetError(f"the key set has {len(keys)} keys; at most {MAX_KEYS} are read")
    return keys


def _public(key: Any) -> dict[str, str] | None:
    """Return what checks a signature with a key, None when Envoy has no use for it."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return None
    kind = key.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return None
    found = {name: key[name] for name in (*_DETAILS, *_MEMBERS[kind]) if name in key}
    if not all(isinstance(value, str) and len(value) <= _MAX_MEMBER for value in found.values()):
        return None
    if kind in _CURVES and found.get("crv") not in _CURVES[kind]:
        return None
    public = {"kty": kind, **found}
    return public if _is_key(public) else None


def _is_key(key: dict[str, Any]) -> bool:
    if key["kty"] == "oct":
        return isinstance(key.get("k"), str) and bool(key["k"])
    try:
        # The public key is asked for to have the numbers read: an import looks at the members' names only.
        return bool(jwk.import_key(key).public_key)
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
