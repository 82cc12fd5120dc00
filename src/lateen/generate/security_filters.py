"""The filters by which a proxy decides who may call: in front of its own workload, or as a gateway.

Called by `sidecars_inbound` and `gateways`. The order is Istio's: a token is read before policies ask for its claims.
"""

from __future__ import annotations

from lateen.envoy.messages import Fields
from lateen.generate import authorization, request_authentication
from lateen.generate.parts import Part
from lateen.generate.view import View


def http_security(view: View) -> tuple[Fields, ...]:
    """Return the HTTP filters that come before all others; the same for every HTTP chain of the proxy."""
    return view.piece(
        ("http security",), lambda: (*request_authentication.http_filters(view), *authorization.http_filters(view))
    )


def network_security(view: View) -> tuple[Fields, ...]:
    """Return the network filters of a TCP chain, which stand before its TCP proxy."""
    return view.piece(("network security",), lambda: authorization.network_filters(view))


def security_parts(view: View) -> tuple[Part, ...]:
    """Return the parts that these filters need to be made as well."""
    return (*request_authentication.wanted_parts(view), *authorization.wanted_parts(view))
