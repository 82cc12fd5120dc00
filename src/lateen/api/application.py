"""The ASGI applications: the API on the HTTP port, metrics and health on the monitoring port.

Built by `app`, served by `api/serving.py`. Must not know: sockets, or how the control plane works.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lateen.api import configuration, debug, inspection, schemas
from lateen.api.answers import error_response
from lateen.api.control_plane import ControlPlane
from lateen.api.figures import Monitored
from lateen.api.guards import Guards
from lateen.api.metrics import prometheus_text

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One line of the API: method, path, what serves it, and the struct it answers with."""

    method: str
    path: str
    serve: Callable[[Request], Awaitable[Response]]
    answer: type[schemas.Answer]
    query: tuple[str, ...] = ()


ENDPOINTS = (
    Endpoint(method="GET", path="/healthz", serve=inspection.healthz, answer=schemas.HealthAnswer),
    Endpoint(method="GET", path="/readyz", serve=inspection.readyz, answer=schemas.HealthAnswer),
    Endpoint(method="GET", path="/v1/version", serve=inspection.show_version, answer=schemas.VersionAnswer),
    Endpoint(
        method="GET", path="/v1/control-plane", serve=inspection.show_control_plane, answer=schemas.ControlPlaneAnswer
    ),
    Endpoint(
        method="POST",
        path="/v1/config",
        serve=configuration.apply,
        answer=schemas.ApplyAnswer,
        query=("dry_run", "wait", "namespace", "file"),
    ),
    Endpoint(
        method="GET",
        path="/v1/config/{kind}",
        serve=configuration.list_config,
        answer=schemas.ConfigList,
        query=("namespace",),
    ),
    Endpoint(
        method="GET",
        path="/v1/config/{kind}/{namespace}/{name}",
        serve=configuration.get_config,
        answer=schemas.ConfigItem,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/config/{kind}/{namespace}/{name}",
        serve=configuration.delete_config,
        answer=schemas.DeleteAnswer,
    ),
    Endpoint(method="GET", path="/v1/findings", serve=configuration.list_findings, answer=schemas.FindingList),
    Endpoint(method="GET", path="/v1/proxies", serve=inspection.list_proxies, answer=schemas.ProxyList),
    Endpoint(
        method="GET",
        path="/v1/proxies/{id}/config/{type}",
        serve=inspection.proxy_resources,
        answer=schemas.ResourceList,
    ),
    Endpoint(
        method="GET",
        path="/v1/services",
        serve=inspection.list_services,
        answer=schemas.ServiceList,
        query=("namespace",),
    ),
    Endpoint(
        method="GET",
        path="/v1/workloads",
        serve=inspection.list_workloads,
        answer=schemas.WorkloadList,
        query=("namespace",),
    ),
)
"""The whole API; the routes and docs/reference/api.md are both made from it."""


def api_application(plane: ControlPlane, *, loopback: bool) -> Starlette:
    """Return the API. `loopback` says that it will be bound to loopback only, so foreign hosts are refused."""
    routes = [Route(endpoint.path, endpoint.serve, methods=[endpoint.method]) for endpoint in ENDPOINTS]
    application = Starlette(
        routes=routes,
        middleware=[Middleware(Guards, loopback=loopback)],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
    )
    application.state.control_plane = plane
    return application


def monitoring_application(plane: Monitored, *, loopback: bool) -> Starlette:
    """Return what the monitoring port serves: health, Prometheus metrics, and debug pages."""
    application = Starlette(
        routes=[
            Route("/healthz", inspection.healthz),
            Route("/readyz", inspection.readyz),
            Route("/ready", inspection.readyz),
            Route("/metrics", _metrics),
            Route("/debug", debug.index),
            Route("/debug/state", debug.show_state),
            Route("/debug/scopes", debug.show_scopes),
            Route("/debug/proxies", debug.show_proxies),
            Route("/debug/syncz", debug.show_proxies),
            Route("/debug/proxies/{id}/resources", debug.show_resources),
            Route("/debug/learned", debug.show_learned),
            Route("/debug/memory", debug.show_memory),
        ],
        middleware=[Middleware(Guards, loopback=loopback)],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
    )
    application.state.control_plane = plane
    return application


async def _metrics(request: Request) -> Response:
    """Answer Prometheus text (exposition format 0.0.4)."""
    return PlainTextResponse(prometheus_text(debug.monitored(request)), media_type="text/plain; version=0.0.4")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return error_response(error.status_code, codes.get(error.status_code, "http_error"), message)


async def _bug(request: Request, error: Exception) -> Response:
    # The traceback goes to the log once; the caller learns only that it is ours to mend.
    _LOG.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    return error_response(500, "internal", "the control plane failed to answer this request", "see its log")
