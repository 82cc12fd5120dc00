"""The kinds of objects: their groups and versions, their struct, where the spec stands, their names in commands.

Called by `config.parsing` and by commands that take a kind (`lateen get vs`). Adding a kind is adding a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lateen.config.envoy_filter import EnvoyFilter
from lateen.config.extensions import TrafficExtension, WasmPlugin
from lateen.config.gateway_api import (
    GROUP,
    BackendTLSPolicy,
    GatewayClass,
    GRPCRoute,
    HTTPRoute,
    KubernetesGateway,
    ListenerSet,
    ReferenceGrant,
    TCPRoute,
    TLSRoute,
)
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
from lateen.config.telemetry import Telemetry
from lateen.config.workload_groups import WorkloadGroup, WorkloadProxyConfig

ISTIO_NETWORKING = "networking.istio.io"
ISTIO_SECURITY = "security.istio.io"
ISTIO_TELEMETRY = "telemetry.istio.io"
ISTIO_EXTENSIONS = "extensions.istio.io"
_ISTIO_VERSIONS = {
    ISTIO_NETWORKING: ("v1", "v1beta1", "v1alpha3"),
    ISTIO_SECURITY: ("v1", "v1beta1"),
    ISTIO_TELEMETRY: ("v1", "v1alpha1"),
    ISTIO_EXTENSIONS: ("v1alpha1",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind that this version reads."""

    name: str
    """What keys of objects hold. `VirtualService`, as documents write it, unless `written` is set."""
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
    written: str = ""
    """Kind as documents write it, where another group has a kind of that name: Gateway."""

    @property
    def document_kind(self) -> str:
        """Kind as documents write it."""
        return self.written or self.name

    @property
    def is_istio(self) -> bool:
        """Whether protobuf's JSON rules apply: snake case names and numbers in quotes are admitted."""
        return self.group in _ISTIO_VERSIONS

    def api_version(self, version: str = "") -> str:
        """Return `group/version`, or only the version for the core group."""
        return f"{self.group}/{version or self.versions[0]}".lstrip("/")


def _istio(struct: type[Spec], plural: str, short_name: str = "", group: str = ISTIO_NETWORKING) -> Kind:
    return Kind(
        name=struct.__name__,
        group=group,
        versions=_ISTIO_VERSIONS[group],
        struct=struct,
        plural=plural,
        short_names=(short_name,) if short_name else (),
    )


def _gateway_api(
    struct: type[Spec],
    plural: str,
    *short_names: str,
    versions: tuple[str, ...] = ("v1",),
    namespaced: bool = True,
    written: str = "",
) -> Kind:
    return Kind(
        name=struct.__name__,
        group=GROUP,
        versions=versions,
        struct=struct,
        plural=plural,
        short_names=short_names,
        namespaced=namespaced,
        written=written,
    )


_ALL = (
    _istio(VirtualService, "virtualservices", "vs"),
    _istio(DestinationRule, "destinationrules", "dr"),
    _istio(Gateway, "gateways", "gw"),
    _istio(ServiceEntry, "serviceentries", "se"),
    _istio(WorkloadEntry, "workloadentries", "we"),
    _istio(WorkloadGroup, "workloadgroups", "wg"),
    Kind(
        name="ProxyConfig",
        group=ISTIO_NETWORKING,
        versions=("v1beta1",),
        struct=WorkloadProxyConfig,
        plural="proxyconfigs",
    ),
    _istio(Sidecar, "sidecars", "sc"),
    Kind(
        name="EnvoyFilter",
        group=ISTIO_NETWORKING,
        versions=("v1alpha3",),
        struct=EnvoyFilter,
        plural="envoyfilters",
        short_names=("ef",),
    ),
    _istio(PeerAuthentication, "peerauthentications", "pa", ISTIO_SECURITY),
    _istio(RequestAuthentication, "requestauthentications", "ra", ISTIO_SECURITY),
    _istio(AuthorizationPolicy, "authorizationpolicies", "ap", ISTIO_SECURITY),
    _istio(Telemetry, "telemetries", "telemetry", ISTIO_TELEMETRY),
    _istio(WasmPlugin, "wasmplugins", group=ISTIO_EXTENSIONS),
    _istio(TrafficExtension, "trafficextensions", group=ISTIO_EXTENSIONS),
    _gateway_api(GatewayClass, "gatewayclasses", "gc", versions=("v1", "v1beta1"), namespaced=False),
    _gateway_api(KubernetesGateway, f"gateways.{GROUP}", "gtw", versions=("v1", "v1beta1"), written="Gateway"),
    _gateway_api(ListenerSet, "listenersets", "lset"),
    _gateway_api(HTTPRoute, "httproutes", versions=("v1", "v1beta1")),
    _gateway_api(GRPCRoute, "grpcroutes", versions=("v1", "v1alpha2")),
    _gateway_api(TCPRoute, "tcproutes", versions=("v1", "v1alpha2")),
    _gateway_api(TLSRoute, "tlsroutes", versions=("v1", "v1alpha3", "v1alpha2")),
    _gateway_api(ReferenceGrant, "referencegrants", "refgrant", versions=("v1", "v1beta1", "v1alpha2")),
    _gateway_api(BackendTLSPolicy, "backendtlspolicies", "btlspolicy", versions=("v1", "v1alpha3")),
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
"""By name. Two groups have a kind `Gateway`: Istio's keeps the name, the Gateway API's is `KubernetesGateway`."""

NOT_YET: Mapping[str, frozenset[str]] = {
    GROUP: frozenset(("UDPRoute",)),
}
"""Kinds of a mesh that this version does not read, by group."""

_BY_DOCUMENT = {(kind.group, kind.document_kind): kind for kind in _ALL}


def find_kind(group: str, name: str) -> Kind | None:
    """Return the kind of a document, None when it is not one that is read."""
    return _BY_DOCUMENT.get((group, name))


def document_kind(name: str) -> str:
    """Return a kind as documents and users write it, by the name that keys hold; an unknown one as it is."""
    return KINDS[name].document_kind if name in KINDS else name


def kind_named(word: str) -> Kind | None:
    """Return the kind that a user means by `virtualservice`, `vs` or `virtualservices.networking.istio.io`.

    A group decides between kinds of one name, as in kubectl; without one `gateways` are Istio's.
    """
    wanted, _, group = word.lower().partition(".")
    named = [kind for kind in KINDS.values() if wanted in _words(kind)]
    if group:
        # `virtualservices.v1.networking.istio.io` is kubectl's way to name a version too.
        of_group = [kind for kind in named if group in (kind.group, *(f"{one}.{kind.group}" for one in kind.versions))]
        named = of_group or named
    return named[0] if named else None


def _words(kind: Kind) -> tuple[str, ...]:
    return (kind.document_kind.lower(), kind.name.lower(), kind.plural.partition(".")[0], *kind.short_names)


def kind_names() -> tuple[str, ...]:
    """Return every word that `kind_named` knows, for completion and hints."""
    return tuple(name for kind in KINDS.values() for name in (kind.plural, *kind.short_names))
