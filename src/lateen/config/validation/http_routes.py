"""Rules of one HTTP route: what excludes what, matches, destinations, faults, CORS, headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence

from lateen.config.codes import DEPRECATED, INVALID_VALUE
from lateen.config.decoding import closest
from lateen.config.durations import nanoseconds
from lateen.config.networking import (
    CorsPolicy,
    Destination,
    FaultAbort,
    FaultDelay,
    HeaderOperations,
    Headers,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    RouteDestination,
    StringMatch,
)
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.validation.regexes import regex
from lateen.config.violations import Violation, warning
from lateen.model.protocols import GRPC_STATUSES

CORS_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"))
REDIRECT_CODES = (301, 302, 303, 307, 308)
"""Those that Envoy has names for."""
_MAX_BODY = 1024 * 1024
_LARGE_BODY = 100 * 1024


def http_route(path: Path, route: HTTPRoute, *, delegate: bool) -> Iterator[Violation]:
    """One entry of `spec.http`; `delegate` says that the VirtualService has no hosts of its own."""
    yield from _conflicts(path, route, delegate=delegate)
    for index, match in enumerate(route.match):
        yield from _match((*path, "match", index), match)
    yield from destinations((*path, "route"), route.route)
    for index, weighted in enumerate(route.route):
        yield from _headers((*path, "route", index, "headers"), weighted.headers)
    yield from _redirect((*path, "redirect"), route.redirect, route.match)
    yield from _direct_response((*path, "directResponse"), route.direct_response)
    yield from _rewrite((*path, "rewrite"), route)
    yield from fields.optional_duration((*path, "timeout"), route.timeout)
    yield from fields.http_retry((*path, "retries"), route.retries)
    yield from _fault((*path, "fault"), route.fault)
    yield from _mirrors(path, route)
    yield from _cors((*path, "corsPolicy"), route.cors_policy)
    yield from _headers((*path, "headers"), route.headers)


def _conflicts(path: Path, route: HTTPRoute, *, delegate: bool) -> Iterator[Violation]:
    if route.delegate is not None:
        if delegate:
            yield Violation((*path, "delegate"), "a delegate VirtualService (one without hosts) cannot delegate again")
        for name, given in (("redirect", route.redirect is not None), ("route", bool(route.route))):
            if given:
                yield Violation((*path, name), f"a rule that delegates cannot have `{name}`", "keep one of them")
        return
    answers = {"redirect": route.redirect, "directResponse": route.direct_response, "route": route.route or None}
    chosen = [name for name, value in answers.items() if value is not None]
    if not chosen:
        yield Violation(path, "the rule does nothing", "add one of route, redirect, directResponse, delegate")
    for name in chosen[1:]:
        yield Violation((*path, name), f"`{chosen[0]}` and `{name}` exclude each other", "keep one of them")
    if chosen and chosen[0] != "route":
        for name, given in (("fault", route.fault is not None), ("rewrite", route.rewrite is not None)):
            if given:
                yield Violation((*path, name), f"`{chosen[0]}` and `{name}` exclude each other", "keep one of them")


def string_match(path: Path, match: StringMatch | None, *, empty_prefix: bool = False) -> Iterator[Violation]:
    """Exactly one of exact, prefix and regex; a match with none of them means "present"."""
    if match is None:
        return
    given = [name for name in ("exact", "prefix", "regex") if getattr(match, name) is not None]
    if len(given) > 1:
        yield Violation(path, f"{' and '.join(f'`{name}`' for name in given)} exclude each other", "keep one of them")
    if match.prefix == "" and not empty_prefix:
        yield Violation((*path, "prefix"), "a prefix must not be empty", "leave the match out to match anything")
    if match.regex is not None:
        yield from regex((*path, "regex"), match.regex)


def _match(path: Path, match: HTTPMatchRequest) -> Iterator[Violation]:
    yield from string_match((*path, "uri"), match.uri, empty_prefix=True)
    for name in ("scheme", "method", "authority"):
        yield from string_match((*path, name), getattr(match, name))
    for name, value in match.headers.items():
        yield from fields.header_name((*path, "headers", name), name)
        yield from string_match((*path, "headers", name), value)
    for name, value in match.without_headers.items():
        yield from fields.header_name((*path, "withoutHeaders", name), name)
        # `*` alone is not a regex here but Istio's way to say "present".
        if value.regex != "*":
            yield from string_match((*path, "withoutHeaders", name), value)
    for name, value in match.query_params.items():
        yield from string_match((*path, "queryParams", name), value)
    if match.port:
        yield from fields.port_number((*path, "port"), match.port)
    yield from fields.labels((*path, "sourceLabels"), match.source_labels)
    yield from gateway_names((*path, "gateways"), match.gateways)
    if match.source_namespace:
        yield from fields.dns_label((*path, "sourceNamespace"), match.source_namespace, "namespace")


def gateway_names(path: Path, names: Iterable[str]) -> Iterator[Violation]:
    """`mesh`, a Gateway's name, or `namespace/name`."""
    for index, name in enumerate(names):
        here = (*path, index)
        namespace, slash, own = name.partition("/")
        if not slash:
            if "." in name:
                parts = name.split(".")
                yield warning(here, f"{name!r} is the old form of a Gateway's name", f"write {parts[1]}/{parts[0]}")
            yield from fields.fqdn(here, name)
        elif not namespace or not own:
            yield Violation(here, f"{name!r} must be of the form namespace/name")
        else:
            yield from fields.dns_label(here, namespace, "namespace")
            yield from fields.dns_label(here, own, "name of a Gateway")


_MOST_WEIGHT = 2**32 - 1
"""Istio sets no bound; Envoy refuses a route whose weights add up to more."""


def destinations(path: Path, routes: Sequence[HTTPRouteDestination | RouteDestination]) -> Iterator[Violation]:
    """Weighted destinations: weights are shares of their sum, so the sum may be anything but zero."""
    for index, route in enumerate(routes):
        here = (*path, index)
        yield from destination((*here, "destination"), route.destination)
        if route.weight < 0:
            yield Violation((*here, "weight"), f"weight {route.weight} is below 0", "write a number from 0 to 100")
    total = sum(route.weight for route in routes)
    if len(routes) > 1 and total == 0:
        yield Violation(path, "the weights of several destinations add up to 0", "give each destination its weight")
    elif total > _MOST_WEIGHT:
        message = f"the weights add up to {total}, which is more than Envoy counts"
        yield Violation(path, message, "write percentages, from 0 to 100", INVALID_VALUE)


def destination(path: Path, target: Destination | None) -> Iterator[Violation]:
    """Host, subset and port of a destination."""
    if target is None:
        return
    if target.host == fields.ANY_HOST:
        yield Violation((*path, "host"), "`*` cannot be a destination", "name the host to send requests to")
    else:
        yield from fields.wildcard_host((*path, "host"), target.host)
    if target.subset:
        yield from fields.any_label((*path, "subset"), target.subset, "name of a subset")
    if target.port is not None:
        yield from fields.port_number((*path, "port", "number"), target.port.number)


def _redirect(path: Path, redirect: HTTPRedirect | None, matches: list[HTTPMatchRequest]) -> Iterator[Violation]:
    if redirect is None:
        return
    if redirect.uri and redirect.prefix_rewrite:
        yield Violation(path, "`uri` and `prefixRewrite` exclude each other", "keep one of them")
    if redirect.prefix_rewrite and any(match.uri is not None and match.uri.prefix is None for match in matches):
        yield Violation((*path, "prefixRewrite"), "every uri match of the rule must be a prefix")
    if redirect.port is not None and redirect.derive_port is not None:
        yield Violation(path, "`port` and `derivePort` exclude each other", "keep one of them")
    ports = (redirect.port is not None, redirect.derive_port is not None)
    if not any((redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme, *ports)):
        yield Violation(path, "the redirect leads nowhere", "set uri, authority, scheme or port")
    # Istio admits 300 to 399, and makes a route without an action of what Envoy has no name for.
    if redirect.redirect_code and redirect.redirect_code not in REDIRECT_CODES:
        hint = "write 301, 302, 303, 307 or 308"
        yield Violation((*path, "redirectCode"), f"{redirect.redirect_code} is not a code of a redirect", hint)
    if redirect.scheme not in ("", "http", "https"):
        yield Violation((*path, "scheme"), f"{redirect.scheme!r} is not a scheme", "write http or https")
    if redirect.port:
        yield from fields.port_number((*path, "port"), redirect.port)


def _direct_response(path: Path, response: HTTPDirectResponse | None) -> Iterator[Violation]:
    if response is None:
        return
    yield from _http_status((*path, "status"), response.status)
    if response.body is None:
        return
    here = (*path, "body")
    size = len(response.body.string.encode()) if response.body.string is not None else 0
    if response.body.string is not None and response.body.bytes is not None:
        yield Violation(here, "`string` and `bytes` exclude each other", "keep one of them")
    if response.body.bytes is not None:
        try:
            size = len(base64.b64decode(response.body.bytes, validate=True))
        except (binascii.Error, ValueError):
            yield Violation((*here, "bytes"), "is not base64", "write plain text under `string`", INVALID_VALUE)
    if size > _MAX_BODY:
        yield Violation(here, f"the body has {size} bytes", "at most 1 MB is allowed")
    elif size > _LARGE_BODY:
        yield warning(here, f"the body has {size} bytes, which every proxy keeps", "serve it from a service")


def _http_status(path: Path, status: int) -> Iterator[Violation]:
    # Istio admits 600 too; Envoy does not.
    if not 200 <= status <= 599:
        yield Violation(path, f"{status} is not a status of an answer", "write a number from 200 to 599")


def _rewrite(path: Path, route: HTTPRoute) -> Iterator[Violation]:
    rewrite = route.rewrite
    authorities = 0
    if route.headers is not None and route.headers.request is not None:
        names = (*route.headers.request.set, *route.headers.request.add)
        authorities = sum(1 for name in names if name.lower() in ("host", ":authority"))
    if authorities + bool(rewrite and rewrite.authority) > 1:
        yield Violation(path[:-1], "the authority is set more than once", "use either rewrite.authority or one header")
    if rewrite is None:
        return
    if rewrite.uri and rewrite.uri_regex_rewrite is not None:
        yield Violation(path, "`uri` and `uriRegexRewrite` exclude each other", "keep one of them")
    if not (rewrite.uri or rewrite.uri_regex_rewrite or rewrite.authority):
        yield Violation(path, "the rewrite changes nothing", "set uri, uriRegexRewrite or authority")
    yield from _regex_rewrite((*path, "uriRegexRewrite"), rewrite)


def _regex_rewrite(path: Path, rewrite: HTTPRewrite) -> Iterator[Violation]:
    if rewrite.uri_regex_rewrite is None:
        return
    if not rewrite.uri_regex_rewrite.match or not rewrite.uri_regex_rewrite.rewrite:
        yield Violation(path, "both `match` and `rewrite` are needed")
        return
    yield from regex((*path, "match"), rewrite.uri_regex_rewrite.match)


def _fault(path: Path, fault: HTTPFaultInjection | None) -> Iterator[Violation]:
    if fault is None:
        return
    if fault.abort is None and fault.delay is None:
        yield Violation(path, "the fault does nothing", "add abort or delay")
    if fault.abort is not None:
        yield from _abort((*path, "abort"), fault.abort)
    if fault.delay is not None:
        yield from _delay((*path, "delay"), fault.delay)


def _abort(path: Path, abort: FaultAbort) -> Iterator[Violation]:
    yield from fields.percentage((*path, "percentage"), abort.percentage)
    kinds = {"httpStatus": abort.http_status is not None, "grpcStatus": bool(abort.grpc_status)}
    given = [name for name, is_set in kinds.items() if is_set]
    if abort.http2_error:
        yield Violation((*path, "http2Error"), "HTTP/2 errors cannot be injected", "use httpStatus or grpcStatus")
    elif not given:
        yield warning(path, "the abort has no status", "add httpStatus or grpcStatus")
    elif len(given) > 1:
        yield Violation(path, "`httpStatus` and `grpcStatus` exclude each other", "keep one of them")
    elif abort.percentage is None:
        yield _no_share(path)
    if abort.http_status is not None:
        yield from _http_status((*path, "httpStatus"), abort.http_status)
    if abort.grpc_status and abort.grpc_status not in GRPC_STATUSES:
        near = closest(abort.grpc_status, GRPC_STATUSES)
        hint = f"did you mean {near}?" if near else "write a name such as UNAVAILABLE"
        yield Violation((*path, "grpcStatus"), f"{abort.grpc_status!r} is not a gRPC status", hint)


def _no_share(path: Path) -> Violation:
    return warning(path, "without `percentage` no request is hit", "add `percentage: {value: 100}`")


def _delay(path: Path, delay: FaultDelay) -> Iterator[Violation]:
    yield from fields.percentage((*path, "percentage"), delay.percentage)
    yield from fields.percent((*path, "percent"), delay.percent)
    if delay.percent:
        message = "`percent` is deprecated"
        yield Violation((*path, "percent"), message, "write `percentage: {value: …}`", DEPRECATED)
    if delay.exponential_delay:
        yield Violation((*path, "exponentialDelay"), "exponential delays do not exist", "use fixedDelay")
    elif not delay.fixed_delay:
        yield Violation(path, "the delay has no length", "add `fixedDelay: 5s`")
    elif delay.percentage is None and not delay.percent:
        yield _no_share(path)
    yield from fields.optional_duration((*path, "fixedDelay"), delay.fixed_delay)


def _mirrors(path: Path, route: HTTPRoute) -> Iterator[Violation]:
    if route.mirror is not None and route.mirrors:
        yield Violation((*path, "mirrors"), "`mirror` and `mirrors` exclude each other", "keep one of them")
    yield from destination((*path, "mirror"), route.mirror)
    for name, value in (("mirrorPercent", route.mirror_percent), ("mirror_percent", route.mirror_percent_snake)):
        if value is not None:
            yield from fields.percent((*path, name), value)
            yield Violation((*path, name), f"`{name}` is deprecated", "write mirrorPercentage", DEPRECATED)
    yield from _share((*path, "mirrorPercentage", "value"), route.mirror_percentage)
    for index, mirror in enumerate(route.mirrors):
        yield from destination((*path, "mirrors", index, "destination"), mirror.destination)
        yield from _share((*path, "mirrors", index, "percentage", "value"), mirror.percentage)


def _share(path: Path, value: object) -> Iterator[Violation]:
    number = getattr(value, "value", None)
    if number is not None:
        yield from fields.percent(path, number)


def _cors(path: Path, policy: CorsPolicy | None) -> Iterator[Violation]:
    if policy is None:
        return
    if policy.allow_origin:
        yield Violation((*path, "allowOrigin"), "`allowOrigin` is deprecated", "write allowOrigins", DEPRECATED)
    for index, origin in enumerate(policy.allow_origins):
        here = (*path, "allowOrigins", index)
        if not (origin.exact or origin.prefix or origin.regex):
            yield Violation(here, "the origin is empty", "write exact, prefix or regex")
        else:
            yield from string_match(here, origin)
    for index, method in enumerate(policy.allow_methods):
        if method not in CORS_METHODS:
            near = closest(method, CORS_METHODS)
            hint = f"did you mean {near}?" if near else f"write one of {', '.join(sorted(CORS_METHODS))}"
            yield Violation((*path, "allowMethods", index), f"{method!r} is not an HTTP method", hint)
    for name in ("allow_headers", "expose_headers"):
        camel = "allowHeaders" if name == "allow_headers" else "exposeHeaders"
        for index, header in enumerate(getattr(policy, name)):
            yield from fields.cors_header_name((*path, camel, index), header)
    yield from _max_age((*path, "maxAge"), policy.max_age)


def _max_age(path: Path, text: str) -> Iterator[Violation]:
    problems = list(fields.optional_duration(path, text))
    yield from problems
    if text and not problems and nanoseconds(text) % 1_000_000_000:
        yield Violation(path, f"{text!r} is finer than a second", "browsers take whole seconds")


def _headers(path: Path, headers: Headers | None) -> Iterator[Violation]:
    if headers is None:
        return
    yield from _operations((*path, "request"), headers.request, authority=True)
    yield from _operations((*path, "response"), headers.response, authority=False)


def _operations(path: Path, operations: HeaderOperations | None, *, authority: bool) -> Iterator[Violation]:
    """`authority` admits the Host header to be set, which only makes sense in a request."""
    if operations is None:
        return
    for verb, pairs in (("set", operations.set), ("add", operations.add)):
        for name, value in pairs.items():
            yield from _operation_name((*path, verb, name), name, authority=authority)
            yield from fields.header_value((*path, verb, name), value)
    for index, name in enumerate(operations.remove):
        yield from _operation_name((*path, "remove", index), name, authority=False)


def _operation_name(path: Path, name: str, *, authority: bool) -> Iterator[Violation]:
    if not name:
        yield Violation(path, "a header name must not be empty")
    elif name.lower() in ("host", ":authority"):
        if not authority:
            yield Violation(path, f"the header {name!r} cannot be changed here", "use rewrite.authority")
    elif name.startswith(":"):
        yield Violation(path, f"{name!r} is not a header that can be changed", "leave out names that begin with `:`")
