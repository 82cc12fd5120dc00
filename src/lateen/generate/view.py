"""View: the mesh as one proxy sees it, the only way by which passes learn of a state.

Made by `snapshot` and `generator`, handed to every pass. Every question goes through a method here, which notes it in
the memo: see `memo`. What is a plain field is the same for the whole life of a memo; when one of them changes
(mesh-wide settings, the Sidecar that applies), nothing is kept.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lateen.config.durations import to_fields
from lateen.config.kubernetes import Secret
from lateen.config.mesh_config import MeshConfig, MeshOutboundTrafficPolicyMode
from lateen.config.networking import DestinationRule, Gateway, OutboundTrafficPolicyMode, Sidecar
from lateen.config.objects import ConfigObject
from lateen.envoy.endpoints import EndpointEntries
from lateen.envoy.filters import FilterDefaults, filter_defaults
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import config_metadata, setting_metadata
from lateen.generate.authorization_entries import PolicyEntries
from lateen.generate.memo import Memo, Read
from lateen.mesh.egress import Imports
from lateen.mesh.mutual_tls import ISTIO_TLS_MODE, MutualTLSModes, can_disable, modes_of, service_accounts
from lateen.mesh.networks import Networks, networks_of
from lateen.mesh.policies import PEER_AUTHENTICATION
from lateen.mesh.queries import (
    ServiceInstance,
    destination_rule_for,
    egress_of,
    endpoints_behind,
    endpoints_of,
    gateways_for,
    is_reached_by_mutual_tls,
    policies_for,
    policies_in,
    services_for,
    sidecar_for,
    virtual_addresses,
    virtual_service_for_host,
    virtual_services_for,
)
from lateen.mesh.state import MESH_GATEWAY, BoundVirtualService, MeshState
from lateen.model.names import Hostname, ObjectKey
from lateen.model.proxies import Interception, Proxy, ProxyType
from lateen.model.services import Endpoint, Service

SERVICE = "service"
"""A service by host."""
RULE = "destination rule"
"""The DestinationRule of a host."""
ROUTING = "virtual service"
"""The VirtualService of a host, for sidecars."""
ENDPOINTS = "endpoints"
"""All endpoints of a host."""
ACCOUNTS = "service accounts"
"""Service accounts of the endpoints of a host."""
SECRET = "secret"  # noqa: S105  a word
"""A Secret by namespace and name."""
POLICIES = "policies"
"""The security policies of a kind and a namespace."""
KEY_SET = "key set"
"""The keys that were fetched from a URI."""
SWITCHED_OFF = "switched off"
"""What the PeerAuthentications of a namespace switch mutual TLS off for."""
GATEWAY_RULES = "rules of a gateway"
"""The VirtualServices of a Gateway."""
GATEWAY_HOSTS = "hosts of a gateway"
"""The same, but only what of them decides which hosts have which rules."""
RULE_OF_GATEWAY = "rule of a gateway"
"""One VirtualService by namespace and name."""
VIRTUAL = "virtual addresses"
"""The addresses that a host without any was given."""
SERVICES = ("services", "")
UNSERVED = ("hosts of rules that no service has", "")
GATEWAYS = ("gateways", "")
INSTANCES = ("instances", "")
"""What the proxy's own workload serves."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one proxy sees of a state."""

    proxy: Proxy
    state: MeshState
    """For this module and `generator` only: a pass that reads it directly reads behind the memo's back."""
    mesh_config: MeshConfig
    sidecar: ConfigObject[Sidecar] | None
    on_demand: bool
    """Whether the proxy is told what it is known to use only, and asks for the rest when it needs it."""
    allow_any: bool
    """Whether calls to unknown hosts are let through."""
    resolves_unknown: bool
    """Whether their names are looked up with each request."""
    traffic_policy_metadata: Fields
    """Who decided that."""
    defaults: FilterDefaults
    connect_timeout: Fields
    detection_timeout: Fields
    """How long to wait for a client's first bytes; zero waits for ever."""
    memo: Memo
    visible: tuple[Service, ...]
    """Services that it may call, by host; passes ask `services`."""
    by_host: Mapping[Hostname, Service]
    """The same; passes ask `service`."""
    served: tuple[ServiceInstance, ...]
    """What the proxy's workload serves; passes ask `instances`."""
    networks: Networks
    """How other networks are entered."""
    egress: tuple[Imports, ...]
    """By listener of the Sidecar's `egress`; passes ask `egress_imports`."""
    endpoint_entries: EndpointEntries
    """Endpoints that are serialised already."""
    policy_entries: PolicyEntries = field(default_factory=PolicyEntries)
    """AuthorizationPolicies that are."""
    _rules: dict[Hostname, ConfigObject[DestinationRule] | None] = field(default_factory=dict)
    _routing: dict[Hostname, BoundVirtualService | None] = field(default_factory=dict)
    _named: dict[ObjectKey, frozenset[Hostname]] = field(default_factory=dict)
    """Hosts of VirtualServices: one may have a hundred thousand, each of which is looked for among them."""
    _gateway_rules: dict[str, tuple[BoundVirtualService, ...]] = field(default_factory=dict)
    _gateway_rule: dict[str, dict[tuple[str, str], BoundVirtualService]] = field(default_factory=dict)
    _disabling: dict[str, tuple[ConfigObject[Any], ...]] = field(default_factory=dict)
    """By namespace: its PeerAuthentications with those of the root namespace, none if none can switch anything off."""

    def piece(self, key: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """Return a value that several passes need; made once, and again when something it was made from changes."""
        return self.memo.value(key, make)

    def services(self) -> tuple[Service, ...]:
        """Return the services that the proxy may call, by host."""
        self.memo.note(SERVICES)
        return self.visible

    def service(self, host: Hostname) -> Service | None:
        """Return a service that the proxy may call."""
        self.memo.note((SERVICE, host))
        return self.by_host.get(host)

    def virtual_addresses(self, host: Hostname) -> tuple[str, ...]:
        """Return the addresses that a service without any was given, of the proxy's IP versions.

        None where names are not answered: nobody would come to know them there.
        """
        if not self.proxy.answers_dns:
            return ()
        self.memo.note((VIRTUAL, host))
        both = virtual_addresses(self.state).get(host)
        if both is None:
            return ()
        return both if self.dual_stack else both[1:] if self.only_ipv6 else both[:1]

    def egress_imports(self) -> tuple[Imports, ...]:
        """Return what each egress listener of the Sidecar takes calls for; none when it opens no listeners."""
        self.memo.note(SERVICES)
        return self.egress

    def rule(self, host: Hostname) -> ConfigObject[DestinationRule] | None:
        """Return the DestinationRule of a host for this proxy."""
        self.memo.note((RULE, host))
        if not self.state.destination_rules:
            return None
        if host not in self._rules:
            self._rules[host] = destination_rule_for(self.state, self.proxy, host, self.by_host.get(host))
        return self._rules[host]

    def routing(self, host: Hostname) -> BoundVirtualService | None:
        """Return the VirtualService that routes calls of sidecars to a host."""
        self.memo.note((ROUTING, host))
        if not self.state.virtual_services:
            return None
        if host not in self._routing:
            self._routing[host] = virtual_service_for_host(self.state, self.proxy.namespace, host)
        return self._routing[host]

    def unserved(self) -> Mapping[Hostname, BoundVirtualService]:
        """Return the hosts of sidecars' HTTP rules that no service has, with the first rule of each, in its order."""
        self.memo.note(UNSERVED)
        found: dict[Hostname, BoundVirtualService] = {}
        for bound in virtual_services_for(self.state, self.proxy.namespace, MESH_GATEWAY):
            if bound.object.spec.http:
                for host in bound.hosts:
                    if host not in self.state.services:
                        found.setdefault(host, bound)
        return found

    def first_rule(self, host: Hostname) -> BoundVirtualService | None:
        """Return the first VirtualService with HTTP rules that names exactly this host, for sidecars."""
        found = self.routing(host)
        if found is not None and found.object.spec.http and self._names(found, host):
            return found
        return self.unserved().get(host)

    def _names(self, bound: BoundVirtualService, host: Hostname) -> bool:
        key = bound.object.key
        if key not in self._named:
            self._named[key] = frozenset(bound.hosts)
        return host in self._named[key]

    def endpoints(self, host: Hostname, port: int, labels: Mapping[str, str] | None = None) -> tuple[Endpoint, ...]:
        """Return the healthy endpoints of a service port, of the subset with these labels if given."""
        self.memo.note((ENDPOINTS, host))
        return endpoints_of(self.state, host, port, labels, owner=self._owner(host))

    def service_accounts(self, host: Hostname) -> tuple[tuple[str, str], ...]:
        """Return namespace and service account of the workloads behind a host, healthy or not."""
        self.memo.note((ACCOUNTS, host))
        return service_accounts(endpoints_behind(self.state, host, self._owner(host)))

    def _owner(self, host: Hostname) -> str:
        """Return the namespace of the service that the proxy calls by a host; empty when it sees none."""
        service = self.by_host.get(host)
        return service.namespace if service is not None else ""

    def takes_mutual_tls(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is called with mutual TLS by a proxy that can."""
        if endpoint.is_gateway:
            return True
        if endpoint.tls_mode != ISTIO_TLS_MODE:
            return False
        root, own = self.mesh_config.root_namespace, endpoint.namespace
        self.memo.note((SWITCHED_OFF, root))
        self.memo.note((SWITCHED_OFF, own))
        disabling = self._disabling.get(own)
        if disabling is None:
            found = policies_in(self.state, PEER_AUTHENTICATION, own)
            disabling = self._disabling[own] = found if can_disable(found) else ()
        return not disabling or is_reached_by_mutual_tls(endpoint, disabling, root)

    def gateways(self) -> tuple[ConfigObject[Gateway], ...]:
        """Return the Gateways that a gateway proxy serves, oldest first."""
        self.memo.note(GATEWAYS)
        return gateways_for(self.state, self.proxy)

    def gateway_rules(self, gateway: str, *, hosts_only: bool = False) -> tuple[BoundVirtualService, ...]:
        """Return the VirtualServices of a Gateway (`namespace/name`), in merge order.

        `hosts_only`: the caller reads no more of them than `Placement` holds.
        """
        self.memo.note((GATEWAY_HOSTS if hosts_only else GATEWAY_RULES, gateway))
        return self.rules_of(gateway)

    def gateway_rule(self, gateway: str, name: tuple[str, str]) -> BoundVirtualService:
        """Return one of the VirtualServices of a Gateway, by namespace and name."""
        self.memo.note((RULE_OF_GATEWAY, name))
        if gateway not in self._gateway_rule:
            keyed = ((bound.object.key, bound) for bound in self.rules_of(gateway))
            self._gateway_rule[gateway] = {(key.namespace, key.name): bound for key, bound in keyed}
        return self._gateway_rule[gateway][name]

    def rules_of(self, gateway: str) -> tuple[BoundVirtualService, ...]:
        """Return the VirtualServices of a Gateway without noting it; passes ask one of the two above."""
        if gateway not in self._gateway_rules:
            self._gateway_rules[gateway] = virtual_services_for(self.state, self.proxy.namespace, gateway)
        return self._gateway_rules[gateway]

    def secret(self, namespace: str, name: str) -> ConfigObject[Secret] | None:
        """Return a Secret."""
        self.memo.note((SECRET, (namespace, name)))
        return self.state.secrets.get((namespace, name))

    def policies(self, kind: str) -> tuple[ConfigObject[Any], ...]:
        """Return the security policies of a kind that are about the proxy: of the root namespace, then of its own."""
        for namespace in (self.mesh_config.root_namespace, self.proxy.namespace):
            self.memo.note((POLICIES, (kind, namespace)))
        return policies_for(self.state, kind, self.proxy)

    def mutual_tls_modes(self) -> MutualTLSModes:
        """Return in which modes of mutual TLS the ports of the proxy's own workload are."""
        return self.piece(
            ("mutual TLS modes",),
            lambda: modes_of(self.policies(PEER_AUTHENTICATION), self.mesh_config.root_namespace),
        )

    def key_set(self, source: str) -> str | None:
        """Return the keys of a source (see `config.key_sets.key_source`), None while they are not there."""
        self.memo.note((KEY_SET, source))
        return self.state.key_sets.get(source)

    def instances(self) -> tuple[ServiceInstance, ...]:
        """Return what the proxy's workload serves."""
        self.memo.note(INSTANCES)
        for instance in self.served:
            self.memo.note((SERVICE, instance.service.host))
        return self.served

    @property
    def explicit(self) -> bool:
        """Whether this is a sidecar without interception."""
        return self.proxy.type is ProxyType.SIDECAR and self.proxy.interception is Interception.NONE

    @property
    def dual_stack(self) -> bool:
        """Whether connections of both IP versions are intercepted: the proxy has addresses of both."""
        families = {":" in address for address in self.proxy.addresses}
        return self.proxy.interception is not Interception.NONE and len(families) > 1

    @property
    def intercepts_ipv6(self) -> bool:
        """Whether connections of IPv6 are intercepted: the proxy has an address of it, perhaps no other."""
        return self.proxy.interception is not Interception.NONE and any(":" in it for it in self.proxy.addresses)

    @property
    def only_ipv6(self) -> bool:
        """Whether the proxy has addresses, but none of IPv4."""
        addresses = self.proxy.addresses
        return bool(addresses) and all(":" in address for address in addresses)

    @property
    def lookup_family(self) -> str:
        """Which addresses of a DNS name are used: IPv6 only by a proxy that has no IPv4 address."""
        return "V6_ONLY" if self.only_ipv6 else "V4_ONLY"

    @property
    def dns_refresh_rate(self) -> Fields:
        """How often a DNS name is resolved again that says nothing of it."""
        return to_fields(self.mesh_config.dns_refresh_rate)

    def unrecorded(self) -> View:
        """Return the same view, for what is made of it after the memo has moved on to another."""
        return replace(self, memo=Memo(recording=False))

    def seen_by(self, proxy: Proxy, memo: Memo, served: tuple[ServiceInstance, ...]) -> View:
        """Return the same view for a proxy that differs in nothing that a question above depends on."""
        return replace(self, proxy=proxy, memo=memo, served=served)

    def replaced_gateways(self, earlier: View, gateways: Iterable[str]) -> Iterator[Read]:
        """Yield the reads of those gateways whose rules were placed otherwise in an earlier view."""
        for gateway in gateways:
            read = (GATEWAY_HOSTS, gateway)
            if self.memo.is_read(read) and _placed_otherwise(earlier.rules_of(gateway), self.rules_of(gateway)):
                yield read


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a VirtualService applies: what a plan of virtual hosts reads of it."""

    key: ObjectKey
    hosts: tuple[Hostname, ...]
    conditions: tuple[tuple[tuple[object, ...], ...], ...]
    """Of each HTTP rule, of each match: what is decided here and not by Envoy."""

    @classmethod
    def of(cls, bound: BoundVirtualService) -> Placement:
        """Read it off."""
        conditions = tuple(
            tuple((match.port, match.gateways, match.source_labels, match.source_namespace) for match in rule.match)
            for rule in bound.object.spec.http
        )
        return cls(bound.object.key, bound.hosts, conditions)


def _placed_otherwise(old: Sequence[BoundVirtualService], new: Sequence[BoundVirtualService]) -> bool:
    return len(old) != len(new) or any(
        before is not after and Placement.of(before) != Placement.of(after)
        for before, after in zip(old, new, strict=True)
    )


def view_of(
    state: MeshState,
    proxy: Proxy,
    *,
    on_demand: bool = False,
    memo: Memo | None = None,
    served: tuple[ServiceInstance, ...] = (),
    entries: EndpointEntries | None = None,
) -> View:
    """Gather the view of a proxy."""
    services = services_for(state, proxy)
    sidecar = sidecar_for(state, proxy)
    allow_any, resolves_unknown, metadata = _outbound_traffic_policy(state, sidecar)
    return View(
        proxy=proxy,
        state=state,
        mesh_config=state.mesh_config,
        sidecar=sidecar,
        on_demand=on_demand,
        allow_any=allow_any,
        resolves_unknown=resolves_unknown,
        traffic_policy_metadata=metadata,
        defaults=filter_defaults(state.mesh_config),
        connect_timeout=to_fields(state.mesh_config.connect_timeout),
        detection_timeout=to_fields(state.mesh_config.protocol_detection_timeout or "0s"),
        memo=Memo(recording=False) if memo is None else memo,
        visible=services,
        by_host={service.host: service for service in services},
        egress=egress_of(state, proxy),
        networks=networks_of(state),
        served=served,
        endpoint_entries=EndpointEntries() if entries is None else entries,
    )


def next_view(view: View, state: MeshState) -> tuple[View, tuple[Read, ...]] | None:
    """Return the view of a newer state, and the reads that differ in it though nothing in the state says so.

    None when something differs that a memo does not outlive.
    """
    if state.mesh_config != view.mesh_config or sidecar_for(state, view.proxy) is not view.sidecar:
        return None
    if networks_of(state) != view.networks:
        return None
    fresh = replace(
        view, state=state, _rules={}, _routing={}, _named={}, _gateway_rules={}, _gateway_rule={}, _disabling={}
    )
    imports = view.sidecar is not None and bool(view.sidecar.spec.egress)
    same = state.services is view.state.services and state.doubles is view.state.doubles
    if same and not (imports and state.virtual_services is not view.state.virtual_services):
        return fresh, ()
    renumbered = _renumbered(view, state)
    known = view.by_host
    # A Sidecar that imports some ports of a service makes a Service of its own: the same one as long as it is equal.
    services = tuple(
        known[item.host] if imports and known.get(item.host) == item else item
        for item in services_for(state, view.proxy)
    )
    egress = egress_of(state, view.proxy) if view.egress else ()
    if egress == view.egress and len(services) == len(view.visible) and all(map(operator.is_, services, view.visible)):
        return fresh, renumbered
    by_host = {service.host: service for service in services}
    changed = [host for host, service in by_host.items() if known.get(host) is not service]
    changed += [host for host in known if host not in by_host]
    reads = [(kind, host) for host in changed for kind in (SERVICE, RULE)]
    return replace(fresh, visible=services, by_host=by_host, egress=egress), (SERVICES, *reads, *renumbered)


def _renumbered(view: View, state: MeshState) -> tuple[Read, ...]:
    """Return the reads of virtual addresses that differ: those of a service that stays can, when others come or go."""
    if not view.proxy.answers_dns:
        return ()
    before, now = virtual_addresses(view.state), virtual_addresses(state)
    return tuple((VIRTUAL, host) for host in before.keys() | now.keys() if before.get(host) != now.get(host))


def _outbound_traffic_policy(state: MeshState, sidecar: ConfigObject[Sidecar] | None) -> tuple[bool, bool, Fields]:
    """Return whether unknown hosts pass, whether they are looked up, and who says so: the Sidecar before the mesh."""
    if sidecar is not None and (policy := sidecar.spec.outbound_traffic_policy) is not None:
        return policy.mode is OutboundTrafficPolicyMode.ALLOW_ANY, False, config_metadata(sidecar)
    mode, who = state.mesh_config.outbound_traffic_policy.mode, setting_metadata("MeshConfig outboundTrafficPolicy")
    dynamic = mode is MeshOutboundTrafficPolicyMode.ALLOW_ANY_DYNAMIC_DNS
    return mode is not MeshOutboundTrafficPolicyMode.REGISTRY_ONLY, dynamic, who
