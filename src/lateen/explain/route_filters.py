"""What stands before the router and acts by what the route says: faults and CORS.

Called by `route_actions`. Chances are told, never drawn. Source: `envoy.extensions.filters.http.fault.v3` and
`...cors.v3`; observed in Envoy 1.40 by tests/e2e/test_explain_routes.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lateen.envoy.messages import Fields
from lateen.explain.matchers import header_matches, string_matches
from lateen.explain.route_matching import is_grpc, share_of

FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"

_HTTP_OF_GRPC = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429,
    9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip
"""As gRPC's own HTTP mapping (google.rpc.Code)."""


class Fault(NamedTuple):
    """What a fault does to a request."""

    delay: str = ""
    delay_share: float = 0.0
    status: int | None = None
    abort_share: float = 0.0


NO_FAULT = Fault()


def per_route(levels: Iterable[Fields], name: str) -> Fields | None:
    """Return a filter's configuration for a route: of the first of these levels that has one."""
    for level in levels:
        found = level.get("typed_per_filter_config", {}).get(name)
        if found is not None:
            config: Fields = found.get("config", found) if "FilterConfig" in found.get("@type", "") else found
            return config
    return None


def fault_of(config: Fields | None, headers: Mapping[str, str]) -> Fault:
    """Return what a fault filter does to a request with these headers."""
    if config is None or not all(header_matches(matcher, headers) for matcher in config.get("headers", ())):
        return NO_FAULT
    delay, abort = config.get("delay", {}), config.get("abort", {})
    return Fault(
        delay=delay.get("fixed_delay", ""),
        delay_share=share_of(delay.get("percentage", {})) if delay.get("fixed_delay") else 0.0,
        status=_aborted(abort, headers),
        abort_share=share_of(abort.get("percentage", {})) if abort else 0.0,
    )


def _aborted(abort: Fields, headers: Mapping[str, str]) -> int | None:
    if "grpc_status" in abort:
        # A gRPC client reads the status from the trailers.
        return 200 if is_grpc(headers) else _HTTP_OF_GRPC.get(int(abort["grpc_status"]), 500)
    return abort.get("http_status")


# --- CORS ----------------------------------------------------------------------------------------------------


class Cors(NamedTuple):
    """What a CORS policy says of a request."""

    answered: bool
    """Whether the proxy answers itself: a preflight."""
    allowed: bool
    headers: dict[str, str]
    """What it adds to the response."""


def cors_of(policy: Fields | None, headers: Mapping[str, str]) -> Cors | None:
    """Return what a CORS policy does; None for a request that is not from another origin."""
    origin = headers.get("origin", "")
    if policy is None or not origin or not _enabled(policy):
        return None
    allowed = any(string_matches(matcher, origin) for matcher in policy.get("allow_origin_string_match", ()))
    preflight = headers.get(":method") == "OPTIONS" and bool(headers.get("access-control-request-method"))
    if not allowed:
        forwards = policy.get("forward_not_matching_preflights", True)
        return Cors(preflight and not forwards, allowed=False, headers={})
    return Cors(preflight, allowed=True, headers=_answered(policy, origin, preflight=preflight))


def _enabled(policy: Fields) -> bool:
    enabled: Any = policy.get("filter_enabled", {}).get("default_value")
    return enabled is None or share_of(enabled) > 0


_OF_PREFLIGHTS = {
    "allow_methods": "access-control-allow-methods",
    "allow_headers": "access-control-allow-headers",
    "max_age": "access-control-max-age",
}


def _answered(policy: Fields, origin: str, *, preflight: bool) -> dict[str, str]:
    made = {"access-control-allow-origin": origin}
    if policy.get("allow_credentials"):
        made["access-control-allow-credentials"] = "true"
    if policy.get("expose_headers"):
        made["access-control-expose-headers"] = policy["expose_headers"]
    more = {header: policy[name] for name, header in _OF_PREFLIGHTS.items() if policy.get(name)}
    return made | more if preflight else made
