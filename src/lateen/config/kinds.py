"""The kinds of objects: their groups and versions, their struct, where the spec stands, their names in commands.

Called by `config.parsing` and by commands that take a kind (`lateen get vs`). Adding a kind is adding a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lateen.config.kubernetes import ConfigMap, Endpoints, EndpointSlice, Namespace, Secret, ServiceSpec
from lateen.config.networking import (
    DestinationRule,
    Gateway,
    ServiceEntry,
    Sidecar,
    Spec,
    VirtualService,
    WorkloadEntry,
)
from lateen.config.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication

ISTIO_NETWORKING = "networking.istio.io"
ISTIO_SECURITY = "security.istio.io"
_ISTIO_VERSIONS = {ISTIO_NETWORKING: ("v1", "v1beta1", "v1alpha3"), ISTIO_SECURITY: ("v1", "v1beta1")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind that this version reads."""

    name: str
    """`VirtualService`, as documents write it."""
    group: str
    """API group, empty for Kubernetes' core."""
    versions: tuple[str, ...]
    """First is the preferred one."""
    struct: type[Spec]
    plural: str
    short_names: tuple[str, ...] = ()
    spec_field: str = "spec"
    """Field that holds the struct; empty when its fields stand beside metadata."""
    namespaced: bool = True

    @property
    def is_istio(self) -> bool:
        """Whether protobuf's JSON rules apply: snake case names and numbers in quotes are admitted."""
        return self.group in _ISTIO_VERSIONS

    def api_version(self, version: str = "") -> str:
        """Return `group/version`, or only the version for the core group."""
        return f"{self.group}/{version or self.versions[0]}".lstrip("/")


def _istio(struct: type[Spec], plural: str, short_name: str, group: str = ISTIO_NETWORKING) -> Kind:
    return Kind(
        name=struct.__name__,
        group=group,
        versions=_ISTIO_VERSIONS[group],
        struct=struct,
        plural=plural,
        short_names=(short_name,),
    )


_ALL = (
    _istio(VirtualService, "virtualservices", "vs"),
    _istio(DestinationRule, "destinationrules", "dr"),
    _istio(Gateway, "gateways", "gw"),
    _istio(ServiceEntry, "serviceentries", "se"),
    _istio(WorkloadEntry, "workloadentries", "we"),
    _istio(Sidecar, "sidecars", "sc"),
    _istio(PeerAuthentication, "peerauthentications", "pa", ISTIO_SECURITY),
    _istio(RequestAuthentication, "requestauthentications", "ra", ISTIO_SECURITY),
    _istio(AuthorizationPolicy, "authorizationpolicies", "ap", ISTIO_SECURITY),
    Kind(name="Service", group="", versions=("v1",), struct=ServiceSpec, plural="services", short_names=("svc",)),
    Kind(
        name="Endpoints",
        group="",
        versions=("v1",),
        struct=Endpoints,
        plural="endpoints",
        short_names=("ep",),
        spec_field="",
    ),
    Kind(
        name="EndpointSlice",
        group="discovery.k8s.io",
        versions=("v1",),
        struct=EndpointSlice,
        plural="endpointslices",
        spec_field="",
    ),
    Kind(name="Secret", group="", versions=("v1",), struct=Secret, plural="secrets", spec_field=""),
    Kind(
        name="ConfigMap",
        group="",
        versions=("v1",),
        struct=ConfigMap,
        plural="configmaps",
        short_names=("cm",),
        spec_field="",
    ),
    Kind(
        name="Namespace",
        group="",
        versions=("v1",),
        struct=Namespace,
        plural="namespaces",
        short_names=("ns",),
        namespaced=False,
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
"""By name. Kind names are unique among the kinds that are read, so the group need not be part of the key."""

NOT_YET: Mapping[str, frozenset[str]] = {
    "networking.istio.io": frozenset(("EnvoyFilter", "WorkloadGroup", "ProxyConfig")),
    "telemetry.istio.io": frozenset(("Telemetry",)),
    "extensions.istio.io": frozenset(("WasmPlugin", "TrafficExtension")),
    "gateway.networking.k8s.io": frozenset(
        (
            "Gateway",
            "GatewayClass",
            "HTTPRoute",
            "GRPCRoute",
            "TLSRoute",
            "TCPRoute",
            "UDPRoute",
            "ReferenceGrant",
            "BackendTLSPolicy",
        )
    ),
}
"""Kinds of a mesh that this version does not read, by group."""


def find_kind(group: str, name: str) -> Kind | None:
    """Return the kind of a document, None when it is not one that is read."""
    kind = KINDS.get(name)
    return kind if kind is not None and kind.group == group else None


def kind_named(word: str) -> Kind | None:
    """Return the kind that a user means by `virtualservice`, `vs` or `virtualservices.networking.istio.io`."""
    wanted = word.lower().split(".", 1)[0]
    for kind in KINDS.values():
        if wanted in (kind.name.lower(), kind.plural, *kind.short_names):
            return kind
    return None


def kind_names() -> tuple[str, ...]:
    """Return every word that `kind_named` knows, for completion and hints."""
    return tuple(name for kind in KINDS.values() for name in (kind.plural, *kind.short_names))
