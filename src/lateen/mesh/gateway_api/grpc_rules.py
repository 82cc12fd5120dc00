"""GRPCRoutes as HTTPRoutes: a call is a POST to `/SERVICE/METHOD` (gRPC over HTTP/2), so a method is a path."""

from __future__ import annotations

from lateen.config.gateway_api import (
    GRPCMethodMatch,
    GRPCRoute,
    GRPCRouteFilter,
    GRPCRouteMatch,
    HTTPBackendRef,
    HTTPFilterType,
    HTTPPathMatch,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRule,
    MatchType,
    PathMatchType,
)
from lateen.mesh.gateway_api.http_rules import ANY_SERVICE


def as_http(route: GRPCRoute) -> HTTPRoute:
    """Return the HTTPRoute that does the same."""
    return HTTPRoute(
        parent_refs=route.parent_refs,
        hostnames=route.hostnames,
        rules=[
            HTTPRouteRule(
                name=rule.name,
                matches=[_match(match) for match in rule.matches],
                filters=[_filter(item) for item in rule.filters],
                backend_refs=[
                    HTTPBackendRef(
                        name=ref.name,
                        group=ref.group,
                        kind=ref.kind,
                        namespace=ref.namespace,
                        port=ref.port,
                        weight=ref.weight,
                        filters=[_filter(item) for item in ref.filters],
                    )
                    for ref in rule.backend_refs
                ],
            )
            for rule in route.rules
        ],
    )


def _match(match: GRPCRouteMatch) -> HTTPRouteMatch:
    return HTTPRouteMatch(path=_path(match.method) if match.method is not None else None, headers=match.headers)


def _path(method: GRPCMethodMatch) -> HTTPPathMatch:
    exact = method.type is MatchType.EXACT
    if exact and method.service and method.method:
        return HTTPPathMatch(type=PathMatchType.EXACT, value=f"/{method.service}/{method.method}")
    if exact and method.service:
        return HTTPPathMatch(value=f"/{method.service}")
    # An exact name has no character that means something in a regular expression but the dot.
    service = f"/(?:{method.service})/" if method.service else ANY_SERVICE
    name = f"(?:{method.method})" if method.method else "[^/]+"
    return HTTPPathMatch(type=PathMatchType.REGULAR_EXPRESSION, value=service + name)


def _filter(item: GRPCRouteFilter) -> HTTPRouteFilter:
    return HTTPRouteFilter(
        type=HTTPFilterType(item.type.value),
        request_header_modifier=item.request_header_modifier,
        response_header_modifier=item.response_header_modifier,
        request_mirror=item.request_mirror,
        extension_ref=item.extension_ref,
    )
