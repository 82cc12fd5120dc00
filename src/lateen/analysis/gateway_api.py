"""What of the Gateway API's objects is not in force: their conditions that do not hold, as findings.

Called by `references`. The statuses are `mesh.gateway_api`'s; nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lateen.analysis.reports import Report
from lateen.config.codes import GATEWAY_API_CONDITION
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.mesh.gateway_api.statuses import Condition, Status
from lateen.mesh.state import MeshState


def failed_conditions(report: Report, item: ConfigObject[Any], state: MeshState) -> None:
    """Report the conditions of an object that do not hold, each once; nothing for an object without a status."""
    status = state.statuses.get(item.key)
    if status is None:
        return
    said: set[str] = set()
    for path, about, condition in _conditions(status, item):
        if _holds(condition) or condition.message in said:
            continue
        said.add(condition.message)
        message = f"{about}{condition.type} is {condition.status} ({condition.reason}): {condition.message}"
        report.add(GATEWAY_API_CONDITION, item, path, message)


def _conditions(status: Status, item: ConfigObject[Any]) -> Iterator[tuple[Path, str, Condition]]:
    """Yield each condition with the field that it is about; those of parts before those of the whole."""
    for index, listener in enumerate(status.listeners):
        for condition in listener.conditions:
            # Programmed says no more than the conditions that keep it from being true.
            if condition.type != "Programmed":
                yield ("spec", "listeners", index), f"the listener {listener.name}: ", condition
    for parent in status.parents:
        # Parents that another controller serves have no status: the position is not that of the status.
        index = item.spec.parent_refs.index(parent.reference)
        for condition in parent.conditions:
            of_parent = condition.type == "Accepted"
            path: Path = ("spec", "parentRefs", index) if of_parent else ("spec", "rules")
            yield path, "", condition
    for index, ancestor in enumerate(status.ancestors):
        for condition in ancestor.conditions:
            yield ("spec", "targetRefs", index), "", condition
    for condition in status.conditions:
        if not status.listeners:
            yield ("spec",), "", condition


def _holds(condition: Condition) -> bool:
    return condition.status == ("False" if condition.type == "Conflicted" else "True")
