"""Selectors that no workload has. Called by `references`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lateen.analysis.reports import Report
from lateen.analysis.workloads import Workloads
from lateen.config.codes import INEFFECTIVE_SELECTOR, NO_MATCHING_WORKLOADS
from lateen.config.networking import DestinationRule, Gateway, Sidecar
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.config.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from lateen.mesh.gateway_api.made import MARK
from lateen.mesh.policies import GATEWAY_NAME_LABEL, selector_labels, targets_of
from lateen.mesh.references import PROXY_NAMESPACE


def selector(report: Report, one: ConfigObject[Any], workloads: Workloads, root_namespace: str) -> None:
    """Look at one object: whether there is somebody whom it is about."""
    if isinstance(one.spec, Gateway):
        _gateway(report, one, workloads)
        return
    path, labels = _selector(one.spec)
    if GATEWAY_NAME_LABEL in labels and isinstance(one.spec, RequestAuthentication | AuthorizationPolicy):
        message = f"a selector does not act on the gateway {labels[GATEWAY_NAME_LABEL]}; name it in `targetRefs`"
        report.add(INEFFECTIVE_SELECTOR, one, path, message)
        return
    in_root = one.key.namespace == root_namespace
    if in_root and isinstance(one.spec, PeerAuthentication | Sidecar):
        return  # a selector does not act there, which is said elsewhere
    namespace = "" if in_root and not isinstance(one.spec, DestinationRule) else one.key.namespace
    if labels and not workloads.may_select(namespace, labels):
        where = f"of namespace {namespace}" if namespace else "of the mesh"
        report.add(NO_MATCHING_WORKLOADS, one, path, f"no workload {where} has the labels {shown_labels(labels)}")


def _selector(spec: object) -> tuple[Path, Mapping[str, str]]:
    match spec:
        case PeerAuthentication():
            return ("spec", "selector"), selector_labels(spec)
        case RequestAuthentication() | AuthorizationPolicy():
            return ("spec", "selector"), {} if targets_of(spec) else selector_labels(spec)
        case Sidecar():
            return ("spec", "workloadSelector"), spec.workload_selector.labels if spec.workload_selector else {}
        case DestinationRule():
            chosen = spec.workload_selector
            return ("spec", "workloadSelector"), chosen.match_labels if chosen is not None else {}
    return (), {}


def _gateway(report: Report, one: ConfigObject[Gateway], workloads: Workloads) -> None:
    """A Gateway selects proxies of any namespace; files know none of them, a mesh that runs knows all."""
    if workloads.running and not workloads.selected("", one.spec.selector):
        labels = shown_labels(one.spec.selector)
        message = f"no proxy has the labels {labels}, so nobody serves this Gateway; start one, or correct the labels"
        report.add(NO_MATCHING_WORKLOADS, one, ("spec", "selector"), message)


def gateways_of_the_api(
    report: Report, objects: Sequence[ConfigObject[Any]], gateways: Mapping[str, ConfigObject[Gateway]], work: Workloads
) -> None:
    """Find those that nobody serves, in a mesh that runs. `gateways`: with what is made of them."""
    # `namespace/gateway~listener`; with a second mark it is one of a ListenerSet's.
    serving = {name.partition(MARK)[0]: one for name, one in gateways.items() if name.count(MARK) == 1 and one.made_of}
    for one in objects if work.running and serving else ():
        listener = serving.get(f"{one.key.namespace}/{one.key.name}") if one.key.kind == "KubernetesGateway" else None
        if listener is None:
            continue
        namespace, labels = listener.annotations[PROXY_NAMESPACE], listener.spec.selector
        if not work.selected(namespace, labels):
            message = f"no proxy of namespace {namespace} has the labels {shown_labels(labels)}"
            hint = "so nobody serves this Gateway; start one with `lateen proxy gateway`"
            report.add(NO_MATCHING_WORKLOADS, one, ("metadata", "name"), f"{message}, {hint}")


def shown_labels(labels: Mapping[str, str]) -> str:
    """Return labels as messages write them."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
