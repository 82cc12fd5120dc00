"""Printing how a request is routed: the decisions in order, what becomes of the request, what nearly took it.

Called by `explanations`.
"""

from __future__ import annotations

from collections.abc import Iterator

from lateen.cli.wrapped_text import labelled
from lateen.explain.explanations import ClusterView, HeaderChange, NearMiss, Outcome, Routing, Step

_SHOWN_ENDPOINTS = 6


def routing_lines(routing: Routing) -> Iterator[str]:
    """Yield the lines about the way through the proxy."""
    for step in routing.steps:
        yield from labelled(step.what, _step(step))
    told: set[tuple[str, ...]] = set()
    for outcome in routing.outcomes:
        yield from _outcome_lines(outcome)
        cluster = tuple(_cluster_lines(outcome.cluster)) if outcome.cluster is not None else ()
        # What outcomes have in common is told with the first of them.
        for lines in (cluster, tuple(_limit_lines(outcome))):
            if lines not in told:
                told.add(lines)
                yield from lines
    for missed in routing.near_misses:
        yield from labelled("nearly", _missed(missed))


def summary(outcome: Outcome) -> str:
    """Return an outcome in a few words: `forward to reviews.default... subset v1`, `redirect, HTTP 301 to ...`."""
    status = f", HTTP {outcome.status}" if outcome.status is not None else ""
    flag = f" {outcome.flag}" if outcome.flag else ""
    where = f" to {_cluster_name(outcome.cluster)}" if outcome.cluster is not None else ""
    target = f" to {outcome.location}" if outcome.location else ""
    return f"{outcome.action}{where}{status}{flag}{target}"


def _step(step: Step) -> str:
    why = f": {step.why}" if step.why else ""
    place = f" ({step.config}, {step.origin})" if step.config and step.origin else ""
    return f"{step.name}{why}{place or (f' ({step.origin})' if step.origin else '')}"


def _missed(missed: NearMiss) -> str:
    place = f" ({missed.origin})" if missed.origin else ""
    return f"{missed.what} {missed.name}{place}: {missed.reason}"


def _cluster_name(cluster: ClusterView) -> str:
    if not cluster.host:
        return cluster.name
    subset = f" subset {cluster.subset}" if cluster.subset else ""
    return f"{cluster.host}:{cluster.port}{subset}"


# --- outcomes ------------------------------------------------------------------------------------------------


def _outcome_lines(outcome: Outcome) -> Iterator[str]:
    share = "" if outcome.share == 100 else f"{outcome.share:g} %"
    yield from labelled("outcome" if not share else f"  {share}", summary(outcome))
    if outcome.delay:
        yield from labelled("  fault", f"held back for {outcome.delay}")
    if outcome.reason:
        yield from labelled("", outcome.reason)
    if (request := outcome.request) is not None:
        yield from labelled("  as", f"{request.method} {request.path}, host {request.authority}")
    if outcome.request_headers:
        yield from labelled("  request", _changes(outcome.request_headers))
    if outcome.response_headers:
        yield from labelled("  response", _changes(outcome.response_headers))


def _limit_lines(outcome: Outcome) -> Iterator[str]:
    if limits := ", ".join(_limits(outcome)):
        yield from labelled("  limits", limits)
    for mirror in outcome.mirrors:
        yield from labelled("  mirror", f"{mirror.share:g} % to {mirror.cluster}")
    if outcome.hash_policy:
        yield from labelled("  affinity", f"by {', then '.join(outcome.hash_policy)}")


def _changes(changes: list[HeaderChange]) -> str:
    return "; ".join(
        f"{change.action} {change.name}{f': {change.value}' if change.value else ''} ({change.level})"
        for change in changes
    )


def _limits(outcome: Outcome) -> Iterator[str]:
    if outcome.timeout:
        yield f"timeout {outcome.timeout}"
    if outcome.idle_timeout and outcome.idle_timeout != "none":
        yield f"idle {outcome.idle_timeout}"
    if (retries := outcome.retries) is not None:
        each = f", {retries.per_try_timeout} each" if retries.per_try_timeout else ""
        yield f"{retries.attempts} retries{each} on {' '.join(retries.on)}"
    elif outcome.timeout:
        yield "no retries"


def _cluster_lines(cluster: ClusterView) -> Iterator[str]:
    rule = f", {cluster.config} ({cluster.origin})" if cluster.config and cluster.origin else ""
    yield from labelled("  cluster", f"{cluster.name}{rule}")
    ways = [_way(cluster, number) for number in range(len(cluster.transports))]
    yield from labelled("  reached", f"{'; '.join(ways)}, {cluster.protocol}, {cluster.load_balancer}")
    if cluster.endpoints:
        yield from labelled("  endpoints", _endpoints(cluster))
    if cluster.circuit_breakers:
        limits = ", ".join(f"{name} {value}" for name, value in cluster.circuit_breakers.items())
        yield from labelled("  breakers", limits)
    if cluster.outlier_detection:
        found = ", ".join(f"{name} {value}" for name, value in cluster.outlier_detection.items())
        yield from labelled("  outliers", found)


def _way(cluster: ClusterView, number: int) -> str:
    found = cluster.transports[number]
    count = f" ({found.endpoints} endpoints)" if len(cluster.transports) > 1 else ""
    name = f" to {found.server_name}" if found.server_name else ""
    return f"{found.mode}{name}{count}"


def _endpoints(cluster: ClusterView) -> str:
    shown = []
    for endpoint in cluster.endpoints[:_SHOWN_ENDPOINTS]:
        said = [endpoint.health] if endpoint.health not in ("unknown", "healthy") else []
        said += [endpoint.locality] if endpoint.locality else []
        said += [f"priority {endpoint.priority}"] if endpoint.priority else []
        said += [f"weight {endpoint.weight}"] if endpoint.weight != 1 else []
        shown.append(endpoint.address + (f" ({', '.join(said)})" if said else ""))
    more = len(cluster.endpoints) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
