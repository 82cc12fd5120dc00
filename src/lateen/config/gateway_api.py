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
    """What a route attaches to: a Gateway, a ListenerSet, a listener of one; or a Service for calls inside the mesh."""

    name: str
    """Name of the parent."""
    group: str = GROUP
    """API group of the parent; empty for a Service, `networking.istio.io` for a ServiceEntry."""
    kind: str = "Gateway"
    """`Gateway`, `ListenerSet`, `Service` or `ServiceEntry`."""
    namespace: str = ""
    """Its namespace; unset is the route's."""
    section_name: str = ""
    """One listener of the Gateway or ListenerSet, by name."""
    port: PortNumber | None = None
    """Only the listeners, or the port of the Service or ServiceEntry, with this number."""


class BackendObjectReference(Spec, frozen=True, kw_only=True):
    """A Service by name and port."""

    name: str
    """Name of the Service."""
    group: str = ""
    """Empty is Kubernetes' core; `networking.istio.io` for kind `Hostname`."""
    kind: str = "Service"
    """`Service`, or `Hostname` for any host of the mesh."""
    namespace: str = ""
    """Unset is the route's; another needs a ReferenceGrant."""
    port: PortNumber | None = None
    """Port of the Service; required for one."""


class BackendRef(BackendObjectReference, frozen=True, kw_only=True):
    """A backend of a TCPRoute or TLSRoute with its share of connections."""

    weight: Weight = 1
    """Share of the sum of all weights."""


class SecretObjectReference(Spec, frozen=True, kw_only=True):
    """A Secret."""

    name: str
    """Name of the Secret."""
    group: str = ""
    """Empty is Kubernetes' core."""
    kind: str = "Secret"
    """`Secret`."""
    namespace: str = ""
    """Unset is the Gateway's; another needs a ReferenceGrant."""


class ObjectReference(Spec, frozen=True, kw_only=True):
    """Any object, of any namespace."""

    group: str
    """API group; empty is Kubernetes' core."""
    kind: str
    """Kind of the object."""
    name: str
    """Name of the object."""
    namespace: str = ""
    """Unset is that of the referring object; another needs a ReferenceGrant."""


class LocalObjectReference(Spec, frozen=True, kw_only=True):
    """An object of the same namespace."""

    group: str
    """API group; empty is Kubernetes' core."""
    kind: str
    """Kind of the object."""
    name: str
    """Name of the object, in the same namespace."""


class ParametersReference(Spec, frozen=True, kw_only=True):
    """Parameters of a GatewayClass, in a form of the implementation's."""

    group: str
    """API group."""
    kind: str
    """Kind of the object."""
    name: str
    """Name of the object."""
    namespace: str = ""
    """Its namespace; unset for a cluster-wide one."""


# --- GatewayClass --------------------------------------------------------------------------------------------


class GatewayClass(Spec, frozen=True, kw_only=True):
    """Who serves the Gateways of a class."""

    controller_name: str
    """Who serves the class; others' classes are left alone."""
    description: str = ""
    """For people, up to 64 characters."""
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
    """Name of the label."""
    operator: SelectorOperator
    """How it is compared."""
    values: list[str] = []
    """For `In` and `NotIn`."""


class LabelSelector(Spec, frozen=True, kw_only=True):
    """Conditions on labels, all of which must hold."""

    match_labels: dict[str, str] = {}
    """All of these labels."""
    match_expressions: list[LabelSelectorRequirement] = []
    """All of these conditions."""


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
    """Which namespaces."""
    selector: LabelSelector | None = None
    """Labels of namespaces, for `Selector`."""


class ListenerNamespaces(Spec, frozen=True, kw_only=True):
    """Namespaces whose ListenerSets may attach."""

    from_: FromListenerNamespaces = msgspec.field(default=FromListenerNamespaces.NONE, name="from")
    """Which namespaces."""
    selector: LabelSelector | None = None
    """Labels of namespaces, for `Selector`."""


class AllowedListeners(Spec, frozen=True, kw_only=True):
    """Which ListenerSets may attach."""

    namespaces: ListenerNamespaces | None = None
    """Namespaces of the ListenerSets."""


class RouteGroupKind(Spec, frozen=True, kw_only=True):
    """A kind of route."""

    kind: str
    """Kind of the route."""
    group: str = GROUP
    """API group of the kind."""


class AllowedRoutes(Spec, frozen=True, kw_only=True):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces | None = None
    """Unset is the Gateway's own namespace."""
    kinds: list[RouteGroupKind] = []
    """Unset is every kind that fits the protocol."""


class TLSMode(Enum):
    """Who ends a TLS connection."""

    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


class ListenerTLS(Spec, frozen=True, kw_only=True):
    """TLS of a listener."""

    mode: TLSMode = TLSMode.TERMINATE
    """Whether the gateway ends TLS or passes it through."""
    certificate_refs: list[SecretObjectReference] = []
    """Secrets with certificate and key, for `Terminate`."""
    options: dict[str, str] = {}
    """Settings of an implementation."""


class Listener(Spec, frozen=True, kw_only=True):
    """A port, a protocol and a host name that a Gateway accepts traffic for."""

    name: str
    """Name that routes and statuses use; unique in the Gateway."""
    port: PortNumber
    """Port to listen on."""
    protocol: str
    """HTTP, HTTPS, TLS or TCP."""
    hostname: str = ""
    """Host, or server name of TLS; a leading `*.` stands for any prefix, unset is any."""
    tls: ListenerTLS | None = None
    """Needed for HTTPS and TLS."""
    allowed_routes: AllowedRoutes | None = None
    """Which routes may attach."""


class GatewayAddress(Spec, frozen=True, kw_only=True):
    """An address that is asked for; `Hostname` of a service means the proxies behind it."""

    type: str = "IPAddress"
    """`Hostname` names the proxies; `IPAddress` cannot be given out here."""
    value: str = ""
    """The address."""


class GatewayInfrastructure(Spec, frozen=True, kw_only=True):
    """What is put on the infrastructure that a cluster provisions."""

    labels: dict[str, str] = {}
    """For what a cluster provisions; no meaning here."""
    annotations: dict[str, str] = {}
    """For what a cluster provisions; no meaning here."""
    parameters_ref: LocalObjectReference | None = None
    """Parameters of an implementation."""


class ClientValidationMode(Enum):
    """Whether a client without a valid certificate gets in."""

    ALLOW_VALID_ONLY = "AllowValidOnly"
    ALLOW_INSECURE_FALLBACK = "AllowInsecureFallback"


class FrontendTLSValidation(Spec, frozen=True, kw_only=True):
    """How client certificates are checked."""

    ca_certificate_refs: list[ObjectReference]
    """ConfigMaps or Secrets with roots under `ca.crt`."""
    mode: ClientValidationMode = ClientValidationMode.ALLOW_VALID_ONLY
    """Whether clients without a valid certificate get in."""


class FrontendTLS(Spec, frozen=True, kw_only=True):
    """TLS towards clients."""

    validation: FrontendTLSValidation | None = None
    """Unset asks clients for no certificate."""


class FrontendTLSPort(Spec, frozen=True, kw_only=True):
    """TLS towards the clients of one port."""

    port: PortNumber
    """Port of the listeners."""
    tls: FrontendTLS
    """In place of the default."""


class FrontendTLSConfig(Spec, frozen=True, kw_only=True):
    """TLS towards clients, by port."""

    default: FrontendTLS
    """For every port that is not named."""
    per_port: list[FrontendTLSPort] = []
    """What differs by port."""


class BackendTLS(Spec, frozen=True, kw_only=True):
    """TLS towards backends."""

    client_certificate_ref: SecretObjectReference | None = None
    """Certificate that the gateway shows to backends."""


class GatewayTLSConfig(Spec, frozen=True, kw_only=True):
    """TLS of a whole Gateway."""

    frontend: FrontendTLSConfig | None = None
    """Towards clients."""
    backend: BackendTLS | None = None
    """Towards backends."""


class KubernetesGateway(Spec, frozen=True, kw_only=True):
    """A Gateway of the Gateway API; Istio's own kind of that name is `networking.Gateway`."""

    gateway_class_name: str
    """Class that says who serves it."""
    listeners: list[Listener]
    """What to accept, 1 to 64."""
    addresses: list[GatewayAddress] = []
    """Which gateway proxies serve it; unset are those that its name and class say."""
    infrastructure: GatewayInfrastructure | None = None
    """For what a cluster provisions."""
    allowed_listeners: AllowedListeners | None = None
    """Whether ListenerSets may add to it."""
    tls: GatewayTLSConfig | None = None
    """For all listeners."""


# --- ListenerSet ---------------------------------------------------------------------------------------------


class ParentGatewayReference(Spec, frozen=True, kw_only=True):
    """The Gateway that a ListenerSet adds to."""

    name: str
    """Name of the Gateway."""
    group: str = GROUP
    """API group of the Gateway."""
    kind: str = "Gateway"
    """`Gateway`."""
    namespace: str = ""
    """Its namespace; unset is the ListenerSet's."""


class ListenerSet(Spec, frozen=True, kw_only=True):
    """Listeners that are added to a Gateway, in an object of their own."""

    parent_ref: ParentGatewayReference
    """The Gateway, whose `allowedListeners` must let this namespace in."""
    listeners: list[Listener]
    """What to accept, 1 to 64. Of conflicting listeners the Gateway's goes first, then that of the older set."""


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
    """How the path is compared."""
    value: str = "/"
    """Path, prefix of whole elements, or RE2 expression."""


class HTTPHeaderMatch(Spec, frozen=True, kw_only=True):
    """A condition on a header or a query parameter."""

    name: str
    """Name; of a header without case."""
    value: str
    """Value, or RE2 expression."""
    type: MatchType = MatchType.EXACT
    """How the value is compared."""


class HTTPRouteMatch(Spec, frozen=True, kw_only=True):
    """Conditions on a request; all must hold."""

    path: HTTPPathMatch | None = None
    """Unset is every path."""
    headers: list[HTTPHeaderMatch] = []
    """All of these."""
    query_params: list[HTTPHeaderMatch] = []
    """All of these."""
    method: HTTPMethod | None = None
    """Unset is every method."""


class HTTPHeader(Spec, frozen=True, kw_only=True):
    """A header."""

    name: str
    """Name of the header."""
    value: str
    """Its value."""


class HTTPHeaderFilter(Spec, frozen=True, kw_only=True):
    """Headers to set, add and remove."""

    set: list[HTTPHeader] = []
    """Replaces what is there."""
    add: list[HTTPHeader] = []
    """Appended to what is there."""
    remove: list[str] = []
    """Names of headers to take away."""


class Fraction(Spec, frozen=True, kw_only=True):
    """A share."""

    numerator: NotNegative
    """Requests out of `denominator`."""
    denominator: Positive = 100
    """At least the numerator."""


class HTTPRequestMirrorFilter(Spec, frozen=True, kw_only=True):
    """Send a copy of some requests elsewhere."""

    backend_ref: BackendObjectReference
    """Where the copies go; their responses are thrown away."""
    percent: Percentage | None = None
    """Share in percent, 0 to 100; unset is all."""
    fraction: Fraction | None = None
    """Share as a fraction, in place of `percent`."""


class PathModifierType(Enum):
    """Which part of a path is replaced."""

    REPLACE_FULL_PATH = "ReplaceFullPath"
    REPLACE_PREFIX_MATCH = "ReplacePrefixMatch"


class HTTPPathModifier(Spec, frozen=True, kw_only=True):
    """Another path."""

    type: PathModifierType
    """Which of the two fields counts."""
    replace_full_path: str | None = None
    """New path."""
    replace_prefix_match: str | None = None
    """What takes the place of the matched prefix."""


class RedirectScheme(Enum):
    """Schemes to redirect to."""

    HTTP = "http"
    HTTPS = "https"


class HTTPRequestRedirectFilter(Spec, frozen=True, kw_only=True):
    """Answer with a redirect."""

    scheme: RedirectScheme | None = None
    """Unset keeps the request's."""
    hostname: str = ""
    """Unset keeps the request's."""
    path: HTTPPathModifier | None = None
    """Unset keeps the request's."""
    port: PortNumber | None = None
    """Unset follows from scheme and listener."""
    status_code: int = 302
    """301, 302, 303, 307 or 308."""


class HTTPURLRewriteFilter(Spec, frozen=True, kw_only=True):
    """Change host and path before forwarding."""

    hostname: str = ""
    """Host that the backend sees."""
    path: HTTPPathModifier | None = None
    """Path that the backend sees."""


class HTTPCORSFilter(Spec, frozen=True, kw_only=True):
    """Which other origins may call."""

    allow_origins: list[str] = []
    """Origins that may call; `*` in them stands for anything."""
    allow_credentials: bool | None = None
    """Whether calls with credentials are allowed."""
    allow_methods: list[str] = []
    """For `Access-Control-Allow-Methods`."""
    allow_headers: list[str] = []
    """For `Access-Control-Allow-Headers`."""
    expose_headers: list[str] = []
    """For `Access-Control-Expose-Headers`."""
    max_age: Positive = 5
    """Seconds that a browser may keep a preflight's result."""


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
    """Which of the fields counts."""
    request_header_modifier: HTTPHeaderFilter | None = None
    """For type `RequestHeaderModifier`."""
    response_header_modifier: HTTPHeaderFilter | None = None
    """For type `ResponseHeaderModifier`."""
    request_mirror: HTTPRequestMirrorFilter | None = None
    """For type `RequestMirror`."""
    request_redirect: HTTPRequestRedirectFilter | None = None
    """For type `RequestRedirect`; the rule then needs no backend."""
    url_rewrite: HTTPURLRewriteFilter | None = None
    """For type `URLRewrite`."""
    cors: HTTPCORSFilter | None = None
    """For type `CORS`."""
    extension_ref: LocalObjectReference | None = None
    """Filter of an implementation; there is none."""


class HTTPBackendRef(BackendRef, frozen=True, kw_only=True):
    """A backend with its share of requests and filters of its own."""

    filters: list[HTTPRouteFilter] = []
    """For this share only."""


class HTTPRouteTimeouts(Spec, frozen=True, kw_only=True):
    """Time limits; zero is none."""

    request: str = ""
    """Duration of the whole call; `0s` is no limit."""
    backend_request: str = ""
    """Duration of one try; not longer than `request`."""


class HTTPRouteRule(Spec, frozen=True, kw_only=True):
    """Matches, filters and backends."""

    name: str = ""
    """Name of the rule, unique in the route."""
    matches: list[HTTPRouteMatch] = []
    """Any of these suffices; none is every request."""
    filters: list[HTTPRouteFilter] = []
    """What happens to requests and responses."""
    backend_refs: list[HTTPBackendRef] = []
    """Where requests go, by weight; none is answered with 500 unless a filter answers."""
    timeouts: HTTPRouteTimeouts | None = None
    """Unset is no limit."""


class HTTPRoute(Spec, frozen=True, kw_only=True):
    """Routes of HTTP requests."""

    parent_refs: list[ParentReference] = []
    """Gateways, or Services for calls inside the mesh."""
    hostnames: list[str] = []
    """Hosts, within those of the listener; unset is all of them."""
    rules: list[HTTPRouteRule] = msgspec.field(default_factory=lambda: [HTTPRouteRule()])
    """The most specific match of all routes decides, not the order."""


# --- GRPCRoute -----------------------------------------------------------------------------------------------


class GRPCMethodMatch(Spec, frozen=True, kw_only=True):
    """A service, a method, or both."""

    type: MatchType = MatchType.EXACT
    """How the names are compared."""
    service: str = ""
    """Full name with package; unset is any."""
    method: str = ""
    """Unset is any."""


class GRPCRouteMatch(Spec, frozen=True, kw_only=True):
    """Conditions on a call; all must hold."""

    method: GRPCMethodMatch | None = None
    """Unset is every method."""
    headers: list[HTTPHeaderMatch] = []
    """All of these."""


class GRPCFilterType(Enum):
    """Which of the fields of a filter counts."""

    REQUEST_HEADER_MODIFIER = "RequestHeaderModifier"
    RESPONSE_HEADER_MODIFIER = "ResponseHeaderModifier"
    REQUEST_MIRROR = "RequestMirror"
    EXTENSION_REF = "ExtensionRef"


class GRPCRouteFilter(Spec, frozen=True, kw_only=True):
    """One thing to do with a call."""

    type: GRPCFilterType
    """Which of the fields counts."""
    request_header_modifier: HTTPHeaderFilter | None = None
    """For type `RequestHeaderModifier`."""
    response_header_modifier: HTTPHeaderFilter | None = None
    """For type `ResponseHeaderModifier`."""
    request_mirror: HTTPRequestMirrorFilter | None = None
    """For type `RequestMirror`."""
    extension_ref: LocalObjectReference | None = None
    """Filter of an implementation; there is none."""


class GRPCBackendRef(BackendRef, frozen=True, kw_only=True):
    """A backend with its share of calls and filters of its own."""

    filters: list[GRPCRouteFilter] = []
    """For this share only."""


class GRPCRouteRule(Spec, frozen=True, kw_only=True):
    """Matches, filters and backends."""

    name: str = ""
    """Name of the rule, unique in the route."""
    matches: list[GRPCRouteMatch] = []
    """Any of these suffices; none is every call."""
    filters: list[GRPCRouteFilter] = []
    """What happens to calls."""
    backend_refs: list[GRPCBackendRef] = []
    """Where calls go, by weight."""


class GRPCRoute(Spec, frozen=True, kw_only=True):
    """Routes of gRPC calls."""

    parent_refs: list[ParentReference] = []
    """Gateways, or Services for calls inside the mesh."""
    hostnames: list[str] = []
    """Hosts, within those of the listener; unset is all of them."""
    rules: list[GRPCRouteRule] = []
    """The most specific match decides."""


# --- TCPRoute and TLSRoute -----------------------------------------------------------------------------------


class ConnectionRule(Spec, frozen=True, kw_only=True):
    """Backends of connections."""

    backend_refs: list[BackendRef]
    """Where connections go, by weight."""
    name: str = ""
    """Name of the rule."""


class TCPRoute(Spec, frozen=True, kw_only=True):
    """Routes of connections."""

    rules: list[ConnectionRule]
    """One rule."""
    parent_refs: list[ParentReference] = []
    """Gateways, or Services for calls inside the mesh."""


class TLSRoute(Spec, frozen=True, kw_only=True):
    """Routes of TLS connections by server name."""

    rules: list[ConnectionRule]
    """One rule."""
    hostnames: list[str] = []
    """Server names; a leading `*.` stands for any prefix. At least one; v1alpha2 has none for every name of the
    listener."""
    parent_refs: list[ParentReference] = []
    """Gateways, or Services for calls inside the mesh."""


# --- ReferenceGrant ------------------------------------------------------------------------------------------


class ReferenceGrantFrom(Spec, frozen=True, kw_only=True):
    """Who may refer to objects of the grant's namespace."""

    group: str
    """API group of the referring objects."""
    kind: str
    """Kind of the referring objects."""
    namespace: str
    """Their namespace."""


class ReferenceGrantTo(Spec, frozen=True, kw_only=True):
    """Which objects; without a name all of the kind."""

    group: str
    """API group; empty is Kubernetes' core."""
    kind: str
    """Kind of the objects referred to."""
    name: str = ""
    """One object; unset is all."""


class ReferenceGrant(Spec, frozen=True, kw_only=True):
    """Permission to refer to objects of its namespace from others."""

    from_: list[ReferenceGrantFrom] = msgspec.field(name="from")
    """Any of these."""
    to: list[ReferenceGrantTo]
    """Any of these, in the grant's namespace."""


# --- BackendTLSPolicy ----------------------------------------------------------------------------------------


class PolicyTarget(Spec, frozen=True, kw_only=True):
    """A Service, or one of its ports by name."""

    group: str
    """API group; empty is Kubernetes' core."""
    kind: str
    """`Service`."""
    name: str
    """Name of the Service, in the same namespace."""
    section_name: str = ""
    """One port, by name; unset is all."""


class SubjectAltNameType(Enum):
    """Form of a subject alternative name."""

    HOSTNAME = "Hostname"
    URI = "URI"


class SubjectAltName(Spec, frozen=True, kw_only=True):
    """A name that a backend's certificate must have."""

    type: SubjectAltNameType
    """Which of the two fields counts."""
    hostname: str = ""
    """DNS name."""
    uri: str = ""
    """URI, as SPIFFE IDs are."""


class BackendTLSValidation(Spec, frozen=True, kw_only=True):
    """How a backend's certificate is checked."""

    hostname: str
    """Server name to ask for, and the certificate's name unless others are listed."""
    ca_certificate_refs: list[LocalObjectReference] = []
    """ConfigMaps with roots under `ca.crt`."""
    well_known_ca_certificates: str = msgspec.field(default="", name="wellKnownCACertificates")
    """`System`: the roots of the machine."""
    subject_alt_names: list[SubjectAltName] = []
    """Names one of which the certificate must have, in place of the host."""


class BackendTLSPolicy(Spec, frozen=True, kw_only=True):
    """TLS from gateways to a backend."""

    target_refs: list[PolicyTarget]
    """Services it is for."""
    validation: BackendTLSValidation
    """How the backend's certificate is checked."""
    options: dict[str, str] = {}
    """Settings of an implementation."""
