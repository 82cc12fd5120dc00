"""TLS contexts of gateways that end TLS: which certificate is shown, and which clients are let in.

Called by `generate.gateway_tls`. Certificates come from files or, by name, over SDS; no key material passes through
here (see `secrets`). With ISTIO_MUTUAL they are the gateway's own, which `mutual_tls` knows.
Source: Istio's Gateway reference, ServerTLSSettings; Envoy's transport_sockets/tls/v3/common.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

from lateen.config.networking import ServerTLSMode, ServerTLSSettings, TLSProtocolVersion
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.envoy import mutual_tls
from lateen.envoy.messages import Fields
from lateen.envoy.transport_sockets import certificate_files, combined_validation, san_matchers, sds

HTTP_ALPN = ("h2", "http/1.1")
_TLS_VERSIONS = {
    TLSProtocolVersion.TLSV1_0: "TLSv1_0",
    TLSProtocolVersion.TLSV1_1: "TLSv1_1",
    TLSProtocolVersion.TLSV1_2: "TLSv1_2",
    TLSProtocolVersion.TLSV1_3: "TLSv1_3",
}
ASKS_CLIENTS = frozenset((ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL))
"""Modes in which clients are asked for a certificate of a CA that is named."""


def server_context(
    tls: ServerTLSSettings, secrets: Sequence[str], ca_secret: str, *, http: bool, defaults: Fields | None = None
) -> Fields | None:
    """Return the DownstreamTlsContext of SIMPLE, MUTUAL and OPTIONAL_MUTUAL; None when no certificate is named.

    `secrets` are SDS names (empty: certificates come from files), `ca_secret` the SDS name of the client CA. A
    bytes server selects no protocol: what it forwards to may speak any. `defaults`: parameters where `tls` says none.
    """
    shared: Fields = {"tls_params": (defaults or {}) | _tls_parameters(tls, defaults or {})}
    if http:
        shared["alpn_protocols"] = list(HTTP_ALPN)
    if secrets:
        shared["tls_certificate_sds_secret_configs"] = [sds(name) for name in secrets]
    elif files := _server_files(tls):
        shared["tls_certificates"] = files
    else:
        return None
    context: Fields = {"common_tls_context": shared}
    if tls.mode in ASKS_CLIENTS:
        context["require_client_certificate"] = {"value": tls.mode is ServerTLSMode.MUTUAL}
        shared |= _client_validation(tls, ca_secret)
    return context


def mesh_server_context(tls: ServerTLSSettings, *, http: bool) -> Fields:
    """Return the DownstreamTlsContext of ISTIO_MUTUAL: the gateway's own certificate, clients of the mesh only.

    Versions and ciphers are not the user's to choose here, as in Istio. Of what sidecars offer (`istio-...`) nothing is
    selected: a peer that was told `istio-peer-exchange` would begin an exchange that stock Envoy does not know.
    """
    context = mutual_tls.server_context(
        alpn=HTTP_ALPN if http else (), minimum="TLSv1_2", subject_alt_names=tls.subject_alt_names
    )
    if tls.ca_crl:
        validation = context["common_tls_context"]["combined_validation_context"]["default_validation_context"]
        validation["crl"] = {"filename": tls.ca_crl}
    return context


def _server_files(tls: ServerTLSSettings) -> list[Fields]:
    if tls.tls_certificates:
        return [certificate_files(item.server_certificate, item.private_key) for item in tls.tls_certificates]
    if tls.server_certificate and tls.private_key:
        return [certificate_files(tls.server_certificate, tls.private_key)]
    return []


def ca_file_of(tls: ServerTLSSettings) -> str:
    """Return the file of the clients' CA: Envoy takes one for all certificates, the first that is named."""
    named = (tls.ca_certificates, *(item.ca_certificates for item in tls.tls_certificates))
    return next((file for file in named if file), "")


def _client_validation(tls: ServerTLSSettings, ca_secret: str) -> Fields:
    default: Fields = {}
    if tls.insecure_skip_verify:
        # Any certificate is taken, and told to the application: no name in it means anything.
        default["trust_chain_verification"] = "ACCEPT_UNTRUSTED"
    else:
        default |= san_matchers(tls.subject_alt_names)
        if tls.verify_certificate_spki:
            default["verify_certificate_spki"] = list(tls.verify_certificate_spki)
        if tls.verify_certificate_hash:
            default["verify_certificate_hash"] = list(tls.verify_certificate_hash)
    if ca_secret:
        return combined_validation(default, ca_secret)
    if ca_file := ca_file_of(tls):
        default["trusted_ca"] = {"filename": ca_file}
    if tls.ca_crl:
        default["crl"] = {"filename": tls.ca_crl}
    return {"validation_context": default}


def _tls_parameters(tls: ServerTLSSettings, defaults: Fields) -> Fields:
    parameters: Fields = {}
    # Istio's floor is TLS 1.2.
    lowest = _TLS_VERSIONS.get(tls.min_protocol_version, defaults.get("tls_minimum_protocol_version", "TLSv1_2"))
    parameters["tls_minimum_protocol_version"] = lowest
    if highest := _TLS_VERSIONS.get(tls.max_protocol_version):
        parameters["tls_maximum_protocol_version"] = highest
    # One unknown name makes Envoy refuse the listener; validation has said that it is ignored.
    if suites := [suite for suite in tls.cipher_suites if suite in CIPHER_SUITES]:
        parameters["cipher_suites"] = list(dict.fromkeys(suites))
    return parameters
