"""Scopes: which proxies get the same, and which part of it. The one place that says what tells proxies apart.

What a proxy is served depends on what it is and where it runs, not on which one it is. An `OutboundScope` is all that
its view of others depends on; workloads of one namespace mostly share it. A `Scope` is all that the whole snapshot
depends on; replicas of a workload share it, unless they have listeners at addresses of their own.

Labels tell proxies apart only as far as something selects by them: a Sidecar or DestinationRule for some workloads,
or a rule's source labels. Of a proxy's labels, those count that a selector which it matches names. Where proxies run
tells them apart as soon as somebody asks for locality load balancing, and with it the labels that priorities go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import DestinationRule, Sidecar, VirtualService
from lateen.config.objects import ConfigObject
from lateen.config.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from lateen.envoy.bootstrap import DNS_TABLE_PORT
from lateen.generate.envoy_filters.patches import PatchKey
from lateen.generate.localities import LocalityUse, locality_use, may_ask_for_locality
from lateen.mesh.networks import networks_of
from lateen.mesh.policies import selector_labels
from lateen.mesh.queries import ServiceInstance, asks_on_demand, instances_of
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname, ObjectKey
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream
from lateen.model.services import Locality

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted."""

ANYWHERE = ""
"""The namespace of selectors that count in all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundScope:
    """All that the outbound parts of a proxy depend on. Comparable within one state only."""

    type: ProxyType
    capability: Capability
    interception: Interception
    namespace: str
    dns_domain: str
    labels: Labels
    locality: Locality
    """Nowhere, as long as nobody asks for locality load balancing."""
    network: str
    """Empty, as long as no priority goes by it and no other network is entered by gateways."""
    bound: bool
    """Whether the proxy has an address at all; without one, explicit mode has nowhere to listen."""
    only_ipv6: bool
    dual_stack: bool
    """Intercepted, with addresses of both IP versions."""
    port_map: tuple[tuple[int, int], ...]
    """Only where ports are bound; without interception all, otherwise that of the table of names."""
    privileged: bool
    asks_on_demand: bool
    """Whether it can, and is meant to (see `mesh.queries.asks_on_demand`)."""
    certificates: bool
    private_keys: bool
    answers_dns: bool
    addresses: tuple[str, ...]
    """Of a gateway: it is small, and all its listeners are bound there."""

    def proxy(self) -> Proxy:
        """Return a proxy of this scope that has nothing besides."""
        family = "::" if self.only_ipv6 else "0.0.0.0"
        return Proxy(
            type=self.type,
            name="",
            namespace=self.namespace,
            addresses=self.addresses or (("0.0.0.0", "::") if self.dual_stack else (family,) if self.bound else ()),
            labels=dict(self.labels),
            locality=self.locality,
            network=self.network,
            interception=self.interception,
            capability=self.capability,
            dns_domain=self.dns_domain,
            port_map=dict(self.port_map),
            privileged=self.privileged,
            asks_on_demand=self.asks_on_demand,
            certificates=self.certificates,
            private_keys=self.private_keys,
            answers_dns=self.answers_dns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """All that `generate` reads of a proxy. Comparable within one state only."""

    outbound: OutboundScope
    addresses: tuple[str, ...]
    """Where listeners are bound; empty when nothing is bound there."""
    inbound: tuple[tuple[str, int, int, int], ...]
    """Host, service port, port and application port of what an intercepted workload serves."""
    upstreams: tuple[Upstream, ...]
    learned: tuple[Hostname, ...] = ()
    """Hosts that are told before they are asked for, where others are not."""
    policy_labels: Labels = ()
    """Labels by which security policies select it: what is inbound depends on them, and nothing else."""
    patches: tuple[PatchKey, ...] = ()
    """Parts of EnvoyFilters that are applied to what is generated."""


class Selectors:
    """The label selectors of a state that tell proxies apart, counted, so that a changed object is a small change."""

    def __init__(self, objects: Iterable[ConfigObject[Any]] = ()) -> None:
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._known: dict[str, dict[Labels, None]] = {}
        self._relevant: dict[tuple[str, Labels], Labels] = {}
        self._rules: dict[ObjectKey, DestinationRule] = {}
        """Those that may ask for locality load balancing."""
        self._localities: tuple[MeshConfig, LocalityUse] | None = None
        self.replace((), objects)

    def replace(self, gone: Iterable[ConfigObject[Any]], fresh: Iterable[ConfigObject[Any]]) -> None:
        """Take other objects into account."""
        gone, fresh = list(gone), list(fresh)
        self._replace_rules(gone, fresh)
        before = set(self._counts)
        self._counts.subtract(found for item in gone for found in _selectors(item))
        self._counts.update(found for item in fresh for found in _selectors(item))
        self._counts = +self._counts
        if before != self._counts.keys():
            self._relevant.clear()
            self._known.clear()
            for namespace, labels in sorted(self._counts):
                self._known.setdefault(namespace, {})[labels] = None

    def localities(self, mesh_config: MeshConfig) -> LocalityUse:
        """Return what matters of where a proxy runs."""
        if self._localities is None or self._localities[0] is not mesh_config:
            self._localities = mesh_config, locality_use(self._rules.values(), mesh_config)
        return self._localities[1]

    def _replace_rules(self, gone: Iterable[ConfigObject[Any]], fresh: Iterable[ConfigObject[Any]]) -> None:
        known = len(self._rules)
        popped = [self._rules.pop(item.key, None) for item in gone]
        found = {item.key: item.spec for item in fresh if may_ask_for_locality(item.spec)}
        self._rules |= found
        if found or any(popped) or known != len(self._rules):
            self._localities = None

    def relevant(self, proxy: Proxy) -> Labels:
        """Return the labels of a proxy that matter: those in selectors that it matches."""
        if not self._known:
            return ()
        key = (proxy.namespace, tuple(sorted(proxy.labels.items())))
        if key not in self._relevant:
            found = {
                pair
                for namespace in (ANYWHERE, proxy.namespace)
                for labels in self._known.get(namespace, ())
                if all(proxy.labels.get(name) == value for name, value in labels)
                for pair in labels
            }
            self._relevant[key] = tuple(sorted(found))
        return self._relevant[key]


def objects_that_select(state: MeshState) -> Iterator[ConfigObject[Any]]:
    """Yield the objects of a state that may select workloads."""
    yield from (bound.object for bound in state.virtual_services)
    yield from (bound.object for bounds in state.destination_rules.values() for bound in bounds)
    yield from state.sidecars


def policies_of(state: MeshState) -> Iterator[ConfigObject[Any]]:
    """Yield the security policies of a state. One of the root namespace selects in all of them."""
    for policies in state.policies.values():
        yield from policies


def _selectors(item: ConfigObject[Any]) -> Iterator[tuple[str, Labels]]:
    """Yield what an object selects proxies by, with the namespace in which that counts."""
    match item.spec:
        case VirtualService() as rule:
            http = (match.source_labels for route in rule.http for match in route.match)
            tcp = (match.source_labels for route in rule.tcp for match in route.match)
            tls = (match.source_labels for route in rule.tls for match in route.match)
            yield from ((ANYWHERE, _pairs(labels)) for labels in chain(http, tcp, tls) if labels)
        case DestinationRule(workload_selector=selector) if selector is not None and selector.match_labels:
            yield (item.key.namespace, _pairs(selector.match_labels))
        case Sidecar(workload_selector=selector) if selector is not None and selector.labels:
            yield (item.key.namespace, _pairs(selector.labels))
        case PeerAuthentication() | RequestAuthentication() | AuthorizationPolicy() as policy:
            if labels := selector_labels(policy):
                # Which namespace is the root is a setting: a policy of another one just counts in vain elsewhere.
                yield (ANYWHERE, _pairs(labels))


def _pairs(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def outbound_scope(state: MeshState, proxy: Proxy, selectors: Selectors) -> OutboundScope:
    """Return the scope of a proxy's outbound parts."""
    gateway = proxy.type is ProxyType.GATEWAY
    binds = gateway or proxy.interception is Interception.NONE
    use = selectors.localities(state.mesh_config)
    return OutboundScope(
        type=proxy.type,
        capability=proxy.capability,
        interception=proxy.interception,
        namespace=proxy.namespace,
        dns_domain=proxy.dns_domain,
        labels=_pairs(proxy.labels) if gateway else use.with_labels(proxy, selectors.relevant(proxy)),
        locality=proxy.locality if use.located else Locality(),
        network=proxy.network if use.by_network or networks_of(state) else "",
        bound=bool(proxy.addresses),
        only_ipv6=bool(proxy.addresses) and all(":" in address for address in proxy.addresses),
        dual_stack=not binds and len({":" in address for address in proxy.addresses}) > 1,
        port_map=tuple(sorted(item for item in proxy.port_map.items() if binds or item[0] == DNS_TABLE_PORT)),
        privileged=proxy.privileged if binds else True,
        asks_on_demand=asks_on_demand(state, proxy),
        certificates=proxy.certificates,
        private_keys=proxy.private_keys,
        answers_dns=proxy.answers_dns and not binds,
        addresses=proxy.addresses if gateway else (),
    )


def scope_of(
    state: MeshState,
    proxy: Proxy,
    selectors: Selectors | None = None,
    policy_selectors: Selectors | None = None,
    instances: tuple[ServiceInstance, ...] | None = None,
) -> Scope:
    """Return the scope of a proxy: in one state, equal scopes have equal snapshots.

    `selectors`, `policy_selectors` and `instances` are those of the state and the proxy, by someone who has them.
    """
    outbound = outbound_scope(state, proxy, selectors or Selectors(objects_that_select(state)))
    if proxy.type is ProxyType.GATEWAY or proxy.capability is Capability.GRPC:
        return Scope(outbound=outbound, addresses=(), inbound=(), upstreams=())
    inbound = instances_of(state, proxy) if instances is None else instances
    return Scope(
        outbound=outbound,
        addresses=proxy.addresses if proxy.interception is Interception.NONE else (),
        inbound=tuple(
            (item.service.host, item.port.number, item.endpoint.port, item.endpoint.app_port) for item in inbound
        ),
        upstreams=proxy.upstreams,
        learned=proxy.learned if outbound.asks_on_demand else (),
        policy_labels=(policy_selectors or Selectors(policies_of(state))).relevant(proxy),
    )
