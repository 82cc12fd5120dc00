"""Endpoints that show what runs: health, version, proxies and what they are served, services, workloads.

Mounted by `api/application.py`. Everything here only reads.
"""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from lateen.api.answers import (
    TYPES,
    error_response,
    json_response,
    proxy_views,
    resource_view,
    service_view,
    workload_view,
)
from lateen.api.configuration import control_plane
from lateen.api.schemas import (
    ControlPlaneAnswer,
    HealthAnswer,
    ProxyList,
    ResourceList,
    ResourceView,
    ServiceList,
    VersionAnswer,
    WorkloadList,
)
from lateen.envoy.resources import Snapshot
from lateen.mesh.queries import endpoints_behind, every_service, virtual_addresses


async def healthz(request: Request) -> Response:
    """GET /healthz: 200 while the process answers."""
    del request
    return json_response(HealthAnswer(status="ok"))


async def readyz(request: Request) -> Response:
    """GET /readyz: 200 once the first state is published and proxies are accepted, 503 before."""
    if control_plane(request).ready:
        return json_response(HealthAnswer(status="ok"))
    return json_response(HealthAnswer(status="waiting for the first state"), 503)


async def show_version(request: Request) -> Response:
    """GET /v1/version: versions of the control plane and of the state in force."""
    state = control_plane(request).state
    return json_response(VersionAnswer(version=version("lateen"), revision=state.version if state else ""))


async def show_control_plane(request: Request) -> Response:
    """GET /v1/control-plane: where it listens."""
    plane = control_plane(request)
    return json_response(ControlPlaneAnswer(grpc=plane.grpc_address, http=plane.http_address))


async def list_proxies(request: Request) -> Response:
    """GET /v1/proxies: connected proxies and, per type, where they stand."""
    return json_response(ProxyList(items=proxy_views(control_plane(request).proxies())))


async def proxy_resources(request: Request) -> Response:
    """GET /v1/proxies/{id}/config/{type}: what the control plane serves this proxy, private keys hidden."""
    proxy_id, word = request.path_params["id"], request.path_params["type"]
    snapshot = served(request, word, "`lateen proxy-status` lists them")
    if isinstance(snapshot, Response):
        return snapshot
    return json_response(ResourceList(proxy=proxy_id, type=word, items=resource_views(snapshot, word)))


def served(request: Request, word: str | None, hint: str) -> Snapshot | Response:
    """Return what the proxy of the request's path is served; the 404 when it, or the type of this name, is unknown.

    `hint` says where connected proxies are listed.
    """
    proxy_id = request.path_params["id"]
    if word is not None and word not in TYPES:
        return error_response(
            404, "not_found", f"there is no resource type {word[:50]!r}", f"one of {', '.join(TYPES)}"
        )
    found = control_plane(request).snapshot_for(proxy_id)
    if found is None:
        return error_response(404, "not_found", f"no proxy {proxy_id[:200]!r} is connected", hint)
    return found[1]


def resource_views(snapshot: Snapshot, word: str) -> list[ResourceView]:
    """Return the resources of one type, by name, private keys hidden."""
    resources = snapshot.resources.get(TYPES[word], {})
    return [resource_view(resources[name]) for name in sorted(resources)]


async def list_services(request: Request) -> Response:
    """GET /v1/services: services with their endpoints, of one namespace with `?namespace=`."""
    state = control_plane(request).state
    namespace = request.query_params.get("namespace")
    services = sorted(every_service(state), key=lambda service: service.host) if state else ()
    virtual = virtual_addresses(state) if state else {}
    items = [
        service_view(
            service,
            endpoints_behind(state, service.host, service.namespace) if state else (),
            virtual=virtual.get(service.host, ()),
        )
        for service in services
        if namespace in (None, "", service.namespace)
    ]
    return json_response(ServiceList(items=items))


async def list_workloads(request: Request) -> Response:
    """GET /v1/workloads: workloads that registered through their agents, of one namespace with `?namespace=`."""
    state = control_plane(request).state
    namespace = request.query_params.get("namespace")
    workloads = sorted(state.workloads if state else (), key=lambda workload: (workload.namespace, workload.name))
    items = [workload_view(workload) for workload in workloads if namespace in (None, "", workload.namespace)]
    return json_response(WorkloadList(items=items))
