"""Which fields act in this version: what is set but does nothing is said, never dropped in silence.

Why it does nothing, and what to do instead, `config.reasons` says.

Called by `config.parsing`, `config.mesh_config` (which has a table of its own) and `config.unsupported`, which
writes the reference page. The table names, for each struct, the fields that act; a struct that is not in it acts in
none, so a kind added to the schema is reported until someone makes it act and says so here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import inspect

from lateen.config import envoy_filter, security
from lateen.config import gateway_api as gwapi
from lateen.config import kubernetes as k8s
from lateen.config import networking as istio
from lateen.config.decoding import fields_of
from lateen.config.extensions import TrafficExtension, WasmPlugin
from lateen.config.positions import Path
from lateen.config.proxy_config import (
    ExecHealthCheckConfig,
    GrpcHealthCheckConfig,
    HTTPHeader,
    HTTPHealthCheckConfig,
    ProxyImage,
    ReadinessProbe,
    TCPHealthCheckConfig,
)
from lateen.config.reasons import reason_for
from lateen.config.telemetry import Telemetry
from lateen.config.workload_groups import GroupMetadata, WorkloadGroup, WorkloadProxyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """What acts in one struct."""

    fields: frozenset[str] | None = None
    """Names of the acting fields, None for all."""
    silent: frozenset[str] = frozenset()
    """Fields that can have no meaning for a mesh (how a cloud provisions a load balancer): no warning for them."""
    values: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    """For a field that acts with some values only: those values."""
    as_one: bool = False
    """Whether nothing of an object of this kind acts: that is said once, not of each field."""

    def acts(self, name: str) -> bool:
        """Whether setting the field has an effect, or rightly none."""
        return self.fields is None or name in self.fields or name in self.silent


ALL = Acting()


def only(*names: str, values: Mapping[str, frozenset[Any]] | None = None) -> Acting:
    """Return that these fields act."""
    return Acting(fields=frozenset(names), values=values or {})


def all_but(struct: type[msgspec.Struct], *names: str, values: Mapping[str, frozenset[str]] | None = None) -> Acting:
    """Return that all fields of the struct but these act."""
    known = frozenset(fields_of(struct).types)
    assert known.issuperset(names), (struct, names)
    return Acting(fields=known - frozenset(names), values=values or {})


def _every(*structs: type[msgspec.Struct]) -> dict[type[msgspec.Struct], Acting]:
    return dict.fromkeys(structs, ALL)


_VIRTUAL_SERVICE: dict[type[msgspec.Struct], Acting] = {
    **_every(
        istio.VirtualService,
        istio.HTTPRoute,
        istio.HTTPMatchRequest,
        istio.StringMatch,
        istio.HTTPRouteDestination,
        istio.RouteDestination,
        istio.Destination,
        istio.PortSelector,
        istio.Headers,
        istio.HeaderOperations,
        istio.HTTPRedirect,
        istio.HTTPDirectResponse,
        istio.HTTPBody,
        istio.HTTPRewrite,
        istio.RegexRewrite,
        istio.HTTPRetry,
        istio.CorsPolicy,
        istio.HTTPFaultInjection,
        istio.Percent,
        istio.HTTPMirrorPolicy,
        istio.Delegate,
        istio.TLSRoute,
        istio.TLSMatchAttributes,
        istio.TCPRoute,
    ),
    istio.L4MatchAttributes: all_but(istio.L4MatchAttributes, "sourceSubnet"),
    istio.FaultDelay: all_but(istio.FaultDelay, "exponentialDelay"),
    istio.FaultAbort: all_but(istio.FaultAbort, "http2Error"),
}

_DESTINATION_RULE: dict[type[msgspec.Struct], Acting] = {
    **_every(
        istio.DestinationRule,
        istio.MatchLabelsSelector,
        istio.Subset,
        istio.PortTrafficPolicy,
        istio.ConsistentHashLB,
        istio.HTTPCookie,
        istio.HTTPCookieAttribute,
        istio.RingHash,
        istio.MagLev,
        istio.WarmupConfiguration,
        istio.LocalityLoadBalancerSetting,
        istio.LocalityDistribute,
        istio.LocalityFailover,
        istio.ConnectionPoolSettings,
        istio.TCPSettings,
        istio.TcpKeepalive,
        istio.HTTPSettings,
        istio.Http2KeepAlive,
        istio.ProxyProtocol,
        istio.TrafficPolicy,
        istio.TunnelSettings,
    ),
    istio.OutlierDetection: all_but(istio.OutlierDetection, "consecutiveErrors"),
    # Envoy's API of this version has no such interval.
    istio.RetryBudget: all_but(istio.RetryBudget, "budgetInterval"),
    # Envoy spreads by zone only if its bootstrap names the cluster that the proxy itself is of.
    istio.LoadBalancerSettings: all_but(istio.LoadBalancerSettings, "zoneAwareLbSetting"),
    istio.ClientTLSSettings: Acting(values={"mode": frozenset(("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"))}),
}

_GATEWAY: dict[type[msgspec.Struct], Acting] = {
    istio.Gateway: ALL,
    istio.ConfigPort: ALL,
    istio.Server: ALL,
    istio.TLSCertificate: ALL,
    istio.ServerTLSSettings: ALL,
}

_SERVICES: dict[type[msgspec.Struct], Acting] = {
    istio.ServiceEntry: ALL,
    istio.WorkloadEntry: ALL,
    WorkloadGroup: ALL,
    GroupMetadata: ALL,
    **_every(
        ReadinessProbe,
        HTTPHealthCheckConfig,
        HTTPHeader,
        TCPHealthCheckConfig,
        GrpcHealthCheckConfig,
        ExecHealthCheckConfig,
    ),
    # What image runs a proxy is a cluster's business.
    WorkloadProxyConfig: Acting(
        fields=frozenset(("selector", "concurrency", "environmentVariables")), silent=frozenset(("image",))
    ),
    ProxyImage: Acting(fields=frozenset(), silent=frozenset(("imageType",))),
    istio.WorkloadSelector: ALL,
    istio.Sidecar: ALL,
    istio.IstioIngressListener: ALL,
    istio.IstioEgressListener: ALL,
    istio.OutboundTrafficPolicy: ALL,
}

_KUBERNETES: dict[type[msgspec.Struct], Acting] = {
    **_every(
        k8s.KubernetesServicePort,
        k8s.EndpointSlice,
        k8s.EndpointSlicePort,
        k8s.EndpointConditions,
        k8s.ObjectReference,
        k8s.Endpoints,
        k8s.EndpointSubset,
        k8s.EndpointAddress,
        k8s.EndpointPort,
        k8s.Secret,
        k8s.ConfigMap,
        k8s.Namespace,
    ),
    # What provisions addresses and node ports is the cluster's business, not a proxy's: silent. Affinity is not.
    k8s.ServiceSpec: all_but(
        k8s.ServiceSpec,
        "externalIPs",
        "sessionAffinityConfig",
        values={"sessionAffinity": frozenset(("None", ""))},
    ),
    k8s.SliceEndpoint: all_but(k8s.SliceEndpoint, "deprecatedTopology"),
}

_PEER_AUTHENTICATION: dict[type[msgspec.Struct], Acting] = _every(security.PeerAuthentication, security.MutualTLS)

_REQUEST_AUTHENTICATION: dict[type[msgspec.Struct], Acting] = _every(
    security.RequestAuthentication,
    security.JWTRule,
    security.JWTHeader,
    security.ClaimToHeader,
) | {
    # Services and ServiceEntries are targets of waypoints, GatewayClasses of all gateways of a kind: there are none.
    security.PolicyTargetReference: ALL,
}

_AUTHORIZATION_POLICY: dict[type[msgspec.Struct], Acting] = _every(
    security.AuthorizationPolicy,
    security.ExtensionProviderRef,
    security.Rule,
    security.RuleFrom,
    security.Source,
    security.RuleTo,
    security.Operation,
    security.Condition,
)

_NOTHING_YET = Acting(fields=frozenset(), as_one=True)
_WITHOUT_EFFECT: dict[type[msgspec.Struct], Acting] = {
    Telemetry: _NOTHING_YET,
    WasmPlugin: _NOTHING_YET,
    TrafficExtension: _NOTHING_YET,
}

_ENVOY_FILTER: dict[type[msgspec.Struct], Acting] = {
    **_every(
        envoy_filter.EnvoyFilter,
        envoy_filter.EnvoyConfigObjectPatch,
        envoy_filter.ProxyMatch,
        envoy_filter.SubFilterMatch,
        envoy_filter.FilterMatch,
        envoy_filter.RouteMatch,
        envoy_filter.VirtualHostMatch,
        envoy_filter.RouteConfigurationMatch,
        envoy_filter.ClusterMatch,
    ),
    # Reserved in Istio too, which reads them and does nothing with them.
    envoy_filter.ListenerMatch: all_but(envoy_filter.ListenerMatch, "portName"),
    envoy_filter.FilterChainMatch: all_but(envoy_filter.FilterChainMatch, "transportSocket"),
    # Waypoints are of ambient mode: there are none.
    envoy_filter.EnvoyConfigObjectMatch: all_but(
        envoy_filter.EnvoyConfigObjectMatch,
        "waypoint",
        values={"context": frozenset(("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"))},
    ),
    envoy_filter.Patch: ALL,
}

# What a cluster puts on the Gateways that it provisions is not a mesh's business: `infrastructure` is silent.
_GATEWAY_API: dict[type[msgspec.Struct], Acting] = {
    **_every(
        gwapi.ParentReference,
        gwapi.BackendObjectReference,
        gwapi.BackendRef,
        gwapi.SecretObjectReference,
        gwapi.ObjectReference,
        gwapi.LocalObjectReference,
        gwapi.LabelSelector,
        gwapi.LabelSelectorRequirement,
        gwapi.RouteNamespaces,
        gwapi.RouteGroupKind,
        gwapi.AllowedRoutes,
        gwapi.Listener,
        gwapi.AllowedListeners,
        gwapi.ListenerNamespaces,
        gwapi.ListenerSet,
        gwapi.ParentGatewayReference,
        gwapi.FrontendTLSConfig,
        gwapi.FrontendTLSPort,
        gwapi.FrontendTLS,
        gwapi.HTTPPathMatch,
        gwapi.HTTPHeaderMatch,
        gwapi.HTTPRouteMatch,
        gwapi.HTTPHeader,
        gwapi.HTTPHeaderFilter,
        gwapi.Fraction,
        gwapi.HTTPRequestMirrorFilter,
        gwapi.HTTPPathModifier,
        gwapi.HTTPRequestRedirectFilter,
        gwapi.HTTPURLRewriteFilter,
        gwapi.HTTPCORSFilter,
        gwapi.HTTPRouteTimeouts,
        gwapi.HTTPRouteRule,
        gwapi.HTTPRoute,
        gwapi.GRPCMethodMatch,
        gwapi.GRPCRouteMatch,
        gwapi.GRPCRouteRule,
        gwapi.GRPCRoute,
        gwapi.ConnectionRule,
        gwapi.TCPRoute,
        gwapi.TLSRoute,
        gwapi.ReferenceGrantFrom,
        gwapi.ReferenceGrantTo,
        gwapi.ReferenceGrant,
    ),
    gwapi.GatewayClass: Acting(fields=frozenset(("controllerName",)), silent=frozenset(("description",))),
    gwapi.KubernetesGateway: Acting(
        fields=frozenset(("gatewayClassName", "listeners", "addresses", "allowedListeners", "tls")),
        silent=frozenset(("infrastructure",)),
    ),
    gwapi.GatewayInfrastructure: Acting(fields=frozenset(), silent=frozenset(("labels", "annotations"))),
    gwapi.GatewayAddress: Acting(values={"type": frozenset(("Hostname",))}),
    gwapi.ListenerTLS: ALL,
    gwapi.GatewayTLSConfig: ALL,
    gwapi.BackendTLS: ALL,
    gwapi.FrontendTLSValidation: ALL,
    # No extension is known: the API's answer to that is an error for each request, and a condition.
    gwapi.HTTPRouteFilter: ALL,
    gwapi.GRPCRouteFilter: ALL,
    gwapi.HTTPBackendRef: ALL,
    gwapi.GRPCBackendRef: ALL,
    gwapi.BackendTLSPolicy: only("targetRefs", "validation"),
    gwapi.PolicyTarget: ALL,
    gwapi.BackendTLSValidation: ALL,
    gwapi.SubjectAltName: ALL,
}

Table = dict[type[msgspec.Struct], Acting]
ACTING: Table = (
    _VIRTUAL_SERVICE
    | _DESTINATION_RULE
    | _GATEWAY
    | _SERVICES
    | _KUBERNETES
    | _GATEWAY_API
    | _PEER_AUTHENTICATION
    | _REQUEST_AUTHENTICATION
    | _AUTHORIZATION_POLICY
    | _WITHOUT_EFFECT
    | _ENVOY_FILTER
)
"""By struct. One that is not here acts in none of its fields."""

_NONE = Acting(fields=frozenset())


def inert_fields(
    value: Mapping[str, Any], struct: type[msgspec.Struct], path: Path = (), *, table: Table = ACTING
) -> Iterator[tuple[Path, str]]:
    """Yield path and message of every field that is set in a normalized value but does not act."""
    acting = table.get(struct, _NONE)
    fields = fields_of(struct)
    if acting.as_one:
        yield path, f"the object is read and checked, but has no effect in this version{_because(struct)}"
        return
    for name, item in value.items():
        if not acting.acts(name):
            yield (*path, name), f"`{name}` is read but has no effect in this version{_because(struct, name)}"
        elif name in acting.values and item not in acting.values[name]:
            acts = f"what acts is {_shown(acting.values[name])}"
            because = _because(struct, name, _word(item))
            yield (*path, name), f"`{name}: {_word(item)}` is read but has no effect in this version; {acts}{because}"
        elif name in fields.nested:
            yield from _inert_below(item, fields.types[name], (*path, name), table)


def _shown(values: frozenset[Any]) -> str:
    return ", ".join(sorted(word for word in map(_word, values) if word))


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _because(struct: type[msgspec.Struct], name: str = "", value: str = "") -> str:
    reason = reason_for(struct.__name__, name, value)
    return f": {reason}" if reason else ""


def _inert_below(item: Any, expected: inspect.Type, path: Path, table: Table) -> Iterator[tuple[Path, str]]:
    match expected:
        case inspect.UnionType():
            for option in expected.types:
                if isinstance(option, inspect.StructType):
                    yield from _inert_below(item, option, path, table)
        case inspect.StructType():
            yield from inert_fields(item, expected.cls, path, table=table)
        case inspect.ListType(item_type=inspect.StructType() as each):
            for index, one in enumerate(item):
                yield from inert_fields(one, each.cls, (*path, index), table=table)
        case inspect.DictType(value_type=inspect.StructType() as each):
            for key, one in item.items():
                yield from inert_fields(one, each.cls, (*path, key), table=table)
        case _:
            return


@dataclass(frozen=True, slots=True)
class Inert:
    """Something of a schema that does not act."""

    path: str
    """`trafficPolicy.tunnel`; `tls.mode: MUTUAL` for a value; `*` for all of a kind."""
    struct: str
    name: str = ""
    value: str = ""

    @property
    def row(self) -> str:
        """Return its row in the table of reasons."""
        return ".".join(part for part in (self.struct, self.name) if part) + (f": {self.value}" if self.value else "")


def inert_paths(struct: type[msgspec.Struct], prefix: str = "", *, table: Table = ACTING) -> Iterator[str]:
    """Yield every path of a schema that does not act."""
    return (found.path for found in inert_parts(struct, prefix, table=table))


def inert_parts(struct: type[msgspec.Struct], prefix: str = "", *, table: Table = ACTING) -> Iterator[Inert]:
    """Yield everything of a schema that does not act, in the schema's order."""
    acting = table.get(struct, _NONE)
    if acting.as_one:
        yield Inert(f"{prefix}*", struct.__name__)
        return
    for name, expected in fields_of(struct).types.items():
        here = f"{prefix}{name}"
        if not acting.acts(name):
            yield Inert(here, struct.__name__, name)
            continue
        options = expected.types if isinstance(expected, inspect.UnionType) else (expected,)
        for option in options:
            each = option.item_type if isinstance(option, inspect.ListType) else option
            each = each.value_type if isinstance(each, inspect.DictType) else each
            suffix = "[]" if isinstance(option, inspect.ListType) else ""
            if isinstance(each, inspect.StructType):
                yield from inert_parts(each.cls, f"{here}{suffix}.", table=table)
            elif isinstance(each, inspect.EnumType) and name in acting.values:
                words = [member.value for member in each.cls if member.value not in acting.values[name]]
                yield from (Inert(f"{here}: {word}", struct.__name__, name, word) for word in words)
            elif isinstance(each, inspect.BoolType) and name in acting.values:
                words = [_word(value) for value in (True, False) if value not in acting.values[name]]
                yield from (Inert(f"{here}: {word}", struct.__name__, name, word) for word in words)
            elif isinstance(each, inspect.StrType) and name in acting.values:
                yield Inert(f"{here} other than {_shown(acting.values[name])}", struct.__name__, name)
