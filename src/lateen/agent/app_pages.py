"""What the agent's HTTP port answers about the app: its metrics, and the probes that Kubernetes leads through us.

Called by `status`, made by `lifecycle`. A kubelet has no certificate of the mesh. Where mutual TLS is required, its
probes are rewritten to `/app-health/CONTAINER/readyz` (or livez, startupz) on our port, and ISTIO_KUBE_APP_PROBERS
says what each stands for; Istio's agent defines both, and ISTIO_PROMETHEUS_ANNOTATIONS. What does the work is loaded
when it is needed. Must not know: Envoy.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lateen.agent.errors import StartError
from lateen.agent.http1 import Connect, Http1Error
from lateen.agent.log import get_log
from lateen.agent.settings import AGENT_PORTS, AgentSettings
from lateen.model.probes import GRPC, HTTP, TCP, Probe, is_a_path

if TYPE_CHECKING:
    from lateen.agent.app_metrics import AppMetrics
    from lateen.agent.metric_formats import Wanted

HEALTH = "/app-health/"
PROBERS, ANNOTATIONS = "ISTIO_KUBE_APP_PROBERS", "ISTIO_PROMETHEUS_ANNOTATIONS"
_PATH = re.compile(r"/app-health/[^/]+/(livez|readyz|startupz)")
_LIFECYCLE = "/app-lifecycle/"
_MOST_PROBERS = 256
_KINDS = {"httpGet": HTTP, "tcpSocket": TCP, "grpc": GRPC}
Told = Callable[[], tuple[AgentSettings, Mapping[int, int]]]
"""Returns the settings and, by declared port, where the app listens, as they are now."""


class Pages:
    """Answers for one app. StartError when the environment says what cannot be."""

    def __init__(self, connect: Connect, told: Told, environment: Mapping[str, str] = os.environ) -> None:
        self._connect = connect
        self._told = told
        self._probers = read_probers(environment.get(PROBERS, ""))
        self._annotated = read_annotations(environment.get(ANNOTATIONS, ""))
        self._failed = 0
        self._dropped: set[str] = set()
        self._log = get_log()

    async def health(self, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """Make the check that a path stands for; return a status and why. 400 for a path that stands for none."""
        probe = self._probers.get(path)
        if probe is None:
            return 400, f"{PROBERS} names no such probe"
        from lateen.agent import checks

        target = checks.Target(connect=self._connect, ports=self._told()[1])
        if probe.kind != HTTP:
            problem = await checks.check(probe, target)
            return (500, problem) if problem else (200, "ok")
        try:
            async with asyncio.timeout(probe.timeout):
                status = await checks.http_status(probe, target, _passed_on(headers))
        except (OSError, TimeoutError, ValueError, Http1Error) as error:
            return 500, str(error)[:200] or f"no answer within {probe.timeout:g} s"
        return status, f"the app answers {status}"

    def app_metrics(self, headers: Mapping[str, str], wanted: Wanted) -> AbstractAsyncContextManager[AppMetrics] | None:
        """Return the app's page of metrics, to be opened; None when it has none, or is not to be asked."""
        settings, ports = self._told()
        port, path = (settings.metrics_port, settings.metrics_path) if settings.metrics_path else self._annotated
        port = port or next(iter(ports), 0)
        if not (settings.merges_metrics and path and port):
            return None
        from lateen.agent.app_metrics import opened

        return opened(ports.get(port, port), path, headers, wanted, self._connect)

    def scraped(self, problem: str, dropped: set[str]) -> None:
        """Note how a scrape of the app went, and families that were left out because others have their names."""
        if problem:
            self._failed += 1
            if self._failed == 1:
                self._log.warning("the app's metrics are missing from the metrics page", problem=problem)
        if new := sorted(dropped - self._dropped):
            if not self._dropped:
                self._log.warning(
                    "metrics of the app have names that are on the page already: left out", names=new[:10]
                )
            self._dropped.update(new[:1000])

    def metrics(self) -> dict[str, float]:
        """Return the counts of `scraped`."""
        if not (self._failed or self._dropped or self._told()[0].metrics_path or self._annotated[1]):
            return {}
        return {
            "lateen_agent_app_scrape_failures_total": float(self._failed),
            "lateen_agent_app_families_dropped": float(len(self._dropped)),
        }


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of the kubelet's request that the app is to see."""
    return {name: headers[name] for name in ("user-agent", "accept") if name in headers}


def read_probers(text: str) -> dict[str, Probe]:
    """Read ISTIO_KUBE_APP_PROBERS: path -> Kubernetes' probe. StartError for what is none: a pod would be killed."""
    if not text:
        return {}
    try:
        said = json.loads(text)
        probers = {}
        for path, prober in said.items():
            if path.startswith(_LIFECYCLE):
                get_log().warning("lifecycle hooks are not passed on", path=path[:80])
                continue
            if not _PATH.fullmatch(path):
                raise ValueError(f"the path {path[:80]!r} is not /app-health/CONTAINER/livez, readyz or startupz")
            probers[path] = _prober(prober)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise StartError(f"{PROBERS} cannot be read: {error}", exit_code=2) from error
    if len(probers) > _MOST_PROBERS:
        raise StartError(f"{PROBERS} has more than {_MOST_PROBERS} probes", exit_code=2)
    return probers


def _prober(prober: dict[str, Any]) -> Probe:
    found = [(kind, prober[name]) for name, kind in _KINDS.items() if prober.get(name) is not None]
    if len(found) != 1:
        raise ValueError("a probe is one of httpGet, tcpSocket or grpc")
    kind, said = found[0]
    timeout = float(prober.get("timeoutSeconds") or 1)
    probe = Probe(kind=kind, port=said["port"], host=said.get("host") or "", timeout=timeout)
    if kind == GRPC:
        return replace(probe, service=said.get("service") or "")
    if kind == TCP:
        return probe
    path = said.get("path") or "/"
    headers = tuple((header["name"], header["value"]) for header in said.get("httpHeaders") or ())
    return replace(
        probe,
        path=path if path.startswith("/") else f"/{path}",
        tls=(said.get("scheme") or "HTTP").upper() == "HTTPS",
        headers=headers,
    )


def read_annotations(text: str) -> tuple[int, str]:
    """Read ISTIO_PROMETHEUS_ANNOTATIONS as Istio's agent does: port 80 and /metrics are meant where nothing is said.

    Returns (0, "") when nothing is to be scraped. StartError for a page that would be our own.
    """
    if not text:
        return 0, ""
    try:
        said = json.loads(text)
        scrape, path, port = (str(said.get(name, "")) for name in ("scrape", "path", "port"))
        if scrape == "false":
            return 0, ""
        found = int(port or "80"), path or "/metrics"
        if not 0 < found[0] < 65536 or found[0] in AGENT_PORTS or not is_a_path(found[1]):
            raise ValueError(f"{found[0]}{found[1][:80]} is not a page of the app")
    except (ValueError, TypeError, AttributeError) as error:
        raise StartError(f"{ANNOTATIONS} cannot be read: {error}", exit_code=2) from error
    return found
