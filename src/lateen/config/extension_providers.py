"""Extension providers: the tracing, metrics, log, authorization and secret back ends that MeshConfig names.

Called by `config.mesh_config`. Field names are Istio's in snake case (istio/api `mesh/v1alpha1/config.proto`).
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from lateen.config.networking import Spec, Unsigned
from lateen.config.proxy_config import TraceContext


class ServiceAttributeEnrichment(Enum):
    """Which convention names the service in spans."""

    ISTIO_CANONICAL = "ISTIO_CANONICAL"
    OTEL_SEMANTIC_CONVENTIONS = "OTEL_SEMANTIC_CONVENTIONS"


class EnvoyExternalAuthorizationRequestBody(Spec, frozen=True, kw_only=True):
    """How much of the body is sent to the authorizer."""

    max_request_bytes: Unsigned = 0
    """Bytes that are kept for the question."""
    allow_partial_message: bool = False
    """Send the beginning of a longer body, instead of 413."""
    pack_as_bytes: bool = False
    """Send it as bytes, not as text; gRPC only."""


class EnvoyExternalAuthorizationHttpProvider(Spec, frozen=True, kw_only=True):
    """An authorizer that speaks HTTP."""

    service: str = ""
    """Host of the server, `namespace/host` if it is ambiguous."""
    port: Unsigned = 0
    """Its port."""
    timeout: str = ""
    """Duration to wait for the answer; unset is 600s."""
    path_prefix: str = ""
    """Put before the path of the question."""
    fail_open: bool = False
    """Let requests through when the server does not answer."""
    clear_route_cache: bool = False
    """Choose the route again after the answer changed headers."""
    status_on_error: str = ""
    """HTTP status when the server does not answer; unset is 403."""
    include_headers_in_check: list[str] = []
    """Old form of `includeRequestHeadersInCheck`."""
    include_request_headers_in_check: list[str] = []
    """Headers of the request that the server gets."""
    include_additional_headers_in_check: dict[str, str] = {}
    """Fixed headers that the server gets."""
    include_request_body_in_check: EnvoyExternalAuthorizationRequestBody | None = None
    """Send the body too."""
    headers_to_upstream_on_allow: list[str] = []
    """Headers of the answer for the application."""
    headers_to_downstream_on_deny: list[str] = []
    """Headers of the answer for the client; unset is all."""
    headers_to_downstream_on_allow: list[str] = []
    """Headers of the answer for the client."""


class EnvoyExternalAuthorizationGrpcProvider(Spec, frozen=True, kw_only=True):
    """An authorizer that speaks gRPC."""

    service: str = ""
    """Host of the server, `namespace/host` if it is ambiguous."""
    port: Unsigned = 0
    """Its port."""
    timeout: str = ""
    """Duration to wait for the answer; unset is 600s."""
    fail_open: bool = False
    """Let requests through when the server does not answer."""
    clear_route_cache: bool = False
    """Choose the route again after the answer changed headers."""
    status_on_error: str = ""
    """HTTP status when the server does not answer; unset is 403."""
    include_request_body_in_check: EnvoyExternalAuthorizationRequestBody | None = None
    """Send the body too."""


class TraceContextOption(Enum):
    """Header formats that Zipkin reads and writes."""

    USE_B3 = "USE_B3"
    USE_B3_WITH_W3C_PROPAGATION = "USE_B3_WITH_W3C_PROPAGATION"


class ZipkinTracingProvider(Spec, frozen=True, kw_only=True):
    """Spans to Zipkin."""

    service: str = ""
    port: Unsigned = 0
    max_tag_length: Unsigned = 0
    enable_64bit_trace_id: bool = msgspec.field(default=False, name="enable64bitTraceId")
    path: str = ""
    trace_context_option: TraceContextOption = TraceContextOption.USE_B3
    timeout: str = ""
    headers: list[HttpHeader] = []


class LightstepTracingProvider(Spec, frozen=True, kw_only=True):
    """Spans to Lightstep."""

    service: str = ""
    port: Unsigned = 0
    access_token: str = ""
    max_tag_length: Unsigned = 0


class DatadogTracingProvider(Spec, frozen=True, kw_only=True):
    """Spans to Datadog."""

    service: str = ""
    port: Unsigned = 0
    max_tag_length: Unsigned = 0


class SkyWalkingTracingProvider(Spec, frozen=True, kw_only=True):
    """Spans to SkyWalking."""

    service: str = ""
    port: Unsigned = 0
    access_token: str = ""


class StackdriverLogging(Spec, frozen=True, kw_only=True):
    """Labels of log entries."""

    labels: dict[str, str] = {}


class StackdriverProvider(Spec, frozen=True, kw_only=True):
    """Spans, metrics and logs to Stackdriver."""

    debug: bool = False
    max_number_of_attributes: int | None = None
    max_number_of_annotations: int | None = None
    max_number_of_message_events: int | None = None
    max_tag_length: Unsigned = 0
    logging: StackdriverLogging | None = None


class OpenCensusAgentTracingProvider(Spec, frozen=True, kw_only=True):
    """Spans to an OpenCensus agent."""

    service: str = ""
    port: Unsigned = 0
    context: list[TraceContext] = []
    max_tag_length: Unsigned = 0


class PrometheusMetricsProvider(Spec, frozen=True, kw_only=True):
    """Metrics to be scraped; it has no settings."""


class FileLogFormat(Spec, frozen=True, kw_only=True):
    """One of: a text line, or JSON labels."""

    text: str | None = None
    labels: dict[str, Any] | None = None


class EnvoyFileAccessLogProvider(Spec, frozen=True, kw_only=True):
    """Access log into a file."""

    path: str = ""
    log_format: FileLogFormat | None = None
    omit_empty_values: bool = False


class EnvoyHttpGrpcV3LogProvider(Spec, frozen=True, kw_only=True):
    """HTTP access log over gRPC."""

    service: str = ""
    port: Unsigned = 0
    log_name: str = ""
    filter_state_objects_to_log: list[str] = []
    additional_request_headers_to_log: list[str] = []
    additional_response_headers_to_log: list[str] = []
    additional_response_trailers_to_log: list[str] = []


class EnvoyTcpGrpcV3LogProvider(Spec, frozen=True, kw_only=True):
    """TCP access log over gRPC."""

    service: str = ""
    port: Unsigned = 0
    log_name: str = ""
    filter_state_objects_to_log: list[str] = []


class OpenTelemetryLogFormat(Spec, frozen=True, kw_only=True):
    """A text body, and attributes."""

    text: str = ""
    labels: dict[str, Any] = {}


class EnvoyOpenTelemetryLogProvider(Spec, frozen=True, kw_only=True):
    """Access log to an OpenTelemetry collector."""

    service: str = ""
    port: Unsigned = 0
    log_name: str = ""
    log_format: OpenTelemetryLogFormat | None = None


class DynatraceApi(Spec, frozen=True, kw_only=True):
    """Where the sampler reads its settings."""

    service: str = ""
    port: Unsigned = 0
    http: HttpService | None = None


class DynatraceSampler(Spec, frozen=True, kw_only=True):
    """Sampling as Dynatrace decides."""

    tenant: str = ""
    cluster_id: int = 0
    root_spans_per_minute: Unsigned = 0
    http_service: DynatraceApi | None = None


class OpenTelemetryTracingProvider(Spec, frozen=True, kw_only=True):
    """Spans to an OpenTelemetry collector."""

    service: str = ""
    port: Unsigned = 0
    max_tag_length: Unsigned = 0
    http: HttpService | None = None
    grpc: GrpcService | None = None
    resource_detectors: ResourceDetectors | None = None
    service_attribute_enrichment: ServiceAttributeEnrichment = ServiceAttributeEnrichment.ISTIO_CANONICAL
    dynatrace_sampler: DynatraceSampler | None = None


class SDSProvider(Spec, frozen=True, kw_only=True):
    """Certificates from a secret discovery service."""

    name: str = ""
    service: str = ""
    port: Unsigned = 0


class HttpService(Spec, frozen=True, kw_only=True):
    """Path and headers of an HTTP exporter."""

    path: str = ""
    timeout: str = ""
    headers: list[HttpHeader] = []


class HttpHeader(Spec, frozen=True, kw_only=True):
    """A header with a constant or a variable of the environment."""

    name: str = ""
    value: str | None = None
    env_name: str | None = None


class EnvironmentResourceDetector(Spec, frozen=True, kw_only=True):
    """Resource attributes from the environment; it has no settings."""


class DynatraceResourceDetector(Spec, frozen=True, kw_only=True):
    """Resource attributes from Dynatrace; it has no settings."""


class ResourceDetectors(Spec, frozen=True, kw_only=True):
    """Where resource attributes come from."""

    environment: EnvironmentResourceDetector | None = None
    dynatrace: DynatraceResourceDetector | None = None


class GrpcService(Spec, frozen=True, kw_only=True):
    """Timeout and metadata of a gRPC exporter."""

    timeout: str = ""
    initial_metadata: list[HttpHeader] = []


class ExtensionProvider(Spec, frozen=True, kw_only=True):
    """A named back end; exactly one field beside the name is set."""

    name: str = ""
    """Name that policies use."""
    envoy_ext_authz_http: EnvoyExternalAuthorizationHttpProvider | None = None
    """A server asked over HTTP."""
    envoy_ext_authz_grpc: EnvoyExternalAuthorizationGrpcProvider | None = None
    """A server asked over gRPC."""
    zipkin: ZipkinTracingProvider | None = None
    """A receiver of spans."""
    lightstep: LightstepTracingProvider | None = None
    """A receiver of spans; Envoy has dropped it."""
    datadog: DatadogTracingProvider | None = None
    """A receiver of spans."""
    stackdriver: StackdriverProvider | None = None
    """A receiver of spans and logs."""
    opencensus: OpenCensusAgentTracingProvider | None = None
    """A receiver of spans; Envoy has dropped it."""
    skywalking: SkyWalkingTracingProvider | None = None
    """A receiver of spans."""
    opentelemetry: OpenTelemetryTracingProvider | None = None
    """A receiver of spans."""
    prometheus: PrometheusMetricsProvider | None = None
    """Metrics to scrape."""
    envoy_file_access_log: EnvoyFileAccessLogProvider | None = None
    """A file for access logs."""
    envoy_http_als: EnvoyHttpGrpcV3LogProvider | None = None
    """A receiver of access logs of HTTP."""
    envoy_tcp_als: EnvoyTcpGrpcV3LogProvider | None = None
    """A receiver of access logs of TCP."""
    envoy_otel_als: EnvoyOpenTelemetryLogProvider | None = None
    """A receiver of access logs."""
    sds: SDSProvider | None = None
    """A server of secrets."""
