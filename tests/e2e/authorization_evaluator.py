"""Istio's AuthorizationPolicy, read from its documentation: what the matrix test compares Envoy with.

Knows documents (plain dicts) and requests, and nothing of how Lateen or Envoy do it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request, or a connection when it has no method."""

    principal: str | None
    """`trust-domain/ns/namespace/sa/account`, None without a certificate."""
    source: str
    destination: str
    port: int
    sni: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    remote: str = ""

    @property
    def bytes_only(self) -> bool:
        return not self.method


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """What a verdict depends on besides the policies."""

    trust_domains: Sequence[str] = ("cluster.local",)


def allowed(policies: Sequence[Mapping[str, Any]], call: Call, mesh: Mesh) -> bool:
    """Whether a call passes the policies that are about its workload."""
    acting = [one for one in policies if one["metadata"].get("annotations", {}).get("istio.io/dry-run") != "true"]
    by_action = {
        action: [one for one in acting if one["spec"].get("action", "ALLOW") == action] for action in ("DENY", "ALLOW")
    }
    if any(_matches(one, call, mesh, deny=True) for one in by_action["DENY"]):
        return False
    if not by_action["ALLOW"]:
        return True
    return any(_matches(one, call, mesh, deny=False) for one in by_action["ALLOW"])


def _matches(policy: Mapping[str, Any], call: Call, mesh: Mesh, *, deny: bool) -> bool:
    namespace = policy["metadata"]["namespace"]
    return any(_rule(rule, call, mesh, namespace, deny) for rule in policy["spec"].get("rules", ()))


_HTTP_ONLY = frozenset(
    (
        *("requestPrincipals", "hosts", "methods", "paths"),
        *("request.auth.principal", "request.auth.audiences", "request.auth.presenter"),
    )
)


def _rule(rule: Mapping[str, Any], call: Call, mesh: Mesh, namespace: str, deny: bool) -> bool:
    groups = [[item["source"] for item in rule.get("from", ())], [item["operation"] for item in rule.get("to", ())]]
    conditions = [
        {one["key"]: one.get("values", []), f"!{one['key']}": one.get("notValues", [])} for one in rule.get("when", ())
    ]
    asked = [_named(entry) for group in groups for entry in group] + conditions
    if (
        call.bytes_only
        and not deny
        and any(_http_only(name) for entry in asked for name, values in entry.items() if values)
    ):
        return False
    judge = _Judge(call, mesh, namespace, deny)
    return all(not group or any(judge.all_hold(_named(entry)) for entry in group) for group in groups) and all(
        judge.all_hold(entry) for entry in conditions
    )


def _named(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """Negations (`notPaths`) under the name of what they negate, with a mark."""
    return {
        (f"!{name[3].lower()}{name[4:]}" if name.startswith("not") else name): values for name, values in entry.items()
    }


def _http_only(name: str) -> bool:
    bare = name.removeprefix("!")
    return bare in _HTTP_ONLY or bare.startswith(("request.headers[", "request.auth.claims["))


class _Judge:
    def __init__(self, call: Call, mesh: Mesh, namespace: str, deny: bool) -> None:
        self.call = call
        self.mesh = mesh
        self.namespace = namespace
        self.deny = deny

    def all_hold(self, entry: Mapping[str, list[str]]) -> bool:
        return all(self._holds(name, values) for name, values in entry.items() if values)

    def _holds(self, name: str, values: list[str]) -> bool:
        negated = name.startswith("!")
        bare = name.removeprefix("!")
        if self.call.bytes_only and _http_only(bare):
            return True  # of a rule that refuses, the rest decides
        matches = self._matcher(bare, widened=self.deny != negated)
        return any(matches(value) for value in values) != negated

    def _matcher(self, name: str, *, widened: bool) -> Callable[[str], bool]:
        call = self.call
        if name.startswith("request.headers["):
            header = call.headers.get(name[len("request.headers[") : -1].lower())
            return lambda value: header is not None and (value == "*" or text(value, header))
        if name.startswith("request.auth.claims["):
            return lambda value: self._claim(name[len("request.auth.claims") :], value)
        by_name: dict[str, Callable[[str], bool]] = {
            "principals": self._principal,
            "source.principal": self._principal,
            "namespaces": lambda value: text(value, self._part(2)),
            "source.namespace": lambda value: text(value, self._part(2)),
            "serviceAccounts": self._account,
            "source.serviceAccount": self._account,
            "trustDomains": self._trust_domain,
            "source.trustDomain": self._trust_domain,
            "requestPrincipals": self._request_principal,
            "request.auth.principal": self._request_principal,
            "request.auth.audiences": lambda value: self._claim("[aud]", value),
            "request.auth.presenter": lambda value: self._claim("[azp]", value),
            "ipBlocks": lambda value: within(call.source, value),
            "source.ip": lambda value: within(call.source, value),
            "remoteIpBlocks": lambda value: within(call.remote or call.source, value),
            "remote.ip": lambda value: within(call.remote or call.source, value),
            "hosts": lambda value: self._host(value, widened),
            "ports": lambda value: int(value) == call.port,
            "destination.port": lambda value: int(value) == call.port,
            "destination.ip": lambda value: within(call.destination, value),
            "methods": lambda value: value == "*" or text(value, call.method),
            "paths": self._path,
            "connection.sni": lambda value: text(value, call.sni),
        }
        return by_name[name]

    def _part(self, index: int) -> str:
        return self.call.principal.split("/")[index] if self.call.principal else ""

    def _principal(self, value: str) -> bool:
        principal = self.call.principal
        if principal is None:
            return False
        parts = value.split("/")
        if len(parts) == 5 and parts[0] in (*self.mesh.trust_domains, "cluster.local"):
            return any(text("/".join((domain, *parts[1:])), principal) for domain in self.mesh.trust_domains)
        return text(value, principal)

    def _account(self, value: str) -> bool:
        wanted = value if "/" in value else f"{self.namespace}/{value}"
        return self.call.principal is not None and wanted == f"{self._part(2)}/{self._part(4)}"

    def _trust_domain(self, value: str) -> bool:
        own = self._part(0)
        return bool(own) and (text(value, own) or (value in self.mesh.trust_domains and own in self.mesh.trust_domains))

    def _request_principal(self, value: str) -> bool:
        issuer, subject = self.call.claims.get("iss"), self.call.claims.get("sub")
        if not issuer or not subject:
            return False
        # The last slash ends the issuer; only the end at which the wildcard stands is open.
        wanted, _, user = value.rpartition("/")
        if value == "*":
            return True
        if value.startswith("*"):
            return text(wanted, issuer) and user == subject
        return wanted == issuer and text(user, subject)

    def _claim(self, brackets: str, value: str) -> bool:
        found: Any = self.call.claims
        for key in brackets[1:-1].split("]["):
            found = found.get(key) if isinstance(found, Mapping) else None
        items = found if isinstance(found, list) else [found]
        return any(isinstance(item, str) and text(value, item) for item in items)

    def _host(self, value: str, widened: bool) -> bool:
        host, wanted = self.call.host.lower(), value.lower()
        if text(wanted, host):
            return True
        # Lateen's own: what refuses, refuses a host under any port and with a dot at its end.
        bare = re.sub(r":\d+$", "", host).removesuffix(".")
        port = re.search(r":\d+$", host)
        return widened and (text(wanted, bare) or (port is not None and text(wanted, bare + port.group())))

    def _path(self, value: str) -> bool:
        path = self.call.path.partition("?")[0]
        if "{" not in value:
            return value == "*" or text(value, path)
        segments = [
            "[^/]+" if part == "{*}" else ".*" if part == "{**}" else re.escape(part) for part in value.split("/")
        ]
        return re.fullmatch("/".join(segments), path) is not None


def text(pattern: str, value: str) -> bool:
    """Whether a text is the pattern's, which may have a `*` at one end; `*` alone is any text but none."""
    if pattern == "*":
        return bool(value)
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern


def within(address: str, block: str) -> bool:
    """Whether an address is in a block, or is it."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)
