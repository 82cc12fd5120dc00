"""Envoy's ext_authz filters: ask an authorization server about the requests that a shadow RBAC has marked.

Called by `generate.authorization`, which knows the cluster. The settings are those of Istio's extension providers
`envoyExtAuthzHttp` and `envoyExtAuthzGrpc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lateen.config.durations import to_fields
from lateen.config.extension_providers import (
    EnvoyExternalAuthorizationGrpcProvider,
    EnvoyExternalAuthorizationHttpProvider,
    EnvoyExternalAuthorizationRequestBody,
)
from lateen.envoy.messages import Fields, packed
from lateen.envoy.rbac import HTTP_RBAC, NETWORK_RBAC, SHADOW_POLICY, TCP_STAT_PREFIX

HTTP_EXT_AUTHZ: Final = "envoy.filters.http.ext_authz"
NETWORK_EXT_AUTHZ: Final = "envoy.filters.network.ext_authz"
"""Names of the filters; of the dynamic metadata that a server answers with, too."""
HTTP_EXT_AUTHZ_CONFIG: Final = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
NETWORK_EXT_AUTHZ_CONFIG: Final = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
EXT_AUTHZ_SHADOW_PREFIX: Final = "istio_ext_authz_"
"""Shadow prefix of the RBAC that marks what the server is asked about."""

_DEFAULT_TIMEOUT: Fields = {"seconds": 600}
"""Istio's, for a provider that gives none."""


def http_provider_config(
    provider: EnvoyExternalAuthorizationHttpProvider, host: str, cluster: str, marked: str
) -> Fields:
    """Return the settings of the HTTP filter that asks an HTTP server, packed; `marked`: how names of policies begin
    whose requests it is asked about.
    """
    service: Fields = {
        "path_prefix": provider.path_prefix,
        # Envoy wants a URI and does not use it.
        "server_uri": {"uri": f"http://{host}", "cluster": cluster, "timeout": _timeout(provider.timeout)},
    }
    added = sorted(provider.include_additional_headers_in_check.items())
    if added:
        service["authorization_request"] = {"headers_to_add": [{"key": key, "value": text} for key, text in added]}
    answers = {
        "allowed_upstream_headers": _headers(provider.headers_to_upstream_on_allow),
        "allowed_client_headers": _headers(provider.headers_to_downstream_on_deny),
        "allowed_client_headers_on_success": _headers(provider.headers_to_downstream_on_allow),
    }
    if response := {name: matchers for name, matchers in answers.items() if matchers}:
        service["authorization_response"] = response
    fields = _shared(provider, marked) | {"http_service": service}
    # The second is the deprecated name of the first.
    sent = provider.include_request_headers_in_check or provider.include_headers_in_check
    if sent:
        fields["allowed_headers"] = _headers(sent)
    return packed(HTTP_EXT_AUTHZ_CONFIG, fields)


def grpc_provider_config(
    provider: EnvoyExternalAuthorizationGrpcProvider, host: str, cluster: str, marked: str
) -> Fields:
    """Return the settings of the HTTP filter that asks a gRPC server."""
    fields = _shared(provider, marked) | {"grpc_service": _grpc_service(provider, host, cluster)}
    return packed(HTTP_EXT_AUTHZ_CONFIG, fields)


def network_provider_config(
    provider: EnvoyExternalAuthorizationGrpcProvider, host: str, cluster: str, marked: str
) -> Fields:
    """Return the settings of the network filter that asks a gRPC server about a connection."""
    fields: Fields = {
        "stat_prefix": TCP_STAT_PREFIX,
        "failure_mode_allow": provider.fail_open,
        "transport_api_version": "V3",
        "grpc_service": _grpc_service(provider, host, cluster),
        "filter_enabled_metadata": _marked(NETWORK_RBAC, marked),
    }
    return packed(NETWORK_EXT_AUTHZ_CONFIG, fields)


def _shared(
    provider: EnvoyExternalAuthorizationHttpProvider | EnvoyExternalAuthorizationGrpcProvider, marked: str
) -> Fields:
    fields: Fields = {
        "transport_api_version": "V3",
        "failure_mode_allow": provider.fail_open,
        "clear_route_cache": provider.clear_route_cache,
        "filter_enabled_metadata": _marked(HTTP_RBAC, marked),
    }
    if provider.status_on_error:
        fields["status_on_error"] = {"code": int(provider.status_on_error)}
    if provider.include_request_body_in_check is not None:
        fields["with_request_body"] = _body(provider.include_request_body_in_check)
    return fields


def _body(settings: EnvoyExternalAuthorizationRequestBody) -> Fields:
    return {
        "max_request_bytes": settings.max_request_bytes,
        "allow_partial_message": settings.allow_partial_message,
        "pack_as_bytes": settings.pack_as_bytes,
    }


def _grpc_service(provider: EnvoyExternalAuthorizationGrpcProvider, host: str, cluster: str) -> Fields:
    return {"envoy_grpc": {"cluster_name": cluster, "authority": host}, "timeout": _timeout(provider.timeout)}


def _timeout(text: str) -> Fields:
    return to_fields(text) if text else _DEFAULT_TIMEOUT


def _marked(rbac: str, prefix: str) -> Fields:
    return {
        "filter": rbac,
        "path": [{"key": f"{EXT_AUTHZ_SHADOW_PREFIX}{SHADOW_POLICY}"}],
        "value": {"string_match": {"prefix": prefix}},
    }


def _headers(patterns: Sequence[str]) -> Fields:
    """Return the matcher of header names, `*` at either end."""
    return {"patterns": [_header_name(pattern) | {"ignore_case": True} for pattern in patterns]} if patterns else {}


def _header_name(pattern: str) -> Fields:
    if pattern.startswith("*"):
        return {"suffix": pattern[1:]}
    if pattern.endswith("*"):
        return {"prefix": pattern[:-1]}
    return {"exact": pattern}
