"""Rules of Telemetry, as Istio's validation and its CRD have them. Called by `validation.rules`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lateen.config.metadata import Metadata
from lateen.config.positions import Path
from lateen.config.telemetry import MetricsOverrides, ProviderRef, TagOperation, Telemetry, TelemetryCustomTag
from lateen.config.validation import fields
from lateen.config.validation.policy_targets import attachment, inert_reference
from lateen.config.violations import Violation, warning

_SOURCES = (("literal", "value"), ("environment", "name"), ("header", "name"), ("formatter", "value"))


def telemetry(spec: Telemetry, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a Telemetry."""
    attached = attachment(spec.selector, spec.target_ref, spec.target_refs, metadata.namespace)
    yield from (one for one in attached if not inert_reference(one))
    yield from _metrics(spec)
    yield from _tracing(spec)
    for index, log in enumerate(spec.access_logging):
        yield from _providers(("accessLogging", index, "providers"), log.providers)


def _metrics(spec: Telemetry) -> Iterator[Violation]:
    for index, metrics in enumerate(spec.metrics):
        here: Path = ("metrics", index)
        yield from _providers((*here, "providers"), metrics.providers)
        yield from fields.optional_duration((*here, "reportingInterval"), metrics.reporting_interval)
        for place, override in enumerate(metrics.overrides):
            yield from _override((*here, "overrides", place), override)


def _override(path: Path, override: MetricsOverrides) -> Iterator[Violation]:
    match = override.match
    if match is not None and match.custom_metric == "":
        yield Violation((*path, "match", "customMetric"), "the name of a metric must not be empty")
    if match is not None and match.metric is not None and match.custom_metric is not None:
        yield Violation((*path, "match"), "`metric` and `customMetric` exclude each other", "keep one of them")
    for name, tag in override.tag_overrides.items():
        here = (*path, "tagOverrides", name)
        if not name:
            yield warning(here, "the name of a tag must not be empty")
        if tag.operation is TagOperation.UPSERT and not tag.value:
            yield Violation(here, "UPSERT needs a value", "add `value: …`, or write `operation: REMOVE`")
        elif tag.operation is TagOperation.REMOVE and tag.value:
            yield Violation(here, "REMOVE takes no value", "remove the value")


def _tracing(spec: Telemetry) -> Iterator[Violation]:
    if len(spec.tracing) > 1:
        yield warning(("tracing", 1), "only the first tracing rule counts", "keep one of them")
    for index, tracing in enumerate(spec.tracing):
        here: Path = ("tracing", index)
        if len(tracing.providers) > 1:
            yield warning((*here, "providers"), "only the first provider counts", "keep one of them")
        yield from _providers((*here, "providers"), tracing.providers)
        if tracing.random_sampling_percentage is not None:
            yield from fields.percent((*here, "randomSamplingPercentage"), tracing.random_sampling_percentage)
        for name, tag in tracing.custom_tags.items():
            yield from _tag((*here, "customTags", name), tag)


def _tag(path: Path, tag: TelemetryCustomTag) -> Iterator[Violation]:
    if not path[-1]:
        yield Violation(path, "the name of a tag must not be empty")
    given = [(name, field) for name, field in _SOURCES if getattr(tag, name) is not None]
    if len(given) > 1:
        names = " and ".join(f"`{name}`" for name, _ in given)
        yield Violation(path, f"{names} exclude each other", "keep one of them")
    for name, field in given:
        if not getattr(getattr(tag, name), field):
            yield Violation((*path, name, field), "must not be empty")


def _providers(path: Path, providers: Sequence[ProviderRef]) -> Iterator[Violation]:
    for index, provider in enumerate(providers):
        if not provider.name:
            hint = "name one of MeshConfig's extensionProviders"
            yield Violation((*path, index), "the field `name` is required", hint)
