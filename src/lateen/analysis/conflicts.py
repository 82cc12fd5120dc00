"""Objects that claim the same thing: hosts of VirtualServices, workloads of Sidecars, ports of Gateways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from lateen.analysis.gateway_hosts import gateway_hosts
from lateen.analysis.hints import MOST_NAMES, some_names
from lateen.analysis.reports import Report
from lateen.analysis.workloads import ByLabels
from lateen.config.codes import (
    CONFLICTING_GATEWAYS,
    CONFLICTING_MESH_HOSTS,
    CONFLICTING_SIDECARS,
    INVALID_ANNOTATION,
    MISPLACED_ANNOTATION,
    SEVERAL_DEFAULT_SIDECARS,
)
from lateen.config.networking import Gateway, Sidecar, VirtualService
from lateen.config.objects import ConfigObject
from lateen.mesh.state import MESH_GATEWAY, MeshState
from lateen.model.names import Hostname, ObjectKey, resolve_host
from lateen.model.proxies import DISCOVERY_SCOPE, DISCOVERY_SCOPES


def conflicts(report: Report, objects: Sequence[ConfigObject[Any]], state: MeshState) -> None:
    """Report every conflict on each of the objects that take part in it."""
    virtual_services = [one for one in objects if isinstance(one.spec, VirtualService)]
    _mesh_hosts(report, virtual_services, state)
    gateway_hosts(report, virtual_services)
    _discovery_scopes(report, objects)
    _sidecars(report, [one for one in objects if isinstance(one.spec, Sidecar)], state)
    _gateways(report, [one for one in objects if isinstance(one.spec, Gateway)])


def _mesh_hosts(report: Report, virtual_services: list[ConfigObject[VirtualService]], state: MeshState) -> None:
    claims: dict[Hostname, list[tuple[ConfigObject[VirtualService], int]]] = defaultdict(list)
    for one in virtual_services:
        if not one.spec.gateways or MESH_GATEWAY in one.spec.gateways:
            for index, host in enumerate(one.spec.hosts):
                claims[resolve_host(host, one.key.namespace)].append((one, index))
    default = state.mesh_config.default_virtual_service_export_to
    for host, claimants in claims.items():
        if len({one.key for one, _ in claimants}) == 1:
            continue
        by_scope: defaultdict[str, dict[ObjectKey, None]] = defaultdict(dict)
        scopes = {one.key: _seen_from(one, default) for one, _ in claimants}
        for key, seen_from in scopes.items():
            for scope in seen_from:
                by_scope[scope][key] = None
        for one, index in claimants:
            seen_from = scopes[one.key]
            rivals = scopes if "*" in seen_from else chain(*(by_scope[scope] for scope in sorted({"*"} | seen_from)))
            others = {str(key) for key in islice((key for key in rivals if key != one.key), MOST_NAMES + 1)}
            if others:
                message = f"the host {host} is also defined by {some_names(others)}; merge them into one"
                report.add(CONFLICTING_MESH_HOSTS, one, ("spec", "hosts", index), message)


def _seen_from(one: ConfigObject[VirtualService], default: Sequence[str]) -> set[str]:
    return {one.key.namespace if name == "." else name for name in one.spec.export_to or default}


def _discovery_scopes(report: Report, objects: Sequence[ConfigObject[Any]]) -> None:
    for one in objects:
        wanted = one.annotations.get(DISCOVERY_SCOPE)
        if wanted is None:
            continue
        path = ("metadata", "annotations", DISCOVERY_SCOPE)
        if not isinstance(one.spec, Sidecar):
            report.add(
                MISPLACED_ANNOTATION, one, path, f"{DISCOVERY_SCOPE} acts on a Sidecar only, or as a workload's label"
            )
        elif wanted not in DISCOVERY_SCOPES:
            known = " or ".join(DISCOVERY_SCOPES)
            report.add(
                INVALID_ANNOTATION, one, path, f"{wanted!r} is no discovery scope, it has no effect: write {known}"
            )


def _sidecars(report: Report, sidecars: list[ConfigObject[Sidecar]], state: MeshState) -> None:
    by_namespace: dict[str, list[ConfigObject[Sidecar]]] = defaultdict(list)
    for one in sidecars:
        by_namespace[one.key.namespace].append(one)
    labels_of: defaultdict[str, dict[frozenset[tuple[str, str]], None]] = defaultdict(dict)
    for each in state.workloads if by_namespace else ():
        labels_of[each.namespace][frozenset(each.labels.items())] = None
    for namespace, members in by_namespace.items():
        default = [one for one in members if one.spec.workload_selector is None]
        for one in default if len(default) > 1 else ():
            names = some_names(set(islice((other.key.name for other in default if other is not one), MOST_NAMES + 1)))
            message = f"{names} too has no workload selector in namespace {namespace}; only one can act"
            report.add(SEVERAL_DEFAULT_SIDECARS, one, ("metadata", "name"), message)
        _selective_sidecars(
            report, [one for one in members if one.spec.workload_selector], map(dict, labels_of[namespace])
        )


def _selective_sidecars(
    report: Report, sidecars: Sequence[ConfigObject[Sidecar]], workloads: Iterable[Mapping[str, str]]
) -> None:
    """Report Sidecars that select one workload; where none is known, those of which one selects all of the other."""
    chosen = {one.key: one.spec.workload_selector.labels for one in sidecars if one.spec.workload_selector is not None}
    selecting = ByLabels((labels, key) for key, labels in chosen.items())
    groups = [selecting.matching(labels) for labels in workloads]
    used = {key for group in groups for key in group}
    alone = {frozenset(labels.items()): labels for key, labels in chosen.items() if key not in used}
    groups += [selecting.matching(labels) for labels in alone.values()]
    rivals: defaultdict[ObjectKey, set[str]] = defaultdict(set)
    for group in groups:
        for key in group if len(group) > 1 else ():
            rivals[key].update(islice((other.name for other in group if other != key), MOST_NAMES + 1))
    for one in sidecars:
        if one.key in rivals:
            message = f"{some_names(rivals[one.key])} selects the same workloads; only one can act"
            report.add(CONFLICTING_SIDECARS, one, ("spec", "workloadSelector"), message)


def _gateways(report: Report, gateways: list[ConfigObject[Gateway]]) -> None:
    claims: dict[tuple[Any, ...], dict[str, list[tuple[ConfigObject[Gateway], int]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in gateways:
        for index, server in enumerate(one.spec.servers):
            if server.port is not None:
                slot = (tuple(sorted(one.spec.selector.items())), server.port.number, server.bind)
                for host in server.hosts:
                    claims[slot][_full_host(one, host)].append((one, index))
    for slot, hosts in claims.items():
        for host, claimants in hosts.items():
            for one, index in claimants:
                rivals = (str(other.key) for other, _ in claimants if other.key != one.key)
                if others := set(islice(rivals, MOST_NAMES + 1)):
                    message = f"port {slot[1]} for host {host} is also served by {some_names(others)}; keep one of them"
                    report.add(CONFLICTING_GATEWAYS, one, ("spec", "servers", index, "hosts"), message)


def _full_host(one: ConfigObject[Gateway], host: str) -> str:
    """Return a server's host with its namespace, so that `./a` of two namespaces are two things."""
    namespace, slash, name = host.rpartition("/")
    if not slash or namespace == "*":
        return name.lower()
    return f"{one.key.namespace if namespace == '.' else namespace}/{name.lower()}"
