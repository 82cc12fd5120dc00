"""One word for everything that may become of a request.

Called by `explaining`.
"""

from __future__ import annotations

from collections.abc import Sequence

from lateen.envoy.names import PASSTHROUGH_CLUSTER
from lateen.explain.explanations import Outcome, WorkloadVerdict

_ANSWERED = frozenset({"redirect", "direct response", "fault", "CORS"})
_REFUSED = frozenset({"no route", "no listener", "no filter chain", "no cluster", "blocked"})


def outcome_verdict(outcome: Outcome, workloads: Sequence[WorkloadVerdict]) -> str:
    """Return what becomes of a request that has this outcome."""
    if outcome.action in _ANSWERED:
        return "answered"
    if outcome.action in _REFUSED:
        return "refused"
    if workloads:
        return overall([verdict.verdict for verdict in workloads])
    return "refused" if outcome.flag else "allowed"


def overall(verdicts: Sequence[str]) -> str:
    """Return what all say, `mixed` when they differ."""
    said = set(verdicts)
    return said.pop() if len(said) == 1 else "mixed" if said else "allowed"


def is_unknown(outcomes: Sequence[Outcome]) -> bool:
    """Whether nobody knows the host: the request passes through, or is stopped for that."""
    return any(
        outcome.action in ("blocked", "no route", "no listener")
        or (outcome.cluster is not None and outcome.cluster.name == PASSTHROUGH_CLUSTER)
        or (outcome.cluster is not None and not outcome.cluster.host)
        for outcome in outcomes
    )
