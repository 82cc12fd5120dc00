"""What rules of AuthorizationPolicies ask for, attribute by attribute, as matchers of Envoy's RBAC.

Called by `authorization_matchers`. What an attribute means is Istio's: its reference of AuthorizationPolicy and of
authorization policy conditions. An attribute of a source or an operation and the condition of that meaning are one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lateen.envoy import rbac
from lateen.envoy.messages import Fields
from lateen.envoy.rbac import Action, Side

_SPIFFE = "spiffe://"
_AUTHORITY = ":authority"
_PORT = re.compile(r":[0-9]+$")
_BRACKETS = re.compile(r"(?:\[[^\[\]]*\])+")
_CLUSTER_LOCAL = "cluster.local"
"""A trust domain that stands for the mesh's own, whatever its name."""
_FOREIGN_METADATA = "experimental."


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a rule is translated for."""

    namespace: str
    """Of the policy."""
    trust_domains: tuple[str, ...]
    """The mesh's own, then its aliases."""
    action: Action
    """What Envoy is told to do with a match."""
    tcp: bool

    @property
    def narrow(self) -> bool:
        """Whether matching less lets less through."""
        return self.action == "ALLOW"


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that a rule can ask for."""

    side: Side
    match: Callable[[str], Fields]
    """By one of the values as written."""
    http_only: bool = False
    expand: Callable[[Sequence[str], Setting], Sequence[str]] | None = None
    """What the values stand for."""
    guarded: Callable[[str], Fields] | None = None
    """How a value matches where matching more lets less through."""


# --- identities ----------------------------------------------------------------------------------------------


def _principal(value: str) -> Fields:
    if value == "*":
        return rbac.authenticated(rbac.regex(".+"))
    if value.startswith("*"):
        return rbac.authenticated(rbac.regex(f"{_SPIFFE}.*{rbac.quoted(value[1:])}"))
    return rbac.authenticated(rbac.wildcard(_SPIFFE + value))


def _with_aliases(values: Sequence[str], setting: Setting) -> Sequence[str]:
    """Return principals of the mesh's trust domain under all the names that it has."""
    found: dict[str, None] = {}
    for value in values:
        own, *rest = value.split("/")
        known = own == _CLUSTER_LOCAL or any(_may_be(own, domain) for domain in setting.trust_domains)
        if len(rest) != 4 or own == "*" or not known:
            found[value] = None
            continue
        for domain in setting.trust_domains:
            covered = own.startswith("*") and domain.endswith(own[1:])
            found[value if covered else "/".join((domain, *rest))] = None
    return tuple(found)


def _may_be(written: str, domain: str) -> bool:
    """Whether a trust domain as written in a policy, perhaps with a wildcard, may be this one."""
    return written == domain or any(
        (pattern.startswith("*") and text.endswith(pattern[1:]))
        or (pattern.endswith("*") and text.startswith(pattern[:-1]))
        for pattern, text in ((written, domain), (domain, written))
    )


def _namespace(value: str) -> Fields:
    name = "[^/]*".join(rbac.quoted(part) for part in value.split("*"))
    return rbac.authenticated(rbac.regex(f"{_SPIFFE}[^/]+/ns/{name}/.*"))


def _service_account(value: str) -> Fields:
    namespace, _, name = value.partition("/")
    of = f"{_SPIFFE}[^/]+/ns/{rbac.quoted(namespace)}/(.+/)?sa/{rbac.quoted(name)}(/.+)?"
    return rbac.authenticated(rbac.regex(of))


def _full_accounts(values: Sequence[str], setting: Setting) -> Sequence[str]:
    """Return service accounts with their namespace, which is the policy's where none is written."""
    return tuple(value if "/" in value else f"{setting.namespace}/{value}" for value in values)


def _trust_domain(value: str) -> Fields:
    if value == "*":
        return rbac.authenticated(rbac.prefix(_SPIFFE))
    if "*" not in value:
        return rbac.authenticated(rbac.prefix(f"{_SPIFFE}{value}/"))
    name = "[^/]*".join(rbac.quoted(part) for part in value.split("*"))
    return rbac.authenticated(rbac.regex(f"{_SPIFFE}{name}/.*"))


def _all_domains(values: Sequence[str], setting: Setting) -> Sequence[str]:
    own = setting.trust_domains
    return tuple(dict.fromkeys(domain for value in values for domain in (own if value in own else (value,))))


# --- tokens --------------------------------------------------------------------------------------------------


def _request_principal(value: str) -> Fields:
    """Return the matcher of `issuer/subject`; an issuer may hold slashes, a subject may not.

    Only the end at which the whole value has its `*` is open.
    """
    issuer, slash, subject = value.rpartition("/")
    if slash:
        of = rbac.wildcard(issuer) if value.startswith("*") else rbac.exact(issuer)
        whose = rbac.wildcard(subject) if value.endswith("*") and not value.startswith("*") else rbac.exact(subject)
    elif value.startswith("*"):
        of, whose = rbac.wildcard("*"), rbac.wildcard(value)
    elif value.endswith("*"):
        of, whose = rbac.wildcard(value), rbac.wildcard("*")
    else:
        of, whose = rbac.exact(value), rbac.exact("")
    return rbac.all_of("principals", (_claim(("iss",), of), _claim(("sub",), whose)))


def _claim(keys: Sequence[str], string: Fields) -> Fields:
    return rbac.dynamic_metadata(rbac.JWT, (rbac.JWT_PAYLOAD, *keys), {"string_match": string})


def _listed_claim(keys: Sequence[str]) -> Attribute:
    """Return the attribute of a claim that is text or a list of texts."""

    def match(value: str) -> Fields:
        string: Fields = {"string_match": rbac.wildcard(value)}
        either = {"or_match": {"value_matchers": [rbac.one_of_list(string), string]}}
        return rbac.dynamic_metadata(rbac.JWT, (rbac.JWT_PAYLOAD, *keys), either)

    return Attribute("principals", match, http_only=True)


# --- requests ------------------------------------------------------------------------------------------------


def _host(value: str) -> Fields:
    if value == "*":
        return rbac.header(_AUTHORITY, "*")
    return rbac.header_string(_AUTHORITY, rbac.wildcard(value), ignore_case=True)


def _every_spelling(value: str) -> Fields:
    """Return the matcher of a host in all the ways a server takes for it.

    With any port, with a dot at its end, and as one of several: of two Host headers Envoy makes `one,other`, and whose
    choice a server makes nobody knows. Istio matches the text alone and asks for a second entry, `host:*`; whoever
    forgets it refuses nothing.
    """
    if value == "*":
        return _host(value)
    port = None if value.endswith("*") else _PORT.search(value)
    name = (value[: port.start()] if port is not None else value).removesuffix(".")
    pattern = ".*".join(rbac.quoted(part) for part in name.split("*"))
    end = rbac.quoted(port.group()) if port is not None else "(:[0-9]*)?"
    return rbac.header_string(_AUTHORITY, rbac.regex(rf"(?i)(.*,\s*)?{pattern}\.?{end}(\s*,.*)?"))


def _method(value: str) -> Fields:
    return rbac.header(":method", value)


def _path(value: str) -> Fields:
    if "{*}" in value or "{**}" in value:
        return rbac.path_template(value.replace("{*}", "*").replace("{**}", "**"))
    return rbac.path(rbac.wildcard(value))


def _header(name: str) -> Attribute:
    return Attribute("principals", lambda value: rbac.header(name, value), http_only=True)


def _filter_metadata(key: str) -> Attribute:
    """Return the attribute `envoy.filters.x.y[key]`: what another filter found out."""
    namespace, _, name = key.removeprefix(_FOREIGN_METADATA).removesuffix("]").partition("[")

    def match(value: str) -> Fields:
        listed = value.startswith("[") and value.endswith("]")
        string: Fields = {"string_match": rbac.wildcard(value.strip("[]") if listed else value)}
        return rbac.dynamic_metadata(namespace, (name,), rbac.one_of_list(string) if listed else string)

    return Attribute("permissions", match)


# --- the attributes ------------------------------------------------------------------------------------------

PRINCIPAL = Attribute("principals", _principal, expand=_with_aliases)
NAMESPACE = Attribute("principals", _namespace)
SERVICE_ACCOUNT = Attribute("principals", _service_account, expand=_full_accounts)
TRUST_DOMAIN = Attribute("principals", _trust_domain, expand=_all_domains)
SOURCE_IP = Attribute("principals", rbac.direct_remote_ip)
REMOTE_IP = Attribute("principals", rbac.remote_ip)
REQUEST_PRINCIPAL = Attribute("principals", _request_principal, http_only=True)
HOST = Attribute("permissions", _host, http_only=True, guarded=_every_spelling)
METHOD = Attribute("permissions", _method, http_only=True)
PATH = Attribute("permissions", _path, http_only=True)
DESTINATION_PORT = Attribute("permissions", lambda value: rbac.destination_port(int(value)))

_BY_KEY = {
    "source.ip": SOURCE_IP,
    "remote.ip": REMOTE_IP,
    "source.namespace": NAMESPACE,
    "source.principal": PRINCIPAL,
    "source.serviceAccount": SERVICE_ACCOUNT,
    "source.trustDomain": TRUST_DOMAIN,
    "request.auth.principal": REQUEST_PRINCIPAL,
    "request.auth.audiences": _listed_claim(("aud",)),
    "request.auth.presenter": _listed_claim(("azp",)),
    "destination.ip": Attribute("permissions", rbac.destination_ip),
    "destination.port": DESTINATION_PORT,
    "connection.sni": Attribute("permissions", lambda value: rbac.server_name(rbac.wildcard(value))),
}
"""Attributes of conditions; those with a name in brackets are made from it."""


def condition_attribute(key: str) -> Attribute:
    """Return the attribute of a condition, whose key validation has admitted."""
    known = _BY_KEY.get(key)
    if known is not None:
        return known
    kind, _, rest = key.partition("[")
    if kind == "request.headers":
        return _header(rest.removesuffix("]"))
    if kind == "request.auth.claims":
        return _listed_claim(_nested(key.removeprefix(kind)))
    return _filter_metadata(key)


def _nested(brackets: str) -> tuple[str, ...]:
    """Return the names in `[a][b]`; what is not of that form is one name."""
    if _BRACKETS.fullmatch(brackets):
        return tuple(brackets[1:-1].split("]["))
    return (brackets[1:-1],)
