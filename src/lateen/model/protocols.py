"""Application protocols of a port, by Istio's names and rules.

Source: Istio "Protocol Selection": `appProtocol` wins over the port name's prefix (`http-web`), which wins over
nothing; an unknown name means TCP and no name at all means the protocol is sniffed on the wire.
"""

from __future__ import annotations

from enum import Enum


class Protocol(Enum):
    """A port's protocol as Istio names it."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTP_PROXY = "HTTP_PROXY"
    """HTTP for any host and port: of an egress listener of a Sidecar."""
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    DUBBO = "Dubbo"
    HBONE = "HBONE"
    UNSUPPORTED = "UnsupportedProtocol"
    """No protocol was declared: sniff it."""

    @property
    def is_http(self) -> bool:
        """Plain-text HTTP of any version, so that HTTP routing applies."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB, Protocol.HTTP_PROXY)

    @property
    def is_http2(self) -> bool:
        """Spoken as HTTP/2 from the first byte."""
        return self in (Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_tls(self) -> bool:
        """Encrypted by the application: routed by SNI only."""
        return self in (Protocol.HTTPS, Protocol.TLS)

    @property
    def is_sniffed(self) -> bool:
        """Not declared, so Envoy looks at the first bytes."""
        return self is Protocol.UNSUPPORTED

    @property
    def is_tcp(self) -> bool:
        """Opaque bytes, including TLS that the application speaks."""
        return not self.is_http and not self.is_sniffed and self is not Protocol.UDP


_BY_NAME = {protocol.value.lower(): protocol for protocol in Protocol if protocol is not Protocol.UNSUPPORTED} | {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
"""Lower-case names, and the well-known `appProtocol` values of Kubernetes (KEP-3726)."""


def protocol_named(name: str) -> Protocol | None:
    """Return the protocol of an explicit name (`http`, `GRPC`, `kubernetes.io/h2c`), None when unknown."""
    return _BY_NAME.get(name.lower())


def protocol_of_port(*, name: str = "", app_protocol: str = "", transport: str = "TCP") -> Protocol:
    """Return the protocol of a Kubernetes service port.

    `appProtocol`, else the part of the port name before the first dash, else UDP transport, else sniffed.
    """
    if transport.upper() == "UDP":
        return Protocol.UDP
    if app_protocol:
        return protocol_named(app_protocol) or Protocol.UNSUPPORTED
    parts = name.lower().split("-")
    for prefix in ("-".join(parts[:2]), parts[0]):  # `grpc-web-x` is gRPC-Web, not gRPC
        if found := protocol_named(prefix):
            return found
    return Protocol.UNSUPPORTED


GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""Names in the order of their numbers (gRPC "Status codes and their use")."""
