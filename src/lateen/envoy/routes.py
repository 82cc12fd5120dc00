"""Routes: matches, actions, virtual hosts and route configurations, from VirtualService structs.

Called by `generate`, which decides what goes where. Knows nothing of services, proxies or the mesh's state.
Source of each mapping: Istio's VirtualService reference and Envoy's route_components.proto.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from lateen.config.networking import (
    Headers,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRewrite,
    RedirectPortSelection,
    StringMatch,
)
from lateen.config.request_claims import claim_path
from lateen.envoy import names
from lateen.envoy.jwt_authn import claim_matcher, claim_value
from lateen.envoy.messages import Fields, Message, entry, packed, prepared, serialise
from lateen.envoy.resources import (
    ROUTE,
    VIRTUAL_HOST,
    Fragment,
    Fragments,
    Resource,
    content_hash,
    make_resource,
    splice,
)

NO_TIMEOUT: Fields = {"seconds": 0}
MAX_DIRECT_RESPONSE_BYTES = 1 << 20
"""Envoy's default limit of a direct response is 4 kB; Istio raises it to 1 MB."""

_REDIRECT_CODES = {
    0: "MOVED_PERMANENTLY",
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


# --- matches -------------------------------------------------------------------------------------------------


def string_matcher(match: StringMatch) -> Fields:
    """Return Envoy's StringMatcher; the StringMatch has exactly one of its three fields."""
    if match.exact is not None:
        return {"exact": match.exact}
    if match.prefix is not None:
        return {"prefix": match.prefix}
    return {"safe_regex": {"regex": match.regex or ""}}


def is_presence(match: StringMatch | None) -> bool:
    """Whether the match only asks that the thing is there: an empty StringMatch, or the regex `*` (Istio's rule)."""
    if match is None:
        return True
    return match.exact is None and match.prefix is None and match.regex in (None, "*")


def header_matcher(name: str, match: StringMatch | None, *, inverted: bool = False) -> Fields:
    """Return a HeaderMatcher. Inverted: a missing header counts as a mismatch of the value, so it matches."""
    matcher: Fields = {"name": name}
    if match is None or is_presence(match):
        matcher["present_match"] = True
    else:
        matcher["string_match"] = string_matcher(match)
        if inverted:
            matcher["treat_missing_header_as_empty"] = True
    if inverted:
        matcher["invert_match"] = True
    return matcher


def route_match(match: HTTPMatchRequest | None) -> Fields:
    """Return the RouteMatch of what the proxy sees at run time (not of gateways, ports and source labels)."""
    if match is None:
        return {"prefix": "/"}
    fields = _path_match(match.uri)
    # `false` is said explicitly; Envoy's default is case-sensitive.
    if match.ignore_uri_case:
        fields["case_sensitive"] = {"value": False}
    headers: list[Fields] = []
    claims: list[Fields] = []
    for conditions, inverted in ((match.headers, False), (match.without_headers, True)):
        for name, asked in conditions.items():
            if (path := claim_path(name)) is None:
                headers.append(header_matcher(name, asked, inverted=inverted))
            else:
                value = claim_value(None if is_presence(asked) else string_matcher(asked))
                claims.append(claim_matcher(path, value, inverted=inverted))
    headers.sort(key=lambda matcher: str(matcher["name"]))
    for name, wanted in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if wanted is not None:
            headers.append(header_matcher(name, wanted))
    if headers:
        fields["headers"] = headers
    if claims:
        fields["dynamic_metadata"] = claims
    if match.query_params:
        fields["query_parameters"] = [_query_matcher(name, wanted) for name, wanted in match.query_params.items()]
    return fields


def matches_everything(fields: Fields) -> bool:
    """Whether a RouteMatch lets every request through, so that no later route is ever reached."""
    if any(name in fields for name in ("headers", "query_parameters", "dynamic_metadata")):
        return False
    return bool(fields.get("prefix") == "/" or fields.get("safe_regex", {}).get("regex") == ".*")


def _path_match(uri: StringMatch | None) -> Fields:
    if uri is None:
        return {"prefix": "/"}
    if uri.exact is not None:
        return {"path": uri.exact}
    if uri.prefix is not None:
        return {"prefix": uri.prefix}
    if uri.regex is not None:
        return {"safe_regex": {"regex": uri.regex}}
    return {"prefix": "/"}


def _query_matcher(name: str, match: StringMatch) -> Fields:
    if is_presence(match):
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_matcher(match)}


# --- header operations ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """Header operations in Envoy's terms: the lists of a route or weighted cluster, and the authority to set."""

    fields: Fields = field(default_factory=dict)
    authority: str = ""
    """From `set` or `add` of Host or :authority, which Envoy only changes by a host rewrite."""


_NO_CHANGES = HeaderChanges()
"""Shared: do not change it."""


def header_changes(headers: Headers | None) -> HeaderChanges:
    """Translate header operations; Host and pseudo headers are not touched by them (Envoy refuses that)."""
    if headers is None:
        return _NO_CHANGES
    fields: Fields = {}
    authority = ""
    if request := headers.request:
        authority = _authority(request.set) or _authority(request.add)
        fields["request_headers_to_add"] = _added(request.set, append=False) + _added(request.add, append=True)
        fields["request_headers_to_remove"] = [name for name in request.remove if not _internal(name)]
    if response := headers.response:
        fields["response_headers_to_add"] = _added(response.set, append=False) + _added(response.add, append=True)
        fields["response_headers_to_remove"] = [name for name in response.remove if not _internal(name)]
    return HeaderChanges(fields={key: value for key, value in fields.items() if value}, authority=authority)


def _added(headers: Mapping[str, str], *, append: bool) -> list[Fields]:
    action = "APPEND_IF_EXISTS_OR_ADD" if append else "OVERWRITE_IF_EXISTS_OR_ADD"
    return [
        {"header": {"key": name, "value": value}, "append_action": action}
        for name, value in sorted(headers.items())
        if not _internal(name)
    ]


def _internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _authority(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() in ("host", ":authority")), "")


# --- actions -------------------------------------------------------------------------------------------------


def redirect_action(redirect: HTTPRedirect, *, port: int, tls: bool) -> Fields:
    """Return a RedirectAction for a listener on `port`.

    Envoy cannot derive the port of a request, but routes are made per port, so FROM_REQUEST_PORT is that port.
    The default port of the scheme is left out, as browsers do.
    """
    action: Fields = {"response_code": _REDIRECT_CODES.get(redirect.redirect_code, "MOVED_PERMANENTLY")}
    if redirect.authority:
        action["host_redirect"] = redirect.authority
    if redirect.prefix_rewrite:
        action["prefix_rewrite"] = redirect.prefix_rewrite
    elif redirect.uri:
        action["path_redirect"] = redirect.uri
    if redirect.scheme:
        action["scheme_redirect"] = redirect.scheme
    wanted = redirect.port or 0
    if redirect.derive_port is RedirectPortSelection.FROM_REQUEST_PORT:
        wanted = port
    if wanted and wanted != _DEFAULT_PORTS.get(redirect.scheme or ("https" if tls else "http")):
        action["port_redirect"] = wanted
    return action


def direct_response(response: HTTPDirectResponse) -> Fields:
    """Return a DirectResponseAction; a `bytes` body is base64 in the document."""
    action: Fields = {"status": response.status}
    if response.body is not None and response.body.string is not None:
        action["body"] = {"inline_string": response.body.string}
    elif response.body is not None and response.body.bytes is not None:
        action["body"] = {"inline_bytes": base64.b64decode(response.body.bytes)}
    return action


def rewrite_fields(rewrite: HTTPRewrite | None) -> Fields:
    """Return the path rewriting fields of a RouteAction (the authority is the caller's, see HeaderChanges)."""
    if rewrite is None:
        return {}
    if regex := rewrite.uri_regex_rewrite:
        return {"regex_rewrite": {"pattern": {"regex": regex.match}, "substitution": regex.rewrite}}
    return {"prefix_rewrite": rewrite.uri} if rewrite.uri else {}


def timeout_fields(timeout: Fields | None) -> Fields:
    """Return the time limits of a RouteAction: none unless given; without one, a `grpc-timeout` header counts.

    `max_stream_duration` makes Envoy disregard `timeout`, for any request (observed in 1.40), so only one of the two
    is set. Not `max_grpc_timeout`, which Istio sets: Envoy logs a deprecation warning for every route that has it. What
    is lost is a `grpc-timeout` shorter than the route's: the client that sent it cancels the call itself.

    `idle_timeout` is none either: the connection manager's is for requests that have no route yet.
    """
    if timeout and timeout != NO_TIMEOUT:
        return {"timeout": timeout, "idle_timeout": NO_TIMEOUT}
    return {
        "timeout": NO_TIMEOUT,
        "idle_timeout": NO_TIMEOUT,
        "max_stream_duration": {"grpc_timeout_header_max": NO_TIMEOUT},
    }


def cluster_route(
    cluster: str, *, retry: Fields | Message | None = None, hash_policies: Sequence[Fields] = ()
) -> Fields:
    """Return the RouteAction that sends everything to one cluster, without a time limit."""
    action: Fields = {"cluster": cluster, **timeout_fields(None)}
    if retry is not None:
        action["retry_policy"] = retry
    if hash_policies:
        action["hash_policy"] = list(hash_policies)
    return action


def connect_route(name: str, target: Fields, metadata: Fields | None = None) -> Fields:
    """Return the route that ends an HTTP CONNECT here and forwards its bytes to `target`.

    `target` is `{"cluster": ...}` or `{"weighted_clusters": ...}`.
    """
    route: Fields = {
        "name": name,
        "match": {"connect_matcher": {}},
        "route": {
            **target,
            "timeout": NO_TIMEOUT,
            "idle_timeout": NO_TIMEOUT,
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    }
    if metadata is not None:
        route["metadata"] = metadata
    return route


# --- virtual hosts and configurations ------------------------------------------------------------------------


def virtual_host(name: str, domains: Sequence[str], routes: Sequence[Fields]) -> Fields:
    """Return a VirtualHost; upstreams learn the attempt number of a retried request."""
    return {
        "name": name,
        "domains": list(domains),
        "routes": list(routes),
        "include_request_attempt_count": True,
    }


def catch_all_virtual_host(*, cluster: str, metadata: Fields, connect: bool = False) -> Fields:
    """Return the virtual host of unknown hosts: `allow_any` passes them on to a cluster, `block_all` answers 502.

    `cluster`: empty when they are refused. `metadata` says who decided it. `connect`: HTTP CONNECT arrives here too.
    """
    if not cluster:
        blocked: Fields = {
            "name": names.BLOCK_ALL,
            "match": {"prefix": "/"},
            "direct_response": {"status": 502},
            "metadata": metadata,
        }
        routes = [blocked]
        if connect:
            # A prefix never matches CONNECT, which would end as 404.
            routes.insert(0, {**blocked, "match": {"connect_matcher": {}}})
        return virtual_host(names.BLOCK_ALL, ["*"], routes)
    name = names.ALLOW_ANY_DYNAMIC_DNS if cluster == names.ALLOW_ANY_DYNAMIC_DNS_CLUSTER else names.ALLOW_ANY
    passed: Fields = {
        "name": name,
        "match": {"prefix": "/"},
        "route": cluster_route(cluster),
        "metadata": metadata,
    }
    routes = [passed]
    if connect:
        routes.insert(0, connect_route(name, {"cluster": cluster}, metadata))
    return virtual_host(name, ["*"], routes)


def route_configuration(name: str, virtual_hosts: Sequence[Fields], *, ignore_port: bool = True) -> Fields:
    """Return a RouteConfiguration.

    A route may name a cluster that does not exist yet (Envoy then answers 503): `validate_clusters` is off, also
    where the configuration stands inside a listener.
    """
    return {"name": name, "virtual_hosts": list(virtual_hosts), **_settings(ignore_port=ignore_port)}


def _settings(*, ignore_port: bool) -> Fields:
    return {
        "validate_clusters": {"value": False},
        "max_direct_response_body_size_bytes": {"value": MAX_DIRECT_RESPONSE_BYTES},
        "ignore_port_in_host_matching": ignore_port,
    }


def on_demand_route_configuration(name: str, *, off: Iterable[str] = (), ignore_port: bool = True) -> Resource:
    """Return a RouteConfiguration whose virtual hosts are asked for one by one, by the host that is called (VHDS).

    Envoy takes an empty first answer for none at all, and keeps the listener waiting until the time-out; a virtual host
    without content ends the wait (`placeholder_virtual_host`). The time-out is for a placeholder that came too early.

    `off`: HTTP filters that are off but for routes that say something for them (`filters.OFF_ON_DEMAND`).
    """
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {"nanos": 200_000_000}}
    fields: Fields = {
        "name": name,
        "vhds": {"config_source": source},
        "typed_per_filter_config": dict.fromkeys(off, _off()),
    }
    return make_resource(ROUTE, name, fields | _settings(ignore_port=ignore_port))


@cache
def _off() -> Fields:
    return packed("envoy.config.route.v3.FilterConfig", {"disabled": True})


def placeholder_virtual_host(route_configuration: str) -> Resource:
    """Return the virtual host that says: this route configuration has no others yet."""
    return Resource(kind=VIRTUAL_HOST, name=f"{route_configuration}/placeholder.invalid", version="none", body=b"")


def on_demand_virtual_host(
    route_configuration: str, asked: str, domain: str, routes: Sequence[Fields], leads_to: Sequence[str]
) -> Resource:
    """Return the virtual host of one domain, as Envoy asks for it: by `ROUTE CONFIGURATION/HOST HEADER`.

    Its name is the domain, because Envoy keeps one virtual host per name; so two spellings of a domain are one.
    """
    fields = virtual_host(domain, [domain], _actions_once(routes))
    body = serialise(VIRTUAL_HOST, fields)
    version = content_hash(b"\0".join((body, *(cluster.encode() for cluster in leads_to))))
    name = f"{route_configuration}/{asked}"
    return Resource(kind=VIRTUAL_HOST, name=name, version=version, body=body, leads_to=tuple(leads_to))


def with_virtual_hosts(configuration: Resource, hosts: Iterable[Resource]) -> Resource:
    """Return a route configuration with virtual hosts that were sent apart from it: what a proxy has in all."""
    entries = [entry(_VIRTUAL_HOSTS, host.body) for host in hosts if host.body]
    return replace(configuration, body=b"".join((configuration.body, *entries))) if entries else configuration


# --- the same, of parts that are serialised already ----------------------------------------------------------


def virtual_host_fragment(fields: Fields) -> Fragment:
    """Return a VirtualHost as a part of a RouteConfiguration."""
    fields = {**fields, "routes": _actions_once(fields["routes"])}
    return Fragment.of(entry(_VIRTUAL_HOSTS, serialise(VIRTUAL_HOST, fields)))


def spliced_virtual_host(
    name: str, domains: Sequence[str], routes: Sequence[Fragment], *, require_tls: bool = False
) -> Fragment:
    """Return a VirtualHost whose routes are serialised already (see `route_entries`).

    Its hash is one over the hashes of the routes.
    """
    head = serialise(VIRTUAL_HOST, {"name": name, "domains": domains})
    tail = _host_tail(require_tls)
    body = entry(_VIRTUAL_HOSTS, b"".join([head, *(route.body for route in routes), tail]))
    return Fragment(body, Fragment.of(b"".join([head, *(route.digest for route in routes), tail])).digest)


@cache
def _host_tail(require_tls: bool) -> bytes:
    fields = virtual_host("", (), ())
    return serialise(VIRTUAL_HOST, {**fields, "require_tls": "ALL"} if require_tls else fields)


def route_entries(routes: Sequence[Fields]) -> Fragment:
    """Return some Routes as a part of a VirtualHost."""
    return Fragment.of(b"".join([entry(_ROUTES, serialise(ROUTE_ENTRY, fields)) for fields in _actions_once(routes)]))


def _actions_once(routes: Sequence[Fields]) -> Sequence[Fields]:
    """Return the routes with an action that neighbours share (the matches of one rule) read from its dict once."""
    found: list[Fields] = []
    last: Fields | None = None
    message: Message | None = None
    for number, route in enumerate(routes):
        action: Fields | None = route.get("route")
        shared = number + 1 < len(routes) and routes[number + 1].get("route") is action
        if shared and action is not None and action is not last:
            last, message = action, prepared(ROUTE_ACTION, action)
        found.append({**route, "route": message} if action is not None and action is last else route)
    return found


def spliced_route_configuration(name: str, hosts: Fragments, *, ignore_port: bool = True) -> Resource:
    """Return the RouteConfiguration of these virtual hosts, byte for byte as `route_configuration` gives it."""
    return splice(ROUTE, name, serialise(ROUTE, {"name": name}), hosts, _tail(ignore_port))


@cache
def _tail(ignore_port: bool) -> bytes:
    return serialise(ROUTE, _settings(ignore_port=ignore_port))


ROUTE_ENTRY = "envoy.config.route.v3.Route"
ROUTE_ACTION = "envoy.config.route.v3.RouteAction"
_VIRTUAL_HOSTS = 2
"""Number of RouteConfiguration.virtual_hosts; the only field before it is the name."""
_ROUTES = 3
"""Number of VirtualHost.routes; the only fields before it are the name and the domains."""
