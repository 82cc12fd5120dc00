"""Generation tried out on imagined proxies, and every resource checked as Envoy would.

Called by `lateen analyze` and by the control plane for what is in force or about to be. What is found points to the
object that the resource was made of, by the metadata that each carries.

All proxies of a large mesh would take minutes, so there is a budget, counted in services that are generated: the same
input gives the same findings on every machine. What was passed over is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lateen.analysis.reports import Report
from lateen.analysis.suppression import without_annotated
from lateen.config.codes import REJECTED_BY_ENVOY
from lateen.config.kinds import document_kind
from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.envoy.constraints.checking import Checker
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.resources import Resource
from lateen.generate.generator import Generator
from lateen.generate.scopes import OutboundScope, Scope
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.proxies import Proxy, ProxyType
from lateen.preflight.patches import effects
from lateen.preflight.proxies import candidates
from lateen.preflight.sampling import hosts_beyond, sampled

MOST_SERVICES = 60
"""In a larger mesh one service of each sort is tried."""
MOST_WORK = 160
"""Services that are generated and checked, over all proxies; one takes about 5 ms."""
_OWN = 2
"""What a workload's own listeners cost, as services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What came of it."""

    findings: tuple[Finding, ...]
    tried: int = 0
    """Sorts of proxies."""
    passed_over: str = ""
    """What was not tried, in words; empty when everything was."""


@dataclass(slots=True)
class _Flight:
    """What was tried so far."""

    state: MeshState
    work: int
    generator: Generator = field(default_factory=Generator)
    checker: Checker = field(default_factory=Checker)
    scopes: set[Scope] = field(default_factory=set)
    outbound: set[OutboundScope] = field(default_factory=set)
    checked: set[tuple[str, str, str]] = field(default_factory=set)
    refused: list[tuple[Proxy, Resource, Violation]] = field(default_factory=list)
    tried: list[Proxy] = field(default_factory=list)
    """One of each sort."""
    skipped: int = 0

    def attempt(self, proxy: Proxy) -> None:
        """Generate for a proxy that is of a new sort and within the budget."""
        scope = self.generator.scope_of(self.state, proxy)
        if scope in self.scopes:
            return
        cost = _OWN if scope.outbound in self.outbound else self._cost(proxy)
        if self.scopes and cost > self.work:
            self.skipped += 1
            return
        self.work -= cost
        self.scopes.add(scope)
        self.tried.append(proxy)
        self.outbound.add(scope.outbound)
        for resources in self.generator.generate(self.state, proxy).resources.values():
            for resource in resources.values():
                self._check(proxy, resource)

    def _cost(self, proxy: Proxy) -> int:
        gateway = proxy.type is ProxyType.GATEWAY
        return _OWN + (len(self.state.virtual_services) if gateway else len(self.state.services))

    def _check(self, proxy: Proxy, resource: Resource) -> None:
        what = (resource.kind, resource.name, resource.version)
        if what not in self.checked:
            self.checked.add(what)
            found = self.checker.violations(resource.kind, resource.body)
            self.refused += ((proxy, resource, violation) for violation in found)


def preflight(
    state: MeshState,
    objects: Sequence[ConfigObject[Any]],
    positions: Mapping[ObjectKey, Positions] | None = None,
    *,
    about: Collection[ObjectKey] = (),
    most_services: int = MOST_SERVICES,
    most_work: int = MOST_WORK,
) -> Preflight:
    """Return what Envoy would reject of what `state` makes. `objects` are those that findings may be about.

    `about` are keys of objects to try first, where not everything can be.
    """
    smaller = sampled(state, most_services, about)
    flight = _Flight(smaller, most_work)
    for proxy in candidates(smaller):
        flight.attempt(proxy)
    report = Report(positions or {})
    _report(report, flight.refused, objects)
    passed_over = _passed_over(len(state.services) - len(smaller.services), hosts_beyond(state), flight.skipped)
    report.findings += effects(smaller, flight.tried, whole=not passed_over, positions=positions or {})
    return Preflight(
        findings=without_annotated(report.findings, objects), tried=len(flight.scopes), passed_over=passed_over
    )


def _passed_over(services: int, hosts: int, proxies: int) -> str:
    parts = [f"{services} services that are like others or beyond the budget"] if services else []
    parts += [f"{hosts} more hosts of VirtualServices with a hundred others"] if hosts else []
    parts += [f"{proxies} sorts of proxies"] if proxies else []
    return " and ".join(parts)


def _report(
    report: Report, refused: Sequence[tuple[Proxy, Resource, Violation]], objects: Sequence[ConfigObject[Any]]
) -> None:
    """Report each rule once per object; what no object of ours stands behind is about the resource."""
    by_name = {f"{document_kind(one.key.kind)} {one.key.namespace}/{one.key.name}": one for one in objects}
    by_place = {str(one.origin): one for one in objects if one.origin.line}
    said: set[tuple[str, str]] = set()
    for proxy, resource, violation in refused:
        subject = by_name.get(violation.config) or by_place.get(violation.origin)
        told = (violation.config or resource.name, violation.rule)
        if told in said:
            continue
        said.add(told)
        message = f"Envoy would reject {_resource(resource)} of the {_sort(proxy)}: {violation}"
        if subject is not None:
            report.add(REJECTED_BY_ENVOY, subject, ("metadata", "name"), message)
        else:
            report.findings.append(REJECTED_BY_ENVOY.finding(message))


def _resource(resource: Resource) -> str:
    return f"{resource.kind.rpartition('.')[2]} {resource.name}"


def _sort(proxy: Proxy) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(proxy.labels.items()))
    kind = "gateways" if proxy.type is ProxyType.GATEWAY else "sidecars"
    return f"{kind} of namespace {proxy.namespace}" + (f" with {labels}" if labels else "")
