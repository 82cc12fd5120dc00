"""Mutual TLS that callers and workloads do not agree about, and PeerAuthentications without effect.

Called by `references`. Which mode a port has is decided in `mesh.mutual_tls`, here it is only looked up. A finding
needs to be sure: where neither a workload nor a policy of its namespace says that there is a proxy, none is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from lateen.analysis.host_names import HostNames
from lateen.analysis.reports import Report
from lateen.analysis.traffic_policies import traffic_policies
from lateen.analysis.workloads import ByLabels, Workloads
from lateen.config.codes import AUTO_MTLS_OFF, INEFFECTIVE_POLICY, MTLS_CONFLICT, SERVER_FIRST
from lateen.config.kubernetes import ServiceSpec
from lateen.config.networking import ClientTLSMode, ClientTLSSettings, DestinationRule, ServiceEntry
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.config.security import MutualTLSMode, PeerAuthentication
from lateen.mesh.mutual_tls import ISTIO_TLS_MODE, MutualTLSModes, modes_of
from lateen.mesh.policies import PEER_AUTHENTICATION, selector_labels
from lateen.mesh.queries import endpoints_behind, every_service, selector_behind, service_of, service_seen
from lateen.mesh.state import MeshState
from lateen.mesh.workloads import TLS_MODE_LABEL
from lateen.model.names import Hostname, host_matches, resolve_host, service_host
from lateen.model.protocols import Protocol
from lateen.model.proxies import labels_match
from lateen.model.services import Service, ServicePort

_Policy = ConfigObject[PeerAuthentication]
_MOST_HOSTS = 200
"""Of a wildcard rule so many services are looked at: many such rules over many services are a product."""
_SERVER_FIRST_PORTS = frozenset((21, 25, 110, 143, 587, 3306))
"""FTP, mail and MySQL: the server greets."""


class _Members(NamedTuple):
    """Workloads behind a service port that are alike."""

    modes: MutualTLSModes
    labels: Mapping[str, str]
    port: int
    app_port: int
    has_proxy: bool | None
    """Whether something takes mutual TLS in front of them; None when nobody knows."""

    @property
    def mode(self) -> MutualTLSMode:
        return self.modes.at(self.port, self.app_port)


class PeerModes:
    """The modes of mutual TLS of all workloads."""

    def __init__(self, state: MeshState, workloads: Workloads) -> None:
        self._state = state
        self._root = state.mesh_config.root_namespace
        self._unlabelled = workloads.unlabelled
        self._registered = {(one.namespace, one.name) for one in state.workloads}
        self._wide: dict[str, _Policy] = {}
        narrow: defaultdict[str, list[tuple[Mapping[str, str], _Policy]]] = defaultdict(list)
        for policy in state.policies.get(PEER_AUTHENTICATION, ()):
            if labels := selector_labels(policy.spec):
                narrow[policy.key.namespace].append((labels, policy))
            else:
                self._wide.setdefault(policy.key.namespace, policy)
        self._narrow = {namespace: ByLabels(policies) for namespace, policies in narrow.items()}
        self._keys = {
            namespace: {frozenset(labels) for labels, _ in policies} for namespace, policies in narrow.items()
        }
        self._known: dict[tuple[str, int], MutualTLSModes] = {}

    def narrow(self, namespace: str, labels: Mapping[str, str]) -> list[_Policy]:
        """Return the policies whose selector matches, oldest first."""
        found = self._narrow.get(namespace) if namespace != self._root else None
        return found.matching(labels) if found is not None else []

    def of(self, namespace: str, labels: Mapping[str, str]) -> MutualTLSModes:
        """Return the modes of workloads with these labels. The mapping must live as long as this object."""
        place = (namespace, id(labels))
        if place not in self._known:
            wide = [self._wide[name] for name in dict.fromkeys((self._root, namespace)) if name in self._wide]
            self._known[place] = modes_of([*wide, *self.narrow(namespace, labels)], self._root)
        return self._known[place]

    def behind(self, service: Service, port: ServicePort, subset: Mapping[str, str]) -> Iterator[_Members]:
        """Yield what is behind a port of a service; nothing when too little is known of it."""
        if service.external:
            return
        endpoints = endpoints_behind(self._state, service.host, service.namespace)
        selector = selector_behind(self._state, service.host, service.namespace)
        if not endpoints or service.namespace in self._unlabelled:
            if selector is not None and not self.depends(service.namespace, selector):
                target = port.target_port if isinstance(port.target_port, int) and port.target_port else port.number
                yield _Members(self.of(service.namespace, selector), selector, target, port.number, None)
            return
        seen: set[tuple[int, int, str]] = set()
        for endpoint in endpoints:
            mark = (id(endpoint.labels), endpoint.port, endpoint.tls_mode)
            if endpoint.service_port != port.number or mark in seen or not labels_match(subset, endpoint.labels):
                continue
            seen.add(mark)
            namespace = endpoint.namespace or service.namespace
            sure = TLS_MODE_LABEL in endpoint.labels or (namespace, endpoint.workload) in self._registered
            has_proxy = True if endpoint.tls_mode == ISTIO_TLS_MODE else False if sure else None
            modes = self.of(namespace, endpoint.labels)
            yield _Members(modes, endpoint.labels, endpoint.port, endpoint.app_port, has_proxy)

    def depends(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether some policy selects by a label that only the workloads themselves have."""
        return any(not keys <= labels.keys() for keys in self._keys.get(namespace, ()))

    def is_told(self, modes: MutualTLSModes) -> bool:
        """Whether a policy that is about these workloads, not about the whole mesh, decides."""
        return modes.policy is not None and modes.policy.key.namespace != self._root


# --- DestinationRule -----------------------------------------------------------------------------------------


class _Setting(NamedTuple):
    """TLS as a rule writes it, and what for."""

    path: Path
    tls: ClientTLSSettings
    port: int
    """0 for all ports but those with settings of their own."""
    others: frozenset[int]
    subset: Mapping[str, str]


def tls_of_rule(
    report: Report, one: ConfigObject[DestinationRule], state: MeshState, modes: PeerModes, unruled: HostNames
) -> None:
    """Find TLS settings that the workloads of the host do not take. `unruled`: hosts without a rule of their own."""
    settings = list(_settings(one.spec))
    services = _services(one, state, unruled) if settings else []
    for setting in settings:
        for service in services:
            if message := _conflict(setting, service, modes):
                report.add(MTLS_CONFLICT, one, setting.path, message)
                break


def _services(one: ConfigObject[DestinationRule], state: MeshState, unruled: HostNames) -> list[Service]:
    """Return the services that a rule is about; for a wildcard those without a rule of their own."""
    host = resolve_host(one.spec.host, one.key.namespace)
    if not host.startswith("*"):
        service = service_seen(state, host, one.key.namespace) or state.services.get(host)
        return [service] if service is not None else []
    return [state.services[each] for each in islice(unruled.under(host), _MOST_HOSTS) if each in state.services]


def _settings(spec: DestinationRule) -> Iterator[_Setting]:
    for path, policy, subset in traffic_policies(spec):
        numbers = frozenset(item.port.number for item in policy.port_level_settings if item.port is not None)
        if policy.tls is not None:
            yield _Setting((*path, "tls"), policy.tls, 0, numbers, subset)
        for index, item in enumerate(policy.port_level_settings):
            if item.tls is not None and item.port is not None:
                here: Path = (*path, "portLevelSettings", index, "tls")
                yield _Setting(here, item.tls, item.port.number, frozenset(), subset)


def _conflict(setting: _Setting, service: Service, modes: PeerModes) -> str:
    for port in service.ports:
        if setting.port not in (0, port.number) or port.number in setting.others:
            continue
        for members in modes.behind(service, port, setting.subset):
            if message := _disagreement(setting.tls, members, modes):
                return f"port {port.number} of {service.host}: {message}"
    return ""


def _disagreement(tls: ClientTLSSettings, members: _Members, modes: PeerModes) -> str:
    by = f" by {members.modes.policy.key}" if members.modes.policy is not None else ""
    if tls.mode is ClientTLSMode.ISTIO_MUTUAL:
        hint = "remove `tls`, or use DISABLE"
        if members.mode is MutualTLSMode.DISABLE:
            return f"ISTIO_MUTUAL offers mutual TLS, which its workloads do not take{by}; {hint}"
        if members.has_proxy is False:
            return f"ISTIO_MUTUAL offers mutual TLS, but its workloads have no certificate of the mesh; {hint}"
        return ""
    if members.mode is not MutualTLSMode.STRICT or (members.has_proxy is not True and not modes.is_told(members.modes)):
        return ""
    if tls.mode is ClientTLSMode.MUTUAL and not tls.credential_name:
        return ""  # the files may hold a certificate of the mesh
    sends = "plain text" if tls.mode is ClientTLSMode.DISABLE else "TLS that is not the mesh's"
    return f"{tls.mode.value} sends {sends}, but its workloads are STRICT{by}; remove `tls`, or use ISTIO_MUTUAL"


# --- PeerAuthentication --------------------------------------------------------------------------------------


def peer_authentications(report: Report, state: MeshState, workloads: Workloads, modes: PeerModes) -> None:
    """Find policies, or parts of them, that change nothing."""
    root = state.mesh_config.root_namespace
    policies: Sequence[_Policy] = state.policies.get(PEER_AUTHENTICATION, ())
    oldest: dict[tuple[str, frozenset[tuple[str, str]]], _Policy] = {}
    for policy in policies:
        labels = selector_labels(policy.spec)
        if labels and policy.key.namespace == root:
            message = f"in the root namespace {root} a policy with a selector is about nobody"
            hint = "move it to the namespace of the workloads, or leave the selector out"
            report.add(INEFFECTIVE_POLICY, policy, ("spec", "selector"), f"{message}; {hint}")
            continue
        first = oldest.setdefault((policy.key.namespace, frozenset(labels.items())), policy)
        if first is policy and labels:
            first = _overtaken(policy, workloads, modes)
        if first is not policy:
            path = ("spec", "selector") if labels else ("metadata", "name")
            message = f"{first.key} is older and about the same workloads; only the oldest counts, so merge them"
            report.add(INEFFECTIVE_POLICY, policy, path, message)
        _ports(report, policy, workloads)


def _overtaken(policy: _Policy, workloads: Workloads, modes: PeerModes) -> _Policy:
    """Return an older policy that selects everything that this one does, or the policy itself."""
    chosen = [one for one in workloads.selected(policy.key.namespace, selector_labels(policy.spec)) if one.declared]
    winners = [modes.narrow(one.namespace, one.labels)[0] for one in chosen]
    return winners[0] if winners and all(winner is not policy for winner in winners) else policy


def _ports(report: Report, policy: _Policy, workloads: Workloads) -> None:
    labels = selector_labels(policy.spec)
    if not policy.spec.port_level_mtls or not labels or policy.key.namespace in workloads.unlabelled:
        return
    chosen = workloads.selected(policy.key.namespace, labels)
    if not chosen or any(one.unnumbered or not one.ports for one in chosen):
        return
    known = sorted({port for one in chosen for port in one.ports})
    for port in policy.spec.port_level_mtls:
        if int(port) not in known:
            shown = ", ".join(map(str, known))
            message = f"no selected workload has port {port}; their ports are {shown}"
            report.add(INEFFECTIVE_POLICY, policy, ("spec", "portLevelMtls", port), message)


def auto_mtls(report: Report, state: MeshState) -> None:
    """Find STRICT policies in a mesh whose sidecars do not offer mutual TLS by themselves."""
    if state.mesh_config.enable_auto_mtls:
        return
    offered = [host for host, rules in state.destination_rules.items() if any(_offers(rule.object) for rule in rules)]
    exact, wildcards = set(offered), [host for host in offered if host.startswith("*")]
    bare: dict[str, Hostname] = {}
    for service in every_service(state):
        host = service.host
        if not service.external and host not in exact and not any(host_matches(wide, host) for wide in wildcards):
            bare.setdefault(service.namespace, host)
            bare.setdefault(state.mesh_config.root_namespace, host)
    for policy in state.policies.get(PEER_AUTHENTICATION, ()):
        spec: PeerAuthentication = policy.spec
        if policy.key.namespace in bare and spec.mtls is not None and spec.mtls.mode is MutualTLSMode.STRICT:
            message = f"MeshConfig has enableAutoMtls: false, and no DestinationRule of {bare[policy.key.namespace]}"
            hint = "add a DestinationRule with it, or remove enableAutoMtls"
            report.add(AUTO_MTLS_OFF, policy, ("spec", "mtls", "mode"), f"{message} says ISTIO_MUTUAL; {hint}")


def _offers(one: ConfigObject[DestinationRule]) -> bool:
    return any(setting.tls.mode is ClientTLSMode.ISTIO_MUTUAL for setting in _settings(one.spec))


# --- server first --------------------------------------------------------------------------------------------


def server_first(
    report: Report, one: ConfigObject[ServiceSpec] | ConfigObject[ServiceEntry], state: MeshState, modes: PeerModes
) -> None:
    """Find ports whose server speaks first, where the proxy waits for the client to."""
    if isinstance(one.spec, ServiceSpec):
        hosts = [service_host(one.key.name, one.key.namespace)]
    else:
        hosts = [Hostname(host.lower()) for host in one.spec.hosts]
    for service in (found for host in hosts if (found := service_of(state, host, one.key.namespace)) is not None):
        for index, port in enumerate(service.ports):
            waits = any(
                members.mode is MutualTLSMode.PERMISSIVE and (members.has_proxy or members.modes.policy is not None)
                for members in (modes.behind(service, port, {}) if _speaks_first(port) else ())
            )
            if waits:
                message = f"the server of port {port.number} speaks first, so under PERMISSIVE clients without proxy"
                hint = "use STRICT or DISABLE for it (portLevelMtls)"
                report.add(SERVER_FIRST, one, ("spec", "ports", index), f"{message} wait for nothing; {hint}")


def _speaks_first(port: ServicePort) -> bool:
    if port.protocol is Protocol.MYSQL:
        return True
    return port.number in _SERVER_FIRST_PORTS and port.protocol in (Protocol.TCP, Protocol.UNSUPPORTED)
