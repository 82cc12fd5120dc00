"""Inbound side of a sidecar: listeners and clusters of the service ports that its workload serves.

Intercepted sidecars have one listener, `virtualInbound`, with a chain per port; in explicit mode each port has a
listener of its own at the workload's address. They exist while the workload is still unhealthy, so that it is
reachable the moment others learn of it. A Sidecar's `ingress` says in place of services what ports there are. Which
chains a port has follows from the mode of its mutual TLS.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from lateen.config.networking import ConnectionPoolSettings
from lateen.envoy import names
from lateen.envoy.cluster_policies import apply_connection_pool
from lateen.envoy.clusters import (
    ClusterDraft,
    inbound_passthrough_cluster,
    inbound_source,
    intercepted_inbound_cluster,
    loopback_assignment,
    static_cluster,
    use_client_protocol,
    use_http2,
)
from lateen.envoy.filters import HttpSettings, http_connection_manager, passthrough
from lateen.envoy.listeners import (
    INBOUND,
    add_inspectors,
    also_ipv6,
    bound_listener,
    filter_chain,
    http_inspector,
    inbound_stat_prefix,
    is_ip,
    not_on_ports,
    only_on_ports,
    original_destination,
    original_source,
    port_match,
    tls_inspector,
)
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import cluster_metadata, config_metadata, service_metadata
from lateen.envoy.resources import CLUSTER, LISTENER, Resource, make_resource
from lateen.envoy.routes import cluster_route, route_configuration, virtual_host
from lateen.generate.mutual_tls import Accepts, InboundChain, accepted_at, inbound_chains, server_socket
from lateen.generate.parts import Made
from lateen.generate.security_filters import http_security, network_security, token_parts
from lateen.generate.sidecar_ingress import (
    application_cluster,
    ingress_instances,
    ingress_listeners,
    is_bound,
    own_tls,
    own_tls_secrets,
)
from lateen.generate.stat_names import rename
from lateen.generate.traffic_policies import effective_policy
from lateen.generate.view import View
from lateen.mesh.queries import ServiceInstance
from lateen.model.protocols import Protocol
from lateen.model.proxies import Interception


@dataclass(frozen=True, slots=True)
class Inbound:
    """All that is inbound: little, and made from the same few things."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("inbound",)

    def make(self, view: View) -> Made:
        """Return inbound listeners and clusters."""
        return Made(tuple(_resources(view)), (*token_parts(view), *own_tls_secrets(view)))


def _resources(view: View) -> Iterator[Resource]:
    instances = ingress_instances(view) if ingress_listeners(view) else _distinct(view)
    clusters = {names.inbound_cluster(item.endpoint.port): item for item in reversed(instances)}
    for name, instance in sorted(clusters.items()):
        yield make_resource(CLUSTER, name, _cluster(view, name, instance))
    if view.explicit:
        yield from _bound_listeners(view, instances)
        return
    bound = [item for item in instances if is_bound(view, item.endpoint.port)]
    captured = [item for item in instances if item not in bound] if bound else instances
    yield from _bound_listeners(view, bound)
    yield make_resource(LISTENER, names.VIRTUAL_INBOUND, _virtual_inbound(view, captured))
    bypass = inbound_passthrough_cluster(view.connect_timeout)
    yield make_resource(CLUSTER, names.INBOUND_PASSTHROUGH_CLUSTER, bypass)


def _distinct(view: View) -> list[ServiceInstance]:
    """Return one instance per address and port: several services may stand for it, the first by host counts."""
    found: dict[tuple[str, int], ServiceInstance] = {}
    for instance in view.instances():
        if instance.port.protocol is not Protocol.UDP and is_ip(instance.endpoint.address):
            key = (instance.endpoint.address if view.explicit else "", instance.endpoint.port)
            found.setdefault(key, instance)
    return list(found.values())


# --- clusters ------------------------------------------------------------------------------------------------


def _cluster(view: View, name: str, instance: ServiceInstance) -> Fields:
    """Return the way to the application: on loopback when its port there is known or nothing is intercepted."""
    endpoint = instance.endpoint
    given = application_cluster(view, name, endpoint.port)
    if given is not None:
        fields = given
    elif view.explicit or endpoint.app_port:
        fields = static_cluster(name, loopback_assignment(name, endpoint.app_port or endpoint.port))
        if not view.explicit:
            # A source of its own keeps the connection in the network of the app, wherever others are made from.
            fields["upstream_bind_config"] = inbound_source()
    else:
        fields = intercepted_inbound_cluster(name)
    draft = ClusterDraft(fields=fields)
    if instance.port.protocol.is_http2:
        use_http2(draft)
    elif instance.port.protocol.is_sniffed:
        use_client_protocol(draft)
    apply_connection_pool(draft, _connection_pool(view, instance), view.mesh_config)
    fields["metadata"] = cluster_metadata((instance.service,))
    rename(fields, view.mesh_config.inbound_cluster_stat_name, instance.service, instance.port)
    return draft.finish()


def _connection_pool(view: View, instance: ServiceInstance) -> ConnectionPoolSettings:
    """Return the limits of the workload's own side: the Sidecar's, else those of the service's DestinationRule."""
    for listener in ingress_listeners(view):
        if listener.port is not None and listener.port.number == instance.endpoint.port and listener.connection_pool:
            return listener.connection_pool
    if view.sidecar is not None and view.sidecar.spec.inbound_connection_pool is not None:
        return view.sidecar.spec.inbound_connection_pool
    rule = view.rule(instance.service.host)
    policy = effective_policy(rule, instance.port.number, "", view.mesh_config)
    return (policy.connection_pool if policy is not None else None) or ConnectionPoolSettings()


# --- listeners -----------------------------------------------------------------------------------------------


def _bound_listeners(view: View, instances: list[ServiceInstance]) -> Iterator[Resource]:
    for instance in instances:
        address, port = instance.endpoint.address, instance.endpoint.port
        name = names.listener(address, port)
        if not view.explicit:
            # Outbound listeners of intercepted traffic have the plain names.
            name = f"inbound_{name}"
        accepted = accepted_at(view, port, instance.endpoint.app_port)
        chains = _chains(view, instance, name, accepted)
        listener = bound_listener(name, address, port, direction=INBOUND, chains=chains)
        tls, http = _inspects_tls(accepted), _inspects_http(instance, accepted)
        add_inspectors(listener, tls=tls, http=http, detection_timeout=view.detection_timeout)
        if tls:
            listener["listener_filters_timeout"] = view.detection_timeout
        listener["metadata"] = service_metadata(instance.service)
        yield make_resource(LISTENER, name, listener)


def _inspects_tls(accepted: Accepts) -> bool:
    return accepted in (Accepts.BOTH, Accepts.MUTUAL_TLS)


def _inspects_http(instance: ServiceInstance, accepted: Accepts) -> bool:
    """Whether plain text has to be told apart; inside mutual TLS, ALPN says what it is."""
    return instance.port.protocol.is_sniffed and accepted in (Accepts.BOTH, Accepts.PLAINTEXT)


def _virtual_inbound(view: View, instances: list[ServiceInstance]) -> Fields:
    port = view.mesh_config.proxy_inbound_listen_port
    chains = [
        # A connection straight to the listener's own port would be passed on to itself for ever.
        filter_chain(
            [passthrough(names.BLACKHOLE_CLUSTER, view.defaults)],
            match=port_match(port),
            name=names.VIRTUAL_INBOUND_BLACKHOLE,
        )
    ]
    accepted: dict[int, Accepts] = {}
    sniffed = []
    for instance in instances:
        number = instance.endpoint.port
        accepted[number] = accepted_at(view, number, instance.endpoint.app_port)
        name = names.listener(names.WILDCARD_ADDRESS, number)
        chains += _at_port(number, _chains(view, instance, name, accepted[number]))
        if _inspects_http(instance, accepted[number]):
            sniffed.append(number)
    for number in sorted(view.mutual_tls_modes().by_port):
        # A policy may name ports that no service has.
        if number not in accepted and number != port:
            accepted[number] = accepted_at(view, number)
            name = names.listener(names.WILDCARD_ADDRESS, number)
            chains += _at_port(number, _bypass(view, name, accepted[number]))
    elsewhere = accepted_at(view, 0)
    chains += _bypass(view, names.VIRTUAL_INBOUND, elsewhere)
    listener = bound_listener(names.VIRTUAL_INBOUND, names.WILDCARD_ADDRESS, port, direction=INBOUND, chains=chains)
    listener["listener_filters"] = [original_destination(), *_tls_inspectors(accepted, elsewhere)]
    if sniffed:
        listener["listener_filters"].append(only_on_ports(http_inspector(), sniffed))
    listener["listener_filters_timeout"] = view.detection_timeout
    listener["continue_on_listener_filters_timeout"] = True
    if view.intercepts_ipv6:
        also_ipv6(listener, port)
    if view.proxy.interception is Interception.TPROXY:
        listener["listener_filters"].append(original_source())
        listener["transparent"] = {"value": True}
    return listener


def _tls_inspectors(accepted: Mapping[int, Accepts], elsewhere: Accepts) -> list[Fields]:
    """Return the TLS inspector for the ports that need it: where it stands it waits for the client's first bytes."""
    needed = [port for port, accepts in accepted.items() if _inspects_tls(accepts)]
    if not _inspects_tls(elsewhere):
        return [only_on_ports(tls_inspector(), needed)] if needed else []
    others = accepted.keys() - needed
    return [not_on_ports(tls_inspector(), others) if others else tls_inspector()]


def _at_port(port: int, chains: list[Fields]) -> list[Fields]:
    for chain in chains:
        chain["filter_chain_match"] = port_match(port) | chain.get("filter_chain_match", {})
    return chains


def _chains(view: View, instance: ServiceInstance, name: str, accepted: Accepts) -> list[Fields]:
    """Return the chains of a port."""
    protocol = instance.port.protocol
    metadata = service_metadata(instance.service)
    cluster = names.inbound_cluster(instance.endpoint.port)
    if accepted is Accepts.NOTHING:
        return [_refusal(view, name)]
    ending = own_tls(view, instance.endpoint.port)
    if ending is not None:
        if ending.socket is None:
            return [_refusal(view, name)]
        own = [_http_filter(view, instance, name)] if protocol is Protocol.HTTPS else _tcp_filters(view, cluster)
        return [filter_chain(own, name=f"{name}-tls", transport_socket=ending.socket, metadata=metadata)]

    def filters(chain: InboundChain) -> list[Fields]:
        return [_http_filter(view, instance, name)] if chain.http else _tcp_filters(view, cluster)

    return [
        _chain(view, chain, filters(chain), f"{name}-http" if chain.http and protocol.is_sniffed else name, metadata)
        for chain in inbound_chains(accepted, protocol)
    ]


def _bypass(view: View, name: str, accepted: Accepts) -> list[Fields]:
    """Return the chains of connections to ports of no service: bytes, whatever they are."""
    if accepted is Accepts.NOTHING:
        return [_refusal(view, name)]
    filters = _tcp_filters(view, names.INBOUND_PASSTHROUGH_CLUSTER)
    return [_chain(view, chain, filters, name) for chain in inbound_chains(accepted, Protocol.TCP)]


def _chain(view: View, chain: InboundChain, filters: list[Fields], name: str, metadata: Fields | None = None) -> Fields:
    socket = server_socket(view) if chain.mutual_tls else None
    suffix = "-mtls" if chain.mutual_tls else "-tls" if chain.transport == "tls" else ""
    return filter_chain(filters, match=chain.match, name=f"{name}{suffix}", transport_socket=socket, metadata=metadata)


def _refusal(view: View, name: str) -> Fields:
    """Return the chain that closes every connection: mutual TLS is required of a proxy that has no certificate."""
    policy = view.mutual_tls_modes().policy
    return filter_chain(
        [passthrough(names.BLACKHOLE_CLUSTER, view.defaults)],
        name=f"{name}-refused",
        metadata=config_metadata(policy) if policy is not None else None,
    )


def _http_filter(view: View, instance: ServiceInstance, name: str) -> Fields:
    settings = HttpSettings(
        stat_prefix=inbound_stat_prefix(name),
        routes=_routes(instance, names.inbound_cluster(instance.endpoint.port)),
        inbound=True,
        security=http_security(view),
    )
    return http_connection_manager(settings, view.defaults)


def _tcp_filters(view: View, cluster: str) -> list[Fields]:
    return [*network_security(), passthrough(cluster, view.defaults)]


def _routes(instance: ServiceInstance, cluster: str) -> Fields:
    service, port = instance.service, instance.port.number
    route: Fields = {
        "name": names.DEFAULT_ROUTE,
        "match": {"prefix": "/"},
        "route": cluster_route(cluster),
        "decorator": {"operation": f"{names.host_and_port(service.host, port)}/*"},
        "metadata": service_metadata(service),
    }
    host = virtual_host(f"inbound|http|{port}", ["*"], [route])
    # Counting attempts is the client side's business.
    host["include_request_attempt_count"] = False
    return route_configuration(cluster, [host], ignore_port=False)
