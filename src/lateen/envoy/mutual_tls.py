"""Mutual TLS inside the mesh: TLS contexts with a workload's own certificate.

Called by `generate`. The certificate and the roots come from files that the agent keeps current (`agent.certificates`),
by paths relative to Envoy's working directory: so the bytes are the same for all proxies, and no key passes through
here. ALPN tells the mesh's connections from others, and HTTP from bytes; the values are Istio's.
"""

from __future__ import annotations

from collections.abc import Sequence

from lateen.envoy.messages import Fields

CERTIFICATES = "certificates"
"""Folder in Envoy's working directory."""
WORKLOAD_CERTIFICATE = "default"
ROOTS = "ROOTCA"

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


def file_secret(name: str) -> Fields:
    """Return the SdsSecretConfig of a secret that the agent keeps in a file."""
    return {
        "name": name,
        "sds_config": {
            "path_config_source": {
                "path": f"{CERTIFICATES}/{name}.json",
                "watched_directory": {"path": CERTIFICATES},
            },
            "resource_api_version": "V3",
        },
    }


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
    *, alpn: Sequence[str] = (), minimum: str = "TLSv1_3", subject_alt_names: Sequence[str] = ()
) -> Fields:
    """Return the DownstreamTlsContext of a workload that asks its callers for a certificate of the mesh."""
    common = _common(subject_alt_names)
    if alpn:
        common["alpn_protocols"] = list(alpn)
    common["tls_params"] = {"tls_minimum_protocol_version": minimum, "tls_maximum_protocol_version": "TLSv1_3"}
    if minimum == "TLSv1_2":
        common["tls_params"]["cipher_suites"] = list(CIPHERS)
    return {"common_tls_context": common, "require_client_certificate": {"value": True}}


def _common(subject_alt_names: Sequence[str]) -> Fields:
    validation: Fields = {}
    if subject_alt_names:
        validation["match_typed_subject_alt_names"] = [
            {"san_type": "URI" if "://" in name else "DNS", "matcher": {"exact": name}} for name in subject_alt_names
        ]
    return {
        "tls_certificate_sds_secret_configs": [file_secret(WORKLOAD_CERTIFICATE)],
        "combined_validation_context": {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": file_secret(ROOTS),
        },
    }
