"""Headers that proxies add by themselves, and how far those of others are trusted: settings of connection managers.

Called by `filters` with MeshConfig's `defaultConfig`. Source: Istio's ProxyConfig reference, `proxyHeaders` and
`gatewayTopology`; what is unset there is Istio's default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lateen.config.proxy_config import (
    ForwardClientCertDetails,
    ProxyConfig,
    ProxyHeaders,
    SetCurrentClientCertDetails,
    Topology,
)
from lateen.envoy.messages import Fields

SERVER_NAME = "istio-envoy"
_ADDS_OWN = (ForwardClientCertDetails.APPEND_FORWARD, ForwardClientCertDetails.SANITIZE_SET)
"""Modes in which a proxy writes down the certificate of its own client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerHeaders:
    """Fields of connection managers."""

    all: Fields = field(default_factory=lambda: _for_all(ProxyHeaders()))
    edge: Fields = field(default_factory=lambda: _edge(Topology()))
    """Of gateways besides."""
    inbound: Fields = field(default_factory=lambda: _inbound(ProxyHeaders()))
    """Of the inbound side of sidecars besides."""
    quiet: bool = False
    """Whether Envoy keeps its own headers (`x-envoy-...`) to itself."""


def manager_headers(config: ProxyConfig | None) -> ManagerHeaders:
    """Return what the mesh's settings come to."""
    headers = (config.proxy_headers if config is not None else None) or ProxyHeaders()
    topology = (config.gateway_topology if config is not None else None) or Topology()
    debug = headers.envoy_debug_headers
    return ManagerHeaders(
        all=_for_all(headers),
        edge=_edge(topology),
        inbound=_inbound(headers),
        quiet=bool(debug is not None and debug.disabled),
    )


def _for_all(headers: ProxyHeaders) -> Fields:
    server, request_id, port = headers.server, headers.request_id, headers.x_forwarded_port
    fields: Fields = {"generate_request_id": {"value": not (request_id is not None and request_id.disabled)}}
    if server is not None and server.disabled:
        fields["server_header_transformation"] = "PASS_THROUGH"
    else:
        fields["server_name"] = (server.value if server is not None else "") or SERVER_NAME
    if port is not None and port.enabled:
        fields["append_x_forwarded_port"] = True
    return fields


def _edge(topology: Topology) -> Fields:
    """How many proxies in front of a gateway are trusted to say who the client is, and what of certificates goes on."""
    mode = topology.forward_client_cert_details
    if mode is ForwardClientCertDetails.UNDEFINED:
        mode = ForwardClientCertDetails.SANITIZE_SET
    fields: Fields = {"forward_client_cert_details": mode.value}
    if mode in _ADDS_OWN:
        details = {"subject": {"value": True}, "cert": True, "dns": True, "uri": True}
        fields["set_current_client_cert_details"] = details
    if topology.num_trusted_proxies:
        fields["xff_num_trusted_hops"] = topology.num_trusted_proxies
    return fields


def _inbound(headers: ProxyHeaders) -> Fields:
    mode = headers.forwarded_client_cert
    if mode is ForwardClientCertDetails.UNDEFINED:
        mode = ForwardClientCertDetails.APPEND_FORWARD
    fields: Fields = {"forward_client_cert_details": mode.value}
    if mode in _ADDS_OWN:
        fields["set_current_client_cert_details"] = _details(headers.set_current_client_cert_details)
    return fields


def _details(asked: SetCurrentClientCertDetails | None) -> Fields:
    """Return what is written down: the subject and the names, unless somebody chose."""
    if asked is None:
        asked = SetCurrentClientCertDetails(subject=True, dns=True, uri=True)
    chosen = {name: True for name in ("cert", "chain", "dns", "uri") if getattr(asked, name)}
    return {**({"subject": {"value": True}} if asked.subject else {}), **chosen}
