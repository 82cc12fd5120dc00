"""Mutual TLS inside the mesh: TLS contexts with a workload's own certificate.

Called by `generate`. The certificate and the roots come from files that the agent keeps current (`agent.certificates`),
by paths relative to Envoy's working directory: so the bytes are the same for all proxies, and no key passes through
here. ALPN tells the mesh's connections from others, and HTTP from bytes; the values are Istio's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from lateen.envoy.bootstrap import CERTIFICATE_SECRET, ROOTS_SECRET, file_secret
from lateen.envoy.messages import Fields, packed, typed_extension

HTTP_ALPN = ("istio-http/1.1",)
HTTP2_ALPN = ("istio-h2",)
TCP_ALPN = ("istio-peer-exchange", "istio")
"""What a client inside the mesh offers, by what it will speak."""
MESH_HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_ALPN = (*TCP_ALPN, *MESH_HTTP_ALPN)
"""What a server takes for a connection of the mesh that speaks HTTP, or any. It selects none of them: Envoy then tells
HTTP/1 and HTTP/2 apart by the first bytes (it would speak HTTP/1 for a selected name that it does not know)."""

CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""Istio's suites for TLS 1.2; those of 1.3 are not configurable."""


def client_context(alpn: Sequence[str], *, sni: str = "", subject_alt_names: Sequence[str] = ()) -> Fields:
    """Return the UpstreamTlsContext of a call inside the mesh: TLS 1.3, own certificate, the server's identity checked.

    `subject_alt_names`: URIs (or DNS names) of which the server's certificate must have one; none takes any of the
    mesh's.
    """
    context: Fields = {"common_tls_context": _common(subject_alt_names) | {"alpn_protocols": list(alpn)}}
    context["common_tls_context"]["tls_params"] = {
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    if sni:
        context["sni"] = sni
    return context


def server_context(
    *,
    alpn: Sequence[str] = (),
    minimum: str = "TLSv1_3",
    ciphers: Sequence[str] = CIPHERS,
    subject_alt_names: Sequence[str] = (),
) -> Fields:
    """Return the DownstreamTlsContext of a workload that asks its callers for a certificate of the mesh.

    `ciphers` are those of TLS 1.2.
    """
    common = _common(subject_alt_names)
    if alpn:
        common["alpn_protocols"] = list(alpn)
    common["tls_params"] = {"tls_minimum_protocol_version": minimum, "tls_maximum_protocol_version": "TLSv1_3"}
    if minimum == "TLSv1_2":
        common["tls_params"]["cipher_suites"] = list(ciphers)
    return {"common_tls_context": common, "require_client_certificate": {"value": True}}


def client_socket(alpn: Sequence[str], *, sni: str, subject_alt_names: Sequence[str]) -> Fields:
    """Return the transport socket of `client_context`."""
    context = client_context(alpn, sni=sni, subject_alt_names=subject_alt_names)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": packed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", context),
    }


@cache
def plaintext_socket() -> Fields:
    """Return the transport socket without TLS. Shared: do not change it."""
    return typed_extension(
        "envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )


def matched_sockets(mutual_tls: Fields, plaintext: Fields) -> list[Fields]:
    """Return the `transport_socket_matches` by which each endpoint gets the one or the other; names are Istio's."""
    return [
        {
            "name": "tlsMode-istio",
            "match": {TLS_MODE: MUTUAL_TLS},
            "transport_socket": mutual_tls,
        },
        {"name": "tlsMode-disabled", "match": {}, "transport_socket": plaintext},
    ]


TLS_MODE, MUTUAL_TLS = "tlsMode", "istio"
TAKES_MUTUAL_TLS: Fields = {
    "filter_metadata": {"envoy.transport_socket_match": {"fields": {TLS_MODE: {"string_value": MUTUAL_TLS}}}}
}
"""Metadata of an endpoint that is called with mutual TLS. Shared: do not change it."""

_OFFER_TCP: Fields = {
    "object_key": "envoy.network.application_protocols",
    "format_string": {"text_format_source": {"inline_string": ",".join(TCP_ALPN)}},
}


@cache
def tcp_alpn_filter() -> Fields:
    """Return the network filter by which a TCP proxy offers `TCP_ALPN` whatever its cluster would. Shared.

    For clusters that carry both: what goes through a TCP proxy is not for the server's HTTP connection manager.
    """
    return typed_extension(
        "envoy.filters.network.set_filter_state",
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        {"on_new_connection": [{**_OFFER_TCP, "shared_with_upstream": "ONCE"}]},
    )


TUNNEL_ALPN_FILTER = "lateen.tunnel_alpn"


@cache
def tunnel_alpn_filter() -> Fields:
    """Return the HTTP filter that does the same for CONNECT, on routes that have `offers_tcp_alpn`. Shared.

    Not `disabled` elsewhere, though it does nothing there: Envoy decides that before a route is fetched on demand
    (see `filters.OFF_ON_DEMAND`).
    """
    return typed_extension(TUNNEL_ALPN_FILTER, _HTTP_FILTER_STATE, {})


@cache
def offers_tcp_alpn() -> Fields:
    """Return the setting of a route whose tunnels offer `TCP_ALPN`, for `TUNNEL_ALPN_FILTER`. Shared."""
    return packed(_HTTP_FILTER_STATE, {"on_request_headers": [_OFFER_TCP]})


_HTTP_FILTER_STATE = "envoy.extensions.filters.http.set_filter_state.v3.Config"


def _common(subject_alt_names: Sequence[str]) -> Fields:
    validation: Fields = {}
    if subject_alt_names:
        validation["match_typed_subject_alt_names"] = [
            {"san_type": "URI" if "://" in name else "DNS", "matcher": {"exact": name}} for name in subject_alt_names
        ]
    return {
        "tls_certificate_sds_secret_configs": [file_secret(CERTIFICATE_SECRET)],
        "combined_validation_context": {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": file_secret(ROOTS_SECRET),
        },
    }
