"""Servers of Gateways as a gateway proxy sees them: grouped by port, conflicts resolved.

Called by `gateways`. Several Gateways may share a port: plain HTTP servers are merged into one listener and one
route configuration, TLS servers are told apart by server name; of servers that cannot share, the oldest stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from lateen.config.networking import Gateway, Server, ServerTLSMode
from lateen.config.objects import ConfigObject
from lateen.envoy import names
from lateen.model.names import host_matches
from lateen.model.protocols import Protocol, protocol_named


class ServerKind(Enum):
    """What a server does with a connection."""

    HTTP = "HTTP"
    """Plain-text HTTP."""
    HTTPS = "HTTPS"
    """TLS ends here, HTTP routes inside."""
    TLS_TCP = "TLS terminated"
    """TLS ends here, TCP routes inside."""
    PASSTHROUGH = "TLS passthrough"
    """TLS is routed by server name, unopened, as rules say."""
    AUTO_PASSTHROUGH = "TLS auto passthrough"
    """The same, but the server name itself says which service of the mesh is meant."""
    TCP = "TCP"
    """Opaque bytes."""


_PASSTHROUGH = {
    ServerTLSMode.PASSTHROUGH: ServerKind.PASSTHROUGH,
    ServerTLSMode.AUTO_PASSTHROUGH: ServerKind.AUTO_PASSTHROUGH,
}
ENDS_TLS = frozenset((ServerKind.HTTPS, ServerKind.TLS_TCP))
_TLS_KINDS = ENDS_TLS | frozenset(_PASSTHROUGH.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServer:
    """One server of one Gateway."""

    gateway: ConfigObject[Gateway]
    server: Server
    position: int
    """Of the server in its Gateway."""
    port: int
    kind: ServerKind

    @property
    def gateway_name(self) -> str:
        """`namespace/name`, as VirtualServices refer to it."""
        return f"{self.gateway.key.namespace}/{self.gateway.key.name}"

    @property
    def route_name(self) -> str:
        """The route configuration of an HTTP server."""
        if self.kind is ServerKind.HTTP:
            return names.gateway_http_routes(self.port, self.server.bind)
        key = self.gateway.key
        return names.gateway_https_routes(self.port, self.port_name, key.name, key.namespace)

    @property
    def port_name(self) -> str:
        """The name of its port."""
        return self.server.port.name if self.server.port is not None else ""

    @property
    def redirects(self) -> bool:
        """Whether plain HTTP is answered with a redirect to HTTPS."""
        return self.server.tls is not None and self.server.tls.https_redirect

    @property
    def server_names(self) -> tuple[str, ...]:
        """The hosts without their namespaces, for a match of TLS server names."""
        return tuple(dict.fromkeys(host.rpartition("/")[2].lower() for host in self.server.hosts))

    def hosts_for(self, namespace: str) -> tuple[str, ...]:
        """Return the hosts that a VirtualService of `namespace` may use (`ns/host`, `./host`, `*/host`, `host`)."""
        allowed = []
        for entry in self.server.hosts:
            owner, slash, host = entry.lower().rpartition("/")
            owner = self.gateway.key.namespace if owner == "." else owner
            if not slash or owner in ("*", namespace):
                allowed.append(host)
        return tuple(allowed)


@dataclass(slots=True, kw_only=True)
class GatewayPort:
    """The servers that share a port."""

    port: int
    bind: str
    kind: ServerKind
    servers: list[GatewayServer] = field(default_factory=list)


def gateway_ports(gateways: Iterable[ConfigObject[Gateway]]) -> list[GatewayPort]:
    """Group the servers of all Gateways (oldest first) by port and bind address, in order of port."""
    found: dict[tuple[int, str], GatewayPort] = {}
    for gateway in gateways:
        for position, server in enumerate(gateway.spec.servers):
            if server.port is None or not server.port.number:
                continue
            item = GatewayServer(
                gateway=gateway, server=server, position=position, port=server.port.number, kind=kind_of(server)
            )
            port = found.setdefault(
                (item.port, server.bind), GatewayPort(port=item.port, bind=server.bind, kind=item.kind)
            )
            if _may_share(port, item):
                port.servers.append(item)
    return [found[key] for key in sorted(found)]


def kind_of(server: Server) -> ServerKind:
    """Return what a server is, from its protocol and TLS mode."""
    protocol = (protocol_named(server.port.protocol) if server.port is not None else None) or Protocol.TCP
    if protocol.is_http:
        return ServerKind.HTTP
    if server.tls is None:
        return ServerKind.TCP
    if server.tls.mode in _PASSTHROUGH:
        return _PASSTHROUGH[server.tls.mode]
    return ServerKind.HTTPS if protocol is Protocol.HTTPS else ServerKind.TLS_TCP


def intersection(server_hosts: Iterable[str], rule_hosts: Iterable[str]) -> list[str]:
    """Return the hosts that both sides cover, of each pair the more specific one, each once."""
    found: dict[str, None] = {}
    wanted = list(rule_hosts)
    for offered in server_hosts:
        for host in wanted:
            if host_matches(offered, host):
                found[host] = None
            elif host_matches(host, offered):
                found[offered] = None
    return list(found)


def _may_share(port: GatewayPort, item: GatewayServer) -> bool:
    if not port.servers:
        return True
    if port.kind in _TLS_KINDS and item.kind in _TLS_KINDS:
        return True
    return port.kind is ServerKind.HTTP and item.kind is ServerKind.HTTP
