"""The agent's own metrics, in both formats, each with a word of help. Pure.

A name that ends in `_total` is a counter, others are gauges. Used by `metrics_page`. Must not know: where they count.
"""

from __future__ import annotations

from collections.abc import Mapping

from lateen.agent.metric_names import Kind

HELP = {
    "lateen_agent_control_plane_connected": "Whether the attach stream to the control plane is open.",
    "lateen_agent_control_plane_reconnects_total": "Attach streams to the control plane after the first.",
    "lateen_agent_envoy_restarts_total": "Envoys started after one that had crashed.",
    "lateen_agent_envoy_reliefs_total": "Hot restarts: Envoys that took over from a running one.",
    "lateen_agent_configuration_last_good": "Whether Envoy serves by the configuration that was kept on disk.",
    "lateen_agent_workload_ready": "Whether the workload should get traffic now.",
    "lateen_agent_certificate_renewals_total": "Certificates of the workload after the first.",
    "lateen_agent_probes_total": "Checks of the app's health.",
    "lateen_agent_probe_failures_total": "Checks of the app's health that failed.",
    "lateen_agent_last_good_timestamp_seconds": "When the configuration on disk was last kept.",
    "lateen_agent_certificate_expiration_timestamp_seconds": "When the workload's certificate ends.",
    "lateen_agent_app_scrape_failures_total": "Scrapes in which metrics of the app were missing.",
    "lateen_agent_app_families_dropped": "Families of the app left out because their names were taken.",
    "lateen_agent_app_scrape_success": "Whether all metrics of the app were read in this scrape.",
}


def exposition(metrics: Mapping[str, float]) -> bytes:
    """Return metrics in Prometheus' text format 0.0.4."""
    lines = []
    for name, value in metrics.items():
        if name in HELP:
            lines.append(f"# HELP {name} {HELP[name]}\n")
        lines.append(f"# TYPE {name} {_kind(name).name.lower()}\n")
        # As many digits as a time has.
        lines.append(f"{name} {value:.15g}\n")
    return "".join(lines).encode()


def messages(metrics: Mapping[str, float]) -> bytes:
    """Return metrics as delimited messages."""
    from lateen.agent.metric_families import Family, Point
    from lateen.agent.metric_messages import MessageWriter

    writer = MessageWriter()
    served = []
    for name, value in metrics.items():
        served += [writer.take(Family(name, _kind(name), HELP.get(name, ""))), writer.take(Point((), value))]
    return b"".join(served) + writer.end()


def _kind(name: str) -> Kind:
    return Kind.COUNTER if name.endswith("_total") else Kind.GAUGE
