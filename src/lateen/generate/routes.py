"""HTTP routes of VirtualServices and of plain services, for one listener.

Called by the sidecar, gateway, explicit and proxyless passes. A rule that matches on gateways, port, source
labels or namespace is decided here; what Envoy can decide at run time is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lateen.config.durations import to_fields
from lateen.config.networking import HTTPMatchRequest, HTTPRoute, HTTPRouteDestination
from lateen.config.request_claims import claim_path
from lateen.envoy import names
from lateen.envoy.filters import ON_DEMAND_FILTER, no_clusters_on_demand
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import config_metadata, service_metadata, shared_metadata
from lateen.envoy.route_policies import (
    CORS_FILTER,
    FAULT_FILTER,
    cors_config,
    fault_config,
    hash_policy,
    mirror_percentage,
    mirror_policy,
    percentage,
    retry_policy,
)
from lateen.envoy.routes import (
    HeaderChanges,
    cluster_route,
    direct_response,
    header_changes,
    matches_everything,
    redirect_action,
    rewrite_fields,
    route_match,
    timeout_fields,
)
from lateen.generate.destinations import Target, one_would_never_come, target_of
from lateen.generate.traffic_policies import consistent_hash, effective_policy
from lateen.generate.view import View
from lateen.mesh.references import NO_BACKEND, resolve_gateway
from lateen.mesh.state import MESH_GATEWAY, BoundVirtualService
from lateen.model.proxies import labels_match
from lateen.model.services import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteContext:
    """Where routes will stand."""

    view: View
    port: int
    """Port of the listener, as the service or Gateway declares it."""
    gateway: str = MESH_GATEWAY
    tls: bool = False
    """The listener terminates TLS."""


@dataclass(slots=True, kw_only=True)
class HttpRoutes:
    """Routes in order, and the clusters they name."""

    routes: list[Fields] = field(default_factory=list)
    targets: dict[Target, None] = field(default_factory=dict)
    """In order of first use."""
    unasked: dict[Target, None] = field(default_factory=dict)
    """Those of them that a proxy which asks on demand would not ask for, see `unasked_clusters`."""

    @property
    def unasked_clusters(self) -> tuple[str, ...]:
        """Clusters of mirrors, which Envoy never asks for, and of routes that ask for none because one is missing."""
        return tuple(target.cluster for target in self.unasked)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters by name."""
        return tuple(target.cluster for target in self.targets)


def service_routes(context: RouteContext, service: Service) -> HttpRoutes:
    """Return the routes of a service's port in a sidecar: its VirtualService's, else straight to the service.

    A VirtualService none of whose rules is for this proxy and port counts as none.
    """
    bound = context.view.routing(service.host)
    if bound is not None and bound.object.spec.http:
        found = rule_routes(context, bound)
        if found.routes:
            return found
    return HttpRoutes(
        routes=[default_route(context.view, service, context.port)], targets={Target(service.host, context.port): None}
    )


def default_route(view: View, service: Service, port: int) -> Fields:
    """Return the route of a service that no rule is about."""
    hashes = hash_policies(view, [Target(service.host, port)])
    retry = retry_policy(view.mesh_config.default_http_retry_policy)
    return {
        "name": names.DEFAULT_ROUTE,
        "match": {"prefix": "/"},
        "route": cluster_route(names.outbound_cluster(service.host, port), retry=retry, hash_policies=hashes),
        "decorator": {"operation": f"{names.host_and_port(service.host, port)}/*"},
        "metadata": service_metadata(service),
    }


def rule_routes(context: RouteContext, bound: BoundVirtualService) -> HttpRoutes:
    """Return the routes of a VirtualService on a listener, one per match, in its order.

    A route that everything matches ends the list: nothing after it can be reached.
    """
    found = HttpRoutes()
    namespace = bound.object.key.namespace
    rules = bound.object.spec.http
    several = len(rules) > 1 or any(len(rule.match) > 1 for rule in rules)
    metadata = shared_metadata(bound.object) if several else config_metadata(bound.object)
    for number, rule in enumerate(rules):
        every: Sequence[HTTPMatchRequest | None] = rule.match or (None,)
        matches = [match for match in every if _for_this_listener(context, match, namespace)]
        if not matches:
            continue
        shared = _rule_fields(context, bound, rule, found)
        shared["metadata"] = config_metadata(bound.object.source(number)) if bound.object.made_of else metadata
        destination = _operation(bound, shared, context.port)
        for match in matches:
            route = _with_match(shared, rule, match, destination)
            found.routes.append(route)
            if matches_everything(route["match"]):
                return found
    return found


def applies(context: RouteContext, bound: BoundVirtualService) -> bool:
    """Whether a VirtualService has routes on a listener: whether `rule_routes` returns any."""
    namespace = bound.object.key.namespace
    return any(
        not rule.match or any(_for_this_listener(context, match, namespace) for match in rule.match)
        for rule in bound.object.spec.http
    )


def hash_policies(view: View, targets: Iterable[Target]) -> list[Fields]:
    """Return the hash policies of the targets with consistent hashing, each once."""
    found: list[Fields] = []
    for target in targets:
        policy = effective_policy(view.rule(target.host), target.port, target.subset, view.mesh_config)
        consistent = consistent_hash(policy)
        hashed = hash_policy(consistent) if consistent is not None else None
        if hashed is not None and hashed not in found:
            found.append(hashed)
    return found


def _for_this_listener(context: RouteContext, match: HTTPMatchRequest | None, namespace: str) -> bool:
    """Whether the static conditions hold. A list of gateways replaces the source conditions, as in Istio."""
    if match is None:
        return True
    if match.port and match.port != context.port:
        return False
    if context.gateway == MESH_GATEWAY and any(claim_path(name) is not None for name in match.headers):
        return False  # tokens are read where requests come in: on its way out a request has no claims
    if match.gateways:
        return any(resolve_gateway(gateway, namespace) == context.gateway for gateway in match.gateways)
    proxy = context.view.proxy
    if not labels_match(match.source_labels, proxy.labels):
        return False
    return not match.source_namespace or match.source_namespace == proxy.namespace


def _rule_fields(context: RouteContext, bound: BoundVirtualService, rule: HTTPRoute, found: HttpRoutes) -> Fields:
    """Return what every route of a rule has, whatever its match."""
    changes = header_changes(rule.headers)
    route: Fields = dict(changes.fields)
    targets: list[Target] = []
    if rule.redirect is not None:
        route["redirect"] = redirect_action(rule.redirect, port=context.port, tls=context.tls)
    elif rule.direct_response is not None:
        route["direct_response"] = direct_response(rule.direct_response)
    else:
        targets = _forward(context, bound, rule, route, changes, found)
    filters: Fields = {}
    if rule.fault is not None and (fault := fault_config(rule.fault)):
        filters[FAULT_FILTER] = fault
    if rule.cors_policy is not None:
        filters[CORS_FILTER] = cors_config(rule.cors_policy)
    if one_would_never_come(context.view, targets):
        filters[ON_DEMAND_FILTER] = no_clusters_on_demand()
        found.unasked.update(dict.fromkeys(targets))
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def _with_match(shared: Fields, rule: HTTPRoute, match: HTTPMatchRequest | None, destination: str) -> Fields:
    """Return the route of one match of a rule. `destination` is what tracing calls it, before the path."""
    fields = route_match(match)
    path = fields.get("path") or fields.get("safe_regex", {}).get("regex") or f"{fields.get('prefix', '/')}*"
    route: Fields = {**shared, "match": fields, "decorator": {"operation": destination + path}}
    name = f"{rule.name}.{match.name}" if match is not None and match.name else rule.name
    if name:
        route["name"] = name
    if match is not None and match.stat_prefix:
        route["stat_prefix"] = match.stat_prefix
    return route


def _forward(
    context: RouteContext,
    bound: BoundVirtualService,
    rule: HTTPRoute,
    route: Fields,
    changes: HeaderChanges,
    found: HttpRoutes,
) -> list[Target]:
    """Fill the `route` action: timeouts, rewrites, mirrors, destinations, retries, hashing. Return where it leads."""
    view, namespace = context.view, bound.object.key.namespace
    action: Fields = {
        **timeout_fields(to_fields(rule.timeout) if rule.timeout else None),
        **rewrite_fields(rule.rewrite),
    }
    authority = (rule.rewrite.authority if rule.rewrite else "") or changes.authority
    # A single destination takes everything, whatever its weight; among several, zero means none.
    chosen = [item for item in rule.route if item.weight > 0] if len(rule.route) > 1 else rule.route
    targets = [target_of(view, item.destination, namespace, context.port) for item in chosen]
    if not chosen:
        # Nothing to forward to (every weight is zero): say so instead of handing Envoy an empty list.
        route["direct_response"] = {"status": 503}
        return targets
    if len(chosen) == 1:
        action["cluster"] = targets[0].cluster
        own = header_changes(chosen[0].headers)
        for name, values in own.fields.items():
            route[name] = [*route.get(name, ()), *values]
        authority = authority or own.authority
    else:
        action["weighted_clusters"] = {"clusters": _weighted(chosen, targets)}
    if any(target.host == NO_BACKEND for target in targets):
        # The Gateway API's answer for a backend that is not there; Envoy's own is 503.
        action["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    if authority:
        action["host_rewrite_literal"] = authority
    if mirrors := _mirrors(context, rule, namespace, found):
        action["request_mirror_policies"] = mirrors
    hashes = hash_policies(view, targets)
    if hashes:
        action["hash_policy"] = hashes
    retries = rule.retries or view.mesh_config.default_http_retry_policy
    policy = retry_policy(retries, hashed=bool(hashes) and len(chosen) == 1)
    if policy is not None:
        action["retry_policy"] = policy
    found.targets.update(dict.fromkeys(targets))
    route["route"] = action
    return targets


def _weighted(destinations: Sequence[HTTPRouteDestination], targets: Sequence[Target]) -> list[Fields]:
    clusters: list[Fields] = []
    for item, target in zip(destinations, targets, strict=True):
        changes = header_changes(item.headers)
        cluster: Fields = {"name": target.cluster, "weight": {"value": item.weight}, **changes.fields}
        if changes.authority:
            cluster["host_rewrite_literal"] = changes.authority
        clusters.append(cluster)
    return clusters


def _mirrors(context: RouteContext, rule: HTTPRoute, namespace: str, found: HttpRoutes) -> list[Fields]:
    wanted = []
    if rule.mirror is not None and (share := mirror_percentage(rule)):
        wanted.append((rule.mirror, share))
    for item in rule.mirrors:
        if item.percentage is None:
            wanted.append((item.destination, {"numerator": 100, "denominator": "HUNDRED"}))
        elif item.percentage.value > 0:
            wanted.append((item.destination, percentage(item.percentage)))
    mirrors = []
    for destination, share in wanted:
        target = target_of(context.view, destination, namespace, context.port)
        found.targets[target] = found.unasked[target] = None
        mirrors.append(mirror_policy(target.cluster, share))
    return mirrors


def _operation(bound: BoundVirtualService, shared: Fields, port: int) -> str:
    """Return host and port of a rule's only destination, or the rule's name when several are possible."""
    cluster = shared.get("route", {}).get("cluster")
    if cluster:
        host, target_port, _ = names.outbound_parts(cluster)
        return names.host_and_port(host, target_port)
    return f"{bound.object.key.name}:{port}"
