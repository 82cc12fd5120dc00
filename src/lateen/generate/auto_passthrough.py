"""AUTO_PASSTHROUGH: a gateway that forwards mesh connections, unopened, to the service that their server name means.

Called by `gateways`. No VirtualService is asked: `outbound_.PORT_.SUBSET_.HOST`, which the sidecars of another network
send, is looked up among the services that the gateway sees and that the server's hosts cover. Only connections that
offer the mesh's ALPN get through, and only to endpoints that end mutual TLS themselves: nobody reaches a workload this
way without showing it a certificate. The clusters are of their own, because they must add no TLS (Istio: SNI-DNAT).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import msgspec

from lateen.config.networking import TrafficPolicy
from lateen.envoy import names
from lateen.envoy.cluster_policies import apply_traffic_policy
from lateen.envoy.clusters import ClusterDraft, dns_cluster, eds_cluster, static_cluster
from lateen.envoy.endpoints import assignment_resource, none_takes_it
from lateen.envoy.filters import TcpSettings, tcp_proxy
from lateen.envoy.listeners import filter_chain, sni_match
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import cluster_metadata, service_metadata
from lateen.envoy.mutual_tls import MESH_ALPN
from lateen.envoy.resources import CLUSTER, Resource, make_resource
from lateen.generate.destinations import Target
from lateen.generate.endpoints import inline_assignment
from lateen.generate.localities import arrangement, is_weighted, of_policy
from lateen.generate.networks import in_own_network
from lateen.generate.parts import NOTHING, Made
from lateen.generate.traffic_policies import effective_policy, subset_of
from lateen.generate.view import View
from lateen.model.names import host_matches
from lateen.model.protocols import Protocol
from lateen.model.services import Resolution, Service

_MUTUAL = "istio"
"""What the TLS mode of an endpoint says that takes mutual TLS."""


def server_name(target: Target) -> str:
    """Return the server name of a target, which is the name of its cluster too."""
    return names.sni_cluster(target.host, target.port, target.subset)


def reachable_targets(view: View, hosts: tuple[str, ...]) -> Iterator[tuple[Service, Target]]:
    """Yield what a server with these hosts lets through: every port and subset of the mesh's own services."""
    for service in view.services():
        if (
            service.external
            or service.resolution not in _KNOWN
            or not any(host_matches(host, service.host) for host in hosts)
        ):
            continue
        rule = view.rule(service.host)
        subsets = dict.fromkeys(subset.name for subset in rule.spec.subsets) if rule is not None else {}
        for port in {port.number: port for port in service.ports if port.protocol is not Protocol.UDP}.values():
            for subset in ("", *subsets):
                yield service, Target(service.host, port.number, subset)


_KNOWN = (Resolution.STATIC, Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
"""Ways to find endpoints that need nothing of the connection."""


def passthrough_chain(view: View, service: Service, target: Target) -> Fields:
    """Return the filter chain of one target. Its caller is not known here, so no policy about callers applies."""
    name = server_name(target)
    match = sni_match((name,)) | {"application_protocols": list(MESH_ALPN)}
    forward = tcp_proxy(TcpSettings(stat_prefix=name, clusters=((name, 1),)), view.defaults)
    return filter_chain([forward], match=match, metadata=service_metadata(service))


@dataclass(frozen=True, slots=True)
class SniCluster:
    """The cluster of one target."""

    target: Target

    @property
    def key(self) -> Hashable:
        """Where it leads."""
        return ("server name", self.target)

    def make(self, view: View) -> Made:
        """Return the cluster, and want its endpoints."""
        target = self.target
        service = view.service(target.host)
        port = service.port(target.port) if service is not None else None
        if service is None or port is None:
            return NOTHING
        rule = view.rule(service.host)
        policy = _without_tls(_policy(view, target))
        draft = ClusterDraft(fields=_discovery(view, service, target))
        apply_traffic_policy(
            draft,
            policy,
            protocol=Protocol.TCP,
            mesh_config=view.mesh_config,
            locality_weighted=is_weighted(of_policy(policy, view.mesh_config)),
        )
        draft.fields["metadata"] = cluster_metadata((service,), rule=rule, subset=target.subset)
        cluster = make_resource(CLUSTER, server_name(target), draft.finish())
        return Made((cluster,), (SniEndpoints(target),) if service.resolution is Resolution.STATIC else ())


@dataclass(frozen=True, slots=True)
class SniEndpoints:
    """Those endpoints of a target that take mutual TLS."""

    target: Target

    @property
    def key(self) -> Hashable:
        """Where it leads."""
        return ("endpoints of server name", self.target)

    def make(self, view: View) -> Made:
        """Return the assignment."""
        return Made((_assignment(view, self.target),))


def _assignment(view: View, target: Target) -> Resource:
    found = in_own_network(view, view.endpoints(target.host, target.port, _labels(view, target)))
    mutual = [endpoint for endpoint in found if endpoint.tls_mode == _MUTUAL]
    arrange = arrangement(of_policy(_policy(view, target), view.mesh_config), view.proxy)
    return assignment_resource(server_name(target), mutual, view.endpoint_entries, none_takes_it, arrange)


def _policy(view: View, target: Target) -> TrafficPolicy | None:
    return effective_policy(view.rule(target.host), target.port, target.subset, view.mesh_config)


def _labels(view: View, target: Target) -> dict[str, str]:
    narrowed = subset_of(view.rule(target.host), target.subset) if target.subset else None
    return dict(narrowed.labels) if narrowed is not None else {}


def _discovery(view: View, service: Service, target: Target) -> Fields:
    name = server_name(target)
    if service.resolution is Resolution.STATIC:
        return eds_cluster(name)
    logical = service.resolution is Resolution.DNS_ROUND_ROBIN
    labels, policy = _labels(view, target), _policy(view, target)
    assignment = inline_assignment(view, name, service, target.port, labels, policy, single=logical)
    if not any(group["lb_endpoints"] for group in assignment["endpoints"]):
        return static_cluster(name, {"cluster_name": name})
    return dns_cluster(
        name, assignment, logical=logical, lookup_family=view.lookup_family, refresh_rate=view.dns_refresh_rate
    )


def _without_tls(policy: TrafficPolicy | None) -> TrafficPolicy | None:
    """Return a policy that leaves the connection as the client made it."""
    if policy is None:
        return None
    return msgspec.structs.replace(policy, tls=None, proxy_protocol=None)
