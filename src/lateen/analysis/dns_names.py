"""Names that are too many to be answered by DNS beside a sidecar. Called by `references`."""

from __future__ import annotations

from lateen.analysis.hints import MOST_NAMES as MOST_NAMED
from lateen.analysis.hints import some_names
from lateen.analysis.reports import Report
from lateen.config.codes import TOO_MANY_NAMES, Subject
from lateen.mesh.dns_names import LeftOut, left_out
from lateen.mesh.state import MeshState


def too_many_names(report: Report, state: MeshState) -> None:
    """Say what is left out, once for all namespaces that see the same: no object is at fault alone."""
    for found in left_out(state):
        subject = Subject(kind="Namespace", name=found.namespaces[0])
        report.findings.append(TOO_MANY_NAMES.finding(message(found), subject=subject))


def message(found: LeftOut) -> str:
    """Return how many names are left out, whose they are, and for whom."""
    first, *others = found.namespaces
    whose = f"namespace {first}" + (f" (and of {some_names(others)}, about as many)" if others else "")
    most = sorted(found.owners.items(), key=lambda owner: (-owner[1], owner[0]))[:MOST_NAMED]
    owners = ", ".join(f"{count} of namespace {owner}" for owner, count in most)
    more = " and others" if len(found.owners) > len(most) else ""
    return (
        f"sidecars of {whose} that answer DNS may call services of {found.names} names and are told "
        f"{found.names - found.count}: left out are {owners}{more}"
    )
