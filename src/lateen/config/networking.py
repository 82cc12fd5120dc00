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
    prefix: str | None = None
    regex: str | None = None


class PortSelector(Spec, frozen=True, kw_only=True):
    """A service port by number."""

    number: Port = 0


class WorkloadSelector(Spec, frozen=True, kw_only=True):
    """Workloads by label, of the same namespace."""

    labels: dict[str, str] = {}


class MatchLabelsSelector(Spec, frozen=True, kw_only=True):
    """Workloads by label, as DestinationRule and the security kinds write it."""

    match_labels: dict[str, str] = {}


class ConfigPort(Spec, frozen=True, kw_only=True):
    """A port of a Gateway, ServiceEntry or Sidecar listener."""

    number: Port = 0
    protocol: str = ""
    name: str = ""
    target_port: Port = 0


# --- VirtualService ------------------------------------------------------------------------------------------


class Destination(Spec, frozen=True, kw_only=True):
    """Where a route sends requests: a host, one of its subsets, one of its ports."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Spec, frozen=True, kw_only=True):
    """Headers to set, add and remove."""

    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: list[str] = []


class Headers(Spec, frozen=True, kw_only=True):
    """Header manipulation of requests and responses."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class Percent(Spec, frozen=True, kw_only=True):
    """A percentage with fractions, 0.0 to 100.0."""

    value: float = 0.0


class HTTPRouteDestination(Spec, frozen=True, kw_only=True):
    """One weighted destination of an HTTP route."""

    destination: Destination
    weight: int = 0
    headers: Headers | None = None


class RouteDestination(Spec, frozen=True, kw_only=True):
    """One weighted destination of a TCP or TLS route."""

    destination: Destination
    weight: int = 0


class HTTPMatchRequest(Spec, frozen=True, kw_only=True):
    """Conditions on a request; all must hold."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = {}
    port: Port = 0
    source_labels: dict[str, str] = {}
    gateways: list[str] = []
    query_params: dict[str, StringMatch] = {}
    ignore_uri_case: bool = False
    without_headers: dict[str, StringMatch] = {}
    source_namespace: str = ""
    stat_prefix: str = ""


class RedirectPortSelection(Enum):
    """Port of a redirect when it names none."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HTTPRedirect(Spec, frozen=True, kw_only=True):
    """Answer with a redirect."""

    uri: str = ""
    authority: str = ""
    port: Port | None = None
    derive_port: RedirectPortSelection | None = None
    scheme: str = ""
    redirect_code: int = 0
    prefix_rewrite: str = ""


class HTTPBody(Spec, frozen=True, kw_only=True):
    """Body of a direct response: one of the two (bytes are base64)."""

    string: str | None = None
    bytes: str | None = None


class HTTPDirectResponse(Spec, frozen=True, kw_only=True):
    """Answer with a fixed response."""

    status: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    body: HTTPBody | None = None


class RegexRewrite(Spec, frozen=True, kw_only=True):
    """Rewrite by regular expression (RE2), `\\1` is the first group."""

    match: str = ""
    rewrite: str = ""


class HTTPRewrite(Spec, frozen=True, kw_only=True):
    """Change path or authority before forwarding."""

    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRetry(Spec, frozen=True, kw_only=True):
    """Retry policy of a route."""

    attempts: int = 0
    per_try_timeout: str = ""
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: str = ""


class CORSUnmatchedPreflights(Enum):
    """What to do with a preflight whose origin does not match."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(Spec, frozen=True, kw_only=True):
    """Cross-origin policy of a route."""

    allow_origin: list[str] = []
    allow_origins: list[StringMatch] = []
    allow_methods: list[str] = []
    allow_headers: list[str] = []
    expose_headers: list[str] = []
    max_age: str = ""
    allow_credentials: bool | None = None
    unmatched_preflights: CORSUnmatchedPreflights = CORSUnmatchedPreflights.UNSPECIFIED


class FaultDelay(Spec, frozen=True, kw_only=True):
    """Delay a share of the requests."""

    percent: int = 0
    fixed_delay: str = ""
    exponential_delay: str = ""
    percentage: Percent | None = None


class FaultAbort(Spec, frozen=True, kw_only=True):
    """Answer a share of the requests with an error."""

    http_status: int | None = None
    grpc_status: str = ""
    http2_error: str = msgspec.field(default="", name="http2Error")
    percentage: Percent | None = None


class HTTPFaultInjection(Spec, frozen=True, kw_only=True):
    """Faults for testing."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class HTTPMirrorPolicy(Spec, frozen=True, kw_only=True):
    """One mirror of a route."""

    destination: Destination
    percentage: Percent | None = None


class Delegate(Spec, frozen=True, kw_only=True):
    """A VirtualService that holds the routes of this rule."""

    name: str = ""
    namespace: str = ""


class HTTPRoute(Spec, frozen=True, kw_only=True):
    """One rule: match, and what to do."""

    name: str = ""
    match: list[HTTPMatchRequest] = []
    route: list[HTTPRouteDestination] = []
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: str = ""
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: list[HTTPMirrorPolicy] = []
    mirror_percent: int | None = None
    mirror_percent_snake: int | None = msgspec.field(default=None, name="mirror_percent")
    """The same field under its protobuf name, which the CRD schema admits too."""
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class TLSMatchAttributes(Spec, frozen=True, kw_only=True):
    """Conditions on a TLS connection."""

    sni_hosts: list[str] = []
    destination_subnets: list[str] = []
    port: Port = 0
    source_labels: dict[str, str] = {}
    gateways: list[str] = []
    source_namespace: str = ""


class TLSRoute(Spec, frozen=True, kw_only=True):
    """Route TLS connections by SNI."""

    match: list[TLSMatchAttributes] = []
    route: list[RouteDestination] = []


class L4MatchAttributes(Spec, frozen=True, kw_only=True):
    """Conditions on a TCP connection."""

    destination_subnets: list[str] = []
    port: Port = 0
    source_labels: dict[str, str] = {}
    gateways: list[str] = []
    source_namespace: str = ""
    source_subnet: str = ""


class TCPRoute(Spec, frozen=True, kw_only=True):
    """Route TCP connections."""

    match: list[L4MatchAttributes] = []
    route: list[RouteDestination] = []


class VirtualService(Spec, frozen=True, kw_only=True):
    """Routing rules of hosts."""

    hosts: list[str] = []
    gateways: list[str] = []
    http: list[HTTPRoute] = []
    tls: list[TLSRoute] = []
    tcp: list[TCPRoute] = []
    export_to: list[str] = []


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
    value: str = ""


class HTTPCookie(Spec, frozen=True, kw_only=True):
    """Affinity cookie; a ttl of 0s makes it a session cookie."""

    name: str
    path: str = ""
    ttl: str | None = None
    attributes: list[HTTPCookieAttribute] = []


class RingHash(Spec, frozen=True, kw_only=True):
    """Ring hash (Ketama)."""

    minimum_ring_size: int | None = None


class MagLev(Spec, frozen=True, kw_only=True):
    """Maglev hash."""

    table_size: int | None = None


class ConsistentHashLB(Spec, frozen=True, kw_only=True):
    """Affinity by a request property: exactly one of the four keys."""

    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: int | None = None


class LocalityDistribute(Spec, frozen=True, kw_only=True):
    """Weights per target locality for traffic from one."""

    from_: str = msgspec.field(default="", name="from")
    to: dict[str, Unsigned] = {}


class LocalityFailover(Spec, frozen=True, kw_only=True):
    """Where traffic of a region goes when it is unhealthy."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""


class LocalityLoadBalancerSetting(Spec, frozen=True, kw_only=True):
    """Locality load balancing."""

    distribute: list[LocalityDistribute] = []
    failover: list[LocalityFailover] = []
    failover_priority: list[str] = []
    enabled: bool | None = None


class ZoneAwareLoadBalancerSetting(Spec, frozen=True, kw_only=True):
    """Zone-aware load balancing."""

    enabled: bool | None = None
    failover: list[LocalityFailover] = []
    failover_priority: list[str] = []
    min_cluster_size: int | None = None


class WarmupConfiguration(Spec, frozen=True, kw_only=True):
    """Slow start of new endpoints."""

    duration: str
    minimum_percent: float | None = None
    aggression: float | None = None


class LoadBalancerSettings(Spec, frozen=True, kw_only=True):
    """How a proxy spreads requests over endpoints."""

    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: str = ""
    warmup: WarmupConfiguration | None = None


class TcpKeepalive(Spec, frozen=True, kw_only=True):
    """TCP keep-alive."""

    probes: Unsigned = 0
    time: str = ""
    interval: str = ""


class TCPSettings(Spec, frozen=True, kw_only=True):
    """Connection limits of TCP and HTTP."""

    max_connections: int = 0
    connect_timeout: str = ""
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: str = ""
    idle_timeout: str = ""


class H2UpgradePolicy(Enum):
    """Whether HTTP/1.1 is upgraded to HTTP/2 upstream."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class Http2KeepAlive(Spec, frozen=True, kw_only=True):
    """HTTP/2 PING keep-alive."""

    interval: str = ""
    timeout: str = ""


class HTTPSettings(Spec, frozen=True, kw_only=True):
    """Connection limits of HTTP."""

    http1_max_pending_requests: int = msgspec.field(default=0, name="http1MaxPendingRequests")
    http2_max_requests: int = msgspec.field(default=0, name="http2MaxRequests")
    max_requests_per_connection: int = 0
    max_retries: int = 0
    idle_timeout: str = ""
    h2_upgrade_policy: H2UpgradePolicy = msgspec.field(default=H2UpgradePolicy.DEFAULT, name="h2UpgradePolicy")
    use_client_protocol: bool = False
    max_concurrent_streams: int = 0
    http2_keep_alive: Http2KeepAlive | None = msgspec.field(default=None, name="http2KeepAlive")


class ConnectionPoolSettings(Spec, frozen=True, kw_only=True):
    """Volume of connections and requests."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Spec, frozen=True, kw_only=True):
    """Passive health checking: eject what fails."""

    consecutive_errors: int = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Unsigned | None = None
    consecutive_gateway_errors: Unsigned | None = None
    consecutive_5xx_errors: Unsigned | None = msgspec.field(default=None, name="consecutive5xxErrors")
    interval: str = ""
    base_ejection_time: str = ""
    max_ejection_percent: int = 0
    min_health_percent: int = 0
    outlier_detection_http_error_codes: list[int] = []


class ClientTLSMode(Enum):
    """TLS towards the upstream."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTLSSettings(Spec, frozen=True, kw_only=True):
    """TLS towards the upstream."""

    mode: ClientTLSMode = ClientTLSMode.DISABLE
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: list[str] = []
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class TunnelSettings(Spec, frozen=True, kw_only=True):
    """Tunnel TCP over HTTP CONNECT or POST."""

    protocol: str = ""
    target_host: str = ""
    target_port: Port = 0


class ProxyProtocolVersion(Enum):
    """Version of the PROXY protocol header."""

    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Spec, frozen=True, kw_only=True):
    """Send a PROXY protocol header upstream."""

    version: ProxyProtocolVersion = ProxyProtocolVersion.V1


class RetryBudget(Spec, frozen=True, kw_only=True):
    """Limit retries to a share of the active requests."""

    percent: float | None = None
    min_retry_concurrency: Unsigned = 0
    budget_interval: str = ""


class PortTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Traffic policy of one port."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TrafficPolicy(Spec, frozen=True, kw_only=True):
    """How traffic to a host or subset is treated after routing."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: list[PortTrafficPolicy] = []
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Spec, frozen=True, kw_only=True):
    """Endpoints of a host by label: a version."""

    name: str = ""
    labels: dict[str, str] = {}
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Spec, frozen=True, kw_only=True):
    """Policies of a host after routing."""

    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: list[Subset] = []
    export_to: list[str] = []
    workload_selector: MatchLabelsSelector | None = None


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
    private_key: str = ""
    ca_certificates: str = ""


class ServerTLSSettings(Spec, frozen=True, kw_only=True):
    """TLS of a gateway's port."""

    https_redirect: bool = False
    mode: ServerTLSMode = ServerTLSMode.PASSTHROUGH
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: list[str] = []
    ca_cert_credential_name: str = ""
    tls_certificates: list[TLSCertificate] = []
    subject_alt_names: list[str] = []
    verify_certificate_spki: list[str] = []
    verify_certificate_hash: list[str] = []
    min_protocol_version: TLSProtocolVersion = TLSProtocolVersion.TLS_AUTO
    max_protocol_version: TLSProtocolVersion = TLSProtocolVersion.TLS_AUTO
    cipher_suites: list[str] = []
    insecure_skip_verify: bool | None = None


class Server(Spec, frozen=True, kw_only=True):
    """A port that a gateway listens on, and for which hosts."""

    port: ConfigPort | None = None
    bind: str = ""
    hosts: list[str] = []
    tls: ServerTLSSettings | None = None
    default_endpoint: str = ""
    name: str = ""


class Gateway(Spec, frozen=True, kw_only=True):
    """A load balancer at the edge of the mesh."""

    servers: list[Server] = []
    selector: dict[str, str] = {}


# --- ServiceEntry, WorkloadEntry -----------------------------------------------------------------------------


class WorkloadEntry(Spec, frozen=True, kw_only=True):
    """A workload that is not a pod: a VM, a process, a host."""

    address: str = ""
    ports: dict[str, Port] = {}
    labels: dict[str, str] = {}
    network: str = ""
    locality: str = ""
    weight: Unsigned = 0
    service_account: str = ""


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
    addresses: list[str] = []
    ports: list[ConfigPort] = []
    location: ServiceEntryLocation = ServiceEntryLocation.MESH_EXTERNAL
    resolution: ServiceEntryResolution = ServiceEntryResolution.NONE
    endpoints: list[WorkloadEntry] = []
    workload_selector: WorkloadSelector | None = None
    export_to: list[str] = []
    subject_alt_names: list[str] = []


# --- Sidecar -------------------------------------------------------------------------------------------------


class CaptureMode(Enum):
    """How traffic of a listener is captured."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class IstioEgressListener(Spec, frozen=True, kw_only=True):
    """What a workload may call, by listener."""

    port: ConfigPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    hosts: list[str] = []


class IstioIngressListener(Spec, frozen=True, kw_only=True):
    """A port of a workload that the sidecar opens."""

    port: ConfigPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    default_endpoint: str = ""
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class OutboundTrafficPolicyMode(Enum):
    """What happens to calls to unknown hosts."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Calls to unknown hosts."""

    mode: OutboundTrafficPolicyMode = OutboundTrafficPolicyMode.REGISTRY_ONLY
    egress_proxy: Destination | None = None


class Sidecar(Spec, frozen=True, kw_only=True):
    """What a workload's proxy sees and opens."""

    workload_selector: WorkloadSelector | None = None
    ingress: list[IstioIngressListener] = []
    egress: list[IstioEgressListener] = []
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
