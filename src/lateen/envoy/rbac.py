"""Envoy's RBAC filters: matchers of connections and requests, policies made of them, and the settings around those.

Called by `generate.authorization` and its matchers, which decide what is matched. A policy is serialised once, as the
entry that it is in the filter's map of policies, so that a filter with a thousand of them is put together from bytes.
Source: `envoy.config.rbac.v3`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from lateen.envoy.listeners import cidr_range
from lateen.envoy.messages import Fields, entry, serialise, typed_extension
from lateen.envoy.resources import TYPE_PREFIX

HTTP_RBAC: Final = "envoy.filters.http.rbac"
NETWORK_RBAC: Final = "envoy.filters.network.rbac"
"""Names of the dynamic metadata that the filters write, whatever a filter is called; the names of filters begin so."""
HTTP_RBAC_CONFIG: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK_RBAC_CONFIG: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"
JWT: Final = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD: Final = "payload"
"""Where the claims of a token that was accepted stand in dynamic metadata."""
SHADOW_POLICY: Final = "shadow_effective_policy_id"
"""Key of the dynamic metadata that names the shadow policy that matched, after the filter's shadow prefix."""
TCP_STAT_PREFIX: Final = "tcp."

Action: TypeAlias = Literal["ALLOW", "DENY", "LOG"]
Side: TypeAlias = Literal["permissions", "principals"]
"""What a matcher of Envoy is about: what is done, or by whom. Most matchers exist for one of them only."""

_RBAC = "envoy.config.rbac.v3.RBAC"
_POLICY = "envoy.config.rbac.v3.Policy"
_POLICIES = 2
_KEY = 1
_VALUE = 2
_RULES = 1
_SHADOW_RULES = 2
_WORDS = {
    "permissions": ("and_rules", "or_rules", "not_rule", "rules"),
    "principals": ("and_ids", "or_ids", "not_id", "ids"),
}
_QUOTED = str.maketrans({char: f"\\{char}" for char in r"\.+*?()|[]{}^$"})


# --- strings -------------------------------------------------------------------------------------------------


def exact(text: str) -> Fields:
    """Return a StringMatcher."""
    return {"exact": text}


def prefix(text: str) -> Fields:
    """Return a StringMatcher."""
    return {"prefix": text}


def suffix(text: str) -> Fields:
    """Return a StringMatcher."""
    return {"suffix": text}


def regex(pattern: str) -> Fields:
    """Return a StringMatcher; the pattern (RE2) is for the whole text."""
    return {"safe_regex": {"regex": pattern}}


def wildcard(text: str) -> Fields:
    """Return the StringMatcher of a value with at most one `*`, at either end; `*` alone is any text but none."""
    if text == "*":
        return regex(".+")
    if text.startswith("*"):
        return suffix(text[1:])
    if text.endswith("*"):
        return prefix(text[:-1])
    return exact(text)


def quoted(text: str) -> str:
    """Return a regular expression (RE2) for exactly this text."""
    return text.translate(_QUOTED)


# --- what is done --------------------------------------------------------------------------------------------


def any_of(side: Side, matchers: Sequence[Fields]) -> Fields:
    """Return what matches when one of them does."""
    _, alternatives, _, members = _WORDS[side]
    return matchers[0] if len(matchers) == 1 else {alternatives: {members: list(matchers)}}


def all_of(side: Side, matchers: Sequence[Fields]) -> Fields:
    """Return what matches when all of them do; of none, everything."""
    if not matchers:
        return {"any": True}
    together, _, _, members = _WORDS[side]
    return matchers[0] if len(matchers) == 1 else {together: {members: list(matchers)}}


def none_of(side: Side, matchers: Sequence[Fields]) -> Fields:
    """Return what matches when none of them does."""
    return {_WORDS[side][2]: any_of(side, matchers)}


def header(name: str, value: str) -> Fields:
    """Return the matcher of a header; `*` is its presence. For both sides."""
    if value == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": wildcard(value)}}


def header_string(name: str, string: Fields, *, ignore_case: bool = False) -> Fields:
    """Return the matcher of a header by a StringMatcher. For both sides."""
    return {"header": {"name": name, "string_match": string | {"ignore_case": True} if ignore_case else string}}


def path(string: Fields) -> Fields:
    """Return the matcher of a path without its query."""
    return {"url_path": {"path": string}}


def path_template(template: str) -> Fields:
    """Return the matcher of a path by Envoy's URI template: `*` is a segment, `**` any number of them."""
    config = {"path_template": template}
    name = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
    return {"uri_template": typed_extension("uri-template", name, config)}


def destination_port(number: int) -> Fields:
    """Return the matcher of the port that was called."""
    return {"destination_port": number}


def destination_ip(block: str) -> Fields:
    """Return the matcher of the address that was called."""
    return {"destination_ip": cidr_range(block)}


def server_name(string: Fields) -> Fields:
    """Return the matcher of the SNI."""
    return {"requested_server_name": string}


def dynamic_metadata(namespace: str, keys: Sequence[str], value: Fields) -> Fields:
    """Return the matcher of what an earlier filter found out, by a ValueMatcher. For both sides."""
    matcher = {"filter": namespace, "path": [{"key": key} for key in keys], "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher}}


def one_of_list(value: Fields) -> Fields:
    """Return the ValueMatcher of a list that has such a value."""
    return {"list_match": {"one_of": value}}


# --- by whom -------------------------------------------------------------------------------------------------


def authenticated(string: Fields) -> Fields:
    """Return the matcher of the peer's certificate: its URI names, and only where it has none, others.

    Every pattern that is given must ask for `spiffe://` (or for anything at all), so that no other name passes.
    """
    return {"authenticated": {"principal_name": string}}


def direct_remote_ip(block: str) -> Fields:
    """Return the matcher of the address that the connection comes from."""
    return {"direct_remote_ip": cidr_range(block)}


def remote_ip(block: str) -> Fields:
    """Return the matcher of the client's address, as far as X-Forwarded-For or the PROXY protocol are trusted."""
    return {"remote_ip": cidr_range(block)}


# --- policies and filters ------------------------------------------------------------------------------------


def policy_entry(name: str, permissions: Sequence[Fields], principals: Sequence[Fields]) -> bytes:
    """Return a policy as it stands in a serialised RBAC: one of the first and one of the second must match."""
    policy = serialise(_POLICY, {"permissions": permissions, "principals": principals})
    return entry(_POLICIES, entry(_KEY, name.encode()) + entry(_VALUE, policy))


def never_entry(name: str) -> bytes:
    """Return a policy that nothing matches."""
    return policy_entry(name, [{"not_rule": {"any": True}}], [{"not_id": {"any": True}}])


def rules(action: Action, entries: Iterable[bytes]) -> bytes:
    """Return a serialised RBAC of these policies, whose names differ."""
    return b"".join((serialise(_RBAC, {"action": action}), *entries))


def http_config(enforced: bytes | None = None, shadow: bytes | None = None, *, shadow_prefix: str = "") -> Fields:
    """Return the settings of an HTTP filter, packed: one RBAC that decides, one that only says what it would decide.

    With neither the filter lets everything pass, and counts nothing.
    """
    body = _bodies(enforced, shadow) + serialise(HTTP_RBAC_CONFIG, {"shadow_rules_stat_prefix": shadow_prefix})
    return {"type_url": f"{TYPE_PREFIX}{HTTP_RBAC_CONFIG}", "value": body}


def network_config(enforced: bytes | None = None, shadow: bytes | None = None, *, shadow_prefix: str = "") -> Fields:
    """Return the same of a network filter; it decides when a client sends its first bytes."""
    names = {"stat_prefix": TCP_STAT_PREFIX, "shadow_rules_stat_prefix": shadow_prefix}
    body = _bodies(enforced, shadow) + serialise(NETWORK_RBAC_CONFIG, names)
    return {"type_url": f"{TYPE_PREFIX}{NETWORK_RBAC_CONFIG}", "value": body}


def _bodies(enforced: bytes | None, shadow: bytes | None) -> bytes:
    parts = ((_RULES, enforced), (_SHADOW_RULES, shadow))
    return b"".join(entry(number, body) for number, body in parts if body is not None)
