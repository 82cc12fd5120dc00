"""Rules of the Gateway API's routes. Source: patterns and CEL rules of the CRDs, release 1.6.1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lateen.config.codes import MISSING_FIELD
from lateen.config.durations import nanoseconds
from lateen.config.gateway_api import (
    BackendObjectReference,
    GRPCMethodMatch,
    GRPCRoute,
    GRPCRouteFilter,
    HTTPCORSFilter,
    HTTPFilterType,
    HTTPHeaderFilter,
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPPathModifier,
    HTTPRequestMirrorFilter,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteRule,
    MatchType,
    ParentReference,
    PathMatchType,
    PathModifierType,
    TCPRoute,
    TLSRoute,
)
from lateen.config.metadata import Metadata
from lateen.config.positions import Path
from lateen.config.validation.gateway_api import at_most, between, hostname, invalid, reference, subdomain, unique
from lateen.config.validation.http_routes import REDIRECT_CODES
from lateen.config.validation.regexes import regex
from lateen.config.violations import Violation

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_DURATION = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}")
_ORIGIN = re.compile(r"\*|https?://(?:(?:(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+|\*)(?::[0-9]{1,5})?)")
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_GRPC_SERVICE = re.compile(r"(?i)\.?[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*")
_FILTER_FIELDS = {
    "RequestHeaderModifier": ("request_header_modifier", "requestHeaderModifier"),
    "ResponseHeaderModifier": ("response_header_modifier", "responseHeaderModifier"),
    "RequestMirror": ("request_mirror", "requestMirror"),
    "RequestRedirect": ("request_redirect", "requestRedirect"),
    "URLRewrite": ("url_rewrite", "urlRewrite"),
    "CORS": ("cors", "cors"),
    "ExtensionRef": ("extension_ref", "extensionRef"),
}
_OLD_VERSION = "v1alpha2"
"""Of routes of connections, with looser rules."""
_REPEATED = ("RequestMirror", "ExtensionRef")
"""Types of filters that may stand several times in a list."""


def http_route(spec: HTTPRoute, _metadata: Metadata) -> Iterator[Violation]:
    """An HTTPRoute."""
    yield from _common(spec.parent_refs, spec.hostnames)
    yield from between(("rules",), spec.rules, 1, 16, "rule")
    yield from _totals([len(rule.matches) for rule in spec.rules])
    yield from _rule_names([rule.name for rule in spec.rules])
    for index, rule in enumerate(spec.rules):
        yield from _http_rule(("rules", index), rule)


def grpc_route(spec: GRPCRoute, _metadata: Metadata) -> Iterator[Violation]:
    """A GRPCRoute."""
    yield from _common(spec.parent_refs, spec.hostnames)
    yield from at_most(("rules",), spec.rules, 16)
    yield from _totals([len(rule.matches) for rule in spec.rules])
    yield from _rule_names([rule.name for rule in spec.rules])
    for index, rule in enumerate(spec.rules):
        here: Path = ("rules", index)
        for number, match in enumerate(rule.matches):
            place = (*here, "matches", number)
            yield from _matches((*place, "headers"), match.headers)
            if match.method is not None:
                yield from _grpc_method((*place, "method"), match.method)
        yield from _filters((*here, "filters"), rule.filters)
        yield from at_most((*here, "backendRefs"), rule.backend_refs, 16)
        for number, backend in enumerate(rule.backend_refs):
            yield from _backend((*here, "backendRefs", number), backend)
            yield from _filters((*here, "backendRefs", number, "filters"), backend.filters)


def tcp_route(spec: TCPRoute, metadata: Metadata) -> Iterator[Violation]:
    """A TCPRoute."""
    yield from _connection_route(spec, metadata)


def tls_route(spec: TLSRoute, metadata: Metadata) -> Iterator[Violation]:
    """A TLSRoute. Before v1alpha3 one without host names was about every name of its listener."""
    if not spec.hostnames and metadata.version != _OLD_VERSION:
        message, hint = "the field `hostnames` is required", "add `hostnames: [example.com]`"
        yield Violation((), message, hint, MISSING_FIELD)
    yield from at_most(("hostnames",), spec.hostnames, 1024)
    for index, name in enumerate(spec.hostnames):
        yield from hostname(("hostnames", index), name)
    yield from _connection_route(spec, metadata)


def _connection_route(spec: TCPRoute | TLSRoute, metadata: Metadata) -> Iterator[Violation]:
    yield from _common(spec.parent_refs, ())
    yield from between(("rules",), spec.rules, 1, 16 if metadata.version == _OLD_VERSION else 1, "rule")
    yield from _rule_names([rule.name for rule in spec.rules])
    for index, rule in enumerate(spec.rules):
        yield from between(("rules", index, "backendRefs"), rule.backend_refs, 1, 16, "backend")
        for number, backend in enumerate(rule.backend_refs):
            yield from _backend(("rules", index, "backendRefs", number), backend)


# --- what all routes have ------------------------------------------------------------------------------------


def _common(parents: Sequence[ParentReference], hostnames: Sequence[str]) -> Iterator[Violation]:
    yield from at_most(("parentRefs",), parents, 32)
    seen: dict[tuple[str, ...], set[tuple[str, int]]] = {}
    for index, parent in enumerate(parents):
        here: Path = ("parentRefs", index)
        yield from reference(here, parent.group, parent.kind, parent.name, parent.namespace)
        sections = seen.setdefault((parent.group, parent.kind, parent.namespace, parent.name), set())
        section = (parent.section_name, parent.port or 0)
        if sections and (section in sections or section == ("", 0) or ("", 0) in sections):
            hint = "tell them apart by `sectionName` or `port`, or remove one"
            yield invalid(here, f"the parent {parent.name!r} stands twice", hint)
        if parent.section_name:
            yield from subdomain((*here, "sectionName"), parent.section_name, "name of a section")
        sections.add(section)
    yield from at_most(("hostnames",), hostnames, 16)
    for index, name in enumerate(hostnames):
        yield from hostname(("hostnames", index), name)


def _totals(counts: Sequence[int]) -> Iterator[Violation]:
    for index, count in enumerate(counts):
        if count > 64:
            yield invalid(("rules", index, "matches"), f"has {count} matches, which are more than 64")
    if sum(counts) > 128:
        yield invalid(("rules",), f"the rules have {sum(counts)} matches together, which are more than 128")


def _rule_names(names: Sequence[str]) -> Iterator[Violation]:
    for index, name in enumerate(names):
        if name:
            yield from subdomain(("rules", index, "name"), name, "name of a rule")
    given = [name for name in names if name]
    if len(set(given)) != len(given):
        yield from unique(("rules",), given, "rule name")


def _backend(here: Path, backend: BackendObjectReference) -> Iterator[Violation]:
    yield from reference(here, backend.group, backend.kind, backend.name, backend.namespace)
    if backend.group == "" and backend.kind == "Service" and backend.port is None:
        yield invalid(here, "a Service needs a port", "add `port: 80`")


def _matches(path: Path, matches: Sequence[HTTPHeaderMatch]) -> Iterator[Violation]:
    yield from at_most(path, matches, 16)
    names = [match.name for match in matches]
    if len(set(names)) != len(names):
        yield from unique(path, names, "name")
    for index, match in enumerate(matches):
        here = (*path, index)
        yield from _header_name((*here, "name"), match.name)
        if not match.value:
            yield invalid((*here, "value"), "must not be empty", "write the value to compare with")
        elif match.type is MatchType.REGULAR_EXPRESSION:
            yield from regex((*here, "value"), match.value)


def _header_name(path: Path, name: str) -> Iterator[Violation]:
    if not _HEADER_NAME.fullmatch(name):
        yield invalid(path, f"{name[:80]!r} is not a name", "use letters, digits and `-`")


def _grpc_method(here: Path, method: GRPCMethodMatch) -> Iterator[Violation]:
    if not method.service and not method.method:
        yield invalid(here, "names neither a service nor a method", "add `service` or `method`")
    for name, text, pattern in (
        ("service", method.service, _GRPC_SERVICE),
        ("method", method.method, _GRPC_METHOD),
    ):
        if text and method.type is MatchType.REGULAR_EXPRESSION:
            yield from regex((*here, name), text)
        elif text and not pattern.fullmatch(text):
            yield invalid((*here, name), f"{text[:80]!r} is not the name of a gRPC {name}")


# --- HTTP ----------------------------------------------------------------------------------------------------


def _http_rule(here: Path, rule: HTTPRouteRule) -> Iterator[Violation]:
    for index, match in enumerate(rule.matches):
        place = (*here, "matches", index)
        if match.path is not None:
            yield from _path_match((*place, "path"), match.path)
        yield from _matches((*place, "headers"), match.headers)
        yield from _matches((*place, "queryParams"), match.query_params)
    yield from _filters((*here, "filters"), rule.filters)
    yield from at_most((*here, "backendRefs"), rule.backend_refs, 16)
    for index, backend in enumerate(rule.backend_refs):
        yield from _backend((*here, "backendRefs", index), backend)
        yield from _filters((*here, "backendRefs", index, "filters"), backend.filters)
    if rule.backend_refs and any(item.type is HTTPFilterType.REQUEST_REDIRECT for item in rule.filters):
        yield invalid(here, "a redirect has no backends", "remove `backendRefs` or the RequestRedirect filter")
    every = [*rule.filters, *(item for backend in rule.backend_refs for item in backend.filters)]
    if any(_replaces_prefix(item) for item in every):
        paths = [match.path or HTTPPathMatch() for match in rule.matches or ()]
        if len(paths) > 1 or any(path.type is not PathMatchType.PATH_PREFIX for path in paths):
            yield invalid(here, "replacePrefixMatch needs exactly one match, of a PathPrefix", "split the rule")
    yield from _timeouts((*here, "timeouts"), rule)


def _path_match(here: Path, path: HTTPPathMatch) -> Iterator[Violation]:
    place = (*here, "value")
    yield from at_most(place, path.value, 1024, "characters")
    if path.type is PathMatchType.REGULAR_EXPRESSION:
        yield from regex(place, path.value)
        return
    if not path.value.startswith("/"):
        yield invalid(place, f"the path {path.value[:80]!r} does not begin with `/`", f"write /{path.value[:80]}")
        return
    if not _PATH.fullmatch(path.value):
        yield invalid(place, f"the path {path.value[:80]!r} has characters that a path has not", "percent-encode them")
    for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
        if part in path.value:
            yield invalid(place, f"a path must not contain `{part}`")
    if path.value.endswith(("/..", "/.")):
        yield invalid(place, "a path must not end with `/..` or `/.`")


def _replaces_prefix(item: HTTPRouteFilter) -> bool:
    modifiers = (
        item.url_rewrite.path if item.url_rewrite else None,
        item.request_redirect.path if item.request_redirect else None,
    )
    return any(one is not None and one.type is PathModifierType.REPLACE_PREFIX_MATCH for one in modifiers)


def _filters(path: Path, filters: Sequence[HTTPRouteFilter | GRPCRouteFilter]) -> Iterator[Violation]:
    yield from at_most(path, filters, 16)
    types = [item.type.value for item in filters]
    if "RequestRedirect" in types and "URLRewrite" in types:
        yield invalid(path, "RequestRedirect and URLRewrite exclude each other", "keep one of them")
    for index, item in enumerate(filters):
        here = (*path, index)
        wanted, written = _FILTER_FIELDS[item.type.value]
        if item.type.value in types[:index] and item.type.value not in _REPEATED:
            yield invalid(here, f"the filter {item.type.value} stands twice", "merge them")
        if getattr(item, wanted) is None:
            yield invalid(here, f"a filter of type {item.type.value} needs `{written}`", f"add `{written}: …`")
        for name, (attribute, key) in _FILTER_FIELDS.items():
            if name != item.type.value and getattr(item, attribute, None) is not None:
                hint = f"write `type: {name}`, or remove it"
                yield invalid((*here, key), f"a filter of type {item.type.value} has no `{key}`", hint)
        yield from _filter(here, item)


def _filter(here: Path, item: HTTPRouteFilter | GRPCRouteFilter) -> Iterator[Violation]:
    for modifier, name in (
        (item.request_header_modifier, "requestHeaderModifier"),
        (item.response_header_modifier, "responseHeaderModifier"),
    ):
        if modifier is not None:
            yield from _header_filter((*here, name), modifier)
    if item.request_mirror is not None:
        yield from _mirror((*here, "requestMirror"), item.request_mirror)
    if not isinstance(item, HTTPRouteFilter):
        return
    if redirect := item.request_redirect:
        place = (*here, "requestRedirect")
        if redirect.status_code not in REDIRECT_CODES:
            hint = f"write one of {', '.join(map(str, REDIRECT_CODES))}"
            yield invalid((*place, "statusCode"), f"{redirect.status_code} is no status of a redirect", hint)
        if redirect.hostname:
            yield from hostname((*place, "hostname"), redirect.hostname, wildcard=False)
        if redirect.path is not None:
            yield from _modifier((*place, "path"), redirect.path)
    if rewrite := item.url_rewrite:
        if rewrite.hostname:
            yield from hostname((*here, "urlRewrite", "hostname"), rewrite.hostname, wildcard=False)
        if rewrite.path is not None:
            yield from _modifier((*here, "urlRewrite", "path"), rewrite.path)
    if item.cors is not None:
        yield from _cors((*here, "cors"), item.cors)


def _header_filter(path: Path, modifier: HTTPHeaderFilter) -> Iterator[Violation]:
    for name, headers in (("set", modifier.set), ("add", modifier.add)):
        yield from at_most((*path, name), headers, 16)
        yield from unique((*path, name), [header.name.lower() for header in headers], "header")
        for index, header in enumerate(headers):
            yield from _header_name((*path, name, index, "name"), header.name)
            if not header.value or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", header.value):
                yield invalid((*path, name, index, "value"), "must be text without control characters")
    yield from at_most((*path, "remove"), modifier.remove, 16)
    yield from unique((*path, "remove"), modifier.remove, "header")
    for index, removed in enumerate(modifier.remove):
        yield from _header_name((*path, "remove", index), removed)


def _mirror(path: Path, mirror: HTTPRequestMirrorFilter) -> Iterator[Violation]:
    yield from _backend((*path, "backendRef"), mirror.backend_ref)
    if mirror.percent is not None and mirror.fraction is not None:
        yield invalid(path, "`percent` and `fraction` exclude each other", "keep one of them")
    if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
        yield invalid((*path, "fraction"), "the numerator is larger than the denominator")


def _modifier(path: Path, modifier: HTTPPathModifier) -> Iterator[Violation]:
    full = modifier.type is PathModifierType.REPLACE_FULL_PATH
    wanted, other = ("replaceFullPath", "replacePrefixMatch") if full else ("replacePrefixMatch", "replaceFullPath")
    value, unwanted = modifier.replace_full_path, modifier.replace_prefix_match
    if not full:
        value, unwanted = unwanted, value
    if value is None:
        yield invalid(path, f"the type {modifier.type.value} needs `{wanted}`", f"add `{wanted}: /…`")
    elif re.search(r"[\x00-\x20\x7f]", value):
        yield invalid((*path, wanted), "a path has no spaces and control characters", "percent-encode them")
    if unwanted is not None:
        yield invalid((*path, other), f"the type {modifier.type.value} has no `{other}`", "remove it")


def _cors(path: Path, cors: HTTPCORSFilter) -> Iterator[Violation]:
    for name, values in (
        ("allowOrigins", cors.allow_origins),
        ("allowMethods", cors.allow_methods),
        ("allowHeaders", cors.allow_headers),
    ):
        yield from at_most((*path, name), values, 64)
        yield from unique((*path, name), values, "entry")
        if "*" in values and len(values) > 1:
            yield invalid((*path, name), "`*` must stand alone", "remove the other entries or it")
    for index, origin in enumerate(cors.allow_origins):
        if not _ORIGIN.fullmatch(origin):
            yield invalid(
                (*path, "allowOrigins", index), f"{origin[:80]!r} is not an origin", "write https://a.example"
            )
    for index, method in enumerate(cors.allow_methods):
        if method not in _METHODS:
            yield invalid((*path, "allowMethods", index), f"{method[:80]!r} is not a method")
    for name, headers in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, header in enumerate(headers):
            yield from _header_name((*path, name, index), header)


def _timeouts(path: Path, rule: HTTPRouteRule) -> Iterator[Violation]:
    if rule.timeouts is None:
        return
    lengths = []
    for name, text in (("request", rule.timeouts.request), ("backendRequest", rule.timeouts.backend_request)):
        if text and not _DURATION.fullmatch(text):
            hint = "write whole numbers with h, m, s or ms: 1m30s"
            yield invalid((*path, name), f"{text[:40]!r} is not a duration", hint)
            return
        lengths.append(nanoseconds(text) if text else 0)
    if 0 < lengths[0] < lengths[1]:
        yield invalid((*path, "backendRequest"), "must not be longer than `request`", "shorten it")
