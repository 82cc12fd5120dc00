"""Resources of proxyless gRPC clients (`xds:///reviews:9080`): API listeners, plain clusters.

gRPC knows a part of xDS (gRFC A27 and its successors) and refuses some of the rest, so clusters here carry only
discovery, round robin or ring hash, and the request limit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from lateen.config.networking import TrafficPolicy
from lateen.envoy import names
from lateen.envoy.cluster_policies import apply_consistent_hash
from lateen.envoy.filters import ADS, api_connection_manager
from lateen.envoy.listeners import api_listener
from lateen.envoy.messages import Fields
from lateen.envoy.resources import CLUSTER, LISTENER, ROUTE, Resource, make_resource
from lateen.envoy.route_policies import FAULT_FILTER
from lateen.envoy.routes import route_configuration, virtual_host
from lateen.generate.destinations import Target
from lateen.generate.endpoints import eds_assignment
from lateen.generate.parts import Made, Part
from lateen.generate.routes import RouteContext, service_routes
from lateen.generate.traffic_policies import consistent_hash, effective_policy, subset_of
from lateen.generate.view import View
from lateen.generate.virtual_hosts import Domains, http_ports, short_names
from lateen.model.names import Hostname
from lateen.model.services import Resolution, Service

_REFUSED_ACTIONS = ("request_mirror_policies", "upgrade_configs")
"""RouteAction fields that gRPC does not read."""


def proxyless_parts(view: View) -> Iterator[Part]:
    """Plan listeners, routes, clusters and endpoints of every service with endpoints over EDS."""
    services = view.services()
    domains = Domains(frozenset(names.host_and_port(s.host, port.number) for s in services for port in s.ports))
    for service in services:
        if service.resolution is not Resolution.STATIC:
            continue
        for port in http_ports(service):
            granted = domains.claim(
                [names.host_and_port(service.host, port.number)],
                short=[names.host_and_port(name, port.number) for name in short_names(service.host, view.proxy)],
            )
            yield PlainPort(service.host, port.number, tuple(granted))
            yield PlainEndpoints(service.host, port.number)


@dataclass(frozen=True, slots=True)
class PlainPort:
    """A port of a service for gRPC clients."""

    host: Hostname
    port: int
    names: tuple[str, ...]
    """What clients may dial."""

    @property
    def key(self) -> Hashable:
        """Host and port."""
        return ("plain", self.host, self.port)

    def make(self, view: View) -> Made:
        """Return its listeners, routes and clusters."""
        return Made(tuple(_port_resources(view, self)))


@dataclass(frozen=True, slots=True)
class PlainEndpoints:
    """The endpoints of the clusters of a port."""

    host: Hostname
    port: int

    @property
    def key(self) -> Hashable:
        """Host and port."""
        return ("plain endpoints", self.host, self.port)

    def make(self, view: View) -> Made:
        """Return an assignment for each cluster."""
        service = view.service(self.host)
        assert service is not None, self.host
        return Made(tuple(_endpoints(view, service, target) for target in _targets(view, self.host, self.port)))


def _targets(view: View, host: Hostname, port: int) -> list[Target]:
    rule = view.rule(host)
    subsets = dict.fromkeys(subset.name for subset in rule.spec.subsets) if rule is not None else {}
    return [Target(host, port, subset) for subset in ("", *subsets)]


def _port_resources(view: View, part: PlainPort) -> Iterator[Resource]:
    service = view.service(part.host)
    assert service is not None, part.host
    route_name = names.outbound_cluster(part.host, part.port)
    for name in part.names:
        yield make_resource(LISTENER, name, api_listener(name, api_connection_manager(route_name)))
    routes = [_plain(route) for route in service_routes(RouteContext(view=view, port=part.port), service).routes]
    host = virtual_host(names.host_and_port(part.host, part.port), ["*"], routes)
    yield make_resource(ROUTE, route_name, route_configuration(route_name, [host], ignore_port=False))
    for target in _targets(view, part.host, part.port):
        yield _cluster(view, target)


def _plain(route: Fields) -> Fields:
    """Return the route with gRPC's name for the time limit, and without what gRPC does not read."""
    # gRPC refuses the per-route settings of a filter that it does not have (gRFC A39).
    filters = {name: value for name, value in route.get("typed_per_filter_config", {}).items() if name == FAULT_FILTER}
    route = {**route, "typed_per_filter_config": filters}
    action = route.get("route")
    if action is None:
        return route
    kept = {name: value for name, value in action.items() if name not in _REFUSED_ACTIONS}
    kept["max_stream_duration"] = {"max_stream_duration": kept.pop("timeout")}
    return {**route, "route": kept}


def _cluster(view: View, target: Target) -> Resource:
    policy = effective_policy(view.rule(target.host), target.port, target.subset, view.mesh_config)
    fields: Fields = {
        "name": target.cluster,
        "type": "EDS",
        "lb_policy": "ROUND_ROBIN",
        "eds_cluster_config": {"eds_config": ADS, "service_name": target.cluster},
    }
    if consistent := consistent_hash(policy):
        apply_consistent_hash(fields, consistent)
        if fields["lb_policy"] == "MAGLEV":
            # gRPC has ring hash only (gRFC A42).
            fields["lb_policy"] = "RING_HASH"
            fields.pop("maglev_lb_config", None)
    if limit := _max_requests(policy):
        fields["circuit_breakers"] = {"thresholds": [{"max_requests": {"value": limit}}]}
    return make_resource(CLUSTER, target.cluster, fields)


def _endpoints(view: View, service: Service, target: Target) -> Resource:
    narrowed = subset_of(view.rule(target.host), target.subset) if target.subset else None
    labels = narrowed.labels if narrowed is not None else {}
    policy = effective_policy(view.rule(target.host), target.port, target.subset, view.mesh_config)
    return eds_assignment(view, target.cluster, service, target.port, labels, policy)


def _max_requests(policy: TrafficPolicy | None) -> int:
    pool = policy.connection_pool if policy is not None else None
    return pool.http.http2_max_requests if pool is not None and pool.http is not None else 0
