"""What nearly took a request instead: routes, virtual hosts and filter chains that lack little.

Called by `routing`; the services that were probably meant are found by `destinations`. Fewest failed conditions first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lateen.envoy.messages import Fields
from lateen.explain.explanations import Condition, NearMiss
from lateen.explain.filter_chains import Transport, failed_criteria
from lateen.explain.origins import source_of
from lateen.explain.route_tables import RouteTable
from lateen.explain.virtual_hosts import close_hosts

SHOWN = 5


def missed_routes(misses: Iterable[tuple[int, Fields, Sequence[Condition]]]) -> list[NearMiss]:
    """Return the routes that came nearest: number, route and its failed conditions each."""
    # That a request is no tunnel, or is one, is no near miss.
    near = (miss for miss in misses if not any("CONNECT" in "".join(one.wanted) for one in miss[2]))
    ordered = sorted(near, key=lambda miss: (len(miss[2]), miss[0]))
    return [
        NearMiss(
            what="route",
            name=route_name(number, route),
            origin=source_of(route).origin,
            failed=list(failed),
            reason=needed(failed),
        )
        for number, route, failed in ordered[:SHOWN]
    ]


def route_name(number: int, route: Fields) -> str:
    """Return how a route is called: its place from 1, and its name if it has one."""
    name = route.get("name", "")
    return f"{number} ({name})" if name else str(number)


def needed(failed: Sequence[Condition], what: str = "the request") -> str:
    """Return conditions as a sentence: `needs header end-user jason; the request has none`."""
    if len(failed) == 1:
        return f"{_need(failed[0])}; {what} has {_has(failed[0])}"
    return " and ".join(f"{_need(condition)} (has {_has(condition)})" for condition in failed)


def _need(condition: Condition) -> str:
    if condition.wanted == ["absent"]:
        return f"must not have {condition.attribute}"
    values = " or ".join("of any value" if value == "*" else value for value in condition.wanted)
    return f"{'must not have' if condition.unwanted else 'needs'} {condition.attribute} {values}"


def _has(condition: Condition) -> str:
    if condition.wanted == ["absent"]:
        return condition.actual or "an empty one"
    return condition.actual or "none"


def missed_hosts(routes: RouteTable, asked: str) -> list[NearMiss]:
    """Return virtual hosts with names near to the one that was asked for."""
    return [
        NearMiss(
            what="virtual host",
            name=host["name"],
            origin=next((source_of(route).origin for route in host.get("routes", ()) if source_of(route).origin), ""),
            failed=[Condition(attribute="host", wanted=[domain], actual=asked)],
            reason=f"is for {domain}; the request is for {asked}",
        )
        for host, domain in close_hosts(routes, asked)
    ]


def missed_chains(
    listener: Fields, chosen: Fields | None, transport: Transport, address: str, port: int
) -> list[NearMiss]:
    """Return the filter chains that lack least, when the one that was chosen asks for nothing, or there is none."""
    if chosen is not None and chosen.get("filter_chain_match"):
        return []
    found = []
    for number, chain in enumerate(listener.get("filter_chains", ()), start=1):
        failed = failed_criteria(listener, chain, transport, address, port) if chain is not chosen else ()
        if failed:
            found.append(
                NearMiss(
                    what="filter chain",
                    name=chain.get("name") or str(number),
                    origin=source_of(chain).origin,
                    failed=list(failed),
                    reason=needed(failed, "the connection"),
                )
            )
    return sorted(found, key=lambda miss: len(miss.failed))[:3]
