"""Listeners of Gateways: what they accept, whether they can be served, and the Istio Gateway that each becomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lateen.config.certificates import certificate_of, certificate_problem, staple_of
from lateen.config.gateway_api import (
    CIPHERS_OPTION,
    MODE_OPTION,
    FromNamespaces,
    KubernetesGateway,
    Listener,
    ListenerSet,
    RouteGroupKind,
    SecretObjectReference,
    TLSMode,
)
from lateen.config.kinds import document_kind
from lateen.config.networking import ConfigPort, Gateway, Server, ServerTLSMode, ServerTLSSettings
from lateen.config.objects import ConfigObject
from lateen.mesh.gateway_api.authorities import ClientAuthority, client_authority, insecure_condition
from lateen.mesh.gateway_api.made import MARK, made
from lateen.mesh.gateway_api.statuses import Condition, ListenerStatus, all_hold, fails, holds
from lateen.mesh.gateway_api.world import GATEWAY_API, World, selects
from lateen.mesh.policies import GATEWAY_NAME_LABEL
from lateen.mesh.references import BACKEND_CERTIFICATE, PROXY_NAMESPACE
from lateen.model.names import Hostname, host_matches, resolve_host

Owner = ConfigObject[KubernetesGateway] | ConfigObject[ListenerSet]
"""What a listener stands in."""
_HTTP_KINDS = ("HTTPRoute", "GRPCRoute")
_COMPATIBLE = {"HTTP": "HTTP", "HTTPS": "TLS", "TLS": "TLS", "TCP": "TCP"}
"""Protocols that may share a port have one value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerPlan:
    """A listener as it will be served."""

    gateway: ConfigObject[KubernetesGateway]
    """At whose proxies it is served."""
    owner: Owner
    """Where it stands: that Gateway, or one of its ListenerSets."""
    listener: Listener
    kinds: tuple[RouteGroupKind, ...]
    """Kinds of routes that may attach."""
    conditions: tuple[Condition, ...]
    credentials: tuple[str, ...] = ()
    """SDS names of its certificates."""
    clients: ClientAuthority | None = None
    """Who signs the certificates of its clients; None when nobody asks for them."""

    @property
    def served(self) -> bool:
        """Whether a proxy is told of it."""
        return all(item.status == "True" for item in self.conditions if item.type == "Programmed")

    @property
    def name(self) -> str:
        """Name of the Istio Gateway that it becomes."""
        return listener_name(self.owner, self.listener)

    @property
    def reference(self) -> str:
        """How VirtualServices refer to that."""
        return f"{self.gateway.key.namespace}/{self.name}"

    def takes(self, world: World, kind: str, namespace: str) -> bool:
        """Whether routes of a kind and namespace may attach."""
        if not any((one.group, one.kind) == (GATEWAY_API, kind) for one in self.kinds):
            return False
        allowed = self.listener.allowed_routes
        namespaces = allowed.namespaces if allowed is not None else None
        match namespaces.from_ if namespaces is not None else FromNamespaces.SAME:
            case FromNamespaces.ALL:
                return True
            case FromNamespaces.SAME:
                return namespace == self.owner.key.namespace
            case FromNamespaces.SELECTOR:
                assert namespaces is not None
                return selects(namespaces.selector, world.namespace_labels(namespace))

    def shared(self, hostnames: Sequence[str]) -> tuple[str, ...]:
        """Return the hosts that it and a route both speak for, of each pair the more specific one."""
        own = self.listener.hostname or "*"
        found: dict[str, None] = {}
        for host in hostnames or ("*",):
            if host_matches(own, host):
                found[host] = None
            elif host_matches(host, own):
                found[own] = None
        return tuple(found)

    def leaves(self, host: str, others: Sequence[ListenerPlan]) -> bool:
        """Whether a host that it covers belongs to a more specific listener of the port (listener isolation)."""
        # One of HTTPS keeps it: connections come by server name, and browsers use one for all that its
        # certificate names; these requests would find nothing.
        return self.listener.protocol != "HTTPS" and any(
            other.narrows(self) and host_matches(other.listener.hostname, host) for other in others
        )

    def narrows(self, other: ListenerPlan) -> bool:
        """Whether it has some of the hosts of another listener of the port, which are then its own."""
        mine, theirs = self.listener, other.listener
        return (
            mine.port == theirs.port
            and _COMPATIBLE.get(mine.protocol) == _COMPATIBLE.get(theirs.protocol)
            and mine.hostname not in ("", theirs.hostname)
            and host_matches(theirs.hostname or "*", mine.hostname)
        )

    def status(self, attached: int) -> ListenerStatus:
        """Return its status."""
        return ListenerStatus(
            name=self.listener.name,
            supported_kinds=self.kinds,
            attached_routes=attached,
            conditions=self.conditions,
        )


def listener_plans(world: World, gateway: ConfigObject[KubernetesGateway]) -> list[ListenerPlan]:
    """Return the listeners of a Gateway in its order."""
    listeners = gateway.spec.listeners
    return [
        listener_plan(world, gateway, listener, owner=gateway, conflict=_conflict(listener, listeners))
        for listener in listeners
    ]


def listener_name(owner: Owner, listener: Listener) -> str:
    """Return the name of the Istio Gateway that a listener becomes, in the namespace of its Gateway."""
    # A Gateway's name has one mark, a ListenerSet's two: neither is ever taken for the other.
    of_set = f"{owner.key.namespace}{MARK}" if owner.key.kind == "ListenerSet" else ""
    return f"{of_set}{owner.key.name}{MARK}{listener.name}"


def listener_plan(
    world: World,
    gateway: ConfigObject[KubernetesGateway],
    listener: Listener,
    *,
    owner: Owner,
    conflict: Condition | None = None,
) -> ListenerPlan:
    """Return a listener of a Gateway, or of a ListenerSet (`owner`) of it; `conflict`: why it cannot stand."""
    supported = _supported_kinds(listener)
    kinds, refused = _allowed_kinds(listener, supported)
    credentials, problems = _certificates(world, owner, listener)
    problems = [*refused, *problems]
    clients = client_authority(world, gateway, listener, listener_name(owner, listener))
    if not supported:
        message = f"the protocol {listener.protocol} is not supported; write HTTP, HTTPS, TLS or TCP"
        accepted = fails("Accepted", "UnsupportedProtocol", message)
    elif clients is not None and clients.problem is not None:
        accepted = clients.problem
        problems += clients.references
    else:
        accepted = holds("Accepted")
        problems += clients.references if clients is not None else ()
    resolved = problems[0] if problems else holds("ResolvedRefs")
    if (mode := _option(listener, MODE_OPTION)) not in _MODES:
        message = f"the option {MODE_OPTION} is {mode!r}; write {', '.join(sorted(filter(None, _MODES)))}"
        accepted = fails("Accepted", "UnsupportedValue", message)
    if (unknown := _unknown_parameters(gateway.spec)) is not None:
        accepted = unknown
    lacks_certificate = _needs_certificate(listener) and not credentials
    conflicted = conflict or Condition("Conflicted", "False", "NoConflicts")
    serves = accepted.status == "True" and conflict is None and not lacks_certificate and bool(kinds)
    programmed = holds("Programmed") if serves else fails("Programmed", "Invalid", "see the other conditions")
    return ListenerPlan(
        gateway=gateway,
        owner=owner,
        listener=listener,
        kinds=kinds,
        conditions=(accepted, conflicted, resolved, programmed),
        credentials=credentials,
        clients=clients,
    )


def _unknown_parameters(gateway: KubernetesGateway) -> Condition | None:
    """Return why a Gateway is not accepted whose parameters nobody here knows.

    Those in a ConfigMap are of what a cluster provisions (a Deployment, a Service): they make no difference here.
    """
    ref = gateway.infrastructure.parameters_ref if gateway.infrastructure is not None else None
    if ref is None or (ref.group, ref.kind) == ("", "ConfigMap"):
        return None
    what = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
    return fails("Accepted", "InvalidParameters", f"the parameters {ref.name!r} are a {what}, which is not known")


# --- what it accepts -----------------------------------------------------------------------------------------


def _supported_kinds(listener: Listener) -> tuple[str, ...]:
    match listener.protocol:
        case "HTTP" | "HTTPS":
            return _HTTP_KINDS
        case "TLS":
            return ("TLSRoute", "TCPRoute") if _ends_tls(listener) else ("TLSRoute",)
        case "TCP":
            return ("TCPRoute",)
        case _:
            return ()


def _allowed_kinds(
    listener: Listener, supported: tuple[str, ...]
) -> tuple[tuple[RouteGroupKind, ...], list[Condition]]:
    wanted = listener.allowed_routes.kinds if listener.allowed_routes is not None else []
    if not wanted:
        return tuple(RouteGroupKind(kind=kind) for kind in supported), []
    known = tuple(one for one in wanted if one.group == GATEWAY_API and one.kind in supported)
    if len(known) == len(wanted):
        return known, []
    others = ", ".join(one.kind for one in wanted if one not in known)
    message = f"a listener of protocol {listener.protocol} takes no routes of kind {others}"
    return known, [fails("ResolvedRefs", "InvalidRouteKinds", message)]


def _conflict(listener: Listener, others: Sequence[Listener]) -> Condition | None:
    """Return why it cannot stand beside the others of its port: none of such listeners is served."""
    for other in others:
        if other is not listener and (conflict := clash(listener, other)) is not None:
            return conflict
    return None


def clash(listener: Listener, other: Listener) -> Condition | None:
    """Return why two listeners cannot both stand."""
    if other.port != listener.port:
        return None
    if _COMPATIBLE.get(other.protocol) != _COMPATIBLE.get(listener.protocol):
        message = f"the port {listener.port} is of protocol {other.protocol} at the listener {other.name}"
        return Condition("Conflicted", "True", "ProtocolConflict", message)
    if listener.protocol == "TCP" or other.hostname == listener.hostname:
        message = f"the listener {other.name} has the same port and host name"
        return Condition("Conflicted", "True", "HostnameConflict", message)
    return None


# --- TLS -----------------------------------------------------------------------------------------------------


def _ends_tls(listener: Listener) -> bool:
    if listener.protocol == "HTTPS":
        return True
    return listener.protocol == "TLS" and listener.tls is not None and listener.tls.mode is TLSMode.TERMINATE


_MODES = {
    "": ServerTLSMode.SIMPLE,
    "MUTUAL": ServerTLSMode.MUTUAL,
    "OPTIONAL_MUTUAL": ServerTLSMode.OPTIONAL_MUTUAL,
    "ISTIO_MUTUAL": ServerTLSMode.ISTIO_MUTUAL,
}


def _option(listener: Listener, name: str) -> str:
    """Return one of Istio's options of a listener that ends TLS."""
    return listener.tls.options.get(name, "") if listener.tls is not None and _ends_tls(listener) else ""


def _needs_certificate(listener: Listener) -> bool:
    return _ends_tls(listener) and _MODES.get(_option(listener, MODE_OPTION)) is not ServerTLSMode.ISTIO_MUTUAL


def _certificates(world: World, owner: Owner, listener: Listener) -> tuple[tuple[str, ...], list[Condition]]:
    if not _needs_certificate(listener):
        return (), []
    refs = listener.tls.certificate_refs if listener.tls is not None else []
    found: list[str] = []
    problems: list[Condition] = []
    for ref in refs:
        problem = _certificate_problem(world, owner, ref)
        if problem is None:
            found.append(f"kubernetes-gateway://{ref.namespace or owner.key.namespace}/{ref.name}")
        else:
            problems.append(problem)
    if not refs:
        problems.append(fails("ResolvedRefs", "InvalidCertificateRef", "the listener names no certificate"))
    return tuple(found), problems


def _certificate_problem(world: World, owner: ConfigObject[Any], ref: SecretObjectReference) -> Condition | None:
    if (ref.group, ref.kind) != ("", "Secret"):
        return fails("ResolvedRefs", "InvalidCertificateRef", f"{ref.name!r} is a {ref.kind}, not a Secret")
    namespace = ref.namespace or owner.key.namespace
    kind = document_kind(owner.key.kind)
    if not world.permits(kind, owner.key.namespace, "", "Secret", (namespace, ref.name)):
        message = f"no ReferenceGrant of namespace {namespace} lets {kind}s of {owner.key.namespace} use {ref.name}"
        return fails("ResolvedRefs", "RefNotPermitted", message)
    secret = world.secret(namespace, ref.name)
    if secret is None:
        return fails("ResolvedRefs", "InvalidCertificateRef", f"there is no Secret {namespace}/{ref.name}")
    pair = certificate_of(secret)
    problem = certificate_problem(*pair, staple_of(secret)) if pair else "it has no readable tls.crt and tls.key"
    if problem:
        return fails("ResolvedRefs", "InvalidCertificateRef", f"the Secret {namespace}/{ref.name}: {problem}")
    return None


# --- as Istio's Gateway --------------------------------------------------------------------------------------


def istio_gateways(world: World, plans: Sequence[ListenerPlan]) -> Iterator[ConfigObject[Gateway]]:
    """Yield the Gateways of the listeners that are served."""
    for plan in plans:
        if not plan.served:
            continue
        selector, namespace = _proxies(world, plan.gateway)
        listener = plan.listener
        server = Server(
            port=ConfigPort(number=listener.port, protocol=listener.protocol, name=listener.name),
            hosts=[f"*/{listener.hostname or '*'}"],
            tls=_tls_settings(plan),
        )
        made_one = made(
            "Gateway", plan.gateway.key.namespace, plan.name, Gateway(servers=[server], selector=selector), plan.owner
        )
        certificate, _ = backend_certificate(world, plan.gateway)
        annotations = {PROXY_NAMESPACE: namespace} | ({BACKEND_CERTIFICATE: certificate} if certificate else {})
        yield replace(made_one, annotations=annotations)


def backend_certificate(world: World, gateway: ConfigObject[KubernetesGateway]) -> tuple[str, Condition | None]:
    """Return the SDS name of the certificate that a Gateway shows its backends, and why it has none that it names."""
    tls = gateway.spec.tls.backend if gateway.spec.tls is not None else None
    if tls is None or tls.client_certificate_ref is None:
        return "", None
    ref = tls.client_certificate_ref
    problem = _certificate_problem(world, gateway, ref)
    if problem is None:
        return f"kubernetes-gateway://{ref.namespace or gateway.key.namespace}/{ref.name}", None
    reason = problem.reason if problem.reason == "RefNotPermitted" else "InvalidClientCertificateRef"
    return "", fails("ResolvedRefs", reason, problem.message)


def _tls_settings(plan: ListenerPlan) -> ServerTLSSettings | None:
    tls = plan.listener.tls
    if plan.listener.protocol not in ("HTTPS", "TLS"):
        return None
    if tls is not None and tls.mode is TLSMode.PASSTHROUGH:
        return ServerTLSSettings(mode=ServerTLSMode.PASSTHROUGH)
    mode = _MODES[_option(plan.listener, MODE_OPTION)]
    fallback = plan.clients is not None and not plan.clients.required
    if mode is ServerTLSMode.SIMPLE and plan.clients is not None:
        mode = ServerTLSMode.OPTIONAL_MUTUAL if fallback else ServerTLSMode.MUTUAL
    suites = [name.strip() for name in _option(plan.listener, CIPHERS_OPTION).split(",") if name.strip()]
    # Without a CA of the Gateway's own, a certificate's Secret names that of the clients.
    return ServerTLSSettings(
        mode=mode,
        credential_names=list(plan.credentials),
        ca_cert_credential_name=plan.clients.credential if plan.clients is not None else "",
        insecure_skip_verify=True if fallback else None,
        cipher_suites=suites,
    )


def _proxies(world: World, gateway: ConfigObject[KubernetesGateway]) -> tuple[dict[str, str], str]:
    """Return the labels and the namespace of the proxies that serve a Gateway.

    Nothing is provisioned here. A proxy serves it by the label that provisioned ones would have; or, as in Istio's
    manual deployment, because it is behind the service that an address of type Hostname names.
    """
    for host in _named_services(gateway):
        service = world.service_at(host)
        labels = world.selector_of(host)
        if service is not None and labels:
            return dict(labels), service.namespace
    return {GATEWAY_NAME_LABEL: gateway.key.name}, gateway.key.namespace


def gateway_conditions(
    world: World, gateway: ConfigObject[KubernetesGateway], plans: Sequence[ListenerPlan]
) -> tuple[Condition, ...]:
    """Return the conditions of a Gateway whose class is served."""
    certificate, problem = backend_certificate(world, gateway)
    resolved = (problem,) if problem is not None else (holds("ResolvedRefs"),) if certificate else ()
    served = _served_conditions(plans)
    if (unknown := _unknown_parameters(gateway.spec)) is not None:
        served = (unknown, *served[1:])
    lost = [host for host in _named_services(gateway) if world.service_at(host) is None]
    if lost and all_hold(served):
        message = f"there is no service {lost[0]}, whose proxies would serve it"
        served = tuple(
            one if one.type != "Programmed" else fails("Programmed", "AddressNotUsable", message) for one in served
        )
    insecure = insecure_condition(gateway.spec)
    return (*served, *resolved, *((insecure,) if insecure is not None else ()))


def gateway_addresses(world: World, gateway: ConfigObject[KubernetesGateway]) -> tuple[tuple[str, str], ...]:
    """Return the addresses of the services that a Gateway names; of one without any its host name, as in Istio."""
    found: list[tuple[str, str]] = []
    for host in _named_services(gateway):
        service = world.service_at(host)
        if service is not None:
            found += [("IPAddress", address) for address in service.addresses] or [("Hostname", host)]
    return tuple(dict.fromkeys(found))


def _named_services(gateway: ConfigObject[KubernetesGateway]) -> list[Hostname]:
    """Return the hosts of the services that stand before the proxies of a Gateway (Istio's manual deployment)."""
    return [
        Hostname(resolve_host(address.value, gateway.key.namespace))
        for address in gateway.spec.addresses
        if address.type == "Hostname" and address.value
    ]


def _served_conditions(plans: Sequence[ListenerPlan]) -> tuple[Condition, ...]:
    bad = [plan.listener.name for plan in plans if not all_hold(c for c in plan.conditions if c.type != "Conflicted")]
    served = [plan for plan in plans if plan.served]
    if not served:
        message = "no listener can be served: see their conditions"
        return fails("Accepted", "ListenersNotValid", message), fails("Programmed", "Invalid", message)
    message = f"listeners with problems: {', '.join(bad)}" if bad else ""
    accepted = holds("Accepted", "ListenersNotValid" if bad else "Accepted", message)
    return accepted, holds("Programmed", message="sent to the proxies that serve it")
