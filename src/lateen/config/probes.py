"""Readiness probes of WorkloadGroups and of MeshConfig, as agents are told them. Pure.

Called by `mesh.workload_groups`, `mesh.proxy_settings` and `config.validation`. Source: Kubernetes' Probe and Istio's
ReadinessProbe: a time or a threshold that is unset, or zero, has its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lateen.config.proxy_config import ReadinessProbe
from lateen.model.probes import EXEC, GRPC, HTTP, LONGEST_SECONDS, MOST_IN_A_ROW, TCP, Probe, is_a_path

SCRAPE, SCRAPE_PORT, SCRAPE_PATH = "prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"
_DEFAULT_PATH = "/metrics"


def probe_of(said: ReadinessProbe | None) -> Probe | None:
    """Return the probe; None for none, and for one that no agent could make."""
    if said is None:
        return None
    try:
        return Probe(
            **_method(said),
            delay=_bounded(said.initial_delay_seconds, 0),
            timeout=_bounded(said.timeout_seconds, 1),
            period=_bounded(said.period_seconds, 10),
            successes=min(said.success_threshold or 1, MOST_IN_A_ROW),
            failures=min(said.failure_threshold or 3, MOST_IN_A_ROW),
        )
    except ValueError:
        return None


def problem_of(said: ReadinessProbe) -> str:
    """Return why no agent could make a probe, empty when it can. Its times and its method are valid already."""
    try:
        Probe(**_method(said))
    except ValueError as error:
        return str(error)
    return ""


def _method(said: ReadinessProbe) -> dict[str, Any]:
    if said.http_get is not None:
        asked = said.http_get
        path = asked.path if asked.path.startswith("/") else f"/{asked.path}"
        headers = tuple((header.name, header.value) for header in asked.http_headers)
        tls = asked.scheme.upper() == "HTTPS"
        return {"kind": HTTP, "port": asked.port, "host": asked.host, "path": path, "tls": tls, "headers": headers}
    if said.tcp_socket is not None:
        return {"kind": TCP, "port": said.tcp_socket.port, "host": said.tcp_socket.host}
    if said.grpc is not None:
        return {"kind": GRPC, "port": said.grpc.port, "service": said.grpc.service}
    return {"kind": EXEC, "command": tuple(said.exec.command) if said.exec is not None else ()}


def _bounded(seconds: int, default: int) -> float:
    return float(min(seconds or default, LONGEST_SECONDS))


def scraped(annotations: Mapping[str, str]) -> tuple[int, str]:
    """Return port and path of an app's own metrics, by the annotations that pods have for Prometheus.

    Port 0 is the first one of the workload; an empty path is for no metrics. Other than under Istio, nothing is asked
    of an app that has no such annotation, and nothing without `prometheus.io/scrape: "true"`.
    """
    if annotations.get(SCRAPE) != "true":
        return 0, ""
    port, path = annotations.get(SCRAPE_PORT, ""), annotations.get(SCRAPE_PATH, "") or _DEFAULT_PATH
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    return (number if number < 65536 else 0), path if is_a_path(path) else ""
