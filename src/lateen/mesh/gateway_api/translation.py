"""The translation of all Gateway API objects of a mesh at once: objects of Istio's kinds, and the statuses beside.

Called by `incremental`. One Istio Gateway comes of each listener, so that a route can be for one of them; one
VirtualService of each host of a listener (or of each service that routes attach to, for calls inside the mesh), because
the most specific match wins over all routes of a host, whichever route it stands in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from lateen.config.gateway_api import GRPCRoute, HTTPRoute, KubernetesGateway, TCPRoute, TLSRoute
from lateen.config.networking import HTTPDirectResponse, VirtualService
from lateen.config.networking import HTTPRoute as Rule
from lateen.config.objects import ConfigObject
from lateen.mesh.elections import Place, place_of
from lateen.mesh.gateway_api.attachments import Attachment, Parent, Plans, attachments
from lateen.mesh.gateway_api.backend_tls import backend_tls
from lateen.mesh.gateway_api.backends import Backends
from lateen.mesh.gateway_api.connection_rules import refusal, tcp_rules, tls_rules
from lateen.mesh.gateway_api.grpc_rules import as_http
from lateen.mesh.gateway_api.http_rules import Ranked, http_rules, unsupported
from lateen.mesh.gateway_api.listener_sets import SetPlan, set_plans
from lateen.mesh.gateway_api.listeners import (
    ListenerPlan,
    gateway_addresses,
    gateway_conditions,
    istio_gateways,
    listener_plans,
)
from lateen.mesh.gateway_api.made import MARK, made
from lateen.mesh.gateway_api.statuses import CONTROLLERS, Condition, ParentStatus, Status, Statuses, fails, holds
from lateen.mesh.gateway_api.world import Route, World
from lateen.mesh.references import MESH_GATEWAY
from lateen.model.names import Hostname, ObjectKey

BUILT_IN_CLASSES = ("istio", "lateen")
"""Names of classes that need no GatewayClass, as `istio` needs none in a cluster of Istio's."""
FEATURES = (
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
)
"""Names of features, as the conformance tests of the API know them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What Gateway API objects come to."""

    objects: Mapping[Place, ConfigObject[Any]] = field(default_factory=dict)
    """Of Istio's kinds and Secrets; none has a name that a user's object can have."""
    statuses: Statuses = field(default_factory=dict)
    asked: frozenset[Hostname] = frozenset()
    """Hosts that it depends on."""
    places: frozenset[Place] = frozenset()
    """ServiceEntries that it depends on."""


def translate(world: World) -> Translation:
    """Translate everything."""
    statuses: dict[ObjectKey, Status] = {}
    found: list[ConfigObject[Any]] = []
    ours, foreign = _gateways(world, statuses)
    served = {_place(one): one for one in ours}
    own = {place: tuple(listener_plans(world, one)) for place, one in served.items()}
    # A Gateway of no class has a status, those of others have none.
    others = {place for place in foreign if ObjectKey("KubernetesGateway", *place) not in statuses}
    refusing = {place for place, group in own.items() if not any(plan.served for plan in group)}
    sets = tuple(set_plans(world, served, own, refusing, others))
    plans: dict[Parent, Sequence[ListenerPlan]] = {("Gateway", *place): plans for place, plans in own.items()}
    # A ListenerSet that its Gateway does not take has no listeners that a route could find.
    plans |= {("ListenerSet", *_place(one.item)): one.listeners for one in sets if one.refusal is None}
    foreign_parents = _foreign_parents(world, foreign, sets)
    every = [plan for group in plans.values() for plan in group]
    found += [plan.clients.secret for plan in every if plan.clients is not None and plan.clients.secret is not None]
    found += istio_gateways(world, every)
    routing = _Routing(world, plans)
    for route in world.routes("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"):
        parents = routing.add(attachments(world, plans, foreign_parents, route), route)
        statuses[route.key] = Status(parents=tuple(parents))
    found += routing.virtual_services()
    attached = Counter(one.listeners[0].gateway.key for one in sets if one.accepted)
    for one in ours:
        group = own[_place(one)]
        listeners = tuple(plan.status(routing.attached[plan.reference]) for plan in group)
        conditions = gateway_conditions(world, one, group)
        statuses[one.key] = Status(
            conditions=conditions,
            listeners=listeners,
            addresses=gateway_addresses(world, one),
            listener_sets=attached[one.key],
        )
    statuses |= {one.item.key: one.status(routing.attached) for one in sets}
    for item, status in backend_tls(world):
        if status is None:
            found.append(item)
        else:
            statuses[item.key] = status
    return Translation(
        objects={place_of(item): item for item in found},
        statuses=statuses,
        asked=frozenset(world.asked),
        places=frozenset(world.places),
    )


def _gateways(
    world: World, statuses: dict[ObjectKey, Status]
) -> tuple[list[ConfigObject[KubernetesGateway]], frozenset[tuple[str, str]]]:
    """Return the Gateways that are served, and the names of those that other controllers serve."""
    classes = {one.key.name: one.spec.controller_name for one in world.classes()}
    for one in world.classes():
        if one.spec.controller_name in CONTROLLERS:
            parameters = one.spec.parameters_ref is not None
            message = "parametersRef has no effect" if parameters else ""
            statuses[one.key] = Status(conditions=(holds("Accepted", message=message),), features=FEATURES)
    ours, foreign = [], set()
    for gateway in world.gateways():
        name = gateway.spec.gateway_class_name
        controller = classes.get(name, CONTROLLERS[0] if name in BUILT_IN_CLASSES else "")
        if controller in CONTROLLERS:
            ours.append(gateway)
            continue
        foreign.add((gateway.key.namespace, gateway.key.name))
        if not controller:
            message = f"there is no GatewayClass {name}; built in are {', '.join(BUILT_IN_CLASSES)}"
            pending = (Condition("Accepted", "Unknown", "Pending", message), fails("Programmed", "Pending", message))
            statuses[gateway.key] = Status(conditions=pending)
    return ours, frozenset(foreign)


def _place(item: ConfigObject[Any]) -> tuple[str, str]:
    return item.key.namespace, item.key.name


def _foreign_parents(world: World, foreign: frozenset[tuple[str, str]], sets: Sequence[SetPlan]) -> frozenset[Parent]:
    """Return the parents of routes that other controllers serve: Gateways, and the ListenerSets of these."""
    ours = {one.item.key for one in sets}
    found = {("Gateway", *place) for place in foreign}
    found |= {("ListenerSet", *_place(item)) for item in world.listener_sets() if item.key not in ours}
    return frozenset(found)


@dataclass(slots=True, kw_only=True)
class _Host:
    """What becomes one VirtualService."""

    gateway: str
    export_to: tuple[str, ...] = ("*",)
    rules: list[Ranked] = field(default_factory=list)
    connections: VirtualService = field(default_factory=VirtualService)
    """Its TCP and TLS rules."""
    sources: list[Route] = field(default_factory=list)
    """Of those."""


class _Routing:
    """Collects the rules of all routes by where they apply."""

    def __init__(self, world: World, plans: Plans) -> None:
        self._world = world
        self._groups: dict[ObjectKey, list[ListenerPlan]] = {}
        """All listeners of each Gateway, those of its ListenerSets too."""
        for plan in (plan for group in plans.values() for plan in group):
            self._groups.setdefault(plan.gateway.key, []).append(plan)
        self._hosts: dict[tuple[str, str, str], _Host] = {}
        """By namespace and name of the VirtualService, and its host."""
        self.attached: defaultdict[str, int] = defaultdict(int)
        """Number of routes by listener."""

    def add(self, found: Sequence[Attachment], route: Route) -> Iterator[ParentStatus]:
        """Add a route where it attaches; yield its statuses."""
        problem = unsupported(_as_http(route)) if isinstance(route.spec, HTTPRoute | GRPCRoute) else ""
        backends = Backends(self._world, route)
        rules = self._rules(route, backends)
        refused = fails("Accepted", "UnsupportedValue", problem)
        counted: set[str] = set()
        for attachment in found:
            accepted = refused if problem else attachment.accepted
            if accepted.status == "True":
                for plan, hosts in attachment.listeners:
                    if plan.reference not in counted:
                        counted.add(plan.reference)
                        self.attached[plan.reference] += 1
                    self._to_listener(plan, hosts, route, rules, backends)
                for host in attachment.services:
                    self._to_service(host, attachment, rules, backends)
            yield ParentStatus(reference=attachment.parent, conditions=(accepted, backends.condition()))

    def _rules(self, route: Route, backends: Backends) -> list[Ranked]:
        spec = route.spec
        if isinstance(spec, HTTPRoute | GRPCRoute):
            return http_rules(route, _as_http(route), backends)
        tcp_rules(spec, backends)  # for the condition, should it attach nowhere
        return []

    def _host(self, namespace: str, name: str, host: str, gateway: str, export_to: tuple[str, ...] = ("*",)) -> _Host:
        place = (namespace, name, host)
        return self._hosts.setdefault(place, _Host(gateway=gateway, export_to=export_to))

    def _to_listener(
        self, plan: ListenerPlan, hosts: tuple[str, ...], route: Route, rules: list[Ranked], backends: Backends
    ) -> None:
        if not plan.served:
            return
        key = plan.gateway.key
        others = self._groups[key]
        for host in hosts:
            if plan.leaves(host, others):
                continue
            entry = self._host(key.namespace, f"{plan.name}{MARK}{host}", host, plan.reference)
            entry.rules += rules
            spec = route.spec
            if isinstance(spec, TLSRoute):
                _extend(entry, route, tls=tls_rules(spec, (host,), backends))
            elif isinstance(spec, TCPRoute):
                _extend(entry, route, tcp=tcp_rules(spec, backends))

    def _to_service(self, host: Hostname, attachment: Attachment, rules: list[Ranked], backends: Backends) -> None:
        """Route calls of a service: of everybody if the route is of its namespace, else of the route's namespace."""
        route, port = attachment.route, attachment.port
        own = attachment.owner == route.key.namespace
        entry = self._host(
            route.key.namespace, f"mesh{MARK}{host}", host, MESH_GATEWAY, export_to=("*",) if own else (".",)
        )
        entry.rules += [_for_port(ranked, port) for ranked in rules] if port else rules
        spec = route.spec
        if isinstance(spec, TCPRoute):
            _extend(entry, route, tcp=tcp_rules(spec, backends, port))
        elif isinstance(spec, TLSRoute):
            _extend(entry, route, tls=tls_rules(spec, tuple(spec.hostnames) or ("*",), backends, port))

    def virtual_services(self) -> Iterator[ConfigObject[VirtualService]]:
        """Yield what was collected, and a host without routes for each listener that others must not answer for."""
        for (namespace, name, host), entry in self._hosts.items():
            ranked = sorted(entry.rules, key=lambda one: one.rank)
            http = [(rule, one.source) for one in ranked for rule in one.rules]
            spec = replace(
                entry.connections,
                hosts=[host],
                gateways=[entry.gateway],
                http=[rule for rule, _ in http],
                export_to=list(entry.export_to),
            )
            yield made("VirtualService", namespace, name, spec, *(source for _, source in http), *entry.sources)
        for group in self._groups.values():
            for plan in group:
                yield from self._isolated(plan, group)

    def _isolated(self, plan: ListenerPlan, group: Sequence[ListenerPlan]) -> Iterator[ConfigObject[VirtualService]]:
        host, key = plan.listener.hostname, plan.gateway.key
        name = f"{plan.name}{MARK}{host}"
        # One of HTTPS needs none: it is there for its server name whatever routes it has.
        if plan.listener.protocol == "HTTPS" or (key.namespace, name, host) in self._hosts or not plan.served:
            return
        if any(other.served and plan.narrows(other) for other in group):
            nothing = Rule(name="no-route", direct_response=HTTPDirectResponse(status=404))
            plain = plan.listener.protocol == "HTTP"
            spec = VirtualService(
                hosts=[host],
                gateways=[plan.reference],
                http=[nothing] if plain else [],
                tls=[] if plain else [refusal(host)],
                export_to=["*"],
            )
            yield made("VirtualService", key.namespace, name, spec, plan.owner)


def _as_http(route: Route) -> HTTPRoute:
    spec = route.spec
    if isinstance(spec, GRPCRoute):
        return as_http(spec)
    assert isinstance(spec, HTTPRoute)
    return spec


def _extend(entry: _Host, route: Route, **rules: list[Any]) -> None:
    entry.connections = replace(
        entry.connections, **{name: [*getattr(entry.connections, name), *found] for name, found in rules.items()}
    )
    entry.sources.append(route)


def _for_port(ranked: Ranked, port: int) -> Ranked:
    """Return rules for one port of a service."""
    narrowed = tuple(replace(rule, match=[replace(match, port=port) for match in rule.match]) for rule in ranked.rules)
    return ranked._replace(rules=narrowed)
