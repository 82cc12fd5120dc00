"""Telemetry objects that compete for the same workloads, or name nobody to tell. Called by `references`.

They are known by kind, so that this holds whether or not the kind is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from lateen.analysis.hints import MOST_NAMES, some_names
from lateen.analysis.reports import Report
from lateen.analysis.workloads import ByLabels
from lateen.config.codes import CONFLICTING_TELEMETRIES, NO_PROVIDER, SEVERAL_DEFAULT_TELEMETRIES
from lateen.config.objects import ConfigObject
from lateen.mesh.state import MeshState
from lateen.model.names import ObjectKey

KIND = "Telemetry"


def telemetries(report: Report, objects: Sequence[ConfigObject[Any]], state: MeshState) -> None:
    """Look at all Telemetry objects."""
    found = [one for one in objects if one.key.kind == KIND]
    providers = state.mesh_config.default_providers
    if providers is None or not providers.access_logging:
        for one in found:
            _logging(report, one)
    by_namespace: defaultdict[str, list[ConfigObject[Any]]] = defaultdict(list)
    for one in found:
        by_namespace[one.key.namespace].append(one)
    for namespace, members in by_namespace.items():
        _defaults(report, namespace, [one for one in members if not _labels(one) and not _targeted(one)])
        _selective(report, [one for one in members if _labels(one)], namespace, state)


def _logging(report: Report, one: ConfigObject[Any]) -> None:
    for index, rule in enumerate(one.spec.access_logging):
        if not rule.providers and not rule.disabled:
            message = (
                "no provider is named here, and MeshConfig has no `defaultProviders.accessLogging`: nothing is logged"
            )
            report.add(NO_PROVIDER, one, ("spec", "accessLogging", index), message)


def _labels(one: ConfigObject[Any]) -> Mapping[str, str]:
    chosen = one.spec.selector
    return {} if chosen is None else chosen.match_labels


def _targeted(one: ConfigObject[Any]) -> bool:
    return bool(one.spec.target_refs) or one.spec.target_ref is not None


def _defaults(report: Report, namespace: str, members: Sequence[ConfigObject[Any]]) -> None:
    for one in members if len(members) > 1 else ():
        names = some_names(set(islice((other.key.name for other in members if other is not one), MOST_NAMES + 1)))
        message = f"{names} too has no selector in namespace {namespace}; only one can act"
        report.add(SEVERAL_DEFAULT_TELEMETRIES, one, ("metadata", "name"), message)


def _selective(report: Report, members: Sequence[ConfigObject[Any]], namespace: str, state: MeshState) -> None:
    """Report those that select one workload; where none is known, those with the labels of the other."""
    if len(members) < 2:
        return
    selecting = ByLabels((_labels(one), one.key) for one in members)
    workloads = {frozenset(each.labels.items()) for each in state.workloads if each.namespace == namespace}
    workloads |= {frozenset(_labels(one).items()) for one in members}
    rivals: defaultdict[ObjectKey, set[str]] = defaultdict(set)
    for labels in workloads:
        group = selecting.matching(dict(labels))
        for key in group:
            rivals[key].update(islice((other.name for other in group if other != key), MOST_NAMES + 1))
    for one in members:
        if rivals[one.key]:
            message = f"{some_names(rivals[one.key])} selects the same workloads; only one can act"
            report.add(CONFLICTING_TELEMETRIES, one, ("spec", "selector"), message)
