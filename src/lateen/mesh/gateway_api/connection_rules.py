"""Rules of TCPRoutes and TLSRoutes as rules of VirtualServices."""

from __future__ import annotations

from lateen.config.gateway_api import BackendRef, TCPRoute, TLSRoute
from lateen.config.networking import L4MatchAttributes, RouteDestination, TLSMatchAttributes
from lateen.config.networking import TCPRoute as TcpRule
from lateen.config.networking import TLSRoute as TlsRule
from lateen.mesh.gateway_api.backends import Backends, nowhere


def tcp_rules(route: TCPRoute | TLSRoute, backends: Backends, port: int = 0) -> list[TcpRule]:
    """Return the rules for connections that are forwarded as bytes; `port` narrows them to one of a service."""
    match = [L4MatchAttributes(port=port)] if port else []
    return [TcpRule(match=match, route=_destinations(rule.backend_refs, backends)) for rule in route.rules]


def tls_rules(route: TLSRoute, hosts: tuple[str, ...], backends: Backends, port: int = 0) -> list[TlsRule]:
    """Return the rules for TLS connections that ask for these names."""
    return [
        TlsRule(
            match=[TLSMatchAttributes(sni_hosts=list(hosts), port=port)],
            route=_destinations(rule.backend_refs, backends),
        )
        for rule in route.rules
    ]


def refusal(host: str) -> TlsRule:
    """Return the rule that closes TLS connections which ask for a name."""
    return TlsRule(
        match=[TLSMatchAttributes(sni_hosts=[host])], route=[RouteDestination(destination=nowhere(), weight=1)]
    )


def _destinations(refs: list[BackendRef], backends: Backends) -> list[RouteDestination]:
    """Return the destinations; connections of a share that leads nowhere are closed (TCPRoute, "backendRefs")."""
    found = [(ref, backends.destination(ref)) for ref in refs]
    shares = [
        RouteDestination(destination=destination or nowhere(), weight=ref.weight)
        for ref, destination in found
        if ref.weight > 0
    ]
    return shares or [RouteDestination(destination=nowhere(), weight=1)]
