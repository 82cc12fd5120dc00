"""Istio's `networking.istio.io` kinds as frozen structs: every field of the schema, in its shape.

Field names are Istio's, in snake case. Source: the Istio API reference and the CRD schema of `istio/api`
(July 2026); `tests/unit/config/test_schema_completeness.py` holds the two together. What a field *does* is
documented there, and which fields act here in `config/acting.py`.

One module per API group, so it is as long as the group: structs without logic, in the order of the reference.

Durations stay strings as written (`1.5s`): `config.durations` reads them after validation.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Unsigned = Annotated[int, msgspec.Meta(ge=0, le=4294967295)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Base of every struct that users write: frozen, and unknown fields are errors."""


# --- shared pieces -------------------------------------------------------------------------------------------


class StringMatch(Spec, frozen=True, kw_only=True):
    """Exactly one of exact, prefix, regex (RE2)."""

    exact: str | None = None
    """The whole value."""
    prefix: str | None = None
    """How the value begins."""
    regex: str | None = None
    """RE2 expression that the whole value matches."""


class PortSelector(Spec, frozen=True, kw_only=True):
    """A service port by number."""

    number: Port = 0
    """Port of the service, not of its endpoints."""


class WorkloadSelector(Spec, frozen=True, kw_only=True):
    """Workloads by label, of the same namespace."""

    labels: dict[str, str] = {}
    """All of these labels; none selects every workload of the namespace."""


class MatchLabelsSelector(Spec, frozen=True, kw_only=True):
    """Workloads by label, as DestinationRule and the security kinds write it."""

    match_labels: dict[str, str] = {}
    """All of these labels; none selects every workload in reach of the object."""


class ConfigPort(Spec, frozen=True, kw_only=True):
    """A port of a Gateway, ServiceEntry or Sidecar listener."""

    number: Port = 0
    """Port that clients use, 1 to 65535."""
    protocol: str = ""
    """HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL or REDIS; decides which routes apply."""
    name: str = ""
    """Name of the port, unique in its list."""
    target_port: Port = 0
    """Port of the endpoints; unset is the same as `number`."""


# --- VirtualService ------------------------------------------------------------------------------------------


class Destination(Spec, frozen=True, kw_only=True):
    """Where a route sends requests: a host, one of its subsets, one of its ports."""

    host: str
    """Host of a service; a short name is completed with the namespace of the object."""
    subset: str = ""
    """Subset that a DestinationRule of the host defines."""
    port: PortSelector | None = None
    """Needed only if the service has several ports."""


class HeaderOperations(Spec, frozen=True, kw_only=True):
    """Headers to set, add and remove."""

    set: dict[str, str] = {}
    """Header to value; replaces what is there. Values may hold Envoy's `%REQ(...)%` operators."""
    add: dict[str, str] = {}
    """Header to value; appended to what is there."""
    remove: list[str] = []
    """Names of headers to take away."""


class Headers(Spec, frozen=True, kw_only=True):
    """Header manipulation of requests and responses."""

    request: HeaderOperations | None = None
    """Of the request, before it is forwarded."""
    response: HeaderOperations | None = None
    """Of the response, before it is returned."""


class Percent(Spec, frozen=True, kw_only=True):
    """A percentage with fractions, 0.0 to 100.0."""

    value: float = 0.0
    """Percent, 0 to 100; steps of 0.0001 are kept."""


class HTTPRouteDestination(Spec, frozen=True, kw_only=True):
    """One weighted destination of an HTTP route."""

    destination: Destination
    """Where this share goes."""
    weight: int = 0
    """Share of the sum of all weights; a single destination needs none."""
    headers: Headers | None = None
    """Header changes for this share only."""


class RouteDestination(Spec, frozen=True, kw_only=True):
    """One weighted destination of a TCP or TLS route."""

    destination: Destination
    """Where this share goes."""
    weight: int = 0
    """Share of the sum of all weights; a single destination needs none."""


class HTTPMatchRequest(Spec, frozen=True, kw_only=True):
    """Conditions on a request; all must hold."""

    name: str = ""
    """Joined to the rule's name in the route's name, for logs and metrics."""
    uri: StringMatch | None = None
    """Condition on the path, without the query."""
    scheme: StringMatch | None = None
    """Condition on the scheme, `http` or `https`."""
    method: StringMatch | None = None
    """Condition on the method."""
    authority: StringMatch | None = None
    """Condition on the host that was asked for."""
    headers: dict[str, StringMatch] = {}
    """Lower-case header to condition; an empty condition means that the header is there."""
    port: Port = 0
    """Port of the service that was called."""
    source_labels: dict[str, str] = {}
    """Labels that the calling workload has; counts inside the mesh, not at gateways."""
    gateways: list[str] = []
    """Only at these gateways, in place of those of the object; `mesh` is every sidecar."""
    query_params: dict[str, StringMatch] = {}
    """Query parameter to condition; an empty condition means that it is there."""
    ignore_uri_case: bool = False
    """Compare the path without case; has no meaning for a regex."""
    without_headers: dict[str, StringMatch] = {}
    """The same conditions as `headers`, none of which may hold."""
    source_namespace: str = ""
    """Namespace of the calling workload."""
    stat_prefix: str = ""
    """Prefix of extra statistics of this route."""


class RedirectPortSelection(Enum):
    """Port of a redirect when it names none."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HTTPRedirect(Spec, frozen=True, kw_only=True):
    """Answer with a redirect."""

    uri: str = ""
    """New path; unset keeps the one asked for."""
    authority: str = ""
    """New host; unset keeps the one asked for."""
    port: Port | None = None
    """New port; not together with `derivePort`."""
    derive_port: RedirectPortSelection | None = None
    """How the port follows from the request."""
    scheme: str = ""
    """New scheme, `http` or `https`."""
    redirect_code: int = 0
    """301, 302, 303, 307 or 308; unset is 301."""
    prefix_rewrite: str = ""
    """Replaces the matched prefix; not together with `uri`."""


class HTTPBody(Spec, frozen=True, kw_only=True):
    """Body of a direct response: one of the two (bytes are base64)."""

    string: str | None = None
    """Body as text."""
    bytes: str | None = None
    """Body as base64."""


class HTTPDirectResponse(Spec, frozen=True, kw_only=True):
    """Answer with a fixed response."""

    status: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """HTTP status, 200 to 599."""
    body: HTTPBody | None = None
    """Unset is an empty body."""


class RegexRewrite(Spec, frozen=True, kw_only=True):
    """Rewrite by regular expression (RE2), `\\1` is the first group."""

    match: str = ""
    """RE2 expression, looked for in the path."""
    rewrite: str = ""
    """What takes the place of what matched."""


class HTTPRewrite(Spec, frozen=True, kw_only=True):
    """Change path or authority before forwarding."""

    uri: str = ""
    """Replaces the path, or the prefix if the rule matches one."""
    authority: str = ""
    """Host that the upstream sees."""
    uri_regex_rewrite: RegexRewrite | None = None
    """Replaces parts of the path; not together with `uri`."""


class HTTPRetry(Spec, frozen=True, kw_only=True):
    """Retry policy of a route."""

    attempts: int = 0
    """How often to try again; 0 switches off, without a policy the mesh's default retries twice."""
    per_try_timeout: str = ""
    """Duration of one try, the first included; unset is the route's timeout."""
    retry_on: str = ""
    """Envoy's conditions and HTTP statuses, comma-separated; unset is what the mesh's default has."""
    retry_remote_localities: bool | None = None
    """Whether a retry may go to another locality; unset is no."""
    retry_ignore_previous_hosts: bool | None = None
    """Whether a retry avoids the endpoints that were tried; unset is yes."""
    backoff: str = ""
    """Shortest wait between tries; unset is Envoy's 25ms, with jitter, growing to ten times that."""


class CORSUnmatchedPreflights(Enum):
    """What to do with a preflight whose origin does not match."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(Spec, frozen=True, kw_only=True):
    """Cross-origin policy of a route."""

    allow_origin: list[str] = []
    """Exact origins. Old form of `allowOrigins`."""
    allow_origins: list[StringMatch] = []
    """Origins that may call."""
    allow_methods: list[str] = []
    """For `Access-Control-Allow-Methods`."""
    allow_headers: list[str] = []
    """For `Access-Control-Allow-Headers`."""
    expose_headers: list[str] = []
    """For `Access-Control-Expose-Headers`."""
    max_age: str = ""
    """Duration that a browser may keep a preflight's result."""
    allow_credentials: bool | None = None
    """Whether calls with credentials are allowed."""
    unmatched_preflights: CORSUnmatchedPreflights = CORSUnmatchedPreflights.UNSPECIFIED
    """Unset forwards them."""


class FaultDelay(Spec, frozen=True, kw_only=True):
    """Delay a share of the requests."""

    percent: int = 0
    """Whole percent. Old form of `percentage`."""
    fixed_delay: str = ""
    """Duration, at least 1ms."""
    exponential_delay: str = ""
    """Mean of a random duration; no Envoy has it."""
    percentage: Percent | None = None
    """Share of the requests; unset is none, so write it."""


class FaultAbort(Spec, frozen=True, kw_only=True):
    """Answer a share of the requests with an error."""

    http_status: int | None = None
    """HTTP status to answer with."""
    grpc_status: str = ""
    """gRPC status to answer with, by name: `UNAVAILABLE`."""
    http2_error: str = msgspec.field(default="", name="http2Error")
    """HTTP/2 error; no Envoy has it."""
    percentage: Percent | None = None
    """Share of the requests; unset is none, so write it."""


class HTTPFaultInjection(Spec, frozen=True, kw_only=True):
    """Faults for testing."""

    delay: FaultDelay | None = None
    """Wait before forwarding."""
    abort: FaultAbort | None = None
    """Answer in place of forwarding. With a delay too, each is decided by itself."""


class HTTPMirrorPolicy(Spec, frozen=True, kw_only=True):
    """One mirror of a route."""

    destination: Destination
    """Where the copies go; their responses are thrown away."""
    percentage: Percent | None = None
    """Share of the requests; unset is all."""


class Delegate(Spec, frozen=True, kw_only=True):
    """A VirtualService that holds the routes of this rule."""

    name: str = ""
    """Name of a VirtualService without hosts."""
    namespace: str = ""
    """Its namespace; unset is that of the object."""


class HTTPRoute(Spec, frozen=True, kw_only=True):
    """One rule: match, and what to do."""

    name: str = ""
    """For logs and metrics: the route's name."""
    match: list[HTTPMatchRequest] = []
    """Any of these suffices; none matches everything."""
    route: list[HTTPRouteDestination] = []
    """Where requests go; several share them by weight."""
    redirect: HTTPRedirect | None = None
    """Answer with a redirect, in place of `route`."""
    direct_response: HTTPDirectResponse | None = None
    """Answer with a fixed response, in place of `route`."""
    delegate: Delegate | None = None
    """Another object has the rules below this match; its matches must lie inside these."""
    rewrite: HTTPRewrite | None = None
    """Change path or host before forwarding."""
    timeout: str = ""
    """Duration of the whole call, retries included; unset or 0s is no limit."""
    retries: HTTPRetry | None = None
    """Unset is the mesh's default policy."""
    fault: HTTPFaultInjection | None = None
    """Faults for testing; with one, timeout and retries of the rule do not apply to it."""
    mirror: Destination | None = None
    """One mirror. Old form of `mirrors`."""
    mirrors: list[HTTPMirrorPolicy] = []
    """Several mirrors, each with its share."""
    mirror_percent: int | None = None
    """Whole percent for `mirror`. Old form of `mirrorPercentage`."""
    mirror_percent_snake: int | None = msgspec.field(default=None, name="mirror_percent")
    """The same field under its protobuf name, which the CRD schema admits too."""
    mirror_percentage: Percent | None = None
    """Share of the requests for `mirror`; unset is all."""
    cors_policy: CorsPolicy | None = None
    """Which other origins may call."""
    headers: Headers | None = None
    """Header changes for every destination of the rule."""


class TLSMatchAttributes(Spec, frozen=True, kw_only=True):
    """Conditions on a TLS connection."""

    sni_hosts: list[str] = []
    """Server names; a leading `*.` stands for any prefix. Within the hosts of the object."""
    destination_subnets: list[str] = []
    """Addresses or CIDR ranges that the client dialled."""
    port: Port = 0
    """Port of the service that was called."""
    source_labels: dict[str, str] = {}
    """Labels that the calling workload has."""
    gateways: list[str] = []
    """Only at these gateways, in place of those of the object."""
    source_namespace: str = ""
    """Namespace of the calling workload."""


class TLSRoute(Spec, frozen=True, kw_only=True):
    """Route TLS connections by SNI."""

    match: list[TLSMatchAttributes] = []
    """Any of these suffices."""
    route: list[RouteDestination] = []
    """Where connections go; several share them by weight."""


class L4MatchAttributes(Spec, frozen=True, kw_only=True):
    """Conditions on a TCP connection."""

    destination_subnets: list[str] = []
    """Addresses or CIDR ranges that the client dialled."""
    port: Port = 0
    """Port of the service that was called."""
    source_labels: dict[str, str] = {}
    """Labels that the calling workload has."""
    gateways: list[str] = []
    """Only at these gateways, in place of those of the object."""
    source_namespace: str = ""
    """Namespace of the calling workload."""
    source_subnet: str = ""
    """CIDR range of the client; not looked at, as in Istio."""


class TCPRoute(Spec, frozen=True, kw_only=True):
    """Route TCP connections."""

    match: list[L4MatchAttributes] = []
    """Any of these suffices; none matches every connection."""
    route: list[RouteDestination] = []
    """Where connections go; several share them by weight."""


class VirtualService(Spec, frozen=True, kw_only=True):
    """Routing rules of hosts."""

    hosts: list[str] = []
    """Hosts whose requests these rules route; `*.` stands for any prefix. None: for delegation only."""
    gateways: list[str] = []
    """Where the rules apply: names of Gateways, `mesh` for sidecars; unset is `mesh`."""
    http: list[HTTPRoute] = []
    """Rules for HTTP, in order; the first that matches decides."""
    tls: list[TLSRoute] = []
    """Rules for TLS that is passed through, in order."""
    tcp: list[TCPRoute] = []
    """Rules for everything else, in order."""
    export_to: list[str] = []
    """Namespaces that see the object: `.`, `*` or names; unset is the mesh's default, `*`."""


# --- DestinationRule -----------------------------------------------------------------------------------------


class SimpleLB(Enum):
    """Load balancing without state."""

    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class HTTPCookieAttribute(Spec, frozen=True, kw_only=True):
    """An extra attribute of the affinity cookie."""

    name: str = ""
    """Name of the attribute, `SameSite`."""
    value: str = ""
    """Its value; empty is a flag."""


class HTTPCookie(Spec, frozen=True, kw_only=True):
    """Affinity cookie; a ttl of 0s makes it a session cookie."""

    name: str
    """Name of the cookie."""
    path: str = ""
    """Path of the cookie."""
    ttl: str | None = None
    """Duration; unset makes no cookie, and only one that the client sends counts."""
    attributes: list[HTTPCookieAttribute] = []
    """Further attributes."""


class RingHash(Spec, frozen=True, kw_only=True):
    """Ring hash (Ketama)."""

    minimum_ring_size: int | None = None
    """Hashes on the ring at least; unset is 1024. More spread evenly and cost memory."""


class MagLev(Spec, frozen=True, kw_only=True):
    """Maglev hash."""

    table_size: int | None = None
    """Size of the table, a prime; unset is 65537."""


class ConsistentHashLB(Spec, frozen=True, kw_only=True):
    """Affinity by a request property: exactly one of the four keys."""

    http_header_name: str | None = None
    """Header whose value is hashed."""
    http_cookie: HTTPCookie | None = None
    """Cookie whose value is hashed."""
    use_source_ip: bool | None = None
    """Hash the client's address; for TCP too."""
    http_query_parameter_name: str | None = None
    """Query parameter whose value is hashed."""
    ring_hash: RingHash | None = None
    """The algorithm if none is named."""
    maglev: MagLev | None = None
    """Evens out faster than the ring, and moves a few more keys when endpoints change."""
    minimum_ring_size: int | None = None
    """Old form of `ringHash.minimumRingSize`."""


class LocalityDistribute(Spec, frozen=True, kw_only=True):
    """Weights per target locality for traffic from one."""

    from_: str = msgspec.field(default="", name="from")
    """`region/zone/subzone` of the caller; `*` for the rest of it."""
    to: dict[str, Unsigned] = {}
    """Locality to percent; the sum is 100."""


class LocalityFailover(Spec, frozen=True, kw_only=True):
    """Where traffic of a region goes when it is unhealthy."""

    from_: str = msgspec.field(default="", name="from")
    """Region of the caller."""
    to: str = ""
    """Region that takes over; without one any may."""


class LocalityLoadBalancerSetting(Spec, frozen=True, kw_only=True):
    """Locality load balancing."""

    distribute: list[LocalityDistribute] = []
    """Fixed shares; not together with failover."""
    failover: list[LocalityFailover] = []
    """Which region takes over from which; needs outlier detection."""
    failover_priority: list[str] = []
    """Labels in order of weight, `topology.kubernetes.io/zone` or any other."""
    enabled: bool | None = None
    """Unset is as the mesh says."""


class ZoneAwareLoadBalancerSetting(Spec, frozen=True, kw_only=True):
    """Zone-aware load balancing."""

    enabled: bool | None = None
    """Unset is as the mesh says."""
    failover: list[LocalityFailover] = []
    """Which region takes over from which."""
    failover_priority: list[str] = []
    """Labels in order of weight."""
    min_cluster_size: int | None = None
    """Endpoints from which on zones count."""


class WarmupConfiguration(Spec, frozen=True, kw_only=True):
    """Slow start of new endpoints."""

    duration: str
    """Duration until an endpoint has its full share, at least 1s."""
    minimum_percent: float | None = None
    """Percent of its share that it begins with, 0 to 100; unset is 10."""
    aggression: float | None = None
    """Shape of the growth, at least 1; 1 is linear, and so is unset."""


class LoadBalancerSettings(Spec, frozen=True, kw_only=True):
    """How a proxy spreads requests over endpoints."""

    simple: SimpleLB | None = None
    """Unset is `LEAST_REQUEST`."""
    consistent_hash: ConsistentHashLB | None = None
    """Sessions: the same key goes to the same endpoint. In place of `simple`."""
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    """In place of the mesh's setting."""
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    """In place of the mesh's setting."""
    warmup_duration_secs: str = ""
    """Duration. Old form of `warmup.duration`."""
    warmup: WarmupConfiguration | None = None
    """With `ROUND_ROBIN` and `LEAST_REQUEST` only."""


class TcpKeepalive(Spec, frozen=True, kw_only=True):
    """TCP keep-alive."""

    probes: Unsigned = 0
    """Unanswered probes before the connection counts as dead; unset is the system's (Linux: 9)."""
    time: str = ""
    """Duration without a byte before the first probe; unset is the system's (Linux: 7200s)."""
    interval: str = ""
    """Duration between probes; unset is the system's (Linux: 75s)."""


class TCPSettings(Spec, frozen=True, kw_only=True):
    """Connection limits of TCP and HTTP."""

    max_connections: int = 0
    """Connections to all endpoints at most; unset is 2^32-1."""
    connect_timeout: str = ""
    """Duration, at least 1ms; unset is the mesh's, 10s."""
    tcp_keepalive: TcpKeepalive | None = None
    """Unset is the mesh's setting."""
    max_connection_duration: str = ""
    """Duration after which a connection ends; unset is no limit."""
    idle_timeout: str = ""
    """Duration without a byte after which a TCP connection ends; unset is 1h, 0s is no limit."""


class H2UpgradePolicy(Enum):
    """Whether HTTP/1.1 is upgraded to HTTP/2 upstream."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class Http2KeepAlive(Spec, frozen=True, kw_only=True):
    """HTTP/2 PING keep-alive."""

    interval: str = ""
    """Duration between PING frames."""
    timeout: str = ""
    """Duration to wait for the answer to one."""


class HTTPSettings(Spec, frozen=True, kw_only=True):
    """Connection limits of HTTP."""

    http1_max_pending_requests: int = msgspec.field(default=0, name="http1MaxPendingRequests")
    """Requests waiting for a connection at most; unset is 2^32-1."""
    http2_max_requests: int = msgspec.field(default=0, name="http2MaxRequests")
    """Requests under way at most, with any HTTP version; unset is 2^32-1."""
    max_requests_per_connection: int = 0
    """Requests before a connection is closed; 0 is no limit, 1 is no keep-alive."""
    max_retries: int = 0
    """Retries under way at most; unset is 2^32-1."""
    idle_timeout: str = ""
    """Duration without a request after which a connection ends; unset is 1h."""
    h2_upgrade_policy: H2UpgradePolicy = msgspec.field(default=H2UpgradePolicy.DEFAULT, name="h2UpgradePolicy")
    """Unset is as the mesh says."""
    use_client_protocol: bool = False
    """Speak upstream what the client spoke; overrides `h2UpgradePolicy`."""
    max_concurrent_streams: int = 0
    """Streams on one HTTP/2 connection at most; unset is 2^31-1."""
    http2_keep_alive: Http2KeepAlive | None = msgspec.field(default=None, name="http2KeepAlive")
    """Unset sends no PING."""


class ConnectionPoolSettings(Spec, frozen=True, kw_only=True):
    """Volume of connections and requests."""

    tcp: TCPSettings | None = None
    """Limits of connections, for HTTP too."""
    http: HTTPSettings | None = None
    """Limits of requests."""


class OutlierDetection(Spec, frozen=True, kw_only=True):
    """Passive health checking: eject what fails."""

    consecutive_errors: int = 0
    """Not looked at, as in Istio; write `consecutive5xxErrors`."""
    split_external_local_origin_errors: bool = False
    """Count failures to connect apart from answers of the endpoint."""
    consecutive_local_origin_failures: Unsigned | None = None
    """Failures to connect before ejection; needs the split, unset is 5."""
    consecutive_gateway_errors: Unsigned | None = None
    """Answers 502, 503, 504 before ejection; unset or 0 is off."""
    consecutive_5xx_errors: Unsigned | None = msgspec.field(default=None, name="consecutive5xxErrors")
    """Answers 5xx before ejection; unset is 5, 0 is off."""
    interval: str = ""
    """Duration between looks; unset is 10s."""
    base_ejection_time: str = ""
    """Duration of an ejection, times how often it happened; unset is 30s."""
    max_ejection_percent: int = 0
    """Percent of the endpoints that may be out; unset is 10."""
    min_health_percent: int = 0
    """Percent of healthy endpoints below which all are used; unset is 0."""
    outlier_detection_http_error_codes: list[int] = []
    """Statuses that count as errors, in place of 5xx."""


class ClientTLSMode(Enum):
    """TLS towards the upstream."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTLSSettings(Spec, frozen=True, kw_only=True):
    """TLS towards the upstream."""

    mode: ClientTLSMode = ClientTLSMode.DISABLE
    """`ISTIO_MUTUAL` is the mesh's own certificates."""
    client_certificate: str = ""
    """File on the proxy's machine; for `MUTUAL`."""
    private_key: str = ""
    """File on the proxy's machine; for `MUTUAL`."""
    ca_certificates: str = ""
    """File of roots; unset or `system` is the machine's."""
    credential_name: str = ""
    """Secret that holds what the files would; in place of them."""
    subject_alt_names: list[str] = []
    """Names one of which the server's certificate must have; unset is the host's."""
    sni: str = ""
    """Server name to ask for; unset is the host of the request."""
    insecure_skip_verify: bool | None = None
    """Accept any certificate; for tests."""
    ca_crl: str = ""
    """File of revoked certificates."""


class TunnelSettings(Spec, frozen=True, kw_only=True):
    """Tunnel TCP over HTTP CONNECT or POST."""

    protocol: str = ""
    """`CONNECT` or `POST`; unset is `CONNECT`."""
    target_host: str = ""
    """Host that the tunnel leads to."""
    target_port: Port = 0
    """Port that the tunnel leads to."""


class ProxyProtocolVersion(Enum):
    """Version of the PROXY protocol header."""

    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Spec, frozen=True, kw_only=True):
    """Send a PROXY protocol header upstream."""

    version: ProxyProtocolVersion = ProxyProtocolVersion.V1
    """Version of the header."""


class RetryBudget(Spec, frozen=True, kw_only=True):
    """Limit retries to a share of the active requests."""

    percent: float | None = None
    """Percent of the active requests, 0 to 100; unset is 20."""
    min_retry_concurrency: Unsigned = 0
    """Retries that are always allowed at once; unset is 3."""
    budget_interval: str = ""
    """Duration over which requests are counted; no Envoy of this version has it."""


class PortTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Traffic policy of one port."""

    port: PortSelector | None = None
    """Port of the service."""
    load_balancer: LoadBalancerSettings | None = None
    """In place of the whole setting for all ports."""
    connection_pool: ConnectionPoolSettings | None = None
    """In place of the whole setting for all ports."""
    outlier_detection: OutlierDetection | None = None
    """In place of the whole setting for all ports."""
    tls: ClientTLSSettings | None = None
    """In place of the whole setting for all ports."""


class TrafficPolicy(Spec, frozen=True, kw_only=True):
    """How traffic to a host or subset is treated after routing."""

    load_balancer: LoadBalancerSettings | None = None
    """How requests are spread over endpoints."""
    connection_pool: ConnectionPoolSettings | None = None
    """Circuit breaking: limits of connections and requests."""
    outlier_detection: OutlierDetection | None = None
    """Circuit breaking: eject endpoints that fail. Unset ejects none."""
    tls: ClientTLSSettings | None = None
    """TLS towards the host; unset is mutual TLS wherever both sides can."""
    port_level_settings: list[PortTrafficPolicy] = []
    """What differs by port."""
    tunnel: TunnelSettings | None = None
    """Send connections through a proxy, for TCP and TLS routes."""
    proxy_protocol: ProxyProtocol | None = None
    """Begin each connection with the client's address."""
    retry_budget: RetryBudget | None = None
    """In place of a fixed number of retries."""


class Subset(Spec, frozen=True, kw_only=True):
    """Endpoints of a host by label: a version."""

    name: str = ""
    """Name that routes use, and that stands in the cluster's name."""
    labels: dict[str, str] = {}
    """Labels that its endpoints have."""
    traffic_policy: TrafficPolicy | None = None
    """Settings that replace those of the host, each as a whole."""


class DestinationRule(Spec, frozen=True, kw_only=True):
    """Policies of a host after routing."""

    host: str
    """Host of a service; `*.` stands for any prefix. The most specific rule applies."""
    traffic_policy: TrafficPolicy | None = None
    """For every subset and port."""
    subsets: list[Subset] = []
    """Named parts of the endpoints."""
    export_to: list[str] = []
    """Namespaces that see the object: `.`, `*` or names; unset is the mesh's default, `*`."""
    workload_selector: MatchLabelsSelector | None = None
    """Only for calls of these workloads of the namespace."""


# --- Gateway -------------------------------------------------------------------------------------------------


class ServerTLSMode(Enum):
    """TLS of a gateway's port."""

    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TLSProtocolVersion(Enum):
    """TLS version limits."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class TLSCertificate(Spec, frozen=True, kw_only=True):
    """A certificate by file."""

    server_certificate: str = ""
    """File of the certificate chain."""
    private_key: str = ""
    """File of its key."""
    ca_certificates: str = ""
    """File of roots for client certificates."""


class ServerTLSSettings(Spec, frozen=True, kw_only=True):
    """TLS of a gateway's port."""

    https_redirect: bool = False
    """Answer plain HTTP with 301 to https."""
    mode: ServerTLSMode = ServerTLSMode.PASSTHROUGH
    """Who ends the TLS connection, and whether clients show certificates."""
    server_certificate: str = ""
    """File on the gateway's machine."""
    private_key: str = ""
    """File on the gateway's machine."""
    ca_certificates: str = ""
    """File of roots for client certificates."""
    ca_crl: str = ""
    """File of revoked client certificates."""
    credential_name: str = ""
    """Secret with certificate and key, of the gateway's namespace; in place of files."""
    credential_names: list[str] = []
    """Several Secrets, for RSA and ECDSA side by side."""
    ca_cert_credential_name: str = ""
    """Secret or ConfigMap with the roots for client certificates."""
    tls_certificates: list[TLSCertificate] = []
    """Several certificates by file, for RSA and ECDSA side by side."""
    subject_alt_names: list[str] = []
    """Names one of which a client certificate must have."""
    verify_certificate_spki: list[str] = []
    """Base64 SHA-256 of accepted public keys."""
    verify_certificate_hash: list[str] = []
    """Hex SHA-256 of accepted certificates."""
    min_protocol_version: TLSProtocolVersion = TLSProtocolVersion.TLS_AUTO
    """Unset is TLS 1.2."""
    max_protocol_version: TLSProtocolVersion = TLSProtocolVersion.TLS_AUTO
    """Unset is TLS 1.3."""
    cipher_suites: list[str] = []
    """OpenSSL's names, for TLS up to 1.2; unset is Envoy's list."""
    insecure_skip_verify: bool | None = None
    """Accept any client certificate; for tests."""


class Server(Spec, frozen=True, kw_only=True):
    """A port that a gateway listens on, and for which hosts."""

    port: ConfigPort | None = None
    """Port and protocol to listen on."""
    bind: str = ""
    """Address to listen on; unset is every one."""
    hosts: list[str] = []
    """Hosts that routes may claim here, `namespace/host`; `*` is any."""
    tls: ServerTLSSettings | None = None
    """Needed for HTTPS and TLS."""
    default_endpoint: str = ""
    """Where traffic without a route goes."""
    name: str = ""
    """For statistics; unique among the servers."""


class Gateway(Spec, frozen=True, kw_only=True):
    """A load balancer at the edge of the mesh."""

    servers: list[Server] = []
    """Ports, protocols and hosts."""
    selector: dict[str, str] = {}
    """Labels of the gateway proxies that serve it."""


# --- ServiceEntry, WorkloadEntry -----------------------------------------------------------------------------


class WorkloadEntry(Spec, frozen=True, kw_only=True):
    """A workload that is not a pod: a VM, a process, a host."""

    address: str = ""
    """IP address, DNS name (with resolution DNS) or `unix:///path`."""
    ports: dict[str, Port] = {}
    """Name of a service's port to the port here; unset is the service's target port."""
    labels: dict[str, str] = {}
    """For selectors and subsets."""
    network: str = ""
    """Network that the address belongs to; unset is the one that all share."""
    locality: str = ""
    """`region/zone/subzone`."""
    weight: Unsigned = 0
    """Share of the requests within its locality; unset is 1."""
    service_account: str = ""
    """Who the workload is; mutual TLS expects this identity."""


class ServiceEntryLocation(Enum):
    """Whether the service is part of the mesh."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class ServiceEntryResolution(Enum):
    """How its addresses are found."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServiceEntry(Spec, frozen=True, kw_only=True):
    """A service that no registry knows."""

    hosts: list[str]
    """Names of the service; `*.` stands for any prefix with resolution NONE."""
    addresses: list[str] = []
    """Virtual addresses or CIDR ranges; unset, one is allotted where it is needed."""
    ports: list[ConfigPort] = []
    """Ports of the service."""
    location: ServiceEntryLocation = ServiceEntryLocation.MESH_EXTERNAL
    """Whether its endpoints have sidecars and mutual TLS."""
    resolution: ServiceEntryResolution = ServiceEntryResolution.NONE
    """How addresses are found: as dialled, as listed, or by DNS."""
    endpoints: list[WorkloadEntry] = []
    """What is behind the service; not together with `workloadSelector`."""
    workload_selector: WorkloadSelector | None = None
    """Workloads of the namespace that are behind the service."""
    export_to: list[str] = []
    """Namespaces that see the object: `.`, `*` or names; unset is the mesh's default, `*`."""
    subject_alt_names: list[str] = []
    """Names one of which the endpoints' certificates must have."""


# --- Sidecar -------------------------------------------------------------------------------------------------


class CaptureMode(Enum):
    """How traffic of a listener is captured."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class IstioEgressListener(Spec, frozen=True, kw_only=True):
    """What a workload may call, by listener."""

    port: ConfigPort | None = None
    """A listener of its own on this port; unset is all ports."""
    bind: str = ""
    """Address or unix socket of that listener."""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    """How traffic gets to the listener."""
    hosts: list[str] = []
    """What may be called, `namespace/host`: `./*` is the own namespace, `~/*` nothing."""


class IstioIngressListener(Spec, frozen=True, kw_only=True):
    """A port of a workload that the sidecar opens."""

    port: ConfigPort | None = None
    """Port to open."""
    bind: str = ""
    """Address to listen on; unset is the workload's."""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    """How traffic gets to the listener."""
    default_endpoint: str = ""
    """Where the application listens: `127.0.0.1:PORT`, `0.0.0.0:PORT` or `unix:///path`."""
    tls: ServerTLSSettings | None = None
    """TLS of its own, in place of the mesh's."""
    connection_pool: ConnectionPoolSettings | None = None
    """Limits towards the application, in place of those for all ports."""


class OutboundTrafficPolicyMode(Enum):
    """What happens to calls to unknown hosts."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Calls to unknown hosts."""

    mode: OutboundTrafficPolicyMode = OutboundTrafficPolicyMode.REGISTRY_ONLY
    """`REGISTRY_ONLY` refuses hosts that the mesh does not know."""
    egress_proxy: Destination | None = None
    """Where calls to unknown hosts go."""


class Sidecar(Spec, frozen=True, kw_only=True):
    """What a workload's proxy sees and opens."""

    workload_selector: WorkloadSelector | None = None
    """Workloads of the namespace; unset is all of them, in the root namespace all of the mesh."""
    ingress: list[IstioIngressListener] = []
    """Ports that the sidecar opens; unset is those of the services that select the workload."""
    egress: list[IstioEgressListener] = []
    """What may be called; unset is everything that is exported to the namespace."""
    inbound_connection_pool: ConnectionPoolSettings | None = None
    """Limits towards the application."""
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    """In place of the mesh's setting."""
