"""TCP and TLS routes: connections that are forwarded without looking at requests.

Called by the outbound, explicit and gateway passes. A rule gives one `Forward` per set of connections it is for;
the caller turns them into filter chains or CONNECT routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lateen.config.durations import to_fields
from lateen.config.networking import L4MatchAttributes, RouteDestination, TCPSettings, TLSMatchAttributes
from lateen.envoy import names
from lateen.envoy.filters import TcpSettings, server_name_lookup, tcp_proxy, tunnel_config
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import config_metadata, service_metadata
from lateen.envoy.mutual_tls import tcp_alpn_filter
from lateen.generate.destinations import Target, one_would_never_come, target_of
from lateen.generate.mutual_tls import offers_tcp
from lateen.generate.routes import RouteContext
from lateen.generate.traffic_policies import consistent_hash, effective_policy, tunnel_of
from lateen.generate.view import View
from lateen.mesh.references import resolve_gateway
from lateen.mesh.state import BoundVirtualService
from lateen.model.proxies import labels_match
from lateen.model.services import Resolution, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Where a set of connections goes."""

    targets: tuple[tuple[Target, int], ...]
    """Targets and weights."""
    stat_prefix: str
    metadata: Fields
    server_names: tuple[str, ...] = ()
    """TLS server names it is for; empty means any."""
    subnets: tuple[str, ...] = ()
    """Destination addresses it is for; empty means any."""

    @property
    def clusters(self) -> tuple[tuple[str, int], ...]:
        """Cluster names and weights."""
        return tuple((target.cluster, weight) for target, weight in self.targets)


def service_forwards(context: RouteContext, service: Service, *, tls: bool) -> list[Forward]:
    """Return what a sidecar does with connections to a service's port, the unconditional one last.

    `tls`: the port carries TLS of the application, so rules under `tls` apply, else those under `tcp`.
    """
    view = context.view
    bound = view.routing(service.host)
    found: list[Forward] = []
    if bound is not None:
        found = tls_forwards(context, bound) if tls else tcp_forwards(context, bound)
    if not any(not item.subnets and not item.server_names for item in found) and not (tls and found):
        found.append(direct(context, service))
    return found


def direct(context: RouteContext, service: Service) -> Forward:
    """Return the way straight to a service's port."""
    target = Target(service.host, context.port)
    return Forward(targets=((target, 1),), stat_prefix=target.cluster, metadata=service_metadata(service))


def tcp_forwards(context: RouteContext, bound: BoundVirtualService) -> list[Forward]:
    """Return the TCP rules of a VirtualService that are for this listener, up to the first unconditional one."""
    found: list[Forward] = []
    namespace = bound.object.key.namespace
    for rule in bound.object.spec.tcp:
        matching = [match for match in rule.match if _for_this_listener(context, match, namespace)]
        if (rule.match and not matching) or not rule.route:
            continue
        subnets: tuple[str, ...] = ()
        if matching and all(match.destination_subnets for match in matching):
            subnets = tuple(subnet for match in matching for subnet in match.destination_subnets)
        forward = _forward(context, bound, rule.route, subnets=subnets)
        if forward is not None:
            found.append(forward)
            if not subnets:
                break
    return found


def tls_forwards(context: RouteContext, bound: BoundVirtualService) -> list[Forward]:
    """Return the TLS rules of a VirtualService that are for this listener, one per match, names only once."""
    found: list[Forward] = []
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    namespace = bound.object.key.namespace
    for rule in bound.object.spec.tls:
        for match in rule.match if rule.route else ():
            if not _for_this_listener(context, match, namespace):
                continue
            key = (tuple(match.sni_hosts), tuple(match.destination_subnets))
            if key in seen:
                continue
            seen.add(key)
            forward = _forward(context, bound, rule.route, subnets=key[1], server_names=key[0])
            if forward is not None:
                found.append(forward)
    return found


def fetches_nothing(view: View, forward: Forward) -> bool:
    """Whether a proxy that asks on demand does not do so for these connections, see `one_would_never_come`."""
    return one_would_never_come(view, (target for target, _ in forward.targets))


def unasked_clusters(view: View, forward: Forward) -> tuple[str, ...]:
    """Return the clusters that a proxy which asks on demand must be told of, because connections do not fetch them."""
    return tuple(cluster for cluster, _ in forward.clusters) if fetches_nothing(view, forward) else ()


def forward_filters(view: View, forward: Forward) -> list[Fields]:
    """Return the filters of a forward: its TCP proxy, and what that one needs before it."""
    offered = [tcp_alpn_filter()] if offers_tcp(view, (target for target, _ in forward.targets)) else []
    return [*_looked_up(view, forward), *offered, forward_filter(view, forward)]


def _looked_up(view: View, forward: Forward) -> list[Fields]:
    """Return the filter that looks up the server name of TLS, for a service whose names are resolved when called."""
    for target, _ in forward.targets:
        service = view.service(target.host)
        if service is not None and service.resolution is Resolution.DYNAMIC_DNS:
            return [server_name_lookup(target.port)]
    return []


def forward_filter(view: View, forward: Forward) -> Fields:
    """Return the TCP proxy of a forward; its first target's DestinationRule sets time limits, hashing and tunnels."""
    first = forward.targets[0][0]
    policy = effective_policy(view.rule(first.host), first.port, first.subset, view.mesh_config)
    pool = policy.connection_pool if policy is not None else None
    tcp = (pool.tcp if pool is not None else None) or TCPSettings()
    consistent = consistent_hash(policy)
    tunnel = tunnel_of(view.rule(first.host), first.subset)
    settings = TcpSettings(
        stat_prefix=forward.stat_prefix,
        clusters=forward.clusters,
        idle_timeout=to_fields(tcp.idle_timeout) if tcp is not None and tcp.idle_timeout else None,
        max_duration=to_fields(tcp.max_connection_duration)
        if tcp is not None and tcp.max_connection_duration
        else None,
        tunnel=None
        if tunnel is None
        else tunnel_config(names.host_and_port(tunnel.target_host, tunnel.target_port), post=tunnel.protocol == "POST"),
        hash_source_ip=consistent is not None and bool(consistent.use_source_ip),
        on_demand=view.on_demand and not fetches_nothing(view, forward),
    )
    return tcp_proxy(settings, view.defaults)


def _forward(
    context: RouteContext,
    bound: BoundVirtualService,
    route: Sequence[RouteDestination],
    *,
    subnets: tuple[str, ...] = (),
    server_names: tuple[str, ...] = (),
) -> Forward | None:
    chosen = [item for item in route if item.weight > 0] if len(route) > 1 else route
    if not chosen:
        return None
    key = bound.object.key
    return Forward(
        targets=tuple(
            (target_of(context.view, item.destination, key.namespace, context.port), item.weight or 1)
            for item in chosen
        ),
        stat_prefix=f"{key.name}.{key.namespace}",
        metadata=config_metadata(bound.object),
        subnets=subnets,
        server_names=server_names,
    )


def _for_this_listener(context: RouteContext, match: L4MatchAttributes | TLSMatchAttributes, namespace: str) -> bool:
    """Whether port, gateway and source conditions hold; without a list of gateways any will do."""
    proxy = context.view.proxy
    if match.port and match.port != context.port:
        return False
    if match.gateways and not any(resolve_gateway(item, namespace) == context.gateway for item in match.gateways):
        return False
    if match.source_namespace and match.source_namespace != proxy.namespace:
        return False
    return labels_match(match.source_labels, proxy.labels)
