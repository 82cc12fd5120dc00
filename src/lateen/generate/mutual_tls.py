"""Mutual TLS of a proxy: by which chains a port takes connections, and how clusters offer it to others.

Called by `sidecars_inbound`, `clusters`, `tcp_routes` and `explicit_proxy`. Source of the chains: Istio's inbound
listeners by mode and protocol. A proxy takes part only when it has a certificate (`Proxy.certificates`); without one
it serves and calls in plain text, and what must not be plain text it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from lateen.config.mesh_config import MeshConfig, MeshTLSProtocol, TLSConfig
from lateen.config.networking import ClientTLSMode, ClientTLSSettings, SimpleLB, TrafficPolicy
from lateen.config.security import MutualTLSMode
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.envoy.cluster_policies import MutualTLS
from lateen.envoy.listeners import HTTP_PROTOCOLS, tls_server_socket
from lateen.envoy.messages import Fields
from lateen.envoy.mutual_tls import CIPHERS, MESH_ALPN, MESH_HTTP_ALPN, TCP_ALPN, server_context
from lateen.generate.destinations import Target
from lateen.generate.traffic_policies import effective_policy
from lateen.generate.view import View
from lateen.model.protocols import Protocol
from lateen.model.proxies import Capability
from lateen.model.services import Resolution, Service

# --- inbound -------------------------------------------------------------------------------------------------


class Accepts(Enum):
    """Which connections a port takes."""

    PLAINTEXT = "plain text"
    """And whatever TLS the application itself speaks."""
    BOTH = "both"
    MUTUAL_TLS = "mutual TLS"
    NOTHING = "nothing"
    """Mutual TLS is required, and the proxy has no certificate to take it with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundChain:
    """A filter chain of an inbound port; of all whose match holds, Envoy takes the most specific."""

    transport: str = ""
    """`tls` or `raw_buffer` as the inspectors found; empty for any."""
    offered: tuple[str, ...] = ()
    """ALPN, or what the HTTP inspector found; empty for any."""
    http: bool
    """Whether requests are looked at, or bytes passed on."""
    mutual_tls: bool = False
    """Whether TLS ends here."""

    @property
    def match(self) -> Fields:
        """The FilterChainMatch, empty when it takes the rest."""
        fields: Fields = {"transport_protocol": self.transport} if self.transport else {}
        return fields | ({"application_protocols": list(self.offered)} if self.offered else {})


_TLS, _PLAIN = "tls", "raw_buffer"


def accepts(mode: MutualTLSMode, *, certificates: bool) -> Accepts:
    """Return which connections a port in this mode takes, behind a proxy with or without a certificate."""
    match mode:
        case MutualTLSMode.STRICT:
            return Accepts.MUTUAL_TLS if certificates else Accepts.NOTHING
        case MutualTLSMode.DISABLE:
            return Accepts.PLAINTEXT
        case MutualTLSMode.PERMISSIVE | MutualTLSMode.UNSET:
            return Accepts.BOTH if certificates else Accepts.PLAINTEXT


def inbound_chains(accepted: Accepts, protocol: Protocol) -> tuple[InboundChain, ...]:
    """Return the chains of a port that carries this protocol; none when nothing is taken.

    Where chains tell TLS from plain text, each says which it is for: a connection for which Envoy knows chains by its
    transport protocol never falls back to one that names none.
    """
    match accepted:
        case Accepts.NOTHING:
            return ()
        case Accepts.PLAINTEXT:
            # Without a TLS inspector whatever comes counts as plain text.
            return _plaintext_chains(protocol, _PLAIN if protocol.is_sniffed else "")
        case Accepts.MUTUAL_TLS:
            return _mutual_chains(protocol, MESH_HTTP_ALPN, ())
        case Accepts.BOTH:
            own = _plaintext_chains(protocol, _PLAIN)
            # A port that is said to be plain HTTP has no TLS of its own.
            foreign = () if protocol.is_http else (InboundChain(transport=_TLS, http=False),)
            everything = TCP_ALPN if protocol.is_sniffed else MESH_ALPN
            return (*_mutual_chains(protocol, MESH_HTTP_ALPN, everything), *foreign, *own)


def _plaintext_chains(protocol: Protocol, transport: str) -> tuple[InboundChain, ...]:
    rest = InboundChain(transport=transport, http=protocol.is_http)
    if not protocol.is_sniffed:
        return (rest,)
    return InboundChain(transport=_PLAIN, offered=HTTP_PROTOCOLS, http=True), rest


def _mutual_chains(
    protocol: Protocol, http_alpn: tuple[str, ...], rest_alpn: tuple[str, ...]
) -> tuple[InboundChain, ...]:
    rest = InboundChain(transport=_TLS, offered=rest_alpn, http=protocol.is_http, mutual_tls=True)
    if not protocol.is_sniffed:
        return (rest,)
    return InboundChain(transport=_TLS, offered=http_alpn, http=True, mutual_tls=True), rest


def accepted_at(view: View, port: int, app_port: int = 0) -> Accepts:
    """Return which connections a port of the proxy's own workload takes."""
    return accepts(view.mutual_tls_modes().at(port, app_port), certificates=has_part(view))


def server_socket(view: View) -> Fields:
    """Return the transport socket of the proxy's inbound chains that end mutual TLS."""
    return view.piece(("mutual TLS server",), lambda: tls_server_socket(_server_context(view.mesh_config)))


def _server_context(mesh_config: MeshConfig) -> Fields:
    settings = mesh_config.mesh_mtls or TLSConfig()
    oldest = "TLSv1_2" if settings.min_protocol_version is MeshTLSProtocol.TLSV1_2 else "TLSv1_3"
    # One unknown name makes Envoy refuse the listener.
    suites = tuple(suite for suite in settings.cipher_suites if suite in CIPHER_SUITES)
    return server_context(minimum=oldest, ciphers=suites or CIPHERS)


def has_part(view: View) -> bool:
    """Whether the proxy can speak mutual TLS: it has a certificate, and is an Envoy."""
    return view.proxy.certificates and view.proxy.capability is Capability.ENVOY


# --- towards others ------------------------------------------------------------------------------------------


def client_side(view: View, service: Service, target: Target, policy: TrafficPolicy | None) -> MutualTLS | None:
    """Return how a cluster calls workloads of the mesh; None when it calls in plain text, or with TLS to others.

    What a DestinationRule says counts for all endpoints. When it says nothing each endpoint gets what it takes, but for
    clusters that connect where the client dialled: Envoy knows no endpoints there, so all must take it.
    """
    if not calls_mesh(view, service, policy):
        return None
    tls = policy.tls if policy is not None else None
    named = tls or ClientTLSSettings()
    by_endpoint = tls is None and not connects_as_dialled(service, policy)
    if tls is None and not by_endpoint and not _all_take_it(view, target):
        return None
    return MutualTLS(
        sni=named.sni or server_name(target),
        subject_alt_names=tuple(named.subject_alt_names) or _server_identities(view, service),
        by_endpoint=by_endpoint,
    )


def calls_mesh(view: View, service: Service, policy: TrafficPolicy | None) -> bool:
    """Whether a cluster may use mutual TLS: because a rule says so, or of itself to services of the mesh."""
    if not has_part(view):
        return False
    if policy is not None and policy.tls is not None:
        return policy.tls.mode is ClientTLSMode.ISTIO_MUTUAL
    return view.mesh_config.enable_auto_mtls and not service.external


def is_unreachable(view: View, policy: TrafficPolicy | None) -> bool:
    """Whether a rule demands mutual TLS of a proxy that has no certificate: it must not call in plain text instead."""
    demanded = policy is not None and policy.tls is not None and policy.tls.mode is ClientTLSMode.ISTIO_MUTUAL
    return demanded and not has_part(view)


def connects_as_dialled(service: Service, policy: TrafficPolicy | None) -> bool:
    """Whether a cluster connects where the client wanted to, and not to endpoints that Envoy knows."""
    if service.resolution in (Resolution.NONE, Resolution.DYNAMIC_DNS):
        return True
    balancer = policy.load_balancer if policy is not None else None
    return balancer is not None and balancer.simple is SimpleLB.PASSTHROUGH


def server_name(target: Target) -> str:
    """Return the SNI of a call inside the mesh, Istio's: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`."""
    return f"outbound_.{target.port}_.{target.subset}_.{target.host}"


def offers_tcp(view: View, targets: Iterable[Target]) -> bool:
    """Whether what goes to these targets through a TCP proxy must offer `TCP_ALPN` though a cluster would not.

    A sniffed port's cluster carries both and offers HTTP. Where one of the targets is called with TLS to others, that
    is left alone: it would be offered the mesh's ALPN.
    """
    found = False
    for target in targets:
        service = view.service(target.host)
        port = service.port(target.port) if service is not None else None
        if service is None or port is None:
            continue
        policy = effective_policy(view.rule(target.host), target.port, target.subset, view.mesh_config)
        if calls_mesh(view, service, policy):
            found = found or port.protocol.is_sniffed
        elif policy is not None and policy.tls is not None and policy.tls.mode is not ClientTLSMode.DISABLE:
            return False
    return found


def _all_take_it(view: View, target: Target) -> bool:
    endpoints = view.endpoints(target.host, target.port)
    return bool(endpoints) and all(map(view.takes_mutual_tls, endpoints))


def _server_identities(view: View, service: Service) -> tuple[str, ...]:
    """Return the names of which a server's certificate must have one; none are checked when nobody is known (Istio)."""
    mesh_config = view.mesh_config
    domains = dict.fromkeys((mesh_config.trust_domain, *mesh_config.trust_domain_aliases))
    own = (
        f"spiffe://{domain}/ns/{namespace}/sa/{account}"
        for namespace, account in view.service_accounts(service.host)
        for domain in domains
    )
    return tuple(sorted({*own, *service.subject_alt_names}))
