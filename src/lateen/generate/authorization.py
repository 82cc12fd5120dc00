"""AuthorizationPolicies of a proxy as filters: who may call its workload, or come through its gateway.

Called by `security_filters`. Order of evaluation is Istio's: CUSTOM, DENY, ALLOW.
"""

from __future__ import annotations

from lateen.envoy.messages import Fields
from lateen.generate.parts import Part
from lateen.generate.view import View


def http_filters(view: View) -> tuple[Fields, ...]:
    """Return the HTTP filters, first to last; the same for every HTTP chain of the proxy."""
    return ()


def network_filters(view: View) -> tuple[Fields, ...]:
    """Return the network filters of a TCP chain, which stand before its TCP proxy."""
    return ()


def wanted_parts(view: View) -> tuple[Part, ...]:
    """Return what the filters need: the clusters of authorization servers."""
    return ()
