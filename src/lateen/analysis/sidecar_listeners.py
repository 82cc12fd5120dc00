"""Listeners of a Sidecar that cannot do what they say: where another is, or for calls that nothing tells apart.

Called by `references`. Must not know: how listeners are generated.
"""

from __future__ import annotations

from itertools import islice

from lateen.analysis.hints import MOST_NAMES, some_names
from lateen.analysis.reports import Report
from lateen.config.codes import CONFLICTING_LISTENERS
from lateen.config.networking import CaptureMode, IstioEgressListener, Sidecar
from lateen.config.objects import ConfigObject
from lateen.mesh.egress import listener_imports
from lateen.mesh.state import MeshState
from lateen.model.protocols import protocol_named

_LOOPBACK = "127.0.0.1"


def sidecar_listeners(report: Report, one: ConfigObject[Sidecar], state: MeshState) -> None:
    """Look at the listeners of one Sidecar."""
    _same_place(report, one)
    if one.key.namespace != state.mesh_config.root_namespace:  # what `.` is there, differs by namespace
        _not_told_apart(report, one, state)


def _same_place(report: Report, one: ConfigObject[Sidecar]) -> None:
    """Find egress listeners on the address and port of an ingress listener, or of the application behind one."""
    taken: dict[tuple[str, int], str] = {}
    for index, ingress in enumerate(one.spec.ingress):
        if ingress.port is not None and ingress.bind:
            taken[ingress.bind, ingress.port.number] = f"ingress[{index}] listens"
        host, _, port = ingress.default_endpoint.rpartition(":")
        if port.isdecimal() and not ingress.default_endpoint.startswith("unix:"):
            taken[host, int(port)] = f"the application behind ingress[{index}] listens"
    for index, egress in enumerate(one.spec.egress):
        if egress.port is None or not egress.port.number or not _is_bound(egress):
            continue
        place = (egress.bind or _LOOPBACK, egress.port.number)
        if place in taken:
            message = f"{taken[place]} on {place[0]}:{place[1]} already, so only one of the two is; use another port"
            report.add(CONFLICTING_LISTENERS, one, ("spec", "egress", index, "port"), message)


def _is_bound(egress: IstioEgressListener) -> bool:
    return egress.capture_mode is CaptureMode.NONE or bool(egress.bind)


def _not_told_apart(report: Report, one: ConfigObject[Sidecar], state: MeshState) -> None:
    """Find listeners of plain TCP for several services: a connection to the listener does not say which it wants."""
    imports = listener_imports(state, one.spec.egress, one.key.namespace)
    for index, (egress, found) in enumerate(zip(one.spec.egress, imports, strict=False)):
        protocol = protocol_named(egress.port.protocol) if egress.port is not None else None
        if protocol is None or not protocol.is_tcp or protocol.is_tls or len(found) < 2:
            continue
        first, *_ = found
        others = set(islice((host for host in found if host != first), MOST_NAMES + 1))
        message = f"connections do not tell which service they want: all are for {first}, none for {some_names(others)}"
        hint = "name one host, or give each a listener of its own"
        report.add(CONFLICTING_LISTENERS, one, ("spec", "egress", index, "hosts"), f"{message}; {hint}")
