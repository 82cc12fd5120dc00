"""Transport sockets towards upstreams: TLS that a DestinationRule asks for, PROXY protocol.

Called by `cluster_policies`. Certificates come from files or, by name, over SDS; no key material passes through here
(see `secrets`). TLS inside the mesh is `mutual_tls`, that of gateways `server_tls`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lateen.config.networking import ClientTLSMode, ClientTLSSettings, ProxyProtocolVersion
from lateen.envoy.filters import ADS
from lateen.envoy.messages import Fields, packed, to_json

UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and its descendants keep the public roots; Istio's proxy image has them there too."""
_NOBODY = {"verify_certificate_hash": ["0" * 64]}
"""A validation that no certificate passes: the hash of none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecrets:
    """What stands for the `credentialName` of a DestinationRule at one proxy."""

    certificate: str = ""
    """SDS name of the client certificate."""
    ca: str = ""
    """SDS name of the CA of the server."""
    problem: str = ""
    """Why they cannot be had: then every handshake fails."""
    ignored: bool = False
    """Whether the rule's TLS is not for this proxy (a sidecar that the rule does not select by label)."""


FROM_FILES = ClientSecrets()


def tls_client_socket(
    tls: ClientTLSSettings, *, http2: bool, secrets: ClientSecrets = FROM_FILES, defaults: Fields | None = None
) -> Fields | None:
    """Return the TLS transport socket of SIMPLE and MUTUAL; None for DISABLE, and for ISTIO_MUTUAL (`mutual_tls`).

    Without `caCertificates` the upstream is verified against the system's roots. Without `sni` the name is the one
    that was asked for (see `auto_names`) or else that of the endpoint, and the certificate must be for it.

    HTTP/2 clusters offer `h2` and nothing else. For others Envoy offers by itself what the connection will speak.
    `defaults`: more TLS parameters (`tls_parameters.client_defaults`).
    """
    if tls.mode in (ClientTLSMode.DISABLE, ClientTLSMode.ISTIO_MUTUAL) or secrets.ignored:
        return None
    shared: Fields = {
        # Envoy's own maximum for clients is 1.2.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            **(defaults or {}),
        },
        **({"alpn_protocols": ["h2"]} if http2 else {}),
        **_client_certificate(tls, secrets),
        **_server_validation(tls, secrets),
    }
    context: Fields = {"common_tls_context": shared}
    if tls.sni:
        context["sni"] = tls.sni
    else:
        context["auto_host_sni"] = True
        if _checks_asked_name(tls, secrets):
            context["auto_sni_san_validation"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": packed(UPSTREAM_TLS, context)}


def auto_names(tls: ClientTLSSettings, secrets: ClientSecrets = FROM_FILES) -> Fields:
    """Return the upstream options of HTTP that take the server's name from each request; empty when `sni` is set."""
    if tls.sni or tls.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        return {}
    return {"auto_sni": True, **({"auto_san_validation": True} if _checks_asked_name(tls, secrets) else {})}


def _checks_asked_name(tls: ClientTLSSettings, secrets: ClientSecrets) -> bool:
    """Whether the name that was asked for is checked; Envoy refuses to do so without a CA, which a problem leaves."""
    return not tls.subject_alt_names and not tls.insecure_skip_verify and not secrets.problem


def _client_certificate(tls: ClientTLSSettings, secrets: ClientSecrets) -> Fields:
    if secrets.certificate:
        return {"tls_certificate_sds_secret_configs": [sds(secrets.certificate)]}
    if tls.mode is not ClientTLSMode.MUTUAL:
        return {}
    if tls.client_certificate:
        return {"tls_certificates": [certificate_files(tls.client_certificate, tls.private_key)]}
    return {}


def _server_validation(tls: ClientTLSSettings, secrets: ClientSecrets) -> Fields:
    if secrets.problem:
        return {"validation_context": _NOBODY}
    if tls.insecure_skip_verify:
        return {}
    # Without names to check, any certificate of a public CA would do: check the SNI's then.
    names = san_matchers(tls.subject_alt_names or ([tls.sni] if tls.sni else []))
    if secrets.ca:
        return combined_validation(names, secrets.ca)
    ca_file = tls.ca_certificates if tls.ca_certificates not in ("", "system") else SYSTEM_CA_FILE
    crl: Fields = {"crl": {"filename": tls.ca_crl}} if tls.ca_crl else {}
    return {"validation_context": {"trusted_ca": {"filename": ca_file}, **crl, **names}}


# --- what client and server have in common -------------------------------------------------------------------


def certificate_files(certificate: str, key: str) -> Fields:
    """Return a TlsCertificate that Envoy reads from files."""
    return {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}


def sds(name: str) -> Fields:
    """Return the SdsSecretConfig of a secret that comes over ADS."""
    return {"name": name, "sds_config": ADS}


def combined_validation(default: Fields, ca: str) -> Fields:
    """Return a validation whose CA (and revocation list) comes over SDS."""
    combined = {"default_validation_context": default, "validation_context_sds_secret_config": sds(ca)}
    return {"combined_validation_context": combined}


def san_matchers(names: Iterable[str]) -> Fields:
    """Return the field of a validation that wants one of these names in the certificate; empty for none."""
    found = [{"san_type": kind, "matcher": {"exact": name}} for name in names for kind in _san_types(name)]
    return {"match_typed_subject_alt_names": found} if found else {}


def _san_types(name: str) -> tuple[str, ...]:
    if "://" in name:
        return ("URI",)
    return ("EMAIL",) if "@" in name else ("DNS", "IP_ADDRESS")


# --- PROXY protocol ------------------------------------------------------------------------------------------


def with_proxy_protocol(socket: Fields | None, version: ProxyProtocolVersion) -> Fields:
    """Return a transport socket that sends a PROXY protocol header before what `socket` does (None: plain TCP).

    The message is not in the descriptor set: xDS lets a TypedStruct stand for any message, with its JSON form.
    """
    inner: Fields
    if socket is None:
        raw = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
        inner = {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": raw}}
    else:
        config = to_json(UPSTREAM_TLS, socket["typed_config"]["value"])
        inner = {
            "name": socket["name"],
            "typed_config": {"@type": socket["typed_config"]["type_url"], **config},
        }
    wrapper: Fields = {
        "type_url": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3"
        ".ProxyProtocolUpstreamTransport",
        "value": {"config": {"version": version.value}, "transport_socket": inner},
    }
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": packed("xds.type.v3.TypedStruct", wrapper),
    }
