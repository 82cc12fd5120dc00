"""ProxyConfig: the settings of one proxy, which MeshConfig holds as the default of all.

Called by `config.mesh_config`. Field names are Istio's in snake case (istio/api `mesh/v1alpha1/proxy.proto`);
which fields act here, `config/acting.py` says.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from lateen.config.networking import ClientTLSSettings, Port, Spec, TcpKeepalive, Unsigned


class HTTPHeader(Spec, frozen=True, kw_only=True):
    """A header of a health check."""

    name: str = ""
    """Name of the header."""
    value: str = ""
    """Its value."""


class HTTPHealthCheckConfig(Spec, frozen=True, kw_only=True):
    """Ready when a GET succeeds."""

    path: str = ""
    """Path of the request."""
    port: Port = 0
    """Port to ask."""
    host: str = ""
    """Host of the request; unset is the workload's address."""
    scheme: str = ""
    """`HTTP` or `HTTPS`; unset is HTTP."""
    http_headers: list[HTTPHeader] = []
    """Headers of the request."""


class GrpcHealthCheckConfig(Spec, frozen=True, kw_only=True):
    """Ready when gRPC's health service says so."""

    port: Port = 0
    """Port to ask."""
    service: str = ""
    """Name of the service to ask about."""


class TCPHealthCheckConfig(Spec, frozen=True, kw_only=True):
    """Ready when a connection opens."""

    host: str = ""
    """Host to connect to; unset is the workload's address."""
    port: Port = 0
    """Port to connect to."""


class ExecHealthCheckConfig(Spec, frozen=True, kw_only=True):
    """Ready when a command exits with 0."""

    command: list[str] = []
    """Program and its arguments."""


class ReadinessProbe(Spec, frozen=True, kw_only=True):
    """When a workload is ready: one check and its timing."""

    initial_delay_seconds: int = 0
    """Seconds before the first check."""
    timeout_seconds: int = 0
    """Seconds that a check may take; unset is 1."""
    period_seconds: int = 0
    """Seconds between checks; unset is 10."""
    success_threshold: int = 0
    """Successes in a row before it counts as ready; unset is 1."""
    failure_threshold: int = 0
    """Failures in a row before it does not; unset is 3."""
    http_get: HTTPHealthCheckConfig | None = None
    tcp_socket: TCPHealthCheckConfig | None = None
    exec: ExecHealthCheckConfig | None = None
    grpc: GrpcHealthCheckConfig | None = None


class ProxyImage(Spec, frozen=True, kw_only=True):
    """Which image a sidecar runs."""

    image_type: str = ""
    """`default`, `debug` or `distroless`; for a cluster."""


class AuthenticationPolicy(Enum):
    """How proxies authenticate to the control plane."""

    NONE = "NONE"
    MUTUAL_TLS = "MUTUAL_TLS"
    INHERIT = "INHERIT"


class ForwardClientCertDetails(Enum):
    """What a proxy does with `x-forwarded-client-cert`."""

    UNDEFINED = "UNDEFINED"
    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ZipkinTracer(Spec, frozen=True, kw_only=True):
    """Address of a Zipkin collector."""

    address: str = ""


class LightstepTracer(Spec, frozen=True, kw_only=True):
    """Address and token of Lightstep."""

    address: str = ""
    access_token: str = ""


class DatadogTracer(Spec, frozen=True, kw_only=True):
    """Address of a Datadog agent."""

    address: str = ""


class StackdriverTracer(Spec, frozen=True, kw_only=True):
    """Limits of Stackdriver spans."""

    debug: bool = False
    max_number_of_attributes: int | None = None
    max_number_of_annotations: int | None = None
    max_number_of_message_events: int | None = None


class TraceContext(Enum):
    """Header format of the trace context."""

    UNSPECIFIED = "UNSPECIFIED"
    W3C_TRACE_CONTEXT = "W3C_TRACE_CONTEXT"
    GRPC_BIN = "GRPC_BIN"
    CLOUD_TRACE_CONTEXT = "CLOUD_TRACE_CONTEXT"
    B3 = "B3"


class OpenCensusAgentTracer(Spec, frozen=True, kw_only=True):
    """Address of an OpenCensus agent."""

    address: str = ""
    context: list[TraceContext] = []


class CustomTag(Spec, frozen=True, kw_only=True):
    """One extra tag of a span, from one source."""

    literal: LiteralTag | None = None
    environment: EnvironmentTag | None = None
    header: RequestHeaderTag | None = None


class LiteralTag(Spec, frozen=True, kw_only=True):
    """A constant."""

    value: str = ""


class EnvironmentTag(Spec, frozen=True, kw_only=True):
    """A variable of the proxy's environment."""

    name: str = ""
    default_value: str = ""


class RequestHeaderTag(Spec, frozen=True, kw_only=True):
    """A request header."""

    name: str = ""
    default_value: str = ""


class Tracing(Spec, frozen=True, kw_only=True):
    """Tracing of one proxy."""

    zipkin: ZipkinTracer | None = None
    lightstep: LightstepTracer | None = None
    datadog: DatadogTracer | None = None
    stackdriver: StackdriverTracer | None = None
    open_census_agent: OpenCensusAgentTracer | None = None
    custom_tags: dict[str, CustomTag] = {}
    max_path_tag_length: Unsigned = 0
    sampling: float = 0.0
    tls_settings: ClientTLSSettings | None = None
    enable_istio_tags: bool | None = None


class SDS(Spec, frozen=True, kw_only=True):
    """Secret discovery, a setting of old releases."""

    enabled: bool = False
    k8s_sa_jwt_path: str = msgspec.field(default="", name="k8sSaJwtPath")


class ProxyProtocolConfiguration(Spec, frozen=True, kw_only=True):
    """Expect the PROXY protocol; it has no settings."""


class Topology(Spec, frozen=True, kw_only=True):
    """What stands in front of a gateway."""

    num_trusted_proxies: Unsigned = 0
    """How many proxies in front are believed about `X-Forwarded-For`."""
    forward_client_cert_details: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    """What becomes of the header `X-Forwarded-Client-Cert`."""
    proxy_protocol: ProxyProtocolConfiguration | None = None


class CryptoMb(Spec, frozen=True, kw_only=True):
    """Private keys through CryptoMB."""

    poll_delay: str = ""
    fallback: bool | None = None


class QAT(Spec, frozen=True, kw_only=True):
    """Private keys through QAT."""

    poll_delay: str = ""
    fallback: bool | None = None


class PrivateKeyProvider(Spec, frozen=True, kw_only=True):
    """Hardware that holds private keys: one of the two."""

    cryptomb: CryptoMb | None = None
    qat: QAT | None = None


class TracingServiceName(Enum):
    """How a proxy names its service in traces."""

    APP_LABEL_AND_NAMESPACE = "APP_LABEL_AND_NAMESPACE"
    CANONICAL_NAME_ONLY = "CANONICAL_NAME_ONLY"
    CANONICAL_NAME_AND_NAMESPACE = "CANONICAL_NAME_AND_NAMESPACE"


class InboundInterceptionMode(Enum):
    """How inbound traffic reaches the proxy."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class ProxyStatsMatcher(Spec, frozen=True, kw_only=True):
    """Extra statistics to keep."""

    inclusion_prefixes: list[str] = []
    """Beginnings of their names."""
    inclusion_suffixes: list[str] = []
    """Ends of their names."""
    inclusion_regexps: list[str] = []
    """RE2 expressions for their whole names."""


class MetadataExchangeMode(Enum):
    """When peers exchange metadata headers."""

    UNDEFINED = "UNDEFINED"
    IN_MESH = "IN_MESH"


class ServerHeader(Spec, frozen=True, kw_only=True):
    """The `server` response header."""

    disabled: bool | None = None
    """Whether it is left as the application made it."""
    value: str = ""
    """Its value; unset is `istio-envoy`."""


class RequestId(Spec, frozen=True, kw_only=True):
    """The `x-request-id` header."""

    disabled: bool | None = None
    """Whether none is made."""


class AttemptCount(Spec, frozen=True, kw_only=True):
    """The `x-envoy-attempt-count` header."""

    disabled: bool | None = None
    """Whether it is left out."""


class XForwardedHost(Spec, frozen=True, kw_only=True):
    """The `x-forwarded-host` header."""

    enabled: bool | None = None
    """Whether it is set."""


class XForwardedPort(Spec, frozen=True, kw_only=True):
    """The `x-forwarded-port` header."""

    enabled: bool | None = None
    """Whether it is set."""


class EnvoyDebugHeaders(Spec, frozen=True, kw_only=True):
    """Envoy's own debug headers."""

    disabled: bool | None = None
    """Whether they are left out."""


class MetadataExchangeHeaders(Spec, frozen=True, kw_only=True):
    """Metadata exchange between peers."""

    mode: MetadataExchangeMode = MetadataExchangeMode.UNDEFINED
    """Whether they are sent."""


class SetCurrentClientCertDetails(Spec, frozen=True, kw_only=True):
    """Parts of the client certificate to forward."""

    subject: bool | None = None
    """Whether its subject is in."""
    cert: bool | None = None
    """Whether the certificate is in."""
    chain: bool | None = None
    """Whether the whole chain is in."""
    dns: bool | None = None
    """Whether its DNS names are in."""
    uri: bool | None = None
    """Whether its URIs, and so the SPIFFE ID, are in."""


class ProxyHeaders(Spec, frozen=True, kw_only=True):
    """Headers that a proxy adds by itself."""

    forwarded_client_cert: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    """What becomes of `X-Forwarded-Client-Cert` at a sidecar's inbound side."""
    set_current_client_cert_details: SetCurrentClientCertDetails | None = None
    """What of the client's certificate the header holds."""
    request_id: RequestId | None = None
    """Of `x-request-id`."""
    server: ServerHeader | None = None
    """Of the response header `server`."""
    attempt_count: AttemptCount | None = None
    """Of `x-envoy-attempt-count`, which counts tries."""
    envoy_debug_headers: EnvoyDebugHeaders | None = None
    """Of the headers `x-envoy-*` of requests and responses."""
    metadata_exchange_headers: MetadataExchangeHeaders | None = None
    """Of the headers by which Istio's proxies tell each other who they are."""
    preserve_http1_header_case: bool | None = msgspec.field(default=None, name="preserveHttp1HeaderCase")
    """Whether header names keep the case that they came in."""
    x_forwarded_host: XForwardedHost | None = None
    """Of `x-forwarded-host` where a route rewrites the host."""
    x_forwarded_port: XForwardedPort | None = None
    """Of `x-forwarded-port`."""


class ConnectionProfile(Enum):
    """A set of defaults for connections."""

    SIDECAR = "SIDECAR"
    EDGE = "EDGE"


class HeadersWithUnderscoresAction(Enum):
    """What to do with headers that contain underscores."""

    HEADERS_WITH_UNDERSCORES_UNSPECIFIED = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED"
    HEADERS_WITH_UNDERSCORES_ALLOW = "HEADERS_WITH_UNDERSCORES_ALLOW"
    HEADERS_WITH_UNDERSCORES_REJECT_REQUEST = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST"
    HEADERS_WITH_UNDERSCORES_DROP_HEADER = "HEADERS_WITH_UNDERSCORES_DROP_HEADER"


class PathWithEscapedSlashesAction(Enum):
    """What to do with escaped slashes in a path."""

    PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED"
    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


class ConnectionSettings(Spec, frozen=True, kw_only=True):
    """Limits of downstream connections."""

    profile: ConnectionProfile = ConnectionProfile.SIDECAR
    listener_per_connection_buffer_limit_bytes: int | None = None
    cluster_per_connection_buffer_limit_bytes: int | None = None
    http_idle_timeout: str = ""
    http_max_connection_duration: str = ""
    http_drain_timeout: str = ""
    http_request_timeout: str = ""
    http_request_headers_timeout: str = ""
    http_stream_idle_timeout: str = ""
    http_max_stream_duration: str = ""
    http_max_concurrent_streams: int | None = None
    http2_initial_stream_window_size: int | None = msgspec.field(default=None, name="http2InitialStreamWindowSize")
    http2_initial_connection_window_size: int | None = msgspec.field(
        default=None, name="http2InitialConnectionWindowSize"
    )
    http_headers_with_underscores_action: HeadersWithUnderscoresAction | None = None
    http_merge_slashes: bool | None = None
    http_path_with_escaped_slashes_action: PathWithEscapedSlashesAction | None = None
    listener_connection_limit: int | None = None
    global_downstream_connection_limit: int | None = None


class ProxyConfig(Spec, frozen=True, kw_only=True):
    """Settings of one proxy; MeshConfig.defaultConfig holds those of all."""

    config_path: str = ""
    """Folder of Envoy's files; the agent chooses it."""
    binary_path: str = ""
    """Envoy's program; the agent starts the one that is installed."""
    service_cluster: str | None = None
    """Name of the service in Envoy's node; here that of the workload."""
    tracing_service_name: TracingServiceName | None = None
    """How the service's name in spans is made."""
    drain_duration: str = ""
    """Duration that a listener which goes lets its connections end; unset is 45s in Istio."""
    discovery_address: str = ""
    """Address of the control plane; here `--control-plane`."""
    discovery_refresh_delay: str = ""
    """Duration between polls; nothing polls."""
    zipkin_address: str = ""
    """Address of a receiver of spans. Old form of `tracing.zipkin`."""
    statsd_udp_address: str = ""
    """Address of a StatsD server."""
    envoy_metrics_service_address: str = ""
    """Old form of `envoyMetricsService`."""
    proxy_admin_port: int = 0
    """Port of Envoy's admin page; here 15000."""
    availability_zone: str = ""
    """Old form of a workload's locality."""
    control_plane_auth_policy: AuthenticationPolicy = AuthenticationPolicy.NONE
    """How proxies prove who they are; here always by certificate."""
    custom_config_file: str = ""
    """A bootstrap of one's own."""
    stat_name_length: int = 0
    """Longest name of a statistic; Envoy has no limit any more."""
    concurrency: int | None = None
    """Envoy's worker threads; 0 is one for each core that the workload may use."""
    proxy_bootstrap_template_path: str = ""
    """A template of the bootstrap."""
    interception_mode: InboundInterceptionMode = InboundInterceptionMode.REDIRECT
    """How inbound traffic is redirected."""
    tracing: Tracing | None = None
    sds: SDS | None = None
    envoy_access_log_service: RemoteService | None = None
    envoy_metrics_service: RemoteService | None = None
    proxy_metadata: dict[str, str] = {}
    """Variables of the proxy's environment."""
    runtime_values: dict[str, str] = {}
    """Envoy's runtime flags."""
    status_port: int = 0
    """Port of the agent's health page; here 15020."""
    extra_stat_tags: list[str] = []
    """Further tags of statistics."""
    gateway_topology: Topology | None = None
    termination_drain_duration: str = ""
    """Duration that a workload which stops lets its connections end; unset is 5s."""
    mesh_id: str = ""
    """Name of the mesh, for meshes that federate."""
    readiness_probe: ReadinessProbe | None = None
    """How a workload is found ready."""
    proxy_stats_matcher: ProxyStatsMatcher | None = None
    """Statistics that are made beside the usual ones."""
    hold_application_until_proxy_starts: bool | None = None
    """Whether the application waits for its proxy."""
    ca_certificates_pem: list[str] = []
    """Further roots to trust, in PEM."""
    image: ProxyImage | None = None
    private_key_provider: PrivateKeyProvider | None = None
    proxy_headers: ProxyHeaders | None = None
    file_flush_interval: str = ""
    """Duration after which access logs are written to their file."""
    file_flush_min_size_kb: Unsigned = 0
    """Size in KiB from which on they are written before that."""
    stats_compression: bool | None = None
    """Whether pages of statistics may be compressed."""
    connection_settings: ConnectionSettings | None = None


class RemoteService(Spec, frozen=True, kw_only=True):
    """Address of a service that proxies report to."""

    address: str = ""
    tls_settings: ClientTLSSettings | None = None
    tcp_keepalive: TcpKeepalive | None = None
