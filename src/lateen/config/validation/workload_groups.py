"""Rules of WorkloadGroup and ProxyConfig, as Istio's validation and its CRD have them. Called by `validation.rules`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.networking import WorkloadEntry
from lateen.config.positions import Path
from lateen.config.probes import problem_of
from lateen.config.proxy_config import HTTPHealthCheckConfig, ReadinessProbe
from lateen.config.validation import fields
from lateen.config.violations import Violation, warning
from lateen.config.workload_groups import WorkloadGroup, WorkloadProxyConfig
from lateen.model.proxy_settings import MOST_THREADS, is_variable, loads_code

LONGEST_VALUE = 2048
MOST_LABELS = 64
MOST_VARIABLES = 64
"""They travel in one message to each proxy."""
_PROBE_HEADER = re.compile(r"[-_A-Za-z0-9]+")
_METHODS = ("httpGet", "tcpSocket", "exec", "grpc")
_TIMES = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def workload_group(spec: WorkloadGroup, _metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a WorkloadGroup."""
    if spec.metadata is not None:
        yield from fields.labels(("metadata", "labels"), spec.metadata.labels)
    yield from _template(("template",), spec.template)
    yield from readiness_probe(("probe",), spec.probe)
    marked = {*spec.template.labels, *(spec.metadata.labels if spec.metadata is not None else ())}
    if len(marked) > MOST_LABELS:
        yield Violation((), f"the group has {len(marked)} labels", f"at most {MOST_LABELS} are allowed")


def _template(path: Path, template: WorkloadEntry) -> Iterator[Violation]:
    """A WorkloadEntry without what each workload fills in itself."""
    yield from fields.labels((*path, "labels"), template.labels)
    if template.address:
        hint = "remove it, or write a WorkloadEntry for that workload"
        yield warning((*path, "address"), "the address is each workload's own, so that this one means nothing", hint)
    for name, number in template.ports.items():
        yield from fields.dns_label((*path, "ports", name), name, "name of a port")
        yield from fields.port_number((*path, "ports", name), number)
    if template.service_account and len(template.service_account) > 253:
        yield Violation((*path, "serviceAccount"), "is longer than the 253 characters of a name")


def readiness_probe(path: Path, probe: ReadinessProbe | None) -> Iterator[Violation]:
    """A probe: its times are not negative, and it has exactly one method that an agent can make."""
    if probe is None:
        return
    times = (
        probe.initial_delay_seconds,
        probe.timeout_seconds,
        probe.period_seconds,
        probe.success_threshold,
        probe.failure_threshold,
    )
    for name, value in zip(_TIMES, times, strict=True):
        yield from fields.not_negative((*path, name), value)
    methods = (probe.http_get, probe.tcp_socket, probe.exec, probe.grpc)
    given = [name for name, method in zip(_METHODS, methods, strict=True) if method is not None]
    if len(given) != 1:
        message = f"{' and '.join(f'`{name}`' for name in given)} exclude each other" if given else "there is no method"
        yield Violation(path, message, f"write one of {', '.join(_METHODS)}")
    if probe.http_get is not None:
        yield from _http_get((*path, "httpGet"), probe.http_get)
    for name, checked in (("tcpSocket", probe.tcp_socket), ("grpc", probe.grpc)):
        if checked is not None:
            yield from fields.port_number((*path, name, "port"), checked.port)
    if probe.exec is not None and not all([probe.exec.command, *probe.exec.command]):
        yield Violation((*path, "exec", "command"), "the command is empty", "add `command: [/usr/bin/check]`")
    elif len(given) == 1 and (problem := problem_of(probe)) and not problem.startswith("port "):
        yield Violation(path, problem)


def _http_get(path: Path, check: HTTPHealthCheckConfig) -> Iterator[Violation]:
    yield from fields.port_number((*path, "port"), check.port)
    if check.scheme not in ("", "HTTP", "HTTPS"):
        yield Violation((*path, "scheme"), f"{check.scheme[:40]!r} is not a scheme", "write HTTP or HTTPS")
    for index, header in enumerate(check.http_headers):
        if not _PROBE_HEADER.fullmatch(header.name):
            here = (*path, "httpHeaders", index, "name")
            yield Violation(here, f"{header.name[:80]!r} is not a header name", "use letters, digits, `-` and `_`")


def proxy_config(spec: WorkloadProxyConfig, _metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a ProxyConfig."""
    if spec.selector is not None:
        yield from fields.selector(("selector", "matchLabels"), spec.selector.match_labels, required=True)
    yield from threads(("concurrency",), spec.concurrency)
    yield from environment(("environmentVariables",), spec.environment_variables)


def threads(path: Path, number: int | None) -> Iterator[Violation]:
    """Envoy's worker threads: each has its own connections, so that too many take a machine's memory."""
    if number is not None and not 0 <= number <= MOST_THREADS:
        yield Violation(path, f"{number} is out of range", f"write a number from 0 to {MOST_THREADS}")


def environment(path: Path, variables: dict[str, str]) -> Iterator[Violation]:
    """Variables of a proxy's environment. Those that make a process load code are not configuration."""
    if len(variables) > MOST_VARIABLES:
        yield Violation(path, f"there are {len(variables)} variables", f"at most {MOST_VARIABLES} are allowed")
        return
    for name, value in variables.items():
        here = (*path, name)
        if not is_variable(name):
            yield Violation(here, f"{name[:80]!r} is not a name of a variable", "use letters, digits and `_`")
        elif loads_code(name):
            yield Violation(here, f"{name} says which code a process loads, which no configuration may", "remove it")
        elif len(value) > LONGEST_VALUE or "\0" in value:
            yield Violation(here, f"the value has {len(value)} characters", f"at most {LONGEST_VALUE} are allowed")
