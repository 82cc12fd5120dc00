"""The debug pages of the monitoring port, as JSON: what the control plane holds and where everybody stands.

Mounted by `api/application.py`. Everything here only reads; contents of secrets are never shown.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from lateen.api.answers import (
    WORDS,
    json_response,
    proxy_views,
    rfc3339,
)
from lateen.api.configuration import control_plane
from lateen.api.figures import MemoryPart, Monitored
from lateen.api.inspection import resource_views, served
from lateen.api.schemas import ProxyList

PAGES = {
    "/debug/state": "Summary of the state in force.",
    "/debug/scopes": "Scopes: proxies that are served the same, and how much.",
    "/debug/proxies": "Connected proxies: per type what was sent and acknowledged. Also at /debug/syncz.",
    "/debug/proxies/{id}/resources": "Names, versions and sizes of what a proxy is served; contents of one `?type=`.",
    "/debug/learned": "Hosts that workloads were seen calling, at most 1,000; of one `?workload=reviews-v2.default`.",
    "/debug/health": "Plain endpoints that gateways check, and what each says, at most 1,000.",
    "/debug/memory": "What is kept in memory, by part.",
}
_MOST_LEARNED = 1000
_MOST_CHECKED = 1000


def monitored(request: Request) -> Monitored:
    """Return the control plane as the monitoring port sees it."""
    return cast("Monitored", control_plane(request))


async def index(_request: Request) -> Response:
    """List the pages."""
    return json_response({"pages": PAGES})


async def show_state(request: Request) -> Response:
    """Sum up the state in force."""
    plane = monitored(request)
    state = plane.state
    if state is None:
        return json_response({"version": ""})
    kinds = Counter(key.kind for key in plane.objects())
    return json_response(
        {
            "version": state.version,
            "services": len(state.services),
            "endpoints": sum(len(found) for found in state.endpoints.values()),
            "workloads": len(state.workloads),
            "virtual_services": len(state.virtual_services),
            "destination_rules": sum(len(found) for found in state.destination_rules.values()),
            "gateways": len(state.gateways),
            "sidecars": len(state.sidecars),
            "objects": dict(sorted(kinds.items())),
        }
    )


async def show_scopes(request: Request) -> Response:
    """List the scopes, those with most proxies first."""
    items = [
        {
            "scope": scope.key,
            "proxies": scope.proxies,
            "version": scope.version,
            "resources": {WORDS.get(kind, kind): count for kind, count in scope.resources.items()},
            "bytes": scope.bytes,
        }
        for scope in monitored(request).scopes()
    ]
    return json_response({"items": items})


async def show_proxies(request: Request) -> Response:
    """Answer the ledger: per proxy and type, what was sent and acknowledged."""
    return json_response(ProxyList(items=proxy_views(control_plane(request).proxies())))


async def show_resources(request: Request) -> Response:
    """Show what a proxy is served."""
    proxy_id, word = request.path_params["id"], request.query_params.get("type")
    snapshot = served(request, word, "/debug/proxies lists them")
    if isinstance(snapshot, Response):
        return snapshot
    if word is not None:
        return json_response({"proxy": proxy_id, "items": resource_views(snapshot, word)})
    types = {
        WORDS.get(kind, kind): [
            {"name": name, "version": resources[name].version, "bytes": len(resources[name].body)}
            for name in sorted(resources)
        ]
        for kind, resources in snapshot.resources.items()
    }
    return json_response({"proxy": proxy_id, "version": snapshot.version, "types": types})


async def show_learned(request: Request) -> Response:
    """List the hosts that workloads were seen calling, by workload and host; times are RFC 3339, UTC."""
    learned = monitored(request).learned
    items = [
        {
            "workload": entry.workload,
            "host": entry.host,
            "last_seen": rfc3339(entry.last_seen),
            "state": entry.state.value,
        }
        for entry in islice(learned.entries(request.query_params.get("workload")), _MOST_LEARNED)
    ]
    return json_response({"hosts": len(learned), "items": items})


async def show_health(request: Request) -> Response:
    """List plain endpoints that gateways check and have an opinion about, the sick ones first."""
    health = monitored(request).health
    sick, opinions = health.sick, health.opinions()
    items = [
        {
            "host": target.host,
            "address": target.address,
            "port": target.port,
            "check": target.check,
            "sick": target in sick,
            "gateways": {name: "healthy" if healthy else "sick" for name, healthy in sorted(opinions[target].items())},
        }
        for target in sorted(opinions, key=lambda target: (target not in sick, target))[:_MOST_CHECKED]
    ]
    return json_response({"gateways": health.gateways, "endpoints": len(opinions), "sick": len(sick), "items": items})


async def show_memory(request: Request) -> Response:
    """Show what is kept, by part; bytes are those of serialised content, so Python's own come on top."""
    return json_response({"parts": {name: _part(part) for name, part in monitored(request).memory().items()}})


def _part(part: MemoryPart) -> dict[str, Any]:
    return {"count": part.count, "bytes": part.bytes}
