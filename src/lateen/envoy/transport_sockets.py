"""Transport sockets towards upstreams and TLS contexts of gateways.

Called by `cluster_policies` and `generate.gateways`. Certificates come from files or, by name, over SDS; no key
material passes through here (see `secrets`).
"""

from __future__ import annotations

from collections.abc import Sequence

from lateen.config.networking import (
    ClientTLSMode,
    ClientTLSSettings,
    ProxyProtocolVersion,
    ServerTLSMode,
    ServerTLSSettings,
    TLSProtocolVersion,
)
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.envoy.filters import ADS
from lateen.envoy.messages import Fields, packed, to_json

UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and its descendants keep the public roots; Istio's proxy image has them there too."""

_TLS_VERSIONS = {
    TLSProtocolVersion.TLSV1_0: "TLSv1_0",
    TLSProtocolVersion.TLSV1_1: "TLSv1_1",
    TLSProtocolVersion.TLSV1_2: "TLSv1_2",
    TLSProtocolVersion.TLSV1_3: "TLSv1_3",
}
_CLIENT_CERTIFICATE_MODES = frozenset((ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL))


# --- towards upstreams ---------------------------------------------------------------------------------------


def tls_client_socket(tls: ClientTLSSettings, *, http2: bool) -> Fields | None:
    """Return the TLS transport socket of SIMPLE and MUTUAL; None for DISABLE, and for ISTIO_MUTUAL.

    ISTIO_MUTUAL needs workload certificates, which this version does not issue: `config.acting` reports it.
    Without `caCertificates` the upstream is verified against the system's roots; without `sni` the name is the
    one the client asked for.
    """
    if tls.mode in (ClientTLSMode.DISABLE, ClientTLSMode.ISTIO_MUTUAL):
        return None
    shared: Fields = {"alpn_protocols": ["h2"]} if http2 else {}
    if not tls.insecure_skip_verify:
        shared["validation_context"] = _server_validation(tls)
    if tls.mode is ClientTLSMode.MUTUAL and tls.client_certificate:
        shared["tls_certificates"] = [certificate_files(tls.client_certificate, tls.private_key)]
    context: Fields = {"common_tls_context": shared}
    if tls.sni:
        context["sni"] = tls.sni
    else:
        context["auto_host_sni"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": packed(UPSTREAM_TLS, context)}


def _server_validation(tls: ClientTLSSettings) -> Fields:
    ca_file = tls.ca_certificates if tls.ca_certificates not in ("", "system") else SYSTEM_CA_FILE
    validation: Fields = {"trusted_ca": {"filename": ca_file}}
    if tls.ca_crl:
        validation["crl"] = {"filename": tls.ca_crl}
    # Without names to check, any certificate of a public CA would do: check the SNI's then.
    accepted = tls.subject_alt_names or ([tls.sni] if tls.sni else [])
    if accepted:
        validation["match_typed_subject_alt_names"] = [
            {"san_type": kind, "matcher": {"exact": name}} for name in accepted for kind in _san_types(name)
        ]
    return validation


def _san_types(name: str) -> tuple[str, ...]:
    return ("URI",) if "://" in name else ("DNS", "IP_ADDRESS")


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


# --- of gateways ---------------------------------------------------------------------------------------------


def certificate_files(certificate: str, key: str) -> Fields:
    """Return a TlsCertificate that Envoy reads from files."""
    return {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}


def server_context(tls: ServerTLSSettings, secrets: Sequence[str], ca_secret: str, *, alpn: bool) -> Fields | None:
    """Return the DownstreamTlsContext of a terminating server; None when it names no certificate.

    `secrets` are SDS names (empty: certificates come from files), `ca_secret` the SDS name of the client CA.
    """
    shared: Fields = {}
    if alpn:
        shared["alpn_protocols"] = ["h2", "http/1.1"]
    if secrets:
        shared["tls_certificate_sds_secret_configs"] = [{"name": name, "sds_config": ADS} for name in secrets]
    elif files := _server_files(tls):
        shared["tls_certificates"] = files
    else:
        return None
    if parameters := _tls_parameters(tls):
        shared["tls_params"] = parameters
    context: Fields = {"common_tls_context": shared}
    if tls.mode in _CLIENT_CERTIFICATE_MODES:
        context["require_client_certificate"] = {"value": tls.mode is ServerTLSMode.MUTUAL}
        shared |= _client_validation(tls, ca_secret)
    return context


def _server_files(tls: ServerTLSSettings) -> list[Fields]:
    if tls.tls_certificates:
        return [certificate_files(item.server_certificate, item.private_key) for item in tls.tls_certificates]
    if tls.server_certificate and tls.private_key:
        return [certificate_files(tls.server_certificate, tls.private_key)]
    return []


def _client_validation(tls: ServerTLSSettings, ca_secret: str) -> Fields:
    default: Fields = {}
    if tls.subject_alt_names:
        default["match_typed_subject_alt_names"] = [
            {"san_type": kind, "matcher": {"exact": name}}
            for name in tls.subject_alt_names
            for kind in _san_types(name)
        ]
    if tls.verify_certificate_spki:
        default["verify_certificate_spki"] = list(tls.verify_certificate_spki)
    if tls.verify_certificate_hash:
        default["verify_certificate_hash"] = list(tls.verify_certificate_hash)
    if ca_secret:
        return {
            "combined_validation_context": {
                "default_validation_context": default,
                "validation_context_sds_secret_config": {"name": ca_secret, "sds_config": ADS},
            }
        }
    if tls.ca_certificates:
        default["trusted_ca"] = {"filename": tls.ca_certificates}
    return {"validation_context": default}


def _tls_parameters(tls: ServerTLSSettings) -> Fields:
    parameters: Fields = {}
    # Istio's floor is TLS 1.2.
    lowest = _TLS_VERSIONS.get(tls.min_protocol_version, "TLSv1_2")
    parameters["tls_minimum_protocol_version"] = lowest
    if highest := _TLS_VERSIONS.get(tls.max_protocol_version):
        parameters["tls_maximum_protocol_version"] = highest
    # One unknown name makes Envoy refuse the listener; validation has said that it is ignored.
    if suites := [suite for suite in tls.cipher_suites if suite in CIPHER_SUITES]:
        parameters["cipher_suites"] = suites
    return parameters
