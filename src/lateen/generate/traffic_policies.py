"""Which part of a DestinationRule applies to one cluster: by port, then by subset.

Called by `clusters` and `routes`, so that the hash policy of a route and the load balancer of its cluster agree.
Source: Istio's DestinationRule reference, "PortTrafficPolicy" and "Subset".
"""

from __future__ import annotations

import msgspec

from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import ConsistentHashLB, DestinationRule, Subset, TrafficPolicy, TunnelSettings
from lateen.config.objects import ConfigObject

_BY_PORT = ("load_balancer", "connection_pool", "outlier_detection", "tls")
_BY_HOST = ("proxy_protocol", "retry_budget")


def effective_policy(
    rule: ConfigObject[DestinationRule] | None, port: int, subset: str, mesh_config: MeshConfig
) -> TrafficPolicy | None:
    """Return the policy of a cluster, without port-level settings; None when nobody says anything."""
    policy = _at_port(rule.spec.traffic_policy, port)[0] if rule is not None else None
    policy = _with_mesh_default(policy, mesh_config)
    narrowed = subset_of(rule, subset) if subset else None
    if narrowed is None or narrowed.traffic_policy is None:
        return policy
    own, by_port = _at_port(narrowed.traffic_policy, port)
    if policy is None or own is None:
        return own
    changes = {name: getattr(own, name) for name in _BY_PORT if by_port or getattr(own, name) is not None}
    changes |= {name: getattr(own, name) for name in _BY_HOST if getattr(own, name) is not None}
    return msgspec.structs.replace(policy, **changes)


def subset_of(rule: ConfigObject[DestinationRule] | None, name: str) -> Subset | None:
    """Return the subset of a rule by name."""
    if rule is None:
        return None
    return next((subset for subset in rule.spec.subsets if subset.name == name), None)


def tunnel_of(rule: ConfigObject[DestinationRule] | None, subset: str) -> TunnelSettings | None:
    """Return how connections are tunnelled: what a subset says about itself, and no more; ports have no say."""
    if rule is None:
        return None
    narrowed = subset_of(rule, subset) if subset else rule.spec
    policy = narrowed.traffic_policy if narrowed is not None else None
    return policy.tunnel if policy is not None else None


def consistent_hash(policy: TrafficPolicy | None) -> ConsistentHashLB | None:
    """Return the consistent hashing of a policy."""
    return policy.load_balancer.consistent_hash if policy is not None and policy.load_balancer is not None else None


def _at_port(policy: TrafficPolicy | None, port: int) -> tuple[TrafficPolicy | None, bool]:
    """Return the policy of a port and whether the port has its own.

    Port-level settings inherit nothing: what they leave out is default again.
    """
    if policy is None:
        return None, False
    for setting in policy.port_level_settings:
        if setting.port is not None and setting.port.number == port:
            return TrafficPolicy(**{name: getattr(setting, name) for name in _BY_PORT}), True
    return (msgspec.structs.replace(policy, port_level_settings=[]) if policy.port_level_settings else policy), False


def _with_mesh_default(policy: TrafficPolicy | None, mesh_config: MeshConfig) -> TrafficPolicy | None:
    default = mesh_config.default_traffic_policy
    if default is None:
        return policy
    policy = policy or TrafficPolicy()
    return msgspec.structs.replace(
        policy,
        connection_pool=policy.connection_pool or default.connection_pool,
        outlier_detection=policy.outlier_detection or default.outlier_detection,
    )
