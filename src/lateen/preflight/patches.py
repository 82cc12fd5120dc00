"""EnvoyFilters that do nothing, told by the proxies of a flight.

Called by `flight`. That a patch matches nothing is said only where that can be known: inbound listeners are there only
with workloads, and what was passed over may be what the patch is about. One that cannot be applied is said always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lateen.analysis.reports import Report
from lateen.config.codes import PATCH_NOT_APPLIED, PATCH_WITHOUT_EFFECT
from lateen.config.envoy_filter import EnvoyConfigObjectMatch, PatchContext
from lateen.config.positions import Positions
from lateen.generate.envoy_filters.selection import Selection
from lateen.generate.envoy_filters.unmatched import PatchFinding, patch_findings
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.proxies import Interception, Proxy, ProxyType
from lateen.preflight.proxies import is_imagined

_OUTSIDE = frozenset((PatchContext.SIDECAR_OUTBOUND, PatchContext.GATEWAY))
"""What is there without workloads."""


def effects(
    state: MeshState,
    proxies: Sequence[Proxy],
    *,
    whole: bool,
    positions: Mapping[ObjectKey, Positions],
) -> tuple[Finding, ...]:
    """Return the patches that do nothing for these proxies. `whole`: nothing of the mesh was passed over."""
    if not state.envoy_filters:
        return ()
    report = Report(positions)
    known = {key for proxy in proxies if not is_imagined(proxy) for key in _selecting(state, proxy)}
    for found in patch_findings(state, list(_both_ways(proxies))):
        if found.failed or (whole and _can_be_known(found, known)):
            code = PATCH_NOT_APPLIED if found.failed else PATCH_WITHOUT_EFFECT
            report.add(code, found.source, ("spec", "configPatches", found.patch), found.message)
    return tuple(report.findings)


def _can_be_known(found: PatchFinding, known: set[ObjectKey]) -> bool:
    match = found.source.spec.config_patches[found.patch].match or EnvoyConfigObjectMatch()
    return match.context in _OUTSIDE or found.source.key in known


def _selecting(state: MeshState, proxy: Proxy) -> Iterator[ObjectKey]:
    """Yield the EnvoyFilters that select a proxy."""
    patch_set = Selection().patch_set(state, replace(proxy, asks_on_demand=False))
    for patch in patch_set.patches if patch_set is not None else ():
        yield patch.source.key


def _both_ways(proxies: Iterable[Proxy]) -> Iterator[Proxy]:
    """Yield each sidecar with interception and without: their outbound listeners differ, and either may be meant."""
    for proxy in proxies:
        yield proxy
        if proxy.type is ProxyType.SIDECAR:
            yield replace(proxy, interception=Interception.NONE)
