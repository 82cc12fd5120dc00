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
from lateen.explain.explanations import ClusterView, ForwardedRequest, HeaderChange, MirrorView, Outcome, RetryView
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
    """Return what may become of the request; chances add up to `share`, 0 to 1, told in percent.

    Envoy draws the destination with the route, before any filter: so faults have the header changes of one, too.
    """
    found: list[Outcome] = []
    for weighted, part in _branches(taken):
        found += _after_filters(taken, weighted, share * part)
    return _merged(found)


def percent(share: float) -> float:
    """Return a share as a percentage that reads well."""
    return round(share * 100, 4)


def _branches(taken: RouteTaken) -> Iterator[tuple[Fields | None, float]]:
    """Yield the destinations of a route that has several, with their shares; None for all else."""
    clusters = taken.route.get("route", {}).get("weighted_clusters")
    if clusters is None:
        yield None, 1.0
        return
    entries: Sequence[Fields] = clusters.get("clusters", ())
    total = sum(int(entry.get("weight", 0)) for entry in entries)
    for entry in entries:
        if weight := int(entry.get("weight", 0)):
            yield entry, weight / total


def _merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes with equal ones added up."""
    found: list[Outcome] = []
    for outcome in outcomes:
        for place, known in enumerate(found):
            if msgspec.structs.replace(outcome, share=known.share) == known:
                found[place] = msgspec.structs.replace(known, share=round(known.share + outcome.share, 4))
                break
        else:
            found.append(outcome)
    return found


def _after_filters(taken: RouteTaken, weighted: Fields | None, share: float) -> Iterator[Outcome]:
    fault = fault_of(taken.filter_config(FAULT, weighted), taken.request.headers)
    for delay, held in ((fault.delay, fault.delay_share), ("", 1 - fault.delay_share)):
        if held <= 0:
            continue
        if fault.abort_share > 0:
            yield Outcome(
                share=percent(share * held * fault.abort_share),
                action="fault",
                status=fault.status,
                flag="FI",
                reason="the fault aborts it",
                delay=delay,
                response_headers=_responses(taken, weighted),
            )
        if fault.abort_share < 1:
            passed = _past_faults(taken, weighted, share * held * (1 - fault.abort_share))
            yield msgspec.structs.replace(passed, delay=delay)


def _responses(taken: RouteTaken, weighted: Fields | None) -> list[HeaderChange]:
    """Return what is done to the headers of any answer, the proxy's own too, but of preflights (observed in 1.40)."""
    return header_changes(levels_of(taken.routes, taken.host, taken.route, weighted), "response")


def _past_faults(taken: RouteTaken, weighted: Fields | None, share: float) -> Outcome:
    # The CORS filter leaves alone what is not forwarded (observed in 1.40).
    policy = taken.filter_config(CORS, weighted) if "route" in taken.route else None
    cors = cors_of(policy, taken.request.headers)
    if cors is not None and cors.answered:
        said = "allowed" if cors.allowed else "not allowed"
        return Outcome(
            share=percent(share),
            action="CORS",
            status=200,
            reason=f"a preflight, answered by the CORS policy: the origin is {said}",
        )
    responses = _responses(taken, weighted)
    if "redirect" in taken.route:
        redirect = taken.route["redirect"]
        return Outcome(
            share=percent(share),
            action="redirect",
            status=redirect_status(redirect),
            location=location(taken.match, redirect, taken.request.headers),
            response_headers=responses,
        )
    if "direct_response" in taken.route:
        return _direct(taken.route, share, responses)
    return _forwarded(taken, weighted, share, cors)


def _direct(route: Fields, share: float, responses: list[HeaderChange]) -> Outcome:
    answer, blocked = route["direct_response"], route.get("name") == BLOCK_ALL
    status = int(answer["status"])
    return Outcome(
        share=percent(share),
        action="blocked" if blocked else "direct response",
        reason=_UNKNOWN if blocked and status == BAD_GATEWAY else "",
        status=status,
        body=str(answer.get("body", {}).get("inline_string", ""))[:1000],
        response_headers=responses,
    )


# --- forwarding ----------------------------------------------------------------------------------------------


def _forwarded(taken: RouteTaken, weighted: Fields | None, share: float, cors: Cors | None) -> Outcome:
    action: Fields = taken.route.get("route", {})
    name = _cluster_name(taken, action, weighted)
    cluster = cluster_view(taken.served, name)
    if cluster is None:
        return Outcome(
            share=percent(share),
            action="no cluster",
            status=_NO_CLUSTER[action.get("cluster_not_found_response_code", "SERVICE_UNAVAILABLE")],
            flag="NC",
            reason=f"the proxy has no cluster {name}",
            response_headers=_responses(taken, weighted),
        )
    requests = header_changes(levels_of(taken.routes, taken.host, taken.route, weighted), "request")
    headers = changed(_told(taken), requests, taken.request.headers)
    tunnel = any("connect_config" in upgrade for upgrade in action.get("upgrade_configs", ()))
    made = Outcome(
        share=percent(share),
        action="tunnel" if tunnel else "pass through" if chooses_by_request(cluster) else "forward",
        cluster=cluster,
        request=None if tunnel else _as_sent(taken, action, weighted, headers),
        request_headers=requests,
        response_headers=_responses(taken, weighted),
        mirrors=list(_mirrors(action)),
        timeout=_timeout(action),
        idle_timeout=_none(action.get("idle_timeout", "")),
        retries=_retries(action),
        hash_policy=[_hash(policy) for policy in action.get("hash_policy", ())],
        reason=_cors_words(cors),
    )
    return with_health(made, cluster)


def _cluster_name(taken: RouteTaken, action: Fields, weighted: Fields | None) -> str:
    if weighted is not None:
        return str(weighted["name"])
    if "cluster_header" in action:
        return taken.request.headers.get(str(action["cluster_header"]).lower(), "")
    return str(action.get("cluster", ""))


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
    if action.get("prefix_rewrite") or "regex_rewrite" in action:
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
