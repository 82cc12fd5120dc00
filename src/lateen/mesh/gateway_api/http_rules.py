"""Rules of HTTPRoutes as rules of VirtualServices, each with its rank among the rules for the same host.

A VirtualService is matched in order; the Gateway API asks for the most specific match over all routes of a host. So a
rule becomes one rule per match, and `ranked` orders those of all routes (HTTPRoute, "matches"): exact paths, then
regular expressions (the API leaves their place open; a prefix `/` would hide them), then prefixes by length; then
matches with a method, with more headers, with more query parameters; then the older route, the first by name, the
earlier rule.

A prefix of the Gateway API is one of whole path elements: `/a` is `/a` and `/a/b`, not `/ab`. It becomes two matches,
exact `/a` and prefix `/a/`, which also makes every replacement of a prefix right without a double or missing slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from lateen.config.gateway_api import (
    HTTPBackendRef,
    HTTPCORSFilter,
    HTTPFilterType,
    HTTPHeaderFilter,
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPPathModifier,
    HTTPRequestMirrorFilter,
    HTTPRequestRedirectFilter,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRule,
    MatchType,
    PathMatchType,
    PathModifierType,
)
from lateen.config.networking import (
    CorsPolicy,
    CORSUnmatchedPreflights,
    HeaderOperations,
    Headers,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRouteDestination,
    Percent,
    RedirectPortSelection,
    RegexRewrite,
    StringMatch,
)
from lateen.config.networking import HTTPRoute as Rule
from lateen.config.objects import ConfigObject
from lateen.mesh.gateway_api.backends import Backends, nowhere

Rank = tuple[object, ...]
ANY_SERVICE = "/[^/]+/"
"""Beginning of the regular expression for a gRPC method of whatever service."""


class Ranked(NamedTuple):
    """One rule of a VirtualService."""

    rank: Rank
    """Lower goes first."""
    rules: tuple[Rule, ...]
    source: ConfigObject[Any]
    """The HTTPRoute or GRPCRoute."""


class Shape(NamedTuple):
    """What a rule does, whatever it matches."""

    rule: Rule
    modifier: HTTPPathModifier | None = None
    """Replacement of the path, which depends on the match."""


_AT_BACKENDS = (
    HTTPFilterType.REQUEST_HEADER_MODIFIER,
    HTTPFilterType.RESPONSE_HEADER_MODIFIER,
    HTTPFilterType.EXTENSION_REF,
)


def unsupported(route: HTTPRoute) -> str:
    """Return what of a route cannot be done; empty when everything can."""
    for rule in route.rules:
        for backend in rule.backend_refs:
            for item in backend.filters:
                if item.type not in _AT_BACKENDS:
                    return f"a filter of type {item.type.value} has no effect at a single backend; put it on the rule"
    return ""


def http_rules(route: ConfigObject[Any], spec: HTTPRoute, backends: Backends) -> list[Ranked]:
    """Return the rules of a route, whose spec may be a translated one.

    The references that lead nowhere are noted in `backends`.
    """
    found: list[Ranked] = []
    for number, rule in enumerate(spec.rules):
        shape = _shape(rule, backends)
        for place, match in enumerate(rule.matches or (HTTPRouteMatch(),)):
            rank = (*_match_rank(match), *seniority(route), number, place)
            found.append(Ranked(rank, tuple(_matched(shape, match)), route))
    return found


def seniority(route: ConfigObject[Any]) -> Rank:
    """Return the order of routes of equal matches."""
    return (route.created, route.key.namespace, route.key.name)


# --- matches -------------------------------------------------------------------------------------------------


def _match_rank(match: HTTPRouteMatch) -> Rank:
    path = match.path or HTTPPathMatch()
    is_prefix = path.type is PathMatchType.PATH_PREFIX
    text = path.value.rstrip("/") if is_prefix else path.value
    order = {PathMatchType.EXACT: 0, PathMatchType.REGULAR_EXPRESSION: 1, PathMatchType.PATH_PREFIX: 2}[path.type]
    if text.startswith(ANY_SERVICE):
        order = 3  # a gRPC method of any service is less than a service
    elif is_prefix and not text:
        order = 4  # anything
    return (
        order,
        -len(text),
        match.method is None,
        -len(conditions(match.headers)),
        -len(conditions(match.query_params)),
    )


def conditions(matches: Sequence[HTTPHeaderMatch], *, lower: bool = True) -> dict[str, StringMatch]:
    """Return conditions by name; of several with one name the first counts (HTTPHeaderMatch, "name")."""
    found: dict[str, StringMatch] = {}
    for one in matches:
        exact = one.type is MatchType.EXACT
        value = StringMatch(exact=one.value) if exact else StringMatch(regex=one.value)
        found.setdefault(one.name.lower() if lower else one.name, value)
    return found


def _matched(shape: Shape, match: HTTPRouteMatch) -> Iterator[Rule]:
    """Yield the rule of a match: two of a prefix."""
    given = HTTPMatchRequest(
        method=StringMatch(exact=match.method.value) if match.method is not None else None,
        headers=conditions(match.headers),
        query_params=conditions(match.query_params, lower=False),
    )
    path = match.path or HTTPPathMatch()
    match path.type:
        case PathMatchType.EXACT:
            yield with_path(shape, given, StringMatch(exact=path.value), path.value)
        case PathMatchType.REGULAR_EXPRESSION:
            yield with_path(shape, given, StringMatch(regex=path.value), "")
        case PathMatchType.PATH_PREFIX:
            bare = path.value.rstrip("/")
            if bare:
                yield with_path(shape, given, StringMatch(exact=bare), bare)
            yield with_path(shape, given, StringMatch(prefix=f"{bare}/"), f"{bare}/")


def with_path(shape: Shape, match: HTTPMatchRequest, uri: StringMatch, matched: str) -> Rule:
    """Return a rule for a path; `matched` is the text that a replacement of a prefix replaces."""
    # Without a condition a rule says so in the way that everything after it is known to be unreachable.
    conditioned = match if uri.prefix == "/" else replace(match, uri=uri)
    rule = replace(shape.rule, match=[conditioned])
    modifier = shape.modifier
    if modifier is None:
        return rule
    full = modifier.type is PathModifierType.REPLACE_FULL_PATH
    new = modifier.replace_full_path or "/" if full else _replaced(modifier.replace_prefix_match or "", matched)
    if rule.redirect is not None:
        redirect = replace(rule.redirect, uri=new) if full else replace(rule.redirect, prefix_rewrite=new)
        return replace(rule, redirect=redirect)
    authority = rule.rewrite.authority if rule.rewrite is not None else ""
    if full:
        regex = RegexRewrite(match="^/.*$", rewrite=new.replace("\\", "\\\\"))
        return replace(rule, rewrite=HTTPRewrite(authority=authority, uri_regex_rewrite=regex))
    return replace(rule, rewrite=HTTPRewrite(authority=authority, uri=new))


def _replaced(prefix: str, matched: str) -> str:
    bare = prefix.rstrip("/")
    return f"{bare}/" if matched.endswith("/") or not bare else bare


# --- what a rule does ----------------------------------------------------------------------------------------


def _shape(rule: HTTPRouteRule, backends: Backends) -> Shape:
    filters = {item.type: item for item in rule.filters}
    rewrite = filters.get(HTTPFilterType.URL_REWRITE)
    redirect = filters.get(HTTPFilterType.REQUEST_REDIRECT)
    headers = header_changes(rule.filters)
    cors = filters.get(HTTPFilterType.CORS)
    policy = _cors(cors.cors) if cors is not None and cors.cors is not None else None
    if redirect is not None and redirect.request_redirect is not None and backends.all_known(rule.filters):
        found = redirect.request_redirect
        made = Rule(name=rule.name, redirect=_redirect(found), headers=headers, cors_policy=policy)
        return Shape(made, found.path)
    destinations = weighted(rule.backend_refs, backends)
    mirrors = mirror_policies((item.request_mirror for item in rule.filters), backends)
    # A filter that nobody knows must not be left out: requests for it are answered with an error.
    if not destinations or not backends.all_known(rule.filters):
        return Shape(Rule(name=rule.name, direct_response=HTTPDirectResponse(status=500)))
    request = rule.timeouts.request if rule.timeouts else ""
    attempt = rule.timeouts.backend_request if rule.timeouts else ""
    url = rewrite.url_rewrite if rewrite is not None else None
    made = Rule(
        name=rule.name,
        route=destinations,
        headers=headers,
        mirrors=mirrors,
        cors_policy=policy,
        timeout=request if _some(request) else "",
        # What the mesh retries by itself, and each attempt in its time.
        retries=HTTPRetry(attempts=2, per_try_timeout=attempt) if _some(attempt) else None,
        rewrite=HTTPRewrite(authority=url.hostname) if url is not None and url.hostname else None,
    )
    return Shape(made, url.path if url is not None else None)


def _some(text: str) -> bool:
    """Whether a time limit is one: zero is none."""
    return any(digit in text for digit in "123456789")


def weighted(refs: Sequence[HTTPBackendRef], backends: Backends) -> list[HTTPRouteDestination]:
    """Return the destinations with a share; empty when no request has anywhere to go."""
    found = [(ref, backends.destination(ref) if backends.all_known(ref.filters) else None) for ref in refs]
    shares = [(ref, destination) for ref, destination in found if ref.weight > 0]
    if all(destination is None for _, destination in shares):
        return []
    return [
        HTTPRouteDestination(
            destination=destination or nowhere(), weight=ref.weight, headers=header_changes(ref.filters)
        )
        for ref, destination in shares
    ]


def mirror_policies(mirrors: Iterable[HTTPRequestMirrorFilter | None], backends: Backends) -> list[HTTPMirrorPolicy]:
    """Return the mirrors that lead somewhere."""
    found = []
    for mirror in mirrors:
        destination = backends.destination(mirror.backend_ref) if mirror is not None else None
        if mirror is None or destination is None:
            continue
        share = 100.0 if mirror.percent is None else float(mirror.percent)
        if mirror.fraction is not None:
            share = 100.0 * mirror.fraction.numerator / mirror.fraction.denominator
        found.append(HTTPMirrorPolicy(destination=destination, percentage=Percent(value=share)))
    return found


def header_changes(filters: Sequence[HTTPRouteFilter]) -> Headers | None:
    """Return the changes of headers of some filters."""
    request = next((item.request_header_modifier for item in filters if item.request_header_modifier), None)
    response = next((item.response_header_modifier for item in filters if item.response_header_modifier), None)
    if request is None and response is None:
        return None
    return Headers(request=_operations(request), response=_operations(response))


def _operations(modifier: HTTPHeaderFilter | None) -> HeaderOperations | None:
    if modifier is None:
        return None
    # To Envoy `%` begins a command; to the Gateway API it is a character.
    return HeaderOperations(
        set={header.name: header.value.replace("%", "%%") for header in modifier.set},
        add={header.name: header.value.replace("%", "%%") for header in modifier.add},
        remove=list(modifier.remove),
    )


def _redirect(found: HTTPRequestRedirectFilter) -> HTTPRedirect:
    scheme = found.scheme.value if found.scheme is not None else ""
    # Without a port: that of the scheme if one is given, else that of the listener.
    derived = RedirectPortSelection.FROM_PROTOCOL_DEFAULT if scheme else RedirectPortSelection.FROM_REQUEST_PORT
    return HTTPRedirect(
        scheme=scheme,
        authority=found.hostname,
        port=found.port,
        derive_port=None if found.port else derived,
        redirect_code=found.status_code,
    )


def _cors(cors: HTTPCORSFilter) -> CorsPolicy:
    return CorsPolicy(
        allow_origins=[_origin(one) for one in cors.allow_origins],
        allow_methods=list(cors.allow_methods),
        allow_headers=list(cors.allow_headers),
        expose_headers=list(cors.expose_headers),
        allow_credentials=cors.allow_credentials,
        max_age=f"{cors.max_age}s",
        # Of origins that are not allowed it is the gateway that answers (HTTPCORSFilter, "allowOrigins").
        unmatched_preflights=CORSUnmatchedPreflights.IGNORE,
    )


def _origin(origin: str) -> StringMatch:
    if origin == "*":
        return StringMatch(regex=".*")
    if "*" in origin:
        return StringMatch(regex=".+".join(re.escape(part) for part in origin.split("*")))
    return StringMatch(exact=origin)
