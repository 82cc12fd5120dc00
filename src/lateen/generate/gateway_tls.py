"""The TLS of a gateway's servers: the transport socket of one that ends TLS, or why it cannot be served.

Called by `gateways`. A chain that waits for a missing Secret would keep the whole listener from starting, with the
servers that have theirs. Left out, only its own clients fail, and the Secret's arrival brings the chain. Istio's
gateway goes on showing a certificate whose Secret was removed until it starts again; here the chain goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from lateen.config.networking import ServerTLSMode, ServerTLSSettings
from lateen.envoy import names
from lateen.envoy.listeners import tls_server_socket
from lateen.envoy.messages import Fields
from lateen.envoy.server_tls import ASKS_CLIENTS, mesh_server_context, server_context
from lateen.envoy.tls_parameters import server_defaults
from lateen.generate.gateway_servers import GatewayServer, ServerKind
from lateen.generate.secrets import credential
from lateen.generate.view import View

NO_CERTIFICATE = "mode ISTIO_MUTUAL needs a certificate of the mesh, which this gateway does not have"


@dataclass(frozen=True, slots=True)
class Termination:
    """How a server ends TLS."""

    socket: Fields | None
    """The transport socket; None when it cannot be served."""
    secrets: tuple[str, ...] = ()
    """SDS names that the socket needs."""
    problem: str = ""
    """Why it cannot be served."""


def termination(view: View, server: GatewayServer) -> Termination:
    """Return how a server ends TLS at this gateway."""
    tls = server.server.tls
    if tls is None:
        return Termination(None, problem="it has no TLS settings")
    return termination_of(view, tls, http=server.kind is ServerKind.HTTPS)


def termination_of(view: View, tls: ServerTLSSettings, *, http: bool) -> Termination:
    """Return how these settings end TLS at this proxy. `http`: requests are looked at, so HTTP/2 may be negotiated."""
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        if not view.proxy.certificates:
            return Termination(None, problem=NO_CERTIFICATE)
        return Termination(tls_server_socket(mesh_server_context(tls, http=http)))
    asked = [names.secret(name) for name in credentials_of(tls)]
    problems = {name: credential(view, name).problem for name in asked}
    served = tuple(name for name in asked if not problems[name])
    ca = _ca(tls)
    # One of two certificates is enough to serve the clients that take its kind of key.
    missing = (problems[asked[0]] if asked and not served else "") or (credential(view, ca).problem if ca else "")
    if missing:
        return Termination(None, problem=missing)
    context = server_context(tls, served, ca, http=http, defaults=server_defaults(view.mesh_config))
    if context is None:
        return Termination(None, problem="it names no certificate")
    return Termination(tls_server_socket(context), (*served, *((ca,) if ca else ())))


def credentials_of(tls: ServerTLSSettings) -> list[str]:
    """Return the credentials of a server's certificates."""
    return tls.credential_names or ([tls.credential_name] if tls.credential_name else [])


def _ca(tls: ServerTLSSettings) -> str:
    """Return the SDS name of the clients' CA; empty when none is asked for, or it comes from a file."""
    own = credentials_of(tls)
    if tls.mode not in ASKS_CLIENTS or not (tls.ca_cert_credential_name or own):
        return ""
    return names.ca_secret(tls.ca_cert_credential_name or own[0])
