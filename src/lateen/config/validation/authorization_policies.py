"""Rules of AuthorizationPolicy, as Istio's validation has them. Called by `validation.rules`.

The words of one attribute mean the same in a source, an operation and a condition, so each has one rule.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from lateen.config.codes import NO_EFFECT
from lateen.config.decoding import closest
from lateen.config.metadata import Metadata
from lateen.config.positions import Path
from lateen.config.security import AuthorizationAction, AuthorizationPolicy, Condition, Operation, Rule, Source
from lateen.config.validation.policy_targets import attachment
from lateen.config.violations import Violation, warning

DRY_RUN = "istio.io/dry-run"
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_MOST_RULES = 512
_MOST_ACCOUNTS = 16
_LONGEST_ACCOUNT = 320
_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+")
"""A segment of a path template."""
_SEGMENT, _REST = "{*}", "{**}"

_Check = Callable[[Path, str], Iterator[Violation]]


def is_dry_run(annotations: Mapping[str, str]) -> bool:
    """Whether a policy only says what it would do."""
    return annotations.get(DRY_RUN) in _TRUE


def authorization_policy(spec: AuthorizationPolicy, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with an AuthorizationPolicy."""
    yield from attachment(spec.selector, spec.target_ref, spec.target_refs, metadata.namespace)
    yield from _dry_run(spec.action, metadata)
    yield from _action(spec)
    if len(spec.rules) > _MOST_RULES:
        yield Violation(("rules",), f"there are {len(spec.rules)} rules", f"at most {_MOST_RULES} are allowed")
    for index, rule in enumerate(spec.rules):
        here: Path = ("rules", index)
        yield from _rule(here, rule)
        if spec.action is AuthorizationAction.CUSTOM:
            yield from _rule_of_custom(here, rule)
        if spec.action is AuthorizationAction.DENY and _refuses_all_bytes(rule):
            message = "the rule refuses every connection to a TCP port, which has none of the attributes it asks for"
            yield warning(here, message, "add the `ports` that it is about")


def _dry_run(action: AuthorizationAction, metadata: Metadata) -> Iterator[Violation]:
    value = metadata.annotations.get(DRY_RUN)
    if value is None:
        return
    if action not in (AuthorizationAction.ALLOW, AuthorizationAction.DENY):
        yield Violation((), f"the annotation {DRY_RUN} is for ALLOW and DENY, not {action.value}", "remove it")
    elif value not in _TRUE | _FALSE:
        yield Violation((), f"the annotation {DRY_RUN} is {value!r}", 'write "true" or "false"')


def _action(spec: AuthorizationPolicy) -> Iterator[Violation]:
    name = spec.provider.name if spec.provider is not None else ""
    if spec.action is AuthorizationAction.CUSTOM:
        if spec.rules and not name:
            hint = "name one of MeshConfig's extensionProviders"
            yield Violation(("provider", "name") if spec.provider else (), "CUSTOM needs `provider.name`", hint)
    elif spec.provider is not None:
        hint = "remove it, or write `action: CUSTOM`"
        yield Violation(("provider",), f"a provider is for CUSTOM, not for {spec.action.value}", hint)
    if spec.action in (AuthorizationAction.CUSTOM, AuthorizationAction.DENY) and not spec.rules:
        message = f"{spec.action.value} without rules never acts"
        yield Violation((), message, "add `rules: [{}]` if it is meant for every request")
    if spec.action is AuthorizationAction.AUDIT:
        message = "AUDIT refuses nothing and is reported nowhere: what matches is counted by the proxy"
        yield Violation(("action",), message, "read the statistic istio_audit_.shadow_allowed", NO_EFFECT)


# --- rules ---------------------------------------------------------------------------------------------------


def _rule(path: Path, rule: Rule) -> Iterator[Violation]:
    for name, listed in (("from", rule.from_), ("to", rule.to)):
        if listed is not None and not listed:
            yield Violation((*path, name), f"`{name}` must not be empty", "remove it to mean any")
        if listed is not None and len(listed) > _MOST_RULES:
            yield Violation((*path, name), f"there are {len(listed)} entries", f"at most {_MOST_RULES} are allowed")
    for index, item in enumerate(rule.from_ or ()):
        here: Path = (*path, "from", index)
        if item.source is None:
            yield Violation(here, "the field `source` is required", "remove the whole `from` to mean anybody")
        else:
            yield from _source((*here, "source"), item.source)
    for index, entry in enumerate(rule.to or ()):
        here = (*path, "to", index)
        if entry.operation is None:
            yield Violation(here, "the field `operation` is required", "remove the whole `to` to mean anything")
        else:
            yield from _operation((*here, "operation"), entry.operation)
    for index, condition in enumerate(rule.when):
        yield from _condition((*path, "when", index), condition)


def _source(path: Path, source: Source) -> Iterator[Violation]:
    if source == Source():
        yield Violation(path, "the source is empty", "say who it is, or remove the whole `from` to mean anybody")
    others = source.principals or source.not_principals or source.namespaces or source.not_namespaces
    if others and (source.service_accounts or source.not_service_accounts):
        message = "service accounts exclude principals and namespaces"
        yield Violation((*path, "serviceAccounts"), message, "write namespace/account")
    lists: tuple[tuple[str, Sequence[str], _Check], ...] = (
        ("principals", source.principals, _principal),
        ("notPrincipals", source.not_principals, _principal),
        ("requestPrincipals", source.request_principals, _text),
        ("notRequestPrincipals", source.not_request_principals, _text),
        ("namespaces", source.namespaces, _any),
        ("notNamespaces", source.not_namespaces, _any),
        ("serviceAccounts", source.service_accounts, _service_account),
        ("notServiceAccounts", source.not_service_accounts, _service_account),
        ("trustDomains", source.trust_domains, _trust_domain),
        ("notTrustDomains", source.not_trust_domains, _trust_domain),
        ("ipBlocks", source.ip_blocks, _ip_block),
        ("notIpBlocks", source.not_ip_blocks, _ip_block),
        ("remoteIpBlocks", source.remote_ip_blocks, _ip_block),
        ("notRemoteIpBlocks", source.not_remote_ip_blocks, _ip_block),
    )
    for name, values, check in lists:
        yield from _values((*path, name), values, check)


def _operation(path: Path, operation: Operation) -> Iterator[Violation]:
    if operation == Operation():
        yield Violation(path, "the operation is empty", "say what it is, or remove the whole `to` to mean anything")
    lists: tuple[tuple[str, Sequence[str], _Check], ...] = (
        ("hosts", operation.hosts, _text),
        ("notHosts", operation.not_hosts, _text),
        ("ports", operation.ports, _port),
        ("notPorts", operation.not_ports, _port),
        ("methods", operation.methods, _text),
        ("notMethods", operation.not_methods, _text),
        ("paths", operation.paths, _path),
        ("notPaths", operation.not_paths, _path),
    )
    for name, values, check in lists:
        yield from _values((*path, name), values, check)


def _values(path: Path, values: Sequence[str], check: _Check) -> Iterator[Violation]:
    if check is _service_account and len(values) > _MOST_ACCOUNTS:
        yield Violation(path, f"there are {len(values)} accounts", f"at most {_MOST_ACCOUNTS} are allowed")
    for index, value in enumerate(values):
        if value:
            yield from check((*path, index), value)
        else:
            yield Violation((*path, index), "must not be empty", "remove it")


def _condition(path: Path, condition: Condition) -> Iterator[Violation]:
    if not condition.key:
        yield Violation(path, "the field `key` is required", f"write one of {', '.join(_CONDITIONS)}")
        return
    if not condition.values and not condition.not_values:
        yield Violation(path, "the condition has neither `values` nor `notValues`", "add one of them")
    check = _CONDITIONS.get(condition.key)
    if check is None:
        problem = _bracketed_problem(condition.key)
        if problem is not None:
            yield Violation((*path, "key"), *problem)
        check = _any
    yield from _values((*path, "values"), condition.values, check)
    yield from _values((*path, "notValues"), condition.not_values, check)


def _bracketed_problem(key: str) -> tuple[str, str] | None:
    """Return what is wrong with a key that is none of the plain ones, and what to write."""
    for kind, written in _BRACKETED.items():
        if key.startswith(kind):
            name, bracket, rest = key.partition("[")
            plain = kind.startswith("experimental") or name == kind
            if plain and bracket and rest.endswith("]") and len(rest) > 1:
                return None
            return f"{key!r} is not of the form {kind.removesuffix('.')}[name]", f"write {written}"
    replaced = {
        "destination.namespace": "the policy's own namespace says it",
        "destination.name": "use the selector",
        "destination.user": "use the selector",
    }
    name = key.partition("[")[0]
    if name in replaced or name == "destination.labels":
        return f"{key!r} is not an attribute any more", replaced.get(name, "use the selector")
    known = (*_CONDITIONS, *(kind.removesuffix(".") for kind in _BRACKETED))
    near = closest(name, known)
    hint = (
        f"did you mean {_BRACKETED.get(near, near)}?"
        if near
        else f"write one of {', '.join((*_CONDITIONS, *_BRACKETED.values()))}"
    )
    return f"{key!r} is not an attribute", hint


def _rule_of_custom(path: Path, rule: Rule) -> Iterator[Violation]:
    """The attributes that Istio admits in no CUSTOM policy: they are known only after the server was asked."""
    hint = "let the authorization server look at it, or use DENY"
    for index, item in enumerate(rule.from_ or ()):
        source = item.source or Source()
        identities = {
            "principals": source.principals,
            "notPrincipals": source.not_principals,
            "requestPrincipals": source.request_principals,
            "notRequestPrincipals": source.not_request_principals,
            "namespaces": source.namespaces,
            "notNamespaces": source.not_namespaces,
            "serviceAccounts": source.service_accounts,
            "notServiceAccounts": source.not_service_accounts,
            "trustDomains": source.trust_domains,
            "notTrustDomains": source.not_trust_domains,
        }
        for name in (name for name, values in identities.items() if values):
            yield Violation((*path, "from", index, "source", name), "is not for CUSTOM", hint)
    for index, condition in enumerate(rule.when):
        if condition.key in _IDENTITIES or condition.key.startswith("request.auth."):
            yield Violation((*path, "when", index, "key"), f"{condition.key} is not for CUSTOM", hint)


def _refuses_all_bytes(rule: Rule) -> bool:
    """Whether a DENY rule has nothing that a connection has: Istio warns by these fields."""
    sources = [item.source for item in rule.from_ or () if item.source is not None]
    operations = [item.operation for item in rule.to or () if item.operation is not None]
    of_bytes = any(
        source.principals
        or source.not_principals
        or source.ip_blocks
        or source.not_ip_blocks
        or source.remote_ip_blocks
        or source.not_remote_ip_blocks
        or source.namespaces
        or source.not_namespaces
        or source.service_accounts
        or source.not_service_accounts
        for source in sources
    )
    if operations:
        return not any(operation.ports or operation.not_ports for operation in operations)
    return bool(sources) and not of_bytes


# --- values --------------------------------------------------------------------------------------------------


def _any(*_: object) -> Iterator[Violation]:
    """Any text; that it is not empty is seen to already."""
    yield from ()


def _principal(path: Path, value: str) -> Iterator[Violation]:
    if value.startswith("spiffe://"):
        message = f"{value!r} would match nobody: a principal is written without the scheme"
        yield warning(path, message, f"write {value.removeprefix('spiffe://')}")
    yield from _text(path, value)


def _text(path: Path, value: str) -> Iterator[Violation]:
    """Text that may begin or end with a wildcard."""
    if "*" in value[1:-1]:
        message = f"the `*` inside {value!r} stands for itself: it is a wildcard only alone or at one end"
        yield warning(path, message, "write a prefix such as `abc*` or a suffix such as `*abc`")


def _service_account(path: Path, value: str) -> Iterator[Violation]:
    if "*" in value:
        yield Violation(path, f"{value!r} has a wildcard, which is not allowed here", "write the name in full")
    elif len(value) > _LONGEST_ACCOUNT:
        yield Violation(path, f"the name has {len(value)} characters", f"at most {_LONGEST_ACCOUNT} are allowed")
    elif value.count("/") > 1 or value.startswith("/") or value.endswith("/"):
        yield Violation(path, f"{value!r} is not a service account", "write account or namespace/account")


def _trust_domain(path: Path, value: str) -> Iterator[Violation]:
    yield from _one_wildcard(path, value)
    if "/" in value:
        yield Violation(path, f"{value!r} is not a trust domain", "write a name such as cluster.local")


def _one_wildcard(path: Path, value: str) -> Iterator[Violation]:
    if value.count("*") > 1 or "*" in value[1:-1]:
        yield Violation(path, f"{value!r} has a wildcard in the middle, or several", "one `*` at an end is allowed")


def _ip_block(path: Path, value: str) -> Iterator[Violation]:
    address, slash, length = value.partition("/")
    try:
        # A netmask (`/255.0.0.0`) and a zone (`%eth0`) are Python's liberty.
        if "%" in value or (slash and not (length.isascii() and length.isdigit() and str(int(length)) == length)):
            raise ValueError
        ipaddress.ip_network(value, strict=False) if slash else ipaddress.ip_address(address)
    except ValueError:
        yield Violation(path, f"{value!r} is neither an IP address nor a CIDR block", "write 10.1.2.3 or 10.1.0.0/16")


def _port(path: Path, value: str) -> Iterator[Violation]:
    if not (value.isascii() and value.isdigit() and len(value) < 11 and int(value) <= 65535):
        yield Violation(path, f"{value!r} is not a port", 'write a number from 0 to 65535, in quotes: "8080"')


def _path(path: Path, value: str) -> Iterator[Violation]:
    """A path or a template: `{*}` is a segment, `{**}` the rest of them."""
    template = _SEGMENT in value or _REST in value
    ended = False
    for segment in value.strip("/").split("/"):
        if segment in (_SEGMENT, _REST):
            if ended:
                yield Violation(path, f"{value!r} goes on after {_REST}", f"{_REST} must be the last operator")
                return
            ended = segment == _REST
        elif "{" in segment or "}" in segment:
            hint = f"a segment is {_SEGMENT}, {_REST} or plain text"
            yield Violation(path, f"{value!r} has braces around something else", hint)
            return
        elif template and not _LITERAL.fullmatch(segment):
            hint = "leave out `*` and other characters that a path has only in escaped form"
            yield Violation(path, f"{segment!r} cannot stand in a path template", hint)
            return
    if not template:
        yield from _text(path, value)


_IDENTITIES = frozenset(("source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"))
_CONDITIONS: Mapping[str, _Check] = {
    "source.ip": _ip_block,
    "remote.ip": _ip_block,
    "source.namespace": _any,
    "source.principal": _principal,
    "source.serviceAccount": _service_account,
    "source.trustDomain": _trust_domain,
    "request.auth.principal": _text,
    "request.auth.audiences": _text,
    "request.auth.presenter": _text,
    "destination.ip": _ip_block,
    "destination.port": _port,
    "connection.sni": _text,
}
_BRACKETED = {
    "request.headers": "request.headers[x-user]",
    "request.auth.claims": "request.auth.claims[group]",
    "experimental.envoy.filters.": "experimental.envoy.filters.network.mysql_proxy[db.table]",
}
