"""What a route does with a request: every outcome that there may be, with its chance.

Called by `routing`. The order is Envoy's: the fault filter, CORS, then the router. Nothing is drawn: where Envoy would
draw (faults, weights) each possibility is an outcome of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lateen.envoy.messages import Fields
from lateen.envoy.names import BLOCK_ALL
from lateen.explain.clusters import chooses_by_request, cluster_view
from lateen.explain.explanations import ClusterView, ForwardedRequest, MirrorView, Outcome, RetryView
from lateen.explain.header_changes import changed, header_changes, levels_of
from lateen.explain.requests import Request
from lateen.explain.rewriting import location, redirect_status, rewritten_host, rewritten_path
from lateen.explain.route_filters import CORS, FAULT, Cors, cors_of, fault_of, per_route
from lateen.explain.route_matching import share_of
from lateen.explain.served import Served

_NO_CLUSTER = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}
UNAVAILABLE = 503
BAD_GATEWAY = 502
_UNKNOWN = "no service has this host, and the outbound traffic policy is REGISTRY_ONLY"
ROUTE_TIMEOUT = "15s"
"""Envoy's own when a route says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTaken:
    """A route and what is around it."""

    served: Served
    routes: Fields
    host: Fields
    route: Fields
    request: Request
    """As the router sees it."""
    inside: frozenset[str] = frozenset()
    """Headers that the proxy writes for itself, and takes away again or does not tell."""

    @property
    def match(self) -> Fields:
        """The route's condition."""
        found: Fields = self.route.get("match", {})
        return found

    def filter_config(self, name: str, weighted: Fields | None = None) -> Fields | None:
        """Return what a filter is told for this route."""
        return per_route((weighted or {}, self.route, self.host, self.routes), name)


def outcomes_of(taken: RouteTaken, share: float = 1.0) -> list[Outcome]:
    """Return what may become of the request; chances add up to `share`, 0 to 1, told in percent."""
    found: list[Outcome] = []
    fault = fault_of(taken.filter_config(FAULT), taken.request.headers)
    held = ((fault.delay, fault.delay_share), ("", 1 - fault.delay_share)) if fault.delay_share else (("", 1.0),)
    for delay, part in held:
        if part <= 0:
            continue
        if fault.abort_share:
            found.append(_aborted(fault.status, share * part * fault.abort_share, delay))
        if fault.abort_share < 1:
            rest = share * part * (1 - fault.abort_share)
            found += [msgspec.structs.replace(one, delay=delay) for one in _past_faults(taken, rest)]
    return found


def _aborted(status: int | None, share: float, delay: str) -> Outcome:
    return Outcome(
        share=percent(share), action="fault", status=status, flag="FI", reason="the fault aborts it", delay=delay
    )


def percent(share: float) -> float:
    """Return a share as a percentage that reads well."""
    return round(share * 100, 4)


def _past_faults(taken: RouteTaken, share: float) -> Iterator[Outcome]:
    cors = cors_of(taken.filter_config(CORS), taken.request.headers)
    if cors is not None and cors.answered:
        said = "allowed" if cors.allowed else "not allowed"
        reason = f"a preflight, answered by the CORS policy: the origin is {said}"
        yield Outcome(share=percent(share), action="CORS", status=200, reason=reason)
        return
    route, levels = taken.route, levels_of(taken.routes, taken.host, taken.route, None)
    responses = header_changes(levels, "response")
    if "redirect" in route:
        redirect = route["redirect"]
        yield Outcome(
            share=percent(share),
            action="redirect",
            status=redirect_status(redirect),
            location=location(taken.match, redirect, taken.request.headers),
            response_headers=responses,
        )
    elif "direct_response" in route:
        answer = route["direct_response"]
        blocked = route.get("name") == BLOCK_ALL
        yield Outcome(
            share=percent(share),
            action="blocked" if blocked else "direct response",
            reason=_UNKNOWN if blocked and int(answer["status"]) == BAD_GATEWAY else "",
            status=int(answer["status"]),
            body=str(answer.get("body", {}).get("inline_string", ""))[:1000],
            response_headers=responses,
        )
    else:
        yield from _forwarded(taken, share, cors)


# --- forwarding ----------------------------------------------------------------------------------------------


def _forwarded(taken: RouteTaken, share: float, cors: Cors | None) -> Iterator[Outcome]:
    action: Fields = taken.route.get("route", {})
    if "weighted_clusters" in action:
        entries: Sequence[Fields] = action["weighted_clusters"].get("clusters", ())
        total = sum(int(entry.get("weight", 0)) for entry in entries) or 1
        for entry in entries:
            if weight := int(entry.get("weight", 0)):
                yield _to_cluster(taken, action, entry["name"], entry, share * weight / total, cors)
    elif "cluster_header" in action:
        name = taken.request.headers.get(str(action["cluster_header"]).lower(), "")
        yield _to_cluster(taken, action, name, None, share, cors)
    else:
        yield _to_cluster(taken, action, action.get("cluster", ""), None, share, cors)


def _to_cluster(
    taken: RouteTaken, action: Fields, name: str, weighted: Fields | None, share: float, cors: Cors | None
) -> Outcome:
    cluster = cluster_view(taken.served, name)
    if cluster is None:
        status = _NO_CLUSTER[action.get("cluster_not_found_response_code", "SERVICE_UNAVAILABLE")]
        reason = f"the proxy has no cluster {name}"
        return Outcome(share=percent(share), action="no cluster", status=status, flag="NC", reason=reason)
    levels = levels_of(taken.routes, taken.host, taken.route, weighted)
    requests, responses = header_changes(levels, "request"), header_changes(levels, "response")
    tunnel = any("connect_config" in upgrade for upgrade in action.get("upgrade_configs", ()))
    made = Outcome(
        share=percent(share),
        action="tunnel" if tunnel else "pass through" if chooses_by_request(cluster) else "forward",
        cluster=cluster,
        request=None
        if tunnel
        else _as_sent(taken, action, weighted, changed(_told(taken), requests, taken.request.headers)),
        request_headers=requests,
        response_headers=responses,
        mirrors=list(_mirrors(action)),
        timeout=_timeout(action),
        idle_timeout=_none(action.get("idle_timeout", "")),
        retries=_retries(action),
        hash_policy=[_hash(policy) for policy in action.get("hash_policy", ())],
        reason=_cors_words(cors),
    )
    return with_health(made, cluster)


def with_health(outcome: Outcome, cluster: ClusterView) -> Outcome:
    """Return the outcome as it is when nobody is there to take the request."""
    if cluster.endpoints or chooses_by_request(cluster) or cluster.discovery.endswith("DNS"):
        return outcome
    reason = f"the cluster {cluster.name} has no endpoints"
    return msgspec.structs.replace(outcome, status=UNAVAILABLE, flag="UH", reason=reason)


def _cors_words(cors: Cors | None) -> str:
    if cors is None:
        return ""
    if not cors.allowed:
        return "the CORS policy does not allow the origin: the answer has no CORS headers"
    return "CORS: the answer gets " + ", ".join(f"{name}: {value}" for name, value in cors.headers.items())


def _told(taken: RouteTaken) -> dict[str, str]:
    return {
        name: value
        for name, value in taken.request.headers.items()
        if not name.startswith(":") and name not in taken.inside
    }


def _as_sent(taken: RouteTaken, action: Fields, weighted: Fields | None, headers: dict[str, str]) -> ForwardedRequest:
    request = taken.request.headers
    path = rewritten_path(taken.match, action, request[":path"])
    authority = (weighted or {}).get("host_rewrite_literal") or request.get(":authority", "")
    authority = rewritten_host(action, {**request, ":authority": authority})
    if path != request[":path"]:
        headers["x-envoy-original-path"] = request[":path"]
    return ForwardedRequest(method=request[":method"], authority=authority, path=path, headers=headers)


def _mirrors(action: Fields) -> Iterator[MirrorView]:
    for policy in action.get("request_mirror_policies", ()):
        fraction = policy.get("runtime_fraction", {}).get("default_value")
        share = 1.0 if fraction is None else share_of(fraction)
        if share > 0:
            yield MirrorView(cluster=policy.get("cluster", ""), share=percent(share))


def _timeout(action: Fields) -> str:
    return _none(action.get("timeout", ROUTE_TIMEOUT))


def _none(duration: str) -> str:
    return "none" if duration in ("0s", "0") else duration


def _retries(action: Fields) -> RetryView | None:
    policy: Mapping[str, Any] | None = action.get("retry_policy")
    if policy is None:
        return None
    conditions = [one.strip() for one in policy.get("retry_on", "").split(",") if one.strip()]
    codes = [str(code) for code in policy.get("retriable_status_codes", ())]
    return RetryView(
        attempts=int(policy.get("num_retries", 1)),
        on=[*conditions, *codes],
        per_try_timeout=policy.get("per_try_timeout", ""),
    )


def _hash(policy: Fields) -> str:
    if "header" in policy:
        return f"header {policy['header'].get('header_name', '')}"
    if "cookie" in policy:
        return f"cookie {policy['cookie'].get('name', '')}"
    if "query_parameter" in policy:
        return f"query parameter {policy['query_parameter'].get('name', '')}"
    return "source IP"
