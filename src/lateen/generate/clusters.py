"""Outbound clusters with their endpoints: one per service port, and one per subset of it.

Called by every pass that sends traffic. Source: Istio's cluster names and defaults.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lateen.config.networking import TrafficPolicy
from lateen.envoy import names
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
from lateen.envoy.resources import CLUSTER, Resource, make_resource
from lateen.generate.client_tls import client_secrets, secret_parts, with_known_names
from lateen.generate.destinations import Target, exists
from lateen.generate.endpoints import eds_assignment, inline_assignment
from lateen.generate.localities import is_weighted, of_policy
from lateen.generate.mutual_tls import client_side, connects_as_dialled, is_unreachable
from lateen.generate.parts import NOTHING, Made, Part
from lateen.generate.stat_names import rename
from lateen.generate.traffic_policies import effective_policy, subset_of
from lateen.generate.unknown_hosts import egress_proxy, looks_up_unknown
from lateen.generate.view import View
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.proxies import ProxyType
from lateen.model.services import Resolution, Service, ServicePort


def service_parts(view: View) -> Iterator[Part]:
    """Plan clusters and endpoints of every service in view, with all subsets of their rules."""
    for service in view.services():
        yield ServiceClusters(service.host)
        yield ServiceEndpoints(service.host)
    if not view.on_demand:
        yield CatchAllClusters()


@dataclass(frozen=True, slots=True)
class ServiceClusters:
    """The clusters of a service: each port, and each subset of it."""

    host: Hostname

    @property
    def key(self) -> Hashable:
        """A service's host."""
        return ("clusters", self.host)

    def make(self, view: View) -> Made:
        """Return the clusters."""
        return _together(
            _cluster(view, service, port, target.subset) for service, port, target in _targets(view, self.host)
        )


@dataclass(frozen=True, slots=True)
class ServiceEndpoints:
    """The endpoints of a service's clusters."""

    host: Hostname

    @property
    def key(self) -> Hashable:
        """A service's host."""
        return ("endpoints", self.host)

    def make(self, view: View) -> Made:
        """Return an assignment for each cluster that asks for one."""
        found = (_endpoints(view, service, port, target.subset) for service, port, target in _targets(view, self.host))
        return Made(tuple(resource for resource in found if resource is not None))


@dataclass(frozen=True, slots=True)
class TargetClusters:
    """The cluster of one target with its endpoints; nothing when its host, port or subset does not exist."""

    target: Target

    @property
    def key(self) -> Hashable:
        """Where it leads."""
        return ("target", self.target)

    def make(self, view: View) -> Made:
        """Return the cluster, and want its endpoints."""
        target = self.target
        service = view.service(target.host)
        port = service.port(target.port) if service is not None else None
        if service is None or port is None or not exists(view, target):
            return NOTHING
        made = _cluster(view, service, port, target.subset)
        return Made(made.resources, (TargetEndpoints(target), *made.wants))


@dataclass(frozen=True, slots=True)
class TargetEndpoints:
    """The endpoints of a target that exists."""

    target: Target

    @property
    def key(self) -> Hashable:
        """Where it leads."""
        return ("endpoints of", self.target)

    def make(self, view: View) -> Made:
        """Return the assignment, if the cluster asks for one."""
        service = view.service(self.target.host)
        port = service.port(self.target.port) if service is not None else None
        found = (
            _endpoints(view, service, port, self.target.subset) if service is not None and port is not None else None
        )
        return Made((found,)) if found is not None else NOTHING


@dataclass(frozen=True, slots=True)
class LearnedClusters:
    """The clusters of the hosts that the workload was seen calling."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("learned clusters",)

    def make(self, view: View) -> Made:
        """Want them: others may want some of them too."""
        hosts = view.proxy.learned
        return Made(wants=tuple(TargetClusters(target) for host in hosts for _, _, target in _targets(view, host)))


@dataclass(frozen=True, slots=True)
class CatchAllClusters:
    """Where calls to unknown hosts end."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("catch-all clusters",)

    def make(self, view: View) -> Made:
        """Return both clusters: which of them is used is the routes' business."""
        found = [
            blackhole_cluster(view.connect_timeout),
            dynamic_passthrough_cluster(view.connect_timeout)
            if view.explicit
            else passthrough_cluster(view.connect_timeout),
        ]
        if looks_up_unknown(view):
            found.append(dynamic_passthrough_cluster(view.connect_timeout, names.ALLOW_ANY_DYNAMIC_DNS_CLUSTER))
        proxy = egress_proxy(view)
        wants = (TargetClusters(proxy),) if proxy is not None and view.on_demand else ()
        return Made(tuple(make_resource(CLUSTER, fields["name"], fields) for fields in found), wants)


def _targets(view: View, host: Hostname) -> Iterator[tuple[Service, ServicePort, Target]]:
    service = view.service(host)
    if service is None:
        return
    rule = view.rule(host)
    subsets = dict.fromkeys(subset.name for subset in rule.spec.subsets) if rule is not None else {}
    for port in _routable_ports(service):
        for subset in ("", *subsets):
            yield service, port, Target(host, port.number, subset)


def _routable_ports(service: Service) -> Iterator[ServicePort]:
    seen: set[int] = set()
    for port in service.ports:
        if port.protocol is not Protocol.UDP and port.number not in seen:
            seen.add(port.number)
            yield port


def _together(made: Iterable[Made]) -> Made:
    found = list(made)
    wants = {part.key: part for item in found for part in item.wants}
    return Made(tuple(resource for item in found for resource in item.resources), tuple(wants.values()))


def _cluster(view: View, service: Service, port: ServicePort, subset: str) -> Made:
    target = Target(service.host, port.number, subset)
    rule = view.rule(service.host)
    policy = with_known_names(effective_policy(rule, port.number, subset, view.mesh_config), service)
    secrets = client_secrets(view, rule, policy)
    draft = ClusterDraft(fields=_discovery(view, target, service, policy))
    _set_protocol(view, draft, port.protocol)
    apply_traffic_policy(
        draft,
        policy,
        protocol=port.protocol,
        mesh_config=view.mesh_config,
        locality_weighted=is_weighted(of_policy(policy, view.mesh_config)),
        secrets=secrets,
        mutual_tls=client_side(view, service, target, policy),
    )
    draft.fields["metadata"] = cluster_metadata((service,), rule=rule, subset=subset)
    rename(draft.fields, view.mesh_config.outbound_cluster_stat_name, service, port, subset)
    return Made((make_resource(CLUSTER, target.cluster, draft.finish()),), secret_parts(secrets))


def _endpoints(view: View, service: Service, port: ServicePort, subset: str) -> Resource | None:
    """Return the assignment of a cluster; None for one that finds its endpoints by itself."""
    policy = effective_policy(view.rule(service.host), port.number, subset, view.mesh_config)
    if service.resolution is not Resolution.STATIC or connects_as_dialled(service, policy):
        return None
    if is_unreachable(view, policy):
        return None
    name = Target(service.host, port.number, subset).cluster
    labels = _labels(view, service.host, subset)
    return eds_assignment(view, name, service, port.number, labels, policy)


def _labels(view: View, host: Hostname, subset: str) -> Mapping[str, str]:
    narrowed = subset_of(view.rule(host), subset) if subset else None
    return narrowed.labels if narrowed is not None else {}


def _discovery(view: View, target: Target, service: Service, policy: TrafficPolicy | None) -> Fields:
    """Return the cluster as its service's resolution says it finds endpoints."""
    name = target.cluster
    if is_unreachable(view, policy):
        return static_cluster(name, {"cluster_name": name})
    if connects_as_dialled(service, policy):
        return _as_dialled(view, name, by_name=service.resolution is Resolution.DYNAMIC_DNS)
    if service.resolution is Resolution.STATIC:
        return eds_cluster(name)
    logical = service.resolution is Resolution.DNS_ROUND_ROBIN
    labels = _labels(view, target.host, target.subset)
    assignment = inline_assignment(view, name, service, target.port, labels, policy, single=logical)
    if not any(group["lb_endpoints"] for group in assignment["endpoints"]):
        # Envoy refuses LOGICAL_DNS without its one name; nothing can be reached either way.
        return static_cluster(name, {"cluster_name": name})
    return dns_cluster(
        name, assignment, logical=logical, lookup_family=view.lookup_family, refresh_rate=view.dns_refresh_rate
    )


def _as_dialled(view: View, name: str, *, by_name: bool) -> Fields:
    """Return a cluster that connects where the client wanted to.

    Under interception that is the original destination; in explicit mode, or `by_name`, the host of the request.
    """
    return dynamic_cluster(name) if view.explicit or by_name else original_destination_cluster(name)


def _set_protocol(view: View, draft: ClusterDraft, protocol: Protocol) -> None:
    if protocol.is_http2:
        use_http2(draft)
    elif protocol.is_sniffed and view.proxy.type is ProxyType.SIDECAR:
        # A gateway negotiates with its clients: what they speak says nothing about the upstream.
        use_client_protocol(draft)
