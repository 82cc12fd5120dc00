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
        ("http security",), lambda: (*request_authentication.http_filters(view), *authorization.http_filters())
    )


def network_security() -> tuple[Fields, ...]:
    """Return the network filters of a TCP chain, which stand before its TCP proxy."""
    return authorization.network_filters()


def policy_parts() -> tuple[Part, ...]:
    """Return the parts that a proxy has as long as it has chains, those that drain included."""
    return authorization.settings_parts()


def token_parts(view: View) -> tuple[Part, ...]:
    """Return the parts that the filters which stand there now need besides."""
    return request_authentication.wanted_parts(view)
