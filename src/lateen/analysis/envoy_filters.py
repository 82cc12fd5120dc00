"""EnvoyFilters: values that are no messages of Envoy, and operations that do not do what their author expects.

Called by `references`, and alone by whoever only validates (`value_findings`). Which patches match nothing is known
only of generated resources: see `generate.envoy_filters.unmatched`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lateen.analysis.reports import Report
from lateen.config.codes import (
    ADD_WITHOUT_EFFECT,
    RELATIVE_OPERATION,
    RELATIVE_OPERATION_OF_VERSION,
    REMOVE_WITHOUT_EFFECT,
    REPLACE_WITHOUT_EFFECT,
    SCHEMA_VALIDATION,
    SCHEMA_WARNING,
    UNCHECKED_EXTENSION,
    Code,
)
from lateen.config.envoy_filter import ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, Patch, PatchContext, PatchOperation
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path, Positions
from lateen.envoy.patches import PatchProblem, read_value
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey

_RELATIVE = frozenset((PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER))
_REPLACEABLE = frozenset((ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.LISTENER_FILTER, ApplyTo.VIRTUAL_HOST))
_MERGES = frozenset((PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST))


def envoy_filters(report: Report, objects: Iterable[ConfigObject[Any]]) -> None:
    """Report what is wrong with the EnvoyFilters among some objects."""
    versioned: set[str] = set()
    for one in objects:
        if isinstance(one.spec, EnvoyFilter):
            _values(report, one)
            _operations(report, one, versioned)


def value_findings(
    objects: Iterable[ConfigObject[Any]], positions: Mapping[ObjectKey, Positions] | None = None
) -> tuple[Finding, ...]:
    """Return only what is wrong with the values of patches: what needs no mesh to be known."""
    report = Report(positions or {})
    for one in objects:
        if isinstance(one.spec, EnvoyFilter):
            _values(report, one)
    return tuple(report.findings)


def _values(report: Report, one: ConfigObject[EnvoyFilter]) -> None:
    for index, item in enumerate(one.spec.config_patches):
        waypoint = item.match is not None and item.match.context is PatchContext.WAYPOINT
        if item.patch is None or item.apply_to is ApplyTo.INVALID or waypoint:
            continue
        path: Path = ("spec", "configPatches", index, "patch", "value")
        for problem in read_value(item.apply_to, item.patch.value).problems:
            text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
            report.add(_code(problem), one, (*path, *problem.path), text)
        _beside_transport_socket(report, one, item, path)


def _code(problem: PatchProblem) -> Code:
    if problem.error:
        return SCHEMA_VALIDATION
    return UNCHECKED_EXTENSION if problem.path and problem.path[-1] == "@type" else SCHEMA_WARNING


def _beside_transport_socket(
    report: Report, one: ConfigObject[EnvoyFilter], item: EnvoyConfigObjectPatch, path: Path
) -> None:
    """A merge with a transport socket of a cluster is about nothing else, in Istio and so here."""
    value = item.patch.value if item.patch is not None else None
    if item.patch is None or item.patch.operation not in _MERGES or item.apply_to is not ApplyTo.CLUSTER or not value:
        return
    others = sorted(key for key in value if key not in ("transport_socket", "transportSocket"))
    if len(others) < len(value) and others:
        named = ", ".join(f"`{key}`" for key in others)
        report.add(SCHEMA_WARNING, one, path, f"beside a transport socket {named} is not merged; write another patch")


# --- operations ----------------------------------------------------------------------------------------------


def _operations(report: Report, one: ConfigObject[EnvoyFilter], versioned: set[str]) -> None:
    """Say which operations do nothing, and which depend on the order of EnvoyFilters without a priority."""
    for index, item in enumerate(one.spec.config_patches):
        if item.patch is None:
            continue
        name = _filter_name(item, item.patch)
        found = _finding(one, item, item.patch, relative=versioned, name=name)
        if found is not None:
            report.add(found[0], one, ("spec", "configPatches", index, "patch", "operation"), found[1])
        if item.match is not None and item.match.proxy is not None and item.match.proxy.proxy_version and name:
            versioned.add(name)


def _finding(
    one: ConfigObject[EnvoyFilter], item: EnvoyConfigObjectPatch, patch: Patch, *, relative: set[str], name: str
) -> tuple[Code, str] | None:
    whole = item.apply_to is ApplyTo.ROUTE_CONFIGURATION
    match patch.operation:
        case PatchOperation.ADD if whole:
            return ADD_WITHOUT_EFFECT, "a route configuration cannot be added: the patch does nothing"
        case PatchOperation.REMOVE if whole:
            return REMOVE_WITHOUT_EFFECT, "a route configuration cannot be removed: the patch does nothing"
        case PatchOperation.REPLACE if item.apply_to not in _REPLACEABLE:
            known = "HTTP_FILTER, NETWORK_FILTER, LISTENER_FILTER and VIRTUAL_HOST"
            return REPLACE_WITHOUT_EFFECT, f"REPLACE is for {known} only: the patch does nothing"
        case PatchOperation.REMOVE | PatchOperation.REPLACE:
            pass
        case operation if operation not in _RELATIVE:
            return None
    if one.spec.priority:
        return None
    word = patch.operation.value
    if name and name in relative:
        text = f"{word} of {name} depends on another patch that is for some versions of the proxy: set a priority"
        return RELATIVE_OPERATION_OF_VERSION, text
    text = f"{word} depends on what other EnvoyFilters did before, and this one has no priority"
    return RELATIVE_OPERATION, f"{text}; set one, or use INSERT_FIRST or ADD"


def _filter_name(item: EnvoyConfigObjectPatch, patch: Patch) -> str:
    """Return the name of the filter that a patch is about, empty without one."""
    if not patch.value:
        return ""
    if isinstance(patch.value.get("name"), str):
        return str(patch.value["name"])
    listener = item.match.listener if item.match is not None else None
    chain = listener.filter_chain if listener is not None else None
    return chain.filter.name if chain is not None and chain.filter is not None else ""
