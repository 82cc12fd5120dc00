"""Outbound clusters with their endpoints: one per service port, and one per subset of it.

Called by every pass that sends traffic. Source: Istio's cluster names and defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lateen.config.networking import SimpleLB, TrafficPolicy
from lateen.envoy.cluster_policies import apply_traffic_policy
from lateen.envoy.clusters import (
    ClusterDraft,
    blackhole_cluster,
    dns_cluster,
    dynamic_cluster,
    dynamic_passthrough_cluster,
    eds_cluster,
    original_destination_cluster,
    passthrough_cluster,
    static_cluster,
    use_client_protocol,
    use_http2,
)
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import cluster_metadata
from lateen.envoy.resources import CLUSTER, ENDPOINT, Resource, make_resource
from lateen.generate.destinations import Target
from lateen.generate.endpoints import eds_assignment, inline_assignment
from lateen.generate.traffic_policies import effective_policy, subset_of
from lateen.generate.view import View
from lateen.model.protocols import Protocol
from lateen.model.proxies import ProxyType
from lateen.model.services import Resolution, Service, ServicePort


def service_clusters(view: View) -> Iterator[Resource]:
    """Yield clusters and endpoints of every service in view, with all subsets of their rules."""
    for service in view.services:
        rule = view.rule(service.host)
        subsets = dict.fromkeys(subset.name for subset in rule.spec.subsets) if rule is not None else {}
        for port in _routable_ports(service):
            yield from _cluster(view, service, port, "")
            for subset in subsets:
                yield from _cluster(view, service, port, subset)


def target_clusters(view: View, targets: Iterable[Target]) -> Iterator[Resource]:
    """Yield clusters and endpoints of the targets that exist; a missing host, port or subset yields nothing."""
    for target in sorted(set(targets)):
        service = view.by_host.get(target.host)
        port = service.port(target.port) if service is not None else None
        if service is None or port is None or port.protocol is Protocol.UDP:
            continue
        if target.subset and subset_of(view.rule(target.host), target.subset) is None:
            continue
        yield from _cluster(view, service, port, target.subset)


def catch_all_clusters(view: View) -> Iterator[Resource]:
    """Yield where calls to unknown hosts end."""
    blackhole = blackhole_cluster(view.connect_timeout)
    yield make_resource(CLUSTER, blackhole["name"], blackhole)
    if view.explicit:
        passthrough = dynamic_passthrough_cluster(view.connect_timeout)
    else:
        passthrough = passthrough_cluster(view.connect_timeout)
    yield make_resource(CLUSTER, passthrough["name"], passthrough)


def _routable_ports(service: Service) -> Iterator[ServicePort]:
    seen: set[int] = set()
    for port in service.ports:
        if port.protocol is not Protocol.UDP and port.number not in seen:
            seen.add(port.number)
            yield port


def _cluster(view: View, service: Service, port: ServicePort, subset: str) -> Iterator[Resource]:
    target = Target(service.host, port.number, subset)
    rule = view.rule(service.host)
    narrowed = subset_of(rule, subset) if subset else None
    labels = narrowed.labels if narrowed is not None else {}
    policy = effective_policy(rule, port.number, subset, view.state.mesh_config)
    draft = ClusterDraft(fields=_discovery(view, target, service, labels, policy))
    _set_protocol(view, draft, port.protocol)
    apply_traffic_policy(draft, policy, protocol=port.protocol, mesh_config=view.state.mesh_config)
    draft.fields["metadata"] = cluster_metadata((service,), rule=rule, subset=subset)
    fields = draft.finish()
    yield make_resource(CLUSTER, target.cluster, fields)
    if "eds_cluster_config" in fields:
        assignment = eds_assignment(view, target.cluster, service, port.number, labels)
        yield make_resource(ENDPOINT, target.cluster, assignment)


def _discovery(
    view: View, target: Target, service: Service, labels: Mapping[str, str], policy: TrafficPolicy | None
) -> Fields:
    """Return the cluster as its service's resolution says it finds endpoints."""
    name = target.cluster
    wanted = policy.load_balancer.simple if policy is not None and policy.load_balancer is not None else None
    match service.resolution:
        case Resolution.NONE | Resolution.DYNAMIC_DNS:
            return _as_dialled(view, name)
        case _ if wanted is SimpleLB.PASSTHROUGH:
            return _as_dialled(view, name)
        case Resolution.STATIC:
            return eds_cluster(name)
    logical = service.resolution is Resolution.DNS_ROUND_ROBIN
    assignment = inline_assignment(view, name, service, target.port, labels, single=logical)
    if not any(group["lb_endpoints"] for group in assignment["endpoints"]):
        # Envoy refuses LOGICAL_DNS without its one name; nothing can be reached either way.
        return static_cluster(name, {"cluster_name": name})
    return dns_cluster(name, assignment, logical=logical, lookup_family=view.lookup_family)


def _as_dialled(view: View, name: str) -> Fields:
    """Return a cluster that connects where the client wanted to.

    Under interception that is the original destination; in explicit mode the host of the request.
    """
    return dynamic_cluster(name) if view.explicit else original_destination_cluster(name)


def _set_protocol(view: View, draft: ClusterDraft, protocol: Protocol) -> None:
    if protocol.is_http2:
        use_http2(draft)
    elif protocol.is_sniffed and view.proxy.type is ProxyType.SIDECAR:
        # A gateway negotiates with its clients: what they speak says nothing about the upstream.
        use_client_protocol(draft)
