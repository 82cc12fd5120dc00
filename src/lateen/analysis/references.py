"""References between objects that lead nowhere: hosts, subsets, ports, Gateways, Secrets, delegates.

`analyse` is the room's entry: it runs these rules and those of `conflicts` and `unreachable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from lateen.analysis.access import denies_everything, http_rules_on_tcp, known_namespaces, namespaces
from lateen.analysis.annotations import istio_annotations
from lateen.analysis.authorization import authorization_policy, authorization_servers
from lateen.analysis.conflicts import conflicts
from lateen.analysis.credentials import gateway_credentials, rule_credentials, rule_verification
from lateen.analysis.dns_names import too_many_names
from lateen.analysis.envoy_filters import envoy_filters
from lateen.analysis.gateway_api import failed_conditions
from lateen.analysis.gateway_servers import gateway_servers
from lateen.analysis.hints import Hints
from lateen.analysis.host_names import HostNames
from lateen.analysis.ingress_tls import ingress_tls
from lateen.analysis.mutual_tls import PeerModes, auto_mtls, peer_authentications, server_first, tls_of_rule
from lateen.analysis.reports import Report
from lateen.analysis.routes import claims, route_settings, unused
from lateen.analysis.selectors import gateways_of_the_api, selector
from lateen.analysis.services import services
from lateen.analysis.sidecar_listeners import sidecar_listeners
from lateen.analysis.suppression import without_annotated
from lateen.analysis.telemetry import telemetries
from lateen.analysis.unreachable import unreachable
from lateen.analysis.unverified_clients import unverified_clients
from lateen.analysis.visibility import (
    competing_rules,
    gateway_ports,
    same_addresses,
    seen_by_nobody,
    subsets_behind_gateways,
)
from lateen.analysis.without_effect import rules_without_port, settings_without_port, subnets_at_gateways
from lateen.analysis.workloads import Workloads
from lateen.config.codes import (
    EMPTY_SUBSET,
    HOST_NOT_IN_GATEWAY,
    NOTHING_TAKES_IT,
    PORT_REQUIRED,
    REFERENCE_NOT_FOUND,
    UNKNOWN_RULE_HOST,
)
from lateen.config.kubernetes import ServiceSpec
from lateen.config.networking import (
    Destination,
    DestinationRule,
    Gateway,
    HTTPMatchRequest,
    HTTPRoute,
    L4MatchAttributes,
    ServiceEntry,
    Sidecar,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path, Positions
from lateen.config.security import AuthorizationPolicy
from lateen.mesh.hosts import HostTable
from lateen.mesh.queries import endpoints_behind, service_seen
from lateen.mesh.references import resolve_gateway
from lateen.mesh.state import MESH_GATEWAY, MeshState
from lateen.model.findings import Finding
from lateen.model.names import Hostname, ObjectKey, host_matches, resolve_host
from lateen.model.proxies import labels_match
from lateen.model.services import Service, visible_to


def analyse(
    state: MeshState,
    objects: Sequence[ConfigObject[Any]],
    positions: Mapping[ObjectKey, Positions] | None = None,
) -> tuple[Finding, ...]:
    """Return the findings about `objects` within the mesh `state`, ordered by file and line.

    `positions` (from `config.parsing`) gives the fields' lines; without it each finding has its object's line.
    """
    report = Report(positions or {})
    virtual_services = [one for one in objects if isinstance(one.spec, VirtualService)]
    targets = _Targets(state)
    delegates = {one.key for one in virtual_services if not one.spec.hosts}
    gateways = {f"{one.key.namespace}/{one.key.name}": one for one in state.gateways}
    for one in objects:
        failed_conditions(report, one, state)
        istio_annotations(report, one)
        match one.spec:
            case VirtualService():
                _virtual_service(report, one, targets, gateways, delegates)
                unreachable(report, one)
                route_settings(report, one)
            case DestinationRule():
                _destination_rule(report, one, targets)
                rule_credentials(report, one, state)
                rule_verification(report, one)
            case Gateway():
                gateway_credentials(report, one, state)
            case Sidecar():
                _egress_hosts(report, one, targets)
            case AuthorizationPolicy():
                authorization_policy(report, one, state)
    _by_workload(report, objects, state, gateways)
    services(report, objects, state)
    envoy_filters(report, objects)
    unused(report, objects)
    telemetries(report, objects, state)
    same_addresses(report, objects, state)
    gateway_ports(report, [one for one in objects if isinstance(one.spec, Gateway)])
    competing_rules(report, state.destination_rules)
    subsets_behind_gateways(report, virtual_services)
    authorization_servers(report, objects, state)
    conflicts(report, objects, state)
    too_many_names(report, state)
    return tuple(sorted(without_annotated(report.findings, objects), key=_place))


def _by_workload(
    report: Report,
    objects: Sequence[ConfigObject[Any]],
    state: MeshState,
    gateways: Mapping[str, ConfigObject[Gateway]],
) -> None:
    """Run the rules that ask what workloads there are, and what they take."""
    workloads = Workloads(state, objects)
    modes = PeerModes(state, workloads)
    root_namespace = state.mesh_config.root_namespace
    unruled = HostNames(host for host in state.services if host not in state.destination_rules)
    known = known_namespaces(objects, state)
    for one in objects:
        selector(report, one, workloads, root_namespace)
        seen_by_nobody(report, one, known)
        match one.spec:
            case DestinationRule():
                tls_of_rule(report, one, state, modes, unruled)
            case AuthorizationPolicy():
                namespaces(report, one, known)
                http_rules_on_tcp(report, one, workloads, root_namespace)
            case ServiceSpec() | ServiceEntry():
                server_first(report, one, state, modes)
            case VirtualService():
                claims(report, one, state, gateways, workloads)
            case Sidecar():
                ingress_tls(report, one, workloads, modes)
                sidecar_listeners(report, one, state)
    gateways_of_the_api(report, objects, gateways, workloads)
    gateway_servers(report, list(gateways.values()), state, workloads)
    peer_authentications(report, state, workloads, modes)
    auto_mtls(report, state)
    denies_everything(report, state, workloads)
    unverified_clients(report, objects, state, workloads)


def _place(finding: Finding) -> tuple[str, int, int, str, str, str, str, str]:
    where = (finding.file, finding.line, finding.column)
    return (*where, finding.kind, finding.namespace, finding.name, finding.path, finding.code)


class _Targets:
    """What can be called: looks up services and subsets by host."""

    def __init__(self, state: MeshState) -> None:
        self.state = state
        self.hints = Hints()
        self.hosts = HostNames(state.services)
        self._by_name: dict[str, Hostname] = {}
        for host in state.services:
            self._by_name.setdefault(host.partition(".")[0], host)
        self._wildcard_services = HostTable.of(
            {host: service for host, service in state.services.items() if host.startswith("*")}
        )
        self._wildcard_rules = HostTable.of(
            {host: rules for host, rules in state.destination_rules.items() if host.startswith("*")}
        )

    @cached_property
    def ruled(self) -> frozenset[str]:
        """The hosts that VirtualServices are about, be they of services or not."""
        return frozenset(host for bound in self.state.virtual_services for host in bound.hosts)

    def service(self, host: Hostname, namespace: str) -> Service | None:
        """Return the service of a host as a namespace sees it; a wildcard service covers its hosts."""
        found = self._covering(host, service_seen(self.state, host, namespace))
        return next((one for one in found if visible_to(one.export_to, one.namespace, namespace)), None)

    def services(self, host: Hostname) -> tuple[Service, ...]:
        """Return all that have a host or cover it, whoever sees them, but for doubles."""
        return tuple({one.host: one for one in self._covering(host, self.state.services.get(host))}.values())

    def seen_by_all(self, host: Hostname) -> Service | None:
        """Return the service of a host if no namespace can see another one in its place."""
        found = self.services(host)
        return found[0] if len(found) == 1 and found[0].host not in self.state.doubles else None

    def _covering(self, host: Hostname, exact: Service | None) -> Iterator[Service]:
        return chain((exact,) if exact else (), (wide for _, wide in self._wildcard_services.candidates(host)))

    def has_subset(self, host: Hostname, subset: str, namespace: str) -> bool:
        """Whether a DestinationRule that a namespace sees defines the subset of the host."""
        wide = (rules for _, rules in self._wildcard_rules.candidates(host))
        for rule in chain(self.state.destination_rules.get(host, ()), chain.from_iterable(wide)):
            seen = visible_to(rule.export_to, rule.object.key.namespace, namespace)
            if seen and any(one.name == subset for one in rule.object.spec.subsets):
                return True
        return False

    def subsets(self, host: Hostname) -> list[str]:
        """Return the names of all subsets of a host, for a hint."""
        rules = self.state.destination_rules.get(host, ())
        return sorted({subset.name for rule in rules for subset in rule.object.spec.subsets})

    def nearest(self, host: Hostname) -> str:
        """Return what to write instead of an unknown host."""
        if host in self.state.services:
            return "it exists but is not exported to this namespace"
        name = host.partition(".")[0]
        near = self._by_name.get(name) or self.hints.closest(host, self.state.services)
        return f"did you mean {near}?" if near else "add the Service or ServiceEntry, or correct the name"


# --- VirtualService ------------------------------------------------------------------------------------------


def _virtual_service(
    report: Report,
    one: ConfigObject[VirtualService],
    targets: _Targets,
    gateways: Mapping[str, ConfigObject[Gateway]],
    delegates: set[ObjectKey],
) -> None:
    for path, destination in _destinations(one.spec):
        _destination(report, one, path, destination, targets)
    for path, name in _gateway_names(one.spec):
        full = resolve_gateway(name, one.key.namespace)
        if full != MESH_GATEWAY and full not in gateways:
            hint = _gateway_hint(full, gateways, targets)
            report.add(REFERENCE_NOT_FOUND, one, path, f"the Gateway {full} does not exist; {hint}")
    for index, name in enumerate(one.spec.gateways):
        gateway = gateways.get(resolve_gateway(name, one.key.namespace))
        if gateway is not None:
            _hosts_of_gateway(report, one, gateway, ("spec", "gateways", index))
    namespace = one.key.namespace
    rules_without_port(report, one, [targets.seen_by_all(resolve_host(host, namespace)) for host in one.spec.hosts])
    subnets_at_gateways(report, one)
    for index, route in enumerate(one.spec.http):
        if route.delegate is not None and route.delegate.name:
            key = ObjectKey("VirtualService", route.delegate.namespace or one.key.namespace, route.delegate.name)
            if key not in delegates:
                message = f"the delegate {key} does not exist; add it, as a VirtualService without hosts"
                report.add(REFERENCE_NOT_FOUND, one, ("spec", "http", index, "delegate", "name"), message)


def _gateway_hint(full: str, gateways: Mapping[str, ConfigObject[Gateway]], targets: _Targets) -> str:
    if ObjectKey("KubernetesGateway", *full.split("/", 1)) in targets.state.statuses:
        return "the one of this name is of the Gateway API: attach an HTTPRoute to it"
    # What is made of one of the Gateway API has a name that nobody can write.
    near = targets.hints.closest(full, [name for name, one in gateways.items() if not one.made_of])
    return f"did you mean {near}?" if near else "add the Gateway, or correct the name"


def _destinations(spec: VirtualService) -> Iterator[tuple[Path, Destination]]:
    for index, http in enumerate(spec.http):
        here: Path = ("spec", "http", index)
        for number, route in enumerate(http.route):
            yield (*here, "route", number, "destination"), route.destination
        if http.mirror is not None:
            yield (*here, "mirror"), http.mirror
        for number, mirror in enumerate(http.mirrors):
            yield (*here, "mirrors", number, "destination"), mirror.destination
    connections: dict[str, Sequence[TLSRoute | TCPRoute]] = {"tls": spec.tls, "tcp": spec.tcp}
    for name, routes in connections.items():
        for index, l4 in enumerate(routes):
            for number, weighted in enumerate(l4.route):
                yield ("spec", name, index, "route", number, "destination"), weighted.destination


def _gateway_names(spec: VirtualService) -> Iterator[tuple[Path, str]]:
    for index, name in enumerate(spec.gateways):
        yield ("spec", "gateways", index), name
    rules: dict[str, Sequence[HTTPRoute | TLSRoute | TCPRoute]] = {"http": spec.http, "tls": spec.tls, "tcp": spec.tcp}
    for field, routes in rules.items():
        for index, route in enumerate(routes):
            matches: Sequence[HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes] = route.match
            for number, match in enumerate(matches):
                for place, name in enumerate(match.gateways):
                    yield ("spec", field, index, "match", number, "gateways", place), name


def _destination(
    report: Report, one: ConfigObject[VirtualService], path: Path, destination: Destination, targets: _Targets
) -> None:
    host = resolve_host(destination.host, one.key.namespace)
    service = targets.service(host, one.key.namespace)
    if service is None:
        message = f"the host {_shown(destination.host, host)} is unknown; {targets.nearest(host)}"
        report.add(REFERENCE_NOT_FOUND, one, (*path, "host"), message)
    elif destination.port is not None:
        if service.port(destination.port.number) is None:
            known = ", ".join(str(port.number) for port in service.ports) or "none"
            message = f"{host} has no port {destination.port.number}; its ports are {known}"
            report.add(REFERENCE_NOT_FOUND, one, (*path, "port", "number"), message)
    elif len(service.ports) > 1:
        known = ", ".join(str(port.number) for port in service.ports)
        message = f"{host} has several ports ({known}); add `port: {{number: …}}`"
        report.add(PORT_REQUIRED, one, path, message)
    if destination.subset and not targets.has_subset(host, destination.subset, one.key.namespace):
        known_subsets = targets.subsets(host)
        near = targets.hints.closest(destination.subset, known_subsets)
        if near:
            hint = f"did you mean {near}?"
        elif known_subsets:
            hint = f"its subsets are {', '.join(known_subsets)}"
        else:
            hint = "add a DestinationRule that defines it"
        message = f"the subset {destination.subset!r} of {host} is not defined; {hint}"
        report.add(REFERENCE_NOT_FOUND, one, (*path, "subset"), message)


def _shown(written: str, host: Hostname) -> str:
    """Return a host as written and, where that is short, in full."""
    return written if written.lower() == host else f"{written} ({host})"


def _hosts_of_gateway(
    report: Report, one: ConfigObject[VirtualService], gateway: ConfigObject[Gateway], path: Path
) -> None:
    """Warn of a Gateway that serves none of the VirtualService's hosts."""
    served = []
    for server in gateway.spec.servers:
        for entry in server.hosts:
            namespace, slash, host = entry.rpartition("/")
            owner = gateway.key.namespace if namespace == "." else namespace
            if not slash or owner in ("*", one.key.namespace):
                served.append(host.lower())
    hosts = [resolve_host(host, one.key.namespace) for host in one.spec.hosts]
    if hosts and not any(host_matches(own, host) or host_matches(host, own) for own in served for host in hosts):
        message = f"the Gateway {gateway.key.namespace}/{gateway.key.name} serves none of {', '.join(one.spec.hosts)}"
        report.add(HOST_NOT_IN_GATEWAY, one, path, f"{message}; add the host to its servers")


# --- Sidecar -------------------------------------------------------------------------------------------------


def _egress_hosts(report: Report, one: ConfigObject[Sidecar], targets: _Targets) -> None:
    """Find single hosts that a Sidecar imports and nobody has; a pattern may be for what is to come."""
    state, namespace = targets.state, one.key.namespace
    for_all = namespace == state.mesh_config.root_namespace  # there each namespace imports what itself sees
    for index, listener in enumerate(one.spec.egress):
        for place, entry in enumerate(listener.hosts):
            owner, _, host = entry.lower().rpartition("/")
            relative = owner == "." and for_all
            if "*" in host or owner.startswith("~") or relative or host in state.doubles or host in targets.ruled:
                continue
            owner = namespace if owner == "." else owner
            seen = targets.services(Hostname(host)) if for_all else (targets.service(Hostname(host), namespace),)
            service = next(iter(seen), None)
            if any(each and (owner in ("*", each.namespace) or each.host in state.doubles) for each in seen):
                continue
            message = f"no service has the host {host}, so this imports nothing; {targets.nearest(Hostname(host))}"
            if service is not None:
                message = (
                    f"{host} is not of namespace {owner}, so this imports nothing; write {service.namespace}/{host}"
                )
            report.add(NOTHING_TAKES_IT, one, ("spec", "egress", index, "hosts", place), message)


# --- DestinationRule -----------------------------------------------------------------------------------------


def _destination_rule(report: Report, one: ConfigObject[DestinationRule], targets: _Targets) -> None:
    host = resolve_host(one.spec.host, one.key.namespace)
    state = targets.state
    if host.startswith("*"):
        if next(targets.hosts.under(host), None) is None:
            message = f"no service has a host like {host}, so the rule changes nothing"
            report.add(UNKNOWN_RULE_HOST, one, ("spec", "host"), message)
        return
    service = targets.service(host, one.key.namespace)
    if service is None:
        hint = targets.nearest(host)
        message = f"the host {_shown(one.spec.host, host)} is unknown, so the rule changes nothing; {hint}"
        report.add(UNKNOWN_RULE_HOST, one, ("spec", "host"), message)
        return
    if targets.seen_by_all(host) is not None:
        settings_without_port(report, one, service)
    endpoints = endpoints_behind(state, host, service.namespace)
    for index, subset in enumerate(one.spec.subsets):
        if subset.labels and endpoints and not any(labels_match(subset.labels, each.labels) for each in endpoints):
            labels = ", ".join(f"{key}={value}" for key, value in sorted(subset.labels.items()))
            message = f"no workload of {host} has the labels {labels}: requests to the subset get 503"
            report.add(EMPTY_SUBSET, one, ("spec", "subsets", index, "labels"), message)
