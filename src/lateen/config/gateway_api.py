"""The Gateway API's kinds (`gateway.networking.k8s.io`) as frozen structs: every field of the standard channel.

Source: the CRDs of release 1.6.1. `config.validation.gateway_api` holds their rules, `mesh.gateway_api` says what they
mean. The names are the API's own; `networking.HTTPRoute` is another thing (one rule of a VirtualService). One module
per API group: structs without logic.

Durations stay strings as written (`1h30m`): `config.durations` reads them after validation.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from lateen.config.networking import Spec

GROUP = "gateway.networking.k8s.io"
MODE_OPTION = "gateway.istio.io/tls-terminate-mode"
CIPHERS_OPTION = "gateway.istio.io/tls-cipher-suites"
TLS_OPTIONS = frozenset((MODE_OPTION, CIPHERS_OPTION))
"""Options of a listener's TLS that are known: Istio's."""
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Percentage = Annotated[int, msgspec.Meta(ge=0, le=100)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=2147483647)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2147483647)]


# --- references ----------------------------------------------------------------------------------------------


class ParentReference(Spec, frozen=True, kw_only=True):
    """What a route attaches to: a Gateway or one of its listeners, or a Service for calls inside the mesh."""

    name: str
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    section_name: str = ""
    port: PortNumber | None = None


class BackendObjectReference(Spec, frozen=True, kw_only=True):
    """A Service by name and port."""

    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: PortNumber | None = None


class BackendRef(BackendObjectReference, frozen=True, kw_only=True):
    """A backend of a TCPRoute or TLSRoute with its share of connections."""

    weight: Weight = 1


class SecretObjectReference(Spec, frozen=True, kw_only=True):
    """A Secret."""

    name: str
    group: str = ""
    kind: str = "Secret"
    namespace: str = ""


class ObjectReference(Spec, frozen=True, kw_only=True):
    """Any object, of any namespace."""

    group: str
    kind: str
    name: str
    namespace: str = ""


class LocalObjectReference(Spec, frozen=True, kw_only=True):
    """An object of the same namespace."""

    group: str
    kind: str
    name: str


class ParametersReference(Spec, frozen=True, kw_only=True):
    """Parameters of a GatewayClass, in a form of the implementation's."""

    group: str
    kind: str
    name: str
    namespace: str = ""


# --- GatewayClass --------------------------------------------------------------------------------------------


class GatewayClass(Spec, frozen=True, kw_only=True):
    """Who serves the Gateways of a class."""

    controller_name: str
    description: str = ""
    parameters_ref: ParametersReference | None = None


# --- Gateway -------------------------------------------------------------------------------------------------


class SelectorOperator(Enum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelSelectorRequirement(Spec, frozen=True, kw_only=True):
    """One condition on a label."""

    key: str
    operator: SelectorOperator
    values: list[str] = []


class LabelSelector(Spec, frozen=True, kw_only=True):
    """Conditions on labels, all of which must hold."""

    match_labels: dict[str, str] = {}
    match_expressions: list[LabelSelectorRequirement] = []


class FromNamespaces(Enum):
    """Of which namespaces routes may attach."""

    ALL = "All"
    SELECTOR = "Selector"
    SAME = "Same"


class FromListenerNamespaces(Enum):
    """Of which namespaces ListenerSets may attach."""

    ALL = "All"
    SELECTOR = "Selector"
    SAME = "Same"
    NONE = "None"


class RouteNamespaces(Spec, frozen=True, kw_only=True):
    """Namespaces whose routes may attach."""

    from_: FromNamespaces = msgspec.field(default=FromNamespaces.SAME, name="from")
    selector: LabelSelector | None = None


class ListenerNamespaces(Spec, frozen=True, kw_only=True):
    """Namespaces whose ListenerSets may attach."""

    from_: FromListenerNamespaces = msgspec.field(default=FromListenerNamespaces.NONE, name="from")
    selector: LabelSelector | None = None


class AllowedListeners(Spec, frozen=True, kw_only=True):
    """Which ListenerSets may attach."""

    namespaces: ListenerNamespaces | None = None


class RouteGroupKind(Spec, frozen=True, kw_only=True):
    """A kind of route."""

    kind: str
    group: str = GROUP


class AllowedRoutes(Spec, frozen=True, kw_only=True):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces | None = None
    kinds: list[RouteGroupKind] = []


class TLSMode(Enum):
    """Who ends a TLS connection."""

    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


class ListenerTLS(Spec, frozen=True, kw_only=True):
    """TLS of a listener."""

    mode: TLSMode = TLSMode.TERMINATE
    certificate_refs: list[SecretObjectReference] = []
    options: dict[str, str] = {}


class Listener(Spec, frozen=True, kw_only=True):
    """A port, a protocol and a host name that a Gateway accepts traffic for."""

    name: str
    port: PortNumber
    protocol: str
    hostname: str = ""
    tls: ListenerTLS | None = None
    allowed_routes: AllowedRoutes | None = None


class GatewayAddress(Spec, frozen=True, kw_only=True):
    """An address that is asked for; `Hostname` of a service means the proxies behind it."""

    type: str = "IPAddress"
    value: str = ""


class GatewayInfrastructure(Spec, frozen=True, kw_only=True):
    """What is put on the infrastructure that a cluster provisions."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    parameters_ref: LocalObjectReference | None = None


class ClientValidationMode(Enum):
    """Whether a client without a valid certificate gets in."""

    ALLOW_VALID_ONLY = "AllowValidOnly"
    ALLOW_INSECURE_FALLBACK = "AllowInsecureFallback"


class FrontendTLSValidation(Spec, frozen=True, kw_only=True):
    """How client certificates are checked."""

    ca_certificate_refs: list[ObjectReference]
    mode: ClientValidationMode = ClientValidationMode.ALLOW_VALID_ONLY


class FrontendTLS(Spec, frozen=True, kw_only=True):
    """TLS towards clients."""

    validation: FrontendTLSValidation | None = None


class FrontendTLSPort(Spec, frozen=True, kw_only=True):
    """TLS towards the clients of one port."""

    port: PortNumber
    tls: FrontendTLS


class FrontendTLSConfig(Spec, frozen=True, kw_only=True):
    """TLS towards clients, by port."""

    default: FrontendTLS
    per_port: list[FrontendTLSPort] = []


class BackendTLS(Spec, frozen=True, kw_only=True):
    """TLS towards backends."""

    client_certificate_ref: SecretObjectReference | None = None


class GatewayTLSConfig(Spec, frozen=True, kw_only=True):
    """TLS of a whole Gateway."""

    frontend: FrontendTLSConfig | None = None
    backend: BackendTLS | None = None


class KubernetesGateway(Spec, frozen=True, kw_only=True):
    """A Gateway of the Gateway API; Istio's own kind of that name is `networking.Gateway`."""

    gateway_class_name: str
    listeners: list[Listener]
    addresses: list[GatewayAddress] = []
    infrastructure: GatewayInfrastructure | None = None
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTLSConfig | None = None


# --- HTTPRoute -----------------------------------------------------------------------------------------------


class PathMatchType(Enum):
    """How a path is compared."""

    EXACT = "Exact"
    PATH_PREFIX = "PathPrefix"
    REGULAR_EXPRESSION = "RegularExpression"


class MatchType(Enum):
    """How a header, a query parameter or a gRPC method is compared."""

    EXACT = "Exact"
    REGULAR_EXPRESSION = "RegularExpression"


class HTTPMethod(Enum):
    """Methods that can be asked for."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    CONNECT = "CONNECT"
    OPTIONS = "OPTIONS"
    TRACE = "TRACE"
    PATCH = "PATCH"


class HTTPPathMatch(Spec, frozen=True, kw_only=True):
    """A condition on the path; a prefix is one of whole elements."""

    type: PathMatchType = PathMatchType.PATH_PREFIX
    value: str = "/"


class HTTPHeaderMatch(Spec, frozen=True, kw_only=True):
    """A condition on a header or a query parameter."""

    name: str
    value: str
    type: MatchType = MatchType.EXACT


class HTTPRouteMatch(Spec, frozen=True, kw_only=True):
    """Conditions on a request; all must hold."""

    path: HTTPPathMatch | None = None
    headers: list[HTTPHeaderMatch] = []
    query_params: list[HTTPHeaderMatch] = []
    method: HTTPMethod | None = None


class HTTPHeader(Spec, frozen=True, kw_only=True):
    """A header."""

    name: str
    value: str


class HTTPHeaderFilter(Spec, frozen=True, kw_only=True):
    """Headers to set, add and remove."""

    set: list[HTTPHeader] = []
    add: list[HTTPHeader] = []
    remove: list[str] = []


class Fraction(Spec, frozen=True, kw_only=True):
    """A share."""

    numerator: NotNegative
    denominator: Positive = 100


class HTTPRequestMirrorFilter(Spec, frozen=True, kw_only=True):
    """Send a copy of some requests elsewhere."""

    backend_ref: BackendObjectReference
    percent: Percentage | None = None
    fraction: Fraction | None = None


class PathModifierType(Enum):
    """Which part of a path is replaced."""

    REPLACE_FULL_PATH = "ReplaceFullPath"
    REPLACE_PREFIX_MATCH = "ReplacePrefixMatch"


class HTTPPathModifier(Spec, frozen=True, kw_only=True):
    """Another path."""

    type: PathModifierType
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RedirectScheme(Enum):
    """Schemes to redirect to."""

    HTTP = "http"
    HTTPS = "https"


class HTTPRequestRedirectFilter(Spec, frozen=True, kw_only=True):
    """Answer with a redirect."""

    scheme: RedirectScheme | None = None
    hostname: str = ""
    path: HTTPPathModifier | None = None
    port: PortNumber | None = None
    status_code: int = 302


class HTTPURLRewriteFilter(Spec, frozen=True, kw_only=True):
    """Change host and path before forwarding."""

    hostname: str = ""
    path: HTTPPathModifier | None = None


class HTTPCORSFilter(Spec, frozen=True, kw_only=True):
    """Which other origins may call."""

    allow_origins: list[str] = []
    allow_credentials: bool | None = None
    allow_methods: list[str] = []
    allow_headers: list[str] = []
    expose_headers: list[str] = []
    max_age: Positive = 5


class HTTPFilterType(Enum):
    """Which of the fields of a filter counts."""

    REQUEST_HEADER_MODIFIER = "RequestHeaderModifier"
    RESPONSE_HEADER_MODIFIER = "ResponseHeaderModifier"
    REQUEST_MIRROR = "RequestMirror"
    REQUEST_REDIRECT = "RequestRedirect"
    URL_REWRITE = "URLRewrite"
    EXTENSION_REF = "ExtensionRef"
    CORS = "CORS"


class HTTPRouteFilter(Spec, frozen=True, kw_only=True):
    """One thing to do with a request or response."""

    type: HTTPFilterType
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_mirror: HTTPRequestMirrorFilter | None = None
    request_redirect: HTTPRequestRedirectFilter | None = None
    url_rewrite: HTTPURLRewriteFilter | None = None
    cors: HTTPCORSFilter | None = None
    extension_ref: LocalObjectReference | None = None


class HTTPBackendRef(BackendRef, frozen=True, kw_only=True):
    """A backend with its share of requests and filters of its own."""

    filters: list[HTTPRouteFilter] = []


class HTTPRouteTimeouts(Spec, frozen=True, kw_only=True):
    """Time limits; zero is none."""

    request: str = ""
    backend_request: str = ""


class HTTPRouteRule(Spec, frozen=True, kw_only=True):
    """Matches, filters and backends."""

    name: str = ""
    matches: list[HTTPRouteMatch] = []
    filters: list[HTTPRouteFilter] = []
    backend_refs: list[HTTPBackendRef] = []
    timeouts: HTTPRouteTimeouts | None = None


class HTTPRoute(Spec, frozen=True, kw_only=True):
    """Routes of HTTP requests."""

    parent_refs: list[ParentReference] = []
    hostnames: list[str] = []
    rules: list[HTTPRouteRule] = msgspec.field(default_factory=lambda: [HTTPRouteRule()])


# --- GRPCRoute -----------------------------------------------------------------------------------------------


class GRPCMethodMatch(Spec, frozen=True, kw_only=True):
    """A service, a method, or both."""

    type: MatchType = MatchType.EXACT
    service: str = ""
    method: str = ""


class GRPCRouteMatch(Spec, frozen=True, kw_only=True):
    """Conditions on a call; all must hold."""

    method: GRPCMethodMatch | None = None
    headers: list[HTTPHeaderMatch] = []


class GRPCFilterType(Enum):
    """Which of the fields of a filter counts."""

    REQUEST_HEADER_MODIFIER = "RequestHeaderModifier"
    RESPONSE_HEADER_MODIFIER = "ResponseHeaderModifier"
    REQUEST_MIRROR = "RequestMirror"
    EXTENSION_REF = "ExtensionRef"


class GRPCRouteFilter(Spec, frozen=True, kw_only=True):
    """One thing to do with a call."""

    type: GRPCFilterType
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_mirror: HTTPRequestMirrorFilter | None = None
    extension_ref: LocalObjectReference | None = None


class GRPCBackendRef(BackendRef, frozen=True, kw_only=True):
    """A backend with its share of calls and filters of its own."""

    filters: list[GRPCRouteFilter] = []


class GRPCRouteRule(Spec, frozen=True, kw_only=True):
    """Matches, filters and backends."""

    name: str = ""
    matches: list[GRPCRouteMatch] = []
    filters: list[GRPCRouteFilter] = []
    backend_refs: list[GRPCBackendRef] = []


class GRPCRoute(Spec, frozen=True, kw_only=True):
    """Routes of gRPC calls."""

    parent_refs: list[ParentReference] = []
    hostnames: list[str] = []
    rules: list[GRPCRouteRule] = []


# --- TCPRoute and TLSRoute -----------------------------------------------------------------------------------


class ConnectionRule(Spec, frozen=True, kw_only=True):
    """Backends of connections."""

    backend_refs: list[BackendRef]
    name: str = ""


class TCPRoute(Spec, frozen=True, kw_only=True):
    """Routes of connections."""

    rules: list[ConnectionRule]
    parent_refs: list[ParentReference] = []


class TLSRoute(Spec, frozen=True, kw_only=True):
    """Routes of TLS connections by server name."""

    hostnames: list[str]
    rules: list[ConnectionRule]
    parent_refs: list[ParentReference] = []


# --- ReferenceGrant ------------------------------------------------------------------------------------------


class ReferenceGrantFrom(Spec, frozen=True, kw_only=True):
    """Who may refer to objects of the grant's namespace."""

    group: str
    kind: str
    namespace: str


class ReferenceGrantTo(Spec, frozen=True, kw_only=True):
    """Which objects; without a name all of the kind."""

    group: str
    kind: str
    name: str = ""


class ReferenceGrant(Spec, frozen=True, kw_only=True):
    """Permission to refer to objects of its namespace from others."""

    from_: list[ReferenceGrantFrom] = msgspec.field(name="from")
    to: list[ReferenceGrantTo]


# --- BackendTLSPolicy ----------------------------------------------------------------------------------------


class PolicyTarget(Spec, frozen=True, kw_only=True):
    """A Service, or one of its ports by name."""

    group: str
    kind: str
    name: str
    section_name: str = ""


class SubjectAltNameType(Enum):
    """Form of a subject alternative name."""

    HOSTNAME = "Hostname"
    URI = "URI"


class SubjectAltName(Spec, frozen=True, kw_only=True):
    """A name that a backend's certificate must have."""

    type: SubjectAltNameType
    hostname: str = ""
    uri: str = ""


class BackendTLSValidation(Spec, frozen=True, kw_only=True):
    """How a backend's certificate is checked."""

    hostname: str
    ca_certificate_refs: list[LocalObjectReference] = []
    well_known_ca_certificates: str = msgspec.field(default="", name="wellKnownCACertificates")
    subject_alt_names: list[SubjectAltName] = []


class BackendTLSPolicy(Spec, frozen=True, kw_only=True):
    """TLS from gateways to a backend."""

    target_refs: list[PolicyTarget]
    validation: BackendTLSValidation
    options: dict[str, str] = {}
