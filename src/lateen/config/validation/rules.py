"""Which rules belong to which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lateen.config.codes import INVALID_VALUE
from lateen.config.metadata import Metadata
from lateen.config.networking import Spec
from lateen.config.positions import Path
from lateen.config.validation.authorization_policies import authorization_policy
from lateen.config.validation.destination_rules import destination_rule
from lateen.config.validation.envoy_filters import envoy_filter
from lateen.config.validation.extensions import traffic_extension, wasm_plugin
from lateen.config.validation.gateway_api import (
    backend_tls_policy,
    gateway_class,
    kubernetes_gateway,
    listener_set,
    reference_grant,
)
from lateen.config.validation.gateway_api_routes import grpc_route, http_route, tcp_route, tls_route
from lateen.config.validation.gateways import gateway
from lateen.config.validation.kubernetes_kinds import endpoint_slice, endpoints, secret, service
from lateen.config.validation.peer_authentications import peer_authentication
from lateen.config.validation.request_authentications import request_authentication
from lateen.config.validation.service_entries import service_entry, standalone_workload_entry
from lateen.config.validation.sidecars import sidecar
from lateen.config.validation.telemetries import telemetry
from lateen.config.validation.virtual_services import virtual_service
from lateen.config.validation.workload_groups import proxy_config, workload_group
from lateen.config.violations import Violation

Rule = Callable[[Any, Metadata], Iterator[Violation]]

RULES: Mapping[str, Rule] = {
    "VirtualService": virtual_service,
    "DestinationRule": destination_rule,
    "Gateway": gateway,
    "ServiceEntry": service_entry,
    "WorkloadEntry": standalone_workload_entry,
    "WorkloadGroup": workload_group,
    "ProxyConfig": proxy_config,
    "Sidecar": sidecar,
    "EnvoyFilter": envoy_filter,
    "PeerAuthentication": peer_authentication,
    "RequestAuthentication": request_authentication,
    "AuthorizationPolicy": authorization_policy,
    "Telemetry": telemetry,
    "WasmPlugin": wasm_plugin,
    "TrafficExtension": traffic_extension,
    "GatewayClass": gateway_class,
    "KubernetesGateway": kubernetes_gateway,
    "ListenerSet": listener_set,
    "HTTPRoute": http_route,
    "GRPCRoute": grpc_route,
    "TCPRoute": tcp_route,
    "TLSRoute": tls_route,
    "ReferenceGrant": reference_grant,
    "BackendTLSPolicy": backend_tls_policy,
    "Service": service,
    "EndpointSlice": endpoint_slice,
    "Endpoints": endpoints,
    "Secret": secret,
}


_LOCAL = frozenset(("VirtualService", "DestinationRule", "Gateway", "Sidecar"))
"""Kinds whose rules look at one field and its neighbours, apart from the fields of the spec itself."""


def validate_rest(kind: str, spec: Spec, metadata: Metadata, broken: Sequence[Path]) -> Iterator[Violation]:
    """Yield the violations of an object whose `broken` fields could not be read and are unset in `spec`.

    Only such violations that no broken field can have caused: beside and above one, nothing is said but of values that
    are wrong by themselves.
    """
    if kind not in _LOCAL:
        return
    of_the_whole = any(len(path) < 2 for path in broken)
    for violation in validate(kind, spec, metadata):
        if of_the_whole and violation.code is not INVALID_VALUE:
            continue
        around = violation.path if violation.code is INVALID_VALUE else violation.path[:-1]
        if not any(path[: len(around)] == around for path in broken):
            yield violation


def validate(kind: str, spec: Spec, metadata: Metadata) -> Iterator[Violation]:
    """Yield every violation of an object; paths begin at the spec."""
    rule = RULES.get(kind)
    if rule is not None:
        yield from rule(spec, metadata)
