"""The ports of the gRPC server: in plain text, or with TLS by the control plane's own certificate.

Made by `app`, opened by `server`. The certificate and the roots by which clients are verified are asked for at each
handshake, so that both can be replaced while connections stay as they are. gRPC in Python can demand a certificate of
a client or not ask for one, but not leave it to the client: so who has one and who is still to get one come to
different ports. Must not know: where certificates come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import grpc
import structlog

log = structlog.get_logger()


class Security(Enum):
    """What a port asks of its clients."""

    PLAIN = "plain text"
    JOIN = "TLS, clients without a certificate"
    MUTUAL = "mutual TLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Where to listen, and how."""

    address: str
    """`HOST:PORT`; 0 asks for a free port."""
    security: Security = Security.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """What the control plane shows, and whose certificates it takes. Equal ones are the same."""

    chain: bytes
    """PEM: its own certificate, then the intermediate ones."""
    key: bytes = field(repr=False)
    roots: bytes
    """PEM: who may have signed a client's."""


Certificates = Callable[[], ServerCertificate]
"""Returns the certificate in force. Called from threads of gRPC: quick, and without the event loop."""


def bind(server: grpc.aio.Server, port: Port, certificates: Certificates | None) -> int:
    """Open a port, and return its number. OSError when it cannot be bound."""
    try:
        if port.security is Security.PLAIN:
            number: int = server.add_insecure_port(port.address)
            return number
        assert certificates is not None, "a port with TLS needs a certificate"
        credentials = _credentials(certificates, mutual=port.security is Security.MUTUAL)
        number = server.add_secure_port(port.address, credentials)
    except RuntimeError as error:
        raise OSError(
            f"cannot listen on {port.address}: the port is taken, or the address is not of this host"
        ) from error
    return number


def _credentials(certificates: Certificates, *, mutual: bool) -> grpc.ServerCredentials:
    served = certificates()

    def renewed() -> Any:
        """Return the configuration for the next handshakes; None while it is the one in use."""
        nonlocal served
        try:
            newest = certificates()
        except Exception:
            # The certificate in use goes on.
            log.exception("the server certificate cannot be renewed")
            return None
        if newest == served:
            return None
        served = newest
        return _configuration(newest, mutual=mutual)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(served, mutual=mutual), renewed, require_client_authentication=mutual
    )


def _configuration(served: ServerCertificate, *, mutual: bool) -> Any:
    roots = served.roots if mutual else None
    return grpc.ssl_server_certificate_configuration([(served.key, served.chain)], roots)
