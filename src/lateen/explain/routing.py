"""A request on its way through the proxy that sends it on: filter chain, virtual host, route, and what that does.

Called by `explaining` for sidecars and gateways alike. Everything is read off what the proxy is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lateen.envoy.messages import Fields
from lateen.explain.clusters import cluster_view
from lateen.explain.explanations import NearMiss, Outcome, Routing, Step
from lateen.explain.filter_chains import filter_chain, http_manager, matched_criteria
from lateen.explain.listeners import Arrival
from lateen.explain.near_misses import missed_chains, missed_hosts, missed_routes, route_name
from lateen.explain.origins import source_of
from lateen.explain.requests import Request
from lateen.explain.route_actions import RouteTaken, outcomes_of, percent, with_health
from lateen.explain.route_matching import match_route, path_text
from lateen.explain.route_tables import inline_table
from lateen.explain.served import Served
from lateen.explain.virtual_hosts import ChosenHost, virtual_host
from lateen.explain.walking import Surroundings, Walk, walk

NOT_FOUND = 404
_TCP_IDLE = "1h"
"""Envoy's own when a TCP proxy says nothing."""
_OWN_HEADERS = frozenset({"x-forwarded-proto", "x-forwarded-for"})
"""Headers that the proxy writes by itself."""


@dataclass(slots=True, kw_only=True)
class Way:
    """How far the request has come, while it is followed."""

    arrival: Arrival
    served: Served
    steps: list[Step] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    near_misses: list[NearMiss] = field(default_factory=list)
    chain: Fields | None = None
    walked: Walk | None = None
    """What the filters before the router said; None when no chain took the connection."""

    def step(self, what: str, name: str, why: str = "", fields: Fields | None = None) -> None:
        """Note a decision."""
        source = source_of(fields or {})
        self.steps.append(Step(what=what, name=name, why=why, origin=source.origin, config=source.config))

    def ends(self, outcome: Outcome) -> None:
        """Note what becomes of the request."""
        self.outcomes.append(outcome)

    def routing(self, proxy: str, outcomes: list[Outcome]) -> Routing:
        """Return what was found, with the outcomes as somebody judged them."""
        return Routing(
            proxy=proxy,
            mode=self.arrival.mode,
            steps=self.steps,
            outcomes=outcomes,
            near_misses=self.near_misses,
        )


def follow(served: Served, arrival: Arrival, request: Request, around: Surroundings) -> Way:
    """Follow a request from its listener to all that may become of it."""
    way = Way(arrival=arrival, served=served)
    listener = arrival.listener
    if listener is None:
        way.ends(Outcome(action="no listener", reason="the proxy has no listener for this connection"))
        return way
    way.step("listener", listener["name"], arrival.why, listener)
    way.chain = chain = filter_chain(listener, arrival.transport, arrival.address, arrival.port)
    way.near_misses += missed_chains(listener, chain, arrival.transport, arrival.address, arrival.port)
    if chain is None:
        reason = (
            f"no filter chain takes {arrival.transport.name} for {arrival.transport.server_name or arrival.address}"
        )
        way.ends(Outcome(action="no filter chain", flag="NR", reason=f"{reason}: the connection is closed"))
        return way
    _chain_step(way, listener, chain)
    chain = served.with_extensions(chain)
    manager = http_manager(chain)
    if manager is not None and not _speaks_http(arrival, chain):
        reason = "the filter chain reads HTTP, and the connection brings TLS or bytes: it is closed"
        way.ends(Outcome(action="no filter chain", reason=reason))
        return way
    if manager is not None:
        request = replace(request, headers=_with_scheme(manager, chain, request.headers))
    way.walked = walk(chain, request, around)
    if way.walked.decisive is not None:
        return way
    if manager is None:
        _bytes(way, chain)
    else:
        _requests(way, manager, way.walked.request)
    return way


def _speaks_http(arrival: Arrival, chain: Fields) -> bool:
    if arrival.transport.protocol == "tls":
        return "transport_socket" in chain
    return arrival.transport.http


def _chain_step(way: Way, listener: Fields, chain: Fields) -> None:
    arrival = way.arrival
    why = matched_criteria(listener, chain, arrival.transport, arrival.address, arrival.port)
    if not why and len(listener.get("filter_chains", ())) + ("default_filter_chain" in listener) > 1:
        why = "no other matches"
    if why or chain.get("name"):
        way.step("filter chain", chain.get("name") or _chain_name(listener, chain), why, chain)


def _chain_name(listener: Fields, chain: Fields) -> str:
    chains = listener.get("filter_chains", [])
    return f"{chains.index(chain) + 1} of {len(chains)}" if chain in chains else "default"


def _with_scheme(manager: Fields, chain: Fields, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with scheme and x-forwarded-proto as the connection manager leaves them.

    An edge proxy believes the connection, others what they are told.
    """
    secure = "https" if "transport_socket" in chain else "http"
    told = headers.get("x-forwarded-proto", "") if not manager.get("use_remote_address") else ""
    protocol = told or secure
    return {**headers, "x-forwarded-proto": protocol, ":scheme": headers.get(":scheme", protocol)}


# --- bytes ---------------------------------------------------------------------------------------------------


def _bytes(way: Way, chain: Fields) -> None:
    """Follow a chain that only moves bytes."""
    names = [item["name"] for item in chain.get("filters", ())]
    proxy: Fields = chain["filters"][-1].get("typed_config", {}) if chain.get("filters") else {}
    entries = proxy.get("weighted_clusters", {}).get("clusters") or [{"name": proxy.get("cluster", ""), "weight": 1}]
    total = sum(int(entry.get("weight", 0)) for entry in entries) or 1
    for entry in entries:
        share = percent(int(entry.get("weight", 0)) / total)
        name = way.arrival.transport.server_name if any("sni_cluster" in one for one in names) else entry["name"]
        cluster = cluster_view(way.served, name)
        if cluster is None:
            reason = f"the proxy has no cluster {name}: the connection is closed"
            way.ends(Outcome(share=share, action="no cluster", flag="NC", reason=reason))
            continue
        passes = cluster.discovery == "ORIGINAL_DST"
        made = Outcome(
            share=share,
            action="pass through" if passes else "forward",
            cluster=cluster,
            idle_timeout=proxy.get("idle_timeout", _TCP_IDLE),
            reason="bytes: nothing in them is looked at",
        )
        healthy = with_health(made, cluster)
        # There is no request that could get a status: the connection is closed.
        way.ends(replace_status(healthy))


def replace_status(outcome: Outcome) -> Outcome:
    """Return an outcome of bytes: a connection that fails is closed without a status."""
    if outcome.status is None:
        return outcome
    return Outcome(
        share=outcome.share,
        action=outcome.action,
        flag=outcome.flag,
        cluster=outcome.cluster,
        reason=f"{outcome.reason}: the connection is closed",
    )


# --- requests ------------------------------------------------------------------------------------------------


def _requests(way: Way, manager: Fields, request: Request) -> None:
    """Follow a chain that reads requests."""
    name = manager.get("rds", {}).get("route_config_name")
    routes = inline_table(manager.get("route_config", {})) if name is None else way.served.routes(name)
    if routes is None:
        reason = f"the routes {name} are not there yet"
        way.ends(Outcome(action="no route", status=NOT_FOUND, flag="NR", reason=reason))
        return
    authority = request.headers.get(":authority", "")
    chosen = virtual_host(way.served, routes, authority)
    if chosen is None or chosen.domain == "*":
        way.near_misses += missed_hosts(routes, authority)
    if chosen is None:
        way.step("routes", routes.fields.get("name", ""))
        reason = f"no virtual host has the host {authority}"
        way.ends(Outcome(action="no route", status=NOT_FOUND, flag="NR", reason=reason))
        return
    why = f"in the routes {routes.fields.get('name', '')}"
    if chosen.domain.lower() != chosen.asked:
        why = f"{chosen.asked} is only covered by {chosen.domain} {why}"
    way.step("virtual host", chosen.fields["name"], why)
    if chosen.fields.get("require_tls") == "ALL" and request.headers.get("x-forwarded-proto") != "https":
        target = f"https://{authority}{request.headers.get(':path', '/')}"
        reason = "the server takes https only (httpsRedirect)"
        way.ends(Outcome(action="redirect", status=301, location=target, reason=reason))
        return
    _routes(way, routes.fields, chosen, request)


def _routes(way: Way, routes: Fields, chosen: ChosenHost, request: Request) -> None:
    remaining, misses = 1.0, []
    listed = chosen.fields.get("routes", ())
    for number, route in enumerate(listed, start=1):
        match = match_route(route.get("match", {}), request)
        if not match.matched:
            misses.append((number, route, match.failed))
            continue
        why = f"of {len(listed)}, path {path_text(route.get('match', {}))}{_conditions(route.get('match', {}))}"
        way.step("route", route_name(number, route), why, route)
        taken = RouteTaken(
            served=way.served,
            routes=routes,
            host=chosen.fields,
            route=route,
            request=request,
            inside=_OWN_HEADERS,
        )
        way.outcomes += outcomes_of(taken, remaining * match.share)
        remaining *= 1 - match.share
        if remaining <= 0:
            break
    way.near_misses += missed_routes(misses)
    if remaining > 0:
        reason = f"none of the {len(listed)} routes of {chosen.fields['name']} matches"
        outcome = Outcome(share=percent(remaining), action="no route", status=NOT_FOUND, flag="NR", reason=reason)
        way.ends(outcome)


def _conditions(match: Fields) -> str:
    """Return the names of what else the match asks for, or asks not to be."""
    asked = [
        f"{'not ' if matcher.get('invert_match') else ''}{matcher['name']}" for matcher in match.get("headers", ())
    ]
    asked += [f"query {matcher['name']}" for matcher in match.get("query_parameters", ())]
    asked += ["claims"] if match.get("dynamic_metadata") else []
    return f" and {', '.join(asked)}" if asked else ""
