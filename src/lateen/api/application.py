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

from lateen.api import administration, configuration, debug, explaining, inspection, schemas
from lateen.api.answers import error_response
from lateen.api.control_plane import ControlPlane, Role, Security
from lateen.api.figures import Monitored
from lateen.api.gate import Gate, Need
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
    needs: Role | None
    """Role that a caller needs; None: it is open to everybody."""
    action: str = ""
    """What the audit log calls it; every endpoint that changes something has such a word."""
    query: tuple[str, ...] = ()


ENDPOINTS = (
    Endpoint(method="GET", path="/healthz", serve=inspection.healthz, answer=schemas.HealthAnswer, needs=None),
    Endpoint(method="GET", path="/readyz", serve=inspection.readyz, answer=schemas.HealthAnswer, needs=None),
    Endpoint(
        method="GET", path="/v1/version", serve=inspection.show_version, answer=schemas.VersionAnswer, needs=Role.VIEWER
    ),
    Endpoint(
        method="GET",
        path="/v1/control-plane",
        serve=inspection.show_control_plane,
        answer=schemas.ControlPlaneAnswer,
        needs=Role.VIEWER,
    ),
    Endpoint(
        method="POST",
        path="/v1/config",
        serve=configuration.apply,
        answer=schemas.ApplyAnswer,
        needs=Role.EDITOR,
        action="apply",
        query=("dry_run", "wait", "namespace", "file"),
    ),
    Endpoint(
        method="GET",
        path="/v1/config/{kind}",
        serve=configuration.list_config,
        answer=schemas.ConfigList,
        needs=Role.VIEWER,
        query=("namespace",),
    ),
    Endpoint(
        method="GET",
        path="/v1/config/{kind}/{namespace}/{name}",
        serve=configuration.get_config,
        answer=schemas.ConfigItem,
        needs=Role.VIEWER,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/config/{kind}/{namespace}/{name}",
        serve=configuration.delete_config,
        answer=schemas.DeleteAnswer,
        needs=Role.EDITOR,
        action="delete",
    ),
    Endpoint(
        method="GET",
        path="/v1/findings",
        serve=configuration.list_findings,
        answer=schemas.FindingList,
        needs=Role.VIEWER,
    ),
    Endpoint(
        method="GET", path="/v1/proxies", serve=inspection.list_proxies, answer=schemas.ProxyList, needs=Role.VIEWER
    ),
    Endpoint(
        method="GET",
        path="/v1/proxies/{id}/config/{type}",
        serve=inspection.proxy_resources,
        answer=schemas.ResourceList,
        needs=Role.VIEWER,
    ),
    Endpoint(
        method="GET",
        path="/v1/services",
        serve=inspection.list_services,
        answer=schemas.ServiceList,
        needs=Role.VIEWER,
        query=("namespace",),
    ),
    Endpoint(
        method="GET",
        path="/v1/workloads",
        serve=inspection.list_workloads,
        answer=schemas.WorkloadList,
        needs=Role.VIEWER,
        query=("namespace",),
    ),
    Endpoint(
        method="GET",
        path="/v1/explain",
        serve=explaining.explain_request,
        answer=schemas.ExplainAnswer,
        needs=Role.VIEWER,
        query=("proxy", "request", "header", "claims", "source_ip", "from", "plaintext"),
    ),
    Endpoint(
        method="GET", path="/v1/tokens", serve=administration.list_tokens, answer=schemas.TokenList, needs=Role.ADMIN
    ),
    Endpoint(
        method="POST",
        path="/v1/tokens",
        serve=administration.create_token,
        answer=schemas.CreatedToken,
        needs=Role.ADMIN,
        action="token create",
    ),
    Endpoint(
        method="DELETE",
        path="/v1/tokens/{id}",
        serve=administration.revoke_token,
        answer=schemas.TokenView,
        needs=Role.ADMIN,
        action="token revoke",
    ),
    Endpoint(
        method="GET",
        path="/v1/ca",
        serve=administration.show_authority,
        answer=schemas.AuthorityAnswer,
        needs=Role.ADMIN,
    ),
    Endpoint(
        method="POST",
        path="/v1/ca/rotate",
        serve=administration.rotate,
        answer=schemas.AuthorityAnswer,
        needs=Role.ADMIN,
        action="ca rotate",
    ),
    Endpoint(
        method="POST",
        path="/v1/ca/certificates",
        serve=administration.issue,
        answer=schemas.IssuedAnswer,
        needs=Role.ADMIN,
        action="ca issue",
    ),
    Endpoint(
        method="GET",
        path="/v1/audit",
        serve=administration.show_audit,
        answer=schemas.AuditList,
        needs=Role.ADMIN,
        query=("limit",),
    ),
)
"""The whole API; the routes and docs/reference/api.md are both made from it."""


def api_application(plane: ControlPlane, *, loopback: bool, security: Security | None) -> Starlette:
    """Return the API. `loopback` says that it is bound to loopback or a Unix socket, so foreign hosts are refused.

    Without `security` everybody may do everything that needs no admin: only for a control plane inside a test.
    """
    served = [
        (Route(endpoint.path, endpoint.serve, methods=[endpoint.method]), endpoint)
        for endpoint in ENDPOINTS
        if security is not None or endpoint.needs is not Role.ADMIN
    ]
    needs = [(route, Need(role=endpoint.needs, action=endpoint.action)) for route, endpoint in served]
    needs.append((Route("/", _nothing), Need(role=None)))
    application = _application([route for route, _ in served], needs, loopback=loopback, security=security)
    application.state.control_plane = plane
    application.state.security = security
    return application


def monitoring_application(plane: Monitored, *, loopback: bool, security: Security | None) -> Starlette:
    """Return what the monitoring port serves: health, Prometheus metrics, and debug pages.

    Where others can reach it, all but health needs a viewer; without `security` there is only health then.
    """
    routes = [
        Route("/healthz", inspection.healthz),
        Route("/readyz", inspection.readyz),
        Route("/ready", inspection.readyz),
    ]
    pages = [
        Route("/metrics", _metrics),
        Route("/debug", debug.index),
        Route("/debug/state", debug.show_state),
        Route("/debug/scopes", debug.show_scopes),
        Route("/debug/proxies", debug.show_proxies),
        Route("/debug/syncz", debug.show_proxies),
        Route("/debug/proxies/{id}/resources", debug.show_resources),
        Route("/debug/learned", debug.show_learned),
        Route("/debug/health", debug.show_health),
        Route("/debug/memory", debug.show_memory),
    ]
    needs = [(route, Need(role=None)) for route in routes]
    if loopback or security is not None:
        routes += pages
    application = _application(routes, needs, loopback=loopback, security=None if loopback else security)
    application.state.control_plane = plane
    return application


def _application(
    routes: list[Route], needs: list[tuple[Route, Need]], *, loopback: bool, security: Security | None
) -> Starlette:
    if security is None:
        guard = Middleware(Guards, loopback=loopback)
    else:
        guard = Middleware(Gate, routes=needs, access=security.access, audit=security.audit, loopback=loopback)
    return Starlette(
        routes=list(routes), middleware=[guard], exception_handlers={HTTPException: _http_error, Exception: _bug}
    )


async def _nothing(request: Request) -> Response:
    """Stand in the gate's table for a path that is open and has nothing to show."""
    raise HTTPException(404, request.url.path)


async def _metrics(request: Request) -> Response:
    """Answer Prometheus text (exposition format 0.0.4)."""
    plane = debug.monitored(request)
    await plane.look_again()
    return PlainTextResponse(prometheus_text(plane), media_type="text/plain; version=0.0.4")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return error_response(error.status_code, codes.get(error.status_code, "http_error"), message)


async def _bug(request: Request, error: Exception) -> Response:
    # The traceback goes to the log once; the caller learns only that it is ours to mend.
    _LOG.error(
        "request failed",
        method=request.method,
        path=request.url.path,
        request_id=getattr(request.state, "request_id", ""),
        exc_info=error,
    )
    return error_response(500, "internal", "the control plane failed to answer this request", "see its log")
