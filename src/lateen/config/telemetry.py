"""Telemetry of `telemetry.istio.io`: which metrics, traces and access logs proxies make, and for whom.

Structs without logic, as in `config.networking`, in the order of the reference.
"""

from __future__ import annotations

from enum import Enum

from lateen.config.networking import MatchLabelsSelector, Spec
from lateen.config.proxy_config import EnvironmentTag, LiteralTag, RequestHeaderTag
from lateen.config.security import PolicyTargetReference


class WorkloadMode(Enum):
    """On which side of a request."""

    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
    CLIENT = "CLIENT"
    """Outbound; for a gateway both."""
    SERVER = "SERVER"
    """Inbound."""


class ProviderRef(Spec, frozen=True, kw_only=True):
    """An extension provider of MeshConfig, by name."""

    name: str = ""


class FormatterTag(Spec, frozen=True, kw_only=True):
    """A tag by Envoy's formatter, `%REQ(USER-AGENT)%`."""

    value: str = ""


class TelemetryCustomTag(Spec, frozen=True, kw_only=True):
    """One tag of a span, from one source: only one field is set."""

    literal: LiteralTag | None = None
    environment: EnvironmentTag | None = None
    header: RequestHeaderTag | None = None
    formatter: FormatterTag | None = None


class TracingSelector(Spec, frozen=True, kw_only=True):
    """Which requests a tracing rule is about."""

    mode: WorkloadMode = WorkloadMode.CLIENT_AND_SERVER


class TelemetryTracing(Spec, frozen=True, kw_only=True):
    """How requests are traced."""

    match: TracingSelector | None = None
    providers: list[ProviderRef] = []
    random_sampling_percentage: float | None = None
    """Percent, 0.0 to 100.0. Unset: as the next wider Telemetry says, at last 1."""
    disable_span_reporting: bool | None = None
    """Whether no spans are reported; contexts are still passed on."""
    disable_context_propagation: bool | None = None
    """Whether no headers of traces are passed on."""
    custom_tags: dict[str, TelemetryCustomTag] = {}
    use_request_id_for_trace_sampling: bool | None = None
    """Whether the sampling decision stands in `x-request-id`; unset is true."""
    enable_istio_tags: bool | None = None
    """Whether Istio's own tags are added; unset is true."""


class IstioMetric(Enum):
    """Istio's standard metrics."""

    ALL_METRICS = "ALL_METRICS"
    REQUEST_COUNT = "REQUEST_COUNT"
    REQUEST_DURATION = "REQUEST_DURATION"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    TCP_OPENED_CONNECTIONS = "TCP_OPENED_CONNECTIONS"
    TCP_CLOSED_CONNECTIONS = "TCP_CLOSED_CONNECTIONS"
    TCP_SENT_BYTES = "TCP_SENT_BYTES"
    TCP_RECEIVED_BYTES = "TCP_RECEIVED_BYTES"
    GRPC_REQUEST_MESSAGES = "GRPC_REQUEST_MESSAGES"
    GRPC_RESPONSE_MESSAGES = "GRPC_RESPONSE_MESSAGES"


class MetricSelector(Spec, frozen=True, kw_only=True):
    """One metric on some side: only one of `metric` and `customMetric` is set; neither is all."""

    metric: IstioMetric | None = None
    custom_metric: str | None = None
    mode: WorkloadMode = WorkloadMode.CLIENT_AND_SERVER


class TagOperation(Enum):
    """What becomes of a tag."""

    UPSERT = "UPSERT"
    REMOVE = "REMOVE"


class TagOverride(Spec, frozen=True, kw_only=True):
    """Another value for one tag of a metric, or none."""

    operation: TagOperation = TagOperation.UPSERT
    value: str = ""
    """A CEL expression; with UPSERT only."""


class MetricsOverrides(Spec, frozen=True, kw_only=True):
    """Changes of some metrics."""

    match: MetricSelector | None = None
    disabled: bool | None = None
    """Whether the metric is not made."""
    tag_overrides: dict[str, TagOverride] = {}


class Metrics(Spec, frozen=True, kw_only=True):
    """Which metrics are made, for whom."""

    providers: list[ProviderRef] = []
    overrides: list[MetricsOverrides] = []
    """In order; a later one wins."""
    reporting_interval: str = ""
    """Duration of at least 1ms between two reports of TCP metrics; unset is 5s."""


class AccessLogSelector(Spec, frozen=True, kw_only=True):
    """Which requests are logged."""

    mode: WorkloadMode = WorkloadMode.CLIENT_AND_SERVER


class AccessLogFilter(Spec, frozen=True, kw_only=True):
    """Which of them, by a condition."""

    expression: str = ""
    """CEL, `response.code >= 400`."""


class AccessLogging(Spec, frozen=True, kw_only=True):
    """Which access logs are made, for whom."""

    match: AccessLogSelector | None = None
    providers: list[ProviderRef] = []
    disabled: bool | None = None
    """Whether nothing is logged."""
    filter: AccessLogFilter | None = None


class Telemetry(Spec, frozen=True, kw_only=True):
    """What proxies tell of their traffic."""

    selector: MatchLabelsSelector | None = None
    """Workloads of its namespace; unset is all of them, and all of the mesh in the root namespace."""
    target_ref: PolicyTargetReference | None = None
    target_refs: list[PolicyTargetReference] = []
    tracing: list[TelemetryTracing] = []
    metrics: list[Metrics] = []
    access_logging: list[AccessLogging] = []
