"""Istio's annotations on Services and Namespaces: unknown, misplaced, deprecated or malformed ones.

Called by `references`. Most act on pods, which Lateen does not read: they are known here so that one on a Service is
called misplaced and not unknown. Source: names, places and states in istio/api `annotation/annotations.yaml` (1.31).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lateen.analysis.reports import Report
from lateen.config.codes import DEPRECATED_ANNOTATION, INVALID_ANNOTATION, MISPLACED_ANNOTATION, UNKNOWN_ANNOTATION
from lateen.config.decoding import closest
from lateen.config.kubernetes import Namespace, ServiceSpec
from lateen.config.objects import ConfigObject

_ANYWHERE = "Any"


class _Known(NamedTuple):
    kinds: tuple[str, ...]
    deprecated: bool = False


def _named(kinds: str, *names: str, deprecated: bool = False) -> dict[str, _Known]:
    return dict.fromkeys((part for name in names for part in name.split()), _Known(tuple(kinds.split()), deprecated))


def _under(prefix: str, names: str) -> str:
    return " ".join(f"{prefix}/{name}" for name in names.split())


_KNOWN: Mapping[str, _Known] = {
    **_named("Any", "galley.istio.io/analyze-suppress gateway.istio.io/controller-version sidecar.istio.io/status"),
    **_named("Service", "networking.istio.io/exportTo traffic.istio.io/nodeSelector"),
    **_named(
        "Service", _under("alpha.istio.io", "canonical-serviceaccounts kubernetes-serviceaccounts"), deprecated=True
    ),
    **_named(
        "Namespace Service ServiceEntry", "networking.istio.io/traffic-distribution istio.io/use-waypoint-canary-weight"
    ),
    **_named("Namespace", "topology.istio.io/controlPlaneClusters"),
    **_named("AuthorizationPolicy", "istio.io/dry-run"),
    **_named("Ingress", "kubernetes.io/ingress.class"),
    **_named(
        "Gateway", "networking.istio.io/service-type gateway.istio.io/name-override gateway.istio.io/service-account"
    ),
    **_named("Gateway", "ambient.istio.io/waypoint-inbound-binding"),
    **_named(
        "WorkloadEntry", _under("istio.io", "autoRegistrationGroup connectedAt disconnectedAt workloadController")
    ),
    **_named(
        "Pod",
        _under("ambient.istio.io", "bypass-inbound-capture dns-capture redirection"),
        "inject.istio.io/templates istio.io/reroute-virtual-interfaces prometheus.istio.io/merge-metrics",
        "proxy.istio.io/config proxy.istio.io/overrides status.sidecar.istio.io/port",
        _under(
            "readiness.status.sidecar.istio.io", "applicationPorts failureThreshold initialDelaySeconds periodSeconds"
        ),
        _under(
            "sidecar.istio.io",
            "agentLogLevel bootstrapOverride componentLogLevel interceptionMode logLevel nativeSidecar proxyCPU"
            " proxyCPULimit proxyImage proxyImageType proxyMemory proxyMemoryLimit rewriteAppHTTPProbers"
            " statsEvictionInterval statsFlushInterval statsHistogramBins statsHistogramBuckets userVolume"
            " userVolumeMount",
        ),
        _under(
            "traffic.sidecar.istio.io",
            "excludeInboundPorts excludeInterfaces excludeOutboundIPRanges excludeOutboundPorts includeInboundPorts"
            " includeOutboundIPRanges includeOutboundPorts",
        ),
    ),
    **_named(
        "Pod",
        _under(
            "sidecar.istio.io",
            "discoveryAddress extraStatTags inject statsCompression statsInclusionPrefixes statsInclusionRegexps"
            " statsInclusionSuffixes",
        ),
        "traffic.sidecar.istio.io/kubevirtInterfaces",
        deprecated=True,
    ),
}
_OF_REVISIONS = "istio.io/rev"
_SUCCESSORS = {"sidecar.istio.io/inject": "; the label of the same name took its place"}


def _exported(value: str) -> str:
    """Return what is wrong with namespaces with commas between them."""
    names = [name.strip() for name in value.split(",")]
    if ("~" in names and len(names) > 1) or ("*" in names and len(names) > 1):
        return "`*` and `~` stand alone"
    return "" if all(names) else "a name is empty"


_VALUES: Mapping[str, Callable[[str], str]] = {"networking.istio.io/exportTo": _exported}


def istio_annotations(report: Report, one: ConfigObject[Any]) -> None:
    """Look at the annotations of a Service or a Namespace, as Istio does."""
    if not one.annotations or not isinstance(one.spec, ServiceSpec | Namespace):
        return
    for name, value in one.annotations.items():
        group = name.partition("/")[0]
        if name != _OF_REVISIONS and (group.endswith("istio.io") or name == "kubernetes.io/ingress.class"):
            _annotation(report, one, name, value)


def _annotation(report: Report, one: ConfigObject[Any], name: str, value: str) -> None:
    path = ("metadata", "annotations", name)
    known = _KNOWN.get(name)
    if known is None:
        near = closest(name, _KNOWN)
        hint = f"; did you mean {near}?" if near else ""
        report.add(UNKNOWN_ANNOTATION, one, path, f"Istio has no annotation {name}, so it has no effect{hint}")
        return
    if known.deprecated:
        report.add(DEPRECATED_ANNOTATION, one, path, f"the annotation {name} is deprecated{_SUCCESSORS.get(name, '')}")
    if known.kinds != (_ANYWHERE,) and one.key.kind not in known.kinds:
        kinds = " or ".join(known.kinds)
        report.add(MISPLACED_ANNOTATION, one, path, f"{name} acts on a {kinds} only, so here it has no effect")
    elif name in _VALUES and (problem := _VALUES[name](value)):
        report.add(INVALID_ANNOTATION, one, path, f"{value!r} has no effect: {problem}")
