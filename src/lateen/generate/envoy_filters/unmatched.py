"""Patches that do nothing: those that match no resource of any proxy, and those that match and cannot be applied.

Pure, for whoever checks a mesh before it acts (`analyze`, a dry run). It needs proxies to generate for: what a patch
matches is known only of generated resources. Resources that a proxy asks for on demand are looked at all the same,
because the proxies are taken as ones that are told everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lateen.analysis.reports import Report
from lateen.config.codes import PATCH_NOT_APPLIED, PATCH_WITHOUT_EFFECT
from lateen.config.envoy_filter import ApplyTo, EnvoyFilter, PatchContext
from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.envoy.resources import Snapshot
from lateen.generate.envoy_filters.patches import FilterPatch, Outcome, compiled
from lateen.generate.envoy_filters.selection import PatchSet, Selection
from lateen.generate.envoy_filters.snapshots import added_resources, patched_resource
from lateen.generate.snapshot import unpatched
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.proxies import Proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchFinding:
    """One patch that does nothing, or not what it says."""

    source: ConfigObject[EnvoyFilter]
    patch: int
    """Which of its `configPatches`."""
    message: str
    failed: bool
    """Whether it matched something and could not be applied; otherwise it matched nothing."""


def patch_outcome(snapshot: Snapshot, patch_set: PatchSet) -> Outcome:
    """Return what becomes of a proxy's patches on its snapshot, as it is before they are applied."""
    found = added_resources(patch_set)[1]
    for named in snapshot.resources.values():
        for resource in named.values():
            found = found.joined(patched_resource(resource, patch_set).outcome)
    return found


def patch_findings(state: MeshState, proxies: Iterable[Proxy]) -> list[PatchFinding]:
    """Return the patches of a mesh that do nothing for these proxies, in the order of the EnvoyFilters.

    Those that no proxy is selected by are among them; those that cannot even be read are not: `analysis` says so.
    """
    if not state.envoy_filters:
        return []
    selection, total, used = Selection(), Outcome(), set[tuple[str, str, int]]()
    for proxy in proxies:
        told = replace(proxy, asks_on_demand=False)
        patch_set = selection.patch_set(state, told)
        if patch_set is not None:
            used.update(patch_set.keys)
            total = total.joined(patch_outcome(unpatched(state, told), patch_set))
    applied = {patch.key for patch in total.applied}
    failures = {patch.key: text for patch, text in total.failures.items()}
    return [
        PatchFinding(source=source, patch=patch.index, message=message, failed=patch.key in failures)
        for source in state.envoy_filters
        for patch in compiled(source).patches
        if patch.apply_to is not ApplyTo.BOOTSTRAP and patch.match.context is not PatchContext.WAYPOINT
        if (message := _message(patch, applied, failures, used))
    ]


def _message(
    patch: FilterPatch,
    applied: set[tuple[str, str, int]],
    failures: dict[tuple[str, str, int], str],
    used: set[tuple[str, str, int]],
) -> str:
    if patch.key in failures:
        return f"the patch is skipped: {failures[patch.key]}"
    if patch.key in applied:
        return ""
    if patch.key not in used:
        return "the patch is about no proxy"
    return f"the patch matches no {patch.apply_to.value} of any proxy, so it does nothing"


def unmatched_findings(
    state: MeshState, proxies: Iterable[Proxy], positions: Mapping[ObjectKey, Positions] | None = None
) -> tuple[Finding, ...]:
    """Return the same as findings (LAT0080, LAT0081) with their places."""
    report = Report(positions or {})
    for found in patch_findings(state, proxies):
        code = PATCH_NOT_APPLIED if found.failed else PATCH_WITHOUT_EFFECT
        report.add(code, found.source, ("spec", "configPatches", found.patch), found.message)
    return tuple(report.findings)
