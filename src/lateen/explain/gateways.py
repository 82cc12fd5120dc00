"""A request that comes in through a gateway: what the gateway itself says, and to which service it would pass it on.

Called by `explaining`. Of routes only the plain ones are followed (by path, to one service); for the others the
gateway's own verdict is all that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from lateen.envoy.messages import Fields, to_json
from lateen.envoy.resources import ROUTE, Snapshot
from lateen.explain.connections import PLAINTEXT, Transport, filter_chain, listeners_at, with_extensions
from lateen.explain.destinations import Destination
from lateen.explain.explanations import WorkloadVerdict
from lateen.explain.policies import named_policies
from lateen.explain.questions import Question, QuestionError
from lateen.explain.requests import Request
from lateen.explain.verdicts import judged
from lateen.explain.walking import Surroundings, walk
from lateen.generate.snapshot import generate
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname, host_matches
from lateen.model.proxies import Proxy

NOT_FOUND = 404
UNKNOWN_CLIENT = "203.0.113.1"
"""A client whose address nobody gave (RFC 5737: of no network)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How far a request comes at a gateway."""

    verdict: WorkloadVerdict
    headers: Mapping[str, str]
    """As it is passed on."""
    destination: Destination | None = None
    notes: tuple[str, ...] = ()


def entered(state: MeshState, gateway: Proxy, question: Question, served: Snapshot | None) -> Entry:
    """Return what a gateway makes of a request from outside. QuestionError when it does not listen on the port."""
    snapshot = served or generate(state, gateway)
    port = gateway.bound_port(question.port)
    listener = next(iter(listeners_at(snapshot, port)), None)
    if listener is None:
        raise QuestionError(
            f"the gateway {gateway.id} has no listener for port {question.port}",
            "a Gateway whose selector matches its labels must have a server with that port",
            usage=False,
        )
    client = question.source_ip or UNKNOWN_CLIENT
    notes = () if question.source_ip else (f"the client's address is not known: {client} is taken (--source-ip)",)
    transport = _transport(question)
    address = gateway.addresses[0] if gateway.addresses else ""
    request = Request(
        headers=question.as_headers,
        source_ip=client,
        remote_ip=client,
        destination_ip=address,
        destination_port=port,
        server_name=transport.server_name,
    )
    chain = filter_chain(listener, transport, address, port)
    blank = _blank(gateway, transport, chain)
    if chain is None:
        reason = f"no server of the gateway takes {transport.name} for {question.host} on port {question.port}"
        return Entry(verdict=_refused(blank, reason, None), headers={}, notes=notes)
    walked = walk(
        with_extensions(chain, snapshot), request, Surroundings(policies=named_policies(state), claims=question.claims)
    )
    verdict = judged(blank, walked, state)
    headers = {**question.as_headers, **walked.request.headers, "x-forwarded-for": _forwarded(question, client)}
    if verdict.verdict != "allowed":
        return Entry(verdict=verdict, headers=headers, notes=notes)
    return _routed(state, snapshot, chain, walked.request, Entry(verdict=verdict, headers=headers, notes=notes))


def _transport(question: Question) -> Transport:
    if question.scheme != "https":
        return PLAINTEXT
    return Transport(name="TLS", offered=("h2", "http/1.1"), server_name=question.host)


def _forwarded(question: Question, client: str) -> str:
    before = question.headers.get("x-forwarded-for")
    return f"{before},{client}" if before else client


def _blank(gateway: Proxy, transport: Transport, chain: Fields | None) -> WorkloadVerdict:
    return WorkloadVerdict(
        workload=gateway.id,
        namespace=gateway.namespace,
        labels=dict(gateway.labels),
        service_account=gateway.service_account,
        addresses=list(gateway.addresses),
        transport=transport.name,
        principal="",
        filter_chain=chain.get("name", "") if chain is not None else "",
        verdict="allowed",
        status=None,
        reason="",
    )


def _refused(blank: WorkloadVerdict, reason: str, status: int | None) -> WorkloadVerdict:
    return msgspec.structs.replace(blank, verdict="refused", status=status, reason=reason)


# --- routes --------------------------------------------------------------------------------------------------


def _routed(state: MeshState, snapshot: Snapshot, chain: Fields, request: Request, entry: Entry) -> Entry:
    """Return the entry with the service that the request is passed on to, or a note on why none is said."""
    manager = next((one["typed_config"] for one in chain["filters"] if "http_connection_manager" in one["name"]), None)
    if manager is None:
        proxy = chain["filters"][-1].get("typed_config", {})
        found = _destination(state, proxy.get("cluster", ""))
        return replace(entry, destination=found) if found is not None else _unsaid(entry, "of this TCP route")
    routes = _virtual_host(_routes(snapshot, manager), request.headers.get(":authority", ""))
    if routes is None:
        host = request.headers.get(":authority", "")
        refusal = _refused(entry.verdict, f"no virtual host of the gateway has the host {host}", NOT_FOUND)
        return replace(entry, verdict=refusal)
    for route in routes:
        if not set(route["match"]) <= _PLAIN:
            return _unsaid(entry, "after a route that asks for more than a path")
        if _path_matches(route["match"], request.path or "/"):
            found = _destination(state, route.get("route", {}).get("cluster", ""))
            return replace(entry, destination=found) if found is not None else _unsaid(entry, "of a route like this")
    refusal = _refused(entry.verdict, f"no route of the gateway has the path {request.path}", NOT_FOUND)
    return replace(entry, verdict=refusal)


_PLAIN = {"prefix", "path", "path_separated_prefix", "case_sensitive"}


def _unsaid(entry: Entry, where: str) -> Entry:
    note = f"this is the gateway's own verdict: routes are not followed yet {where}"
    return replace(entry, notes=(*entry.notes, note))


def _routes(snapshot: Snapshot, manager: Fields) -> Fields:
    name = manager.get("rds", {}).get("route_config_name")
    if name is None:
        inline: Fields = manager.get("route_config", {})
        return inline
    resource = snapshot.offer(ROUTE).get(name)
    return {} if resource is None else to_json(ROUTE, resource.body)


def _virtual_host(routes: Fields, authority: str) -> list[Fields] | None:
    """Return the routes of a host: exact before the longest wildcard, with and without its port."""
    names = (authority, authority.rpartition(":")[0] or authority)
    best: tuple[int, list[Fields]] | None = None
    for host in routes.get("virtual_hosts", ()):
        for domain in host.get("domains", ()):
            if any(host_matches(domain, name) for name in names):
                weight = len(domain) + (0 if "*" in domain else 1000)
                if best is None or weight > best[0]:
                    best = weight, host.get("routes", [])
    return best[1] if best is not None else None


def _path_matches(match: Fields, path: str) -> bool:
    wanted = match.get("path") or match.get("prefix") or match.get("path_separated_prefix") or ""
    if match.get("case_sensitive") is False:
        wanted, path = wanted.lower(), path.lower()
    if "path" in match:
        return path == wanted
    if "prefix" in match:
        return path.startswith(wanted)
    return path == wanted or path.startswith(f"{wanted}/")


def _destination(state: MeshState, cluster: str) -> Destination | None:
    kind, *rest = cluster.split("|", 3)
    if kind != "outbound" or len(rest) != 3:
        return None
    service = state.services.get(Hostname(rest[2]))
    port = service.port(int(rest[0])) if service is not None else None
    return None if service is None or port is None else Destination(service=service, port=port)
