"""Localities: which of a service's endpoints a proxy prefers, by where both run.

Called by `clusters` and `endpoints` for one cluster, and by `scopes`, because two proxies of different places are
served different endpoints as soon as somebody asks for locality load balancing. Source: Istio's DestinationRule
reference, "LocalityLoadBalancerSetting"; the setting is on by default, but failover acts with outlier detection only,
as without it Envoy would never leave the nearest endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import (
    DestinationRule,
    LoadBalancerSettings,
    LocalityDistribute,
    LocalityFailover,
    LocalityLoadBalancerSetting,
    OutlierDetection,
    PortTrafficPolicy,
    TrafficPolicy,
)
from lateen.envoy.endpoints import Arrange, LocalityGroup, as_found, endpoint_weight
from lateen.model.proxies import Proxy
from lateen.model.services import NETWORK_LABEL, Endpoint, Locality

_ANY = "*"
_DEFAULT = LocalityLoadBalancerSetting()
_TOPOLOGY = {
    "topology.kubernetes.io/region": "region",
    "topology.kubernetes.io/zone": "zone",
    "topology.istio.io/subzone": "subzone",
}
"""Labels that every workload has by where it runs, whether or not they are written."""
_DISTANCES = 5
"""How many distances `_distance` tells apart."""


def setting_of(
    balancer: LoadBalancerSettings | None, outlier: OutlierDetection | None, mesh_config: MeshConfig
) -> LocalityLoadBalancerSetting | None:
    """Return the setting that acts, None when endpoints are all the same to the proxy.

    That of a rule replaces the mesh's as a whole.
    """
    setting = balancer.locality_lb_setting if balancer is not None else None
    if setting is None:
        setting = mesh_config.locality_lb_setting or _DEFAULT
    if setting.enabled is False:
        return None
    return setting if setting.distribute or outlier is not None else None


def of_policy(policy: TrafficPolicy | None, mesh_config: MeshConfig) -> LocalityLoadBalancerSetting | None:
    """Return the setting that acts in a cluster with this policy."""
    if policy is None:
        return setting_of(None, None, mesh_config)
    return setting_of(policy.load_balancer, policy.outlier_detection, mesh_config)


def is_weighted(setting: LocalityLoadBalancerSetting | None) -> bool:
    """Whether a cluster spreads over localities by their weights; Envoy's algorithms spread better without."""
    return setting is not None and bool(setting.distribute or setting.failover or setting.failover_priority)


def arrangement(setting: LocalityLoadBalancerSetting | None, proxy: Proxy) -> Arrange:
    """Return how the endpoints of a cluster are put in order for a proxy."""
    if setting is None:
        return as_found
    if setting.distribute:
        return partial(_distributed, shares=setting.distribute, locality=proxy.locality)
    return partial(_with_failover, setting=setting, proxy=proxy)


# --- what of a proxy matters ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalityUse:
    """What of a proxy decides which endpoints it prefers, in the clusters of one state."""

    located: bool = False
    """Whether it matters where it runs."""
    labels: frozenset[str] = frozenset()
    """Names of those of its labels that matter."""

    @property
    def by_network(self) -> bool:
        """Whether its network matters."""
        return NETWORK_LABEL in self.labels

    def with_labels(self, proxy: Proxy, labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Return sorted labels of a proxy together with those that matter here."""
        own = {(name, proxy.labels[name]) for name in self.labels if name in proxy.labels}
        return tuple(sorted(own.union(labels))) if own else labels


def may_ask_for_locality(spec: object) -> bool:
    """Whether an object can make a difference to `locality_use`."""
    return isinstance(spec, DestinationRule) and any(
        level.outlier_detection is not None
        or (level.load_balancer is not None and level.load_balancer.locality_lb_setting is not None)
        for level in _levels(spec)
    )


def locality_use(rules: Iterable[DestinationRule], mesh_config: MeshConfig) -> LocalityUse:
    """Return what matters when these are the rules that may ask for it."""
    default = mesh_config.default_traffic_policy
    detection = default.outlier_detection if default is not None else None
    settings = [setting_of(None, detection, mesh_config)]
    for rule in rules:
        levels = list(_levels(rule))
        # A subset may take one of both from its rule, the other from itself: what any of them says counts for all.
        detects = next((one.outlier_detection for one in levels if one.outlier_detection is not None), detection)
        balancers = [one.load_balancer for one in levels] + ([None] if rule.traffic_policy is None else [])
        settings += [setting_of(balancer, detects, mesh_config) for balancer in balancers]
    found = [setting for setting in settings if setting is not None]
    # A label with a value of its own asks nobody.
    labels = frozenset(name for setting in found for name in setting.failover_priority if "=" not in name)
    return LocalityUse(bool(found), labels)


def _levels(rule: DestinationRule) -> Iterator[TrafficPolicy | PortTrafficPolicy]:
    for policy in (rule.traffic_policy, *(subset.traffic_policy for subset in rule.subsets)):
        if policy is not None:
            yield policy
            yield from policy.port_level_settings


# --- distribute ----------------------------------------------------------------------------------------------


def _distributed(
    groups: Sequence[LocalityGroup], *, shares: Sequence[LocalityDistribute], locality: Locality
) -> list[LocalityGroup]:
    """Give each locality its share of the traffic from here; localities without one get none."""
    share = next((share for share in shares if _is_covered(locality, share.from_)), None)
    if share is None:
        return list(groups)
    weights: dict[int, int] = {}
    for pattern, percent in share.to.items():
        covered = [
            index for index, group in enumerate(groups) if index not in weights and _is_covered(group.locality, pattern)
        ]
        total = sum(groups[index].weight for index in covered)
        # Rounded up, so that a small locality under a wide pattern keeps some.
        weights |= {index: -(-groups[index].weight * percent // total) for index in covered}
    return [replace(groups[index], weight=weights[index]) for index in sorted(weights) if weights[index] > 0]


def _is_covered(locality: Locality, pattern: str) -> bool:
    """Whether `region/zone/subzone` covers a locality: `*` covers any part, and so does a part that is left out."""
    wanted = Locality.parse(pattern)
    return (
        wanted.region in (_ANY, locality.region)
        and wanted.zone in ("", _ANY, locality.zone)
        and wanted.subzone in ("", _ANY, locality.subzone)
    )


# --- failover ------------------------------------------------------------------------------------------------


def _with_failover(
    groups: Sequence[LocalityGroup], *, setting: LocalityLoadBalancerSetting, proxy: Proxy
) -> list[LocalityGroup]:
    """Give each endpoint its priority: by labels if there are some to go by, by distance else."""
    found = list(groups)
    if setting.failover_priority:
        found = [part for group in found for part in _by_labels(group, setting.failover_priority, proxy)]
        if not setting.failover:
            return _gapless(found)
    ranked = (
        replace(
            group, priority=group.priority * _DISTANCES + _distance(proxy.locality, group.locality, setting.failover)
        )
        for group in found
    )
    return _gapless(ranked)


def _distance(here: Locality, there: Locality, failover: Sequence[LocalityFailover]) -> int:
    """Return 0 for the same subzone, 1 the same zone, 2 the same region, 3 elsewhere, 4 where one should not go yet."""
    if here.region == there.region:
        if here.zone != there.zone:
            return 2
        return 0 if here.subzone == there.subzone else 1
    named = next((one for one in failover if one.from_ == here.region), None)
    return 3 if named is None or named.to == there.region else 4


def _by_labels(group: LocalityGroup, priorities: Sequence[str], proxy: Proxy) -> list[LocalityGroup]:
    """Split a locality by how many of the labels, counted from the first, an endpoint shares with the proxy."""
    own = _labels(proxy.labels, proxy.locality, proxy.network)
    wanted = [(name, value if equals else own.get(name, "")) for name, equals, value in _named(priorities)]
    found: dict[int, list[Endpoint]] = {}
    for endpoint in group.endpoints:
        labels = _labels(endpoint.labels, endpoint.locality, endpoint.network)
        missed = next((index for index, (name, value) in enumerate(wanted) if labels.get(name, "") != value), None)
        found.setdefault(0 if missed is None else len(wanted) - missed, []).append(endpoint)
    return [
        replace(group, endpoints=found[priority], weight=sum(map(endpoint_weight, found[priority])), priority=priority)
        for priority in sorted(found)
    ]


def _named(priorities: Sequence[str]) -> Iterator[tuple[str, bool, str]]:
    for priority in priorities:
        name, equals, value = priority.partition("=")
        yield name, bool(equals), value


def _labels(written: Mapping[str, str], locality: Locality, network: str) -> Mapping[str, str]:
    placed = {name: getattr(locality, part) for name, part in _TOPOLOGY.items()} | {NETWORK_LABEL: network}
    return {**written, **{name: value for name, value in placed.items() if value}}


def _gapless(groups: Iterable[LocalityGroup]) -> list[LocalityGroup]:
    """Number the priorities from 0 on: Envoy and gRPC refuse gaps."""
    found = list(groups)
    numbers = {priority: number for number, priority in enumerate(sorted({group.priority for group in found}))}
    return [replace(group, priority=numbers[group.priority]) for group in found]
