"""The control plane's own metrics: one table, from which the exposition and docs/reference/metrics.md are made.

Names are Istio's where Istio has the same thing, so that its dashboards work; the others begin with `lateen_`.
Called by `api/application.py` for `/metrics`; `python -m lateen.api.metrics` writes the page.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

from lateen.api.answers import WORDS
from lateen.api.control_plane import ProxyStatus
from lateen.api.figures import Histogram, Monitored
from lateen.envoy.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

PAGE = Path("docs/reference/metrics.md")
_INTRODUCTION = (
    "The control plane serves these on the monitoring port (15014) at `/metrics`, in Prometheus' text format. Names "
    "that begin with `pilot_` or `citadel_` are Istio's and mean the same there. The label `type` is `cds`, `eds`, "
    "`lds`, `rds`, `vhds`, `sds`, `ecds`, or `other` for what only a client speaks of."
)
_SHORT = {CLUSTER: "cds", ENDPOINT: "eds", LISTENER: "lds", ROUTE: "rds", VIRTUAL_HOST: "vhds", SECRET: "sds"} | {
    EXTENSION: "ecds"
}
"""Istio's values of the label `type`."""

Value: TypeAlias = float | Histogram
Samples: TypeAlias = Mapping[tuple[str, ...], Value]
"""By the values of the labels."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one answer is made from."""

    plane: Monitored
    proxies: Sequence[ProxyStatus]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    read: Callable[[Scrape], Value | Samples]
    labels: tuple[str, ...] = ()


def _by_type(counts: Mapping[str, Value]) -> Samples:
    """Label counts by kind as Istio does; kinds that only clients speak of are `other`."""
    samples: dict[tuple[str, ...], Value] = {}
    for kind, value in sorted(counts.items()):
        label = (_SHORT.get(kind, "other"),)
        known = samples.get(label, 0)
        samples[label] = known + value if isinstance(known, float | int) and isinstance(value, float | int) else value
    return samples


def _versions(scrape: Scrape) -> Samples:
    # The last word is the version: `envoy 1.40.0`. Cut, because a client can say anything.
    found = Counter((proxy.user_agent.rpartition(" ")[2][:50] or "unknown",) for proxy in scrape.proxies)
    return dict(sorted(found.items()))


def _standing(scrape: Scrape) -> Samples:
    found = Counter(
        (WORDS[kind], status.state) for proxy in scrape.proxies for kind, status in proxy.types.items() if kind in WORDS
    )
    return dict(sorted(found.items()))


def _rejecting(kind: str) -> Callable[[Scrape], Value]:
    return lambda scrape: sum(proxy.types[kind].state == "rejected" for proxy in scrape.proxies if kind in proxy.types)


def _shared(scrape: Scrape) -> Samples:
    return {
        (what, result): count
        for what, shared in scrape.plane.sharing.items()
        for result, count in (("hit", shared.hits), ("miss", shared.misses))
    }


def _services(scrape: Scrape) -> Value:
    return len(scrape.plane.state.services) if scrape.plane.state else 0


def _endpoints(scrape: Scrape) -> Value:
    state = scrape.plane.state
    return sum(len(found) for found in state.endpoints.values()) if state else 0


def _resident(_scrape: Scrape) -> Value:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


METRICS = (
    Metric("pilot_info", "gauge", "Version of the control plane.", lambda _s: {(version("lateen"),): 1}, ("version",)),
    Metric("pilot_services", "gauge", "Services in the state in force.", _services),
    Metric(
        "pilot_virt_services",
        "gauge",
        "VirtualServices in the state in force.",
        lambda s: len(s.plane.state.virtual_services) if s.plane.state else 0,
    ),
    Metric(
        "pilot_xds", "gauge", "Proxies connected over xDS, by the version they say they are.", _versions, ("version",)
    ),
    Metric(
        "pilot_xds_pushes",
        "counter",
        "Responses written to proxies.",
        lambda s: _by_type(s.plane.figures.pushes),
        ("type",),
    ),
    Metric(
        "pilot_total_xds_rejects",
        "counter",
        "Responses that proxies rejected.",
        lambda s: _by_type(s.plane.figures.rejects),
        ("type",),
    ),
    Metric(
        "citadel_server_csr_count",
        "counter",
        "Certificates that workloads asked for.",
        lambda s: s.plane.certificates.requests,
    ),
    Metric(
        "citadel_server_success_cert_issuance_count",
        "counter",
        "Certificates that were issued.",
        lambda s: s.plane.certificates.issued,
    ),
    Metric(
        "lateen_certificates_refused_total",
        "counter",
        "Certificates that were refused, by reason.",
        lambda s: {(reason,): count for reason, count in sorted(s.plane.certificates.refused.items())},
        ("reason",),
    ),
    Metric(
        "citadel_server_root_cert_expiry_timestamp",
        "gauge",
        "When the root under which certificates are issued expires, Unix time.",
        lambda s: s.plane.certificates.root_expires,
    ),
    Metric(
        "citadel_server_cert_chain_expiry_timestamp",
        "gauge",
        "When the certificate that signs expires, Unix time.",
        lambda s: s.plane.certificates.signer_expires,
    ),
    Metric("pilot_xds_cds_reject", "gauge", "Proxies whose newest clusters stand rejected.", _rejecting(CLUSTER)),
    Metric("pilot_xds_eds_reject", "gauge", "Proxies whose newest endpoints stand rejected.", _rejecting(ENDPOINT)),
    Metric("pilot_xds_lds_reject", "gauge", "Proxies whose newest listeners stand rejected.", _rejecting(LISTENER)),
    Metric("pilot_xds_rds_reject", "gauge", "Proxies whose newest routes stand rejected.", _rejecting(ROUTE)),
    Metric(
        "pilot_proxy_convergence_time",
        "histogram",
        "Seconds from a publication, or the connection if later, to the last ACK or NACK of a proxy.",
        lambda s: s.plane.figures.convergence,
    ),
    Metric(
        "pilot_proxy_queue_time",
        "histogram",
        "Seconds that a response waits until it is written.",
        lambda s: s.plane.figures.queue,
    ),
    Metric(
        "pilot_xds_send_time",
        "histogram",
        "Seconds until the network took a response.",
        lambda s: s.plane.figures.send,
    ),
    Metric(
        "pilot_xds_config_size_bytes",
        "histogram",
        "Sizes of the responses written.",
        lambda s: _by_type(s.plane.figures.sizes),
        ("type",),
    ),
    Metric("lateen_ready", "gauge", "Whether a state is published and proxies are accepted.", lambda s: s.plane.ready),
    Metric("lateen_endpoints", "gauge", "Endpoints in the state in force.", _endpoints),
    Metric(
        "lateen_workloads",
        "gauge",
        "Workloads registered by agents.",
        lambda s: len(s.plane.state.workloads) if s.plane.state else 0,
    ),
    Metric(
        "lateen_checked_endpoints",
        "gauge",
        "Plain endpoints that gateways check and have an opinion about.",
        lambda s: len(s.plane.health.opinions()),
    ),
    Metric("lateen_sick_endpoints", "gauge", "Those that all gateways call sick.", lambda s: len(s.plane.health.sick)),
    Metric(
        "lateen_checking_gateways", "gauge", "Gateways that report their health.", lambda s: s.plane.health.gateways
    ),
    Metric(
        "lateen_health_reports_total",
        "counter",
        "Reports of gateways about plain endpoints.",
        lambda s: s.plane.health.reports,
    ),
    Metric("lateen_config_objects", "gauge", "Configuration objects in force.", lambda s: len(s.plane.objects())),
    Metric("lateen_findings", "gauge", "Findings of the configuration in force.", lambda s: len(s.plane.findings())),
    Metric(
        "lateen_dns_names_left_out",
        "gauge",
        "Names of services that a sidecar is not told of because there are more than 50,000; of the one that most are.",
        lambda s: s.plane.dns_names_left_out,
    ),
    Metric("lateen_connected_proxies", "gauge", "Proxies connected over xDS.", lambda s: len(s.proxies)),
    Metric(
        "lateen_proxy_types", "gauge", "Proxies by resource type and where they stand.", _standing, ("type", "state")
    ),
    Metric(
        "lateen_scopes", "gauge", "Scopes: sets of proxies that are served the same.", lambda s: len(s.plane.scopes())
    ),
    Metric("lateen_state_build_seconds", "histogram", "Seconds to build a state.", lambda s: s.plane.build_times),
    Metric(
        "lateen_generate_seconds",
        "histogram",
        "Seconds to generate what one scope is served.",
        lambda s: s.plane.figures.generate,
    ),
    Metric("lateen_rebuilt_parts", "gauge", "Parts generated for the scopes in use.", lambda s: s.plane.rebuilt),
    Metric(
        "lateen_xds_bytes_total",
        "counter",
        "Bytes of the responses written.",
        lambda s: _by_type(s.plane.figures.pushed_bytes),
        ("type",),
    ),
    Metric(
        "lateen_xds_resources_total",
        "counter",
        "Resources in the responses written.",
        lambda s: _by_type(s.plane.figures.resources),
        ("type",),
    ),
    Metric(
        "lateen_xds_requests_total",
        "counter",
        "Requests of proxies, ACKs included.",
        lambda s: s.plane.figures.requests,
    ),
    Metric(
        "lateen_xds_throttled_requests_total",
        "counter",
        "Requests that had to wait because their stream sent too many.",
        lambda s: s.plane.figures.throttled,
    ),
    Metric("lateen_xds_streams_total", "counter", "Streams of proxies opened.", lambda s: s.plane.figures.opened),
    Metric(
        "lateen_xds_streams_ended_total",
        "counter",
        "Streams that the control plane ended, by gRPC status.",
        lambda s: {(status,): count for status, count in sorted(s.plane.figures.ended.items())},
        ("status",),
    ),
    Metric(
        "lateen_xds_evicted_writes_total",
        "counter",
        "Large responses given up because their proxy did not read while others waited.",
        lambda s: s.plane.figures.evicted,
    ),
    Metric(
        "lateen_shared_answers_total",
        "counter",
        "Answers that streams share: taken from another (hit) or made (miss).",
        _shared,
        ("what", "result"),
    ),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory; 0 where /proc is missing.", _resident),
    Metric("process_cpu_seconds_total", "counter", "CPU time used.", lambda _s: time.process_time()),
)


def prometheus_text(plane: Monitored) -> str:
    """Return every metric in Prometheus' text format, version 0.0.4."""
    scrape = Scrape(plane, plane.proxies())
    return "".join(f"{line}\n" for metric in METRICS for line in _lines(metric, metric.read(scrape)))


def _lines(metric: Metric, read: Value | Samples) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.type}"
    samples = read if isinstance(read, Mapping) else {(): read}
    for values, value in samples.items():
        labels = dict(zip(metric.labels, values, strict=True))
        if isinstance(value, float | int):
            yield f"{metric.name}{_text(labels)} {_number(value)}"
        else:
            yield from _buckets(metric.name, labels, value)


def _buckets(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
    count = 0
    for bound, found in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        count += found
        bound_text = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"{name}_bucket{_text({**labels, 'le': bound_text})} {count}"
    yield f"{name}_sum{_text(labels)} {_number(histogram.total)}"
    yield f"{name}_count{_text(labels)} {count}"


def _text(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def page() -> str:
    """Return docs/reference/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "<!-- Made by `python -m lateen.api.metrics`; do not edit. -->",
        "",
        _INTRODUCTION,
        "",
        "| Name | Type | Labels | Meaning |",
        "|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) / "metrics.md" if len(sys.argv) > 1 else PAGE).write_text(page())
