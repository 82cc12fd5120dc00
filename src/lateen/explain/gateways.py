"""What a gateway itself says of a request that comes in through it, before it is routed.

Called by `explaining`.
"""

from __future__ import annotations

import msgspec

from lateen.explain.explanations import Outcome, WorkloadVerdict
from lateen.explain.routing import Way
from lateen.explain.verdicts import judged
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy

UNKNOWN_CLIENT = "203.0.113.1"
"""A client whose address nobody gave (RFC 5737: of no network)."""
REFUSING_FLAGS = frozenset({"NR"})


def gateway_verdict(state: MeshState, gateway: Proxy, way: Way) -> WorkloadVerdict:
    """Return the verdict of a gateway's own filters, or that it has no chain or no route for the request."""
    blank = _blank(gateway, way)
    verdict = blank if way.walked is None else judged(blank, way.walked, state)
    nowhere = next((outcome for outcome in way.outcomes if outcome.flag in REFUSING_FLAGS or _closed(outcome)), None)
    if nowhere is None or verdict.verdict != "allowed" or len(way.outcomes) > 1:
        return verdict
    return msgspec.structs.replace(verdict, verdict="refused", status=nowhere.status, reason=nowhere.reason)


def _closed(outcome: Outcome) -> bool:
    return outcome.action in ("no filter chain", "no listener")


def _blank(gateway: Proxy, way: Way) -> WorkloadVerdict:
    return WorkloadVerdict(
        workload=gateway.id,
        namespace=gateway.namespace,
        labels=dict(gateway.labels),
        service_account=gateway.service_account,
        addresses=list(gateway.addresses),
        transport=way.arrival.transport.name,
        principal="",
        filter_chain=way.chain.get("name", "") if way.chain is not None else "",
        verdict="allowed",
        status=None,
        reason="",
    )
