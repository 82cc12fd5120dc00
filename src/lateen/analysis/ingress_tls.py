"""TLS of a Sidecar's ingress that never comes to be, because callers of the port are asked for mutual TLS first.

Called by `references`. When it acts `generate.sidecar_ingress` decides: only where mutual TLS is DISABLE at the port.
"""

from __future__ import annotations

from collections.abc import Mapping

from lateen.analysis.mutual_tls import PeerModes
from lateen.analysis.reports import Report
from lateen.analysis.workloads import Workloads
from lateen.config.codes import INEFFECTIVE_INGRESS_TLS
from lateen.config.networking import Sidecar
from lateen.config.objects import ConfigObject
from lateen.config.security import MutualTLSMode

_EVERYBODY: Mapping[str, str] = {}


def ingress_tls(report: Report, one: ConfigObject[Sidecar], workloads: Workloads, modes: PeerModes) -> None:
    """Report TLS that acts at none of the workloads that the Sidecar is about."""
    with_tls = [(index, item) for index, item in enumerate(one.spec.ingress) if item.tls is not None]
    if not with_tls:
        return
    namespace = one.key.namespace
    labels = one.spec.workload_selector.labels if one.spec.workload_selector is not None else _EVERYBODY
    chosen = [each.labels for each in workloads.selected(namespace, labels) if each.declared]
    if not chosen and modes.depends(namespace, labels):
        return
    found = [modes.of(namespace, each) for each in chosen or (labels,)]
    for index, item in with_tls:
        at_port = {each.at(item.port.number) for each in found} if item.port is not None else set()
        if item.port is None or MutualTLSMode.DISABLE in at_port:
            continue
        shown = ", ".join(sorted(mode.value for mode in at_port))
        message = f"`tls` acts where mutual TLS is DISABLE only, and it is {shown} at port {item.port.number}"
        hint = f"add a PeerAuthentication with `portLevelMtls: {{{item.port.number}: {{mode: DISABLE}}}}`, or remove it"
        report.add(INEFFECTIVE_INGRESS_TLS, one, ("spec", "ingress", index, "tls"), f"{message}; {hint}")
