"""Matchers of SPIFFE IDs in the words of policies: principal, namespace, service account, trust domain.

Called by `rbac`. The patterns are those of `generate.authorization_attributes`; one that is none of them is shown as it
is, so nothing depends on the two being in step but how well it reads (a test holds them together).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lateen.envoy.messages import Fields
from lateen.explain.explanations import Condition
from lateen.explain.matchers import string_text
from lateen.model.identities import Identity

_SPIFFE = "spiffe://"
_NAMESPACE = re.compile(r"spiffe://\[\^/\]\+/ns/(.+)/\.\*")
_ACCOUNT = re.compile(r"spiffe://\[\^/\]\+/ns/(.+)/\(\.\+/\)\?sa/(.+)\(/\.\+\)\?")
_DOMAIN = re.compile(r"spiffe://(.+)/\.\*")
_SUFFIX = re.compile(r"spiffe://\.\*(.+)")


def identity_condition(string: Fields | None, names: Sequence[str] | None) -> Condition:
    """Return what a StringMatcher of a certificate's names asks for, and what the peer is instead.

    No matcher asks for any certificate; no names mean that there is none.
    """
    attribute, wanted, part = ("principal", "any certificate", None) if string is None else _read(string)
    actual = names[0].removeprefix(_SPIFFE) if names else ""
    if part is not None and names:
        try:
            actual = part(Identity.parse(names[0]))
        except ValueError:
            attribute = "principal"
    return Condition(attribute=attribute, wanted=[wanted], actual=actual)


_Part = Callable[[Identity], str]


def _read(string: Fields) -> tuple[str, str, _Part | None]:
    if "safe_regex" in string:
        pattern = string["safe_regex"]["regex"]
        if found := _ACCOUNT.fullmatch(pattern):
            return "service account", f"{_plain(found[1])}/{_plain(found[2])}", _account
        if found := _NAMESPACE.fullmatch(pattern):
            return "namespace", _plain(found[1]), _namespace
        if found := _SUFFIX.fullmatch(pattern):
            return "principal", f"*{_plain(found[1])}", None
        if found := _DOMAIN.fullmatch(pattern):
            return "trust domain", _plain(found[1]), _domain
    prefix = string.get("prefix", "")
    if prefix.startswith(_SPIFFE) and prefix.endswith("/") and prefix.count("/") == 3:
        return "trust domain", prefix.removeprefix(_SPIFFE).rstrip("/"), _domain
    return "principal", string_text(string).replace(_SPIFFE, ""), None


def _plain(pattern: str) -> str:
    """Return the text that a quoted pattern stands for, `*` where anything may stand."""
    return re.sub(r"\\(.)", r"\1", pattern.replace("[^/]*", "*"))


def _account(identity: Identity) -> str:
    return f"{identity.namespace}/{identity.service_account}"


def _namespace(identity: Identity) -> str:
    return identity.namespace


def _domain(identity: Identity) -> str:
    return identity.trust_domain
