"""From the control plane's values to the API's schemas, and from schemas to HTTP responses.

Called by the endpoints. Secrets are hidden here, so that no endpoint can forget it. Must not know: routing, requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from lateen.api.control_plane import ProxyStatus
from lateen.api.schemas import (
    ConfigItem,
    EndpointView,
    ErrorAnswer,
    ErrorBody,
    FindingView,
    ProxyView,
    ResourceView,
    ServicePortView,
    ServiceView,
    TypeStatusView,
    WorkloadView,
)
from lateen.config.key_sets import without_private_members
from lateen.config.kinds import document_kind
from lateen.config.objects import ConfigObject
from lateen.config.redaction import redacted
from lateen.envoy.messages import to_json
from lateen.envoy.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET, VIRTUAL_HOST, Resource
from lateen.mesh.gateway_api.statuses import status_view
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.origins import Origin
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration

TYPES = {
    "listeners": LISTENER,
    "routes": ROUTE,
    "clusters": CLUSTER,
    "endpoints": ENDPOINT,
    "secrets": SECRET,
    "extensions": EXTENSION,
}
"""The words of the API and the command line for xDS types whose resources are shown by themselves."""
WORDS = {kind: word for word, kind in TYPES.items()} | {VIRTUAL_HOST: "virtualhosts"}
"""The words for all types that a proxy has a state of; virtual hosts are shown with their routes."""
HIDDEN = "[redacted]"
_PRIVATE = frozenset({"private_key", "password", "session_ticket_keys", "private_key_provider", "generic_secret"})
"""Fields of Envoy's TLS messages that hold secrets, wherever they stand."""


def rfc3339(unix_seconds: float) -> str:
    """Return a time in UTC, to the second."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds")


def json_response(answer: Any, status: int = 200) -> Response:
    """Return the struct as JSON."""
    return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")


def error_response(status: int, code: str, message: str, hint: str = "", findings: Sequence[Finding] = ()) -> Response:
    """Return an error in the API's one shape."""
    body = ErrorBody(code=code, message=message, hint=hint)
    return json_response(ErrorAnswer(error=body, findings=[finding_view(finding) for finding in findings]), status)


def finding_view(finding: Finding) -> FindingView:
    """Return the finding as the command line prints it in JSON."""
    return FindingView(
        file=finding.file,
        line=finding.line,
        column=finding.column,
        kind=finding.kind,
        namespace=finding.namespace,
        name=finding.name,
        path=finding.path,
        code=finding.code,
        severity=finding.severity.value,
        message=finding.message,
    )


def config_item(found: ConfigObject[Any], managed_by: Origin | None, state: MeshState | None = None) -> ConfigItem:
    """Return the object with its whole document, the values of a Secret hidden, and its status if it has one."""
    document = redacted(whole_document(found))
    status = state.statuses.get(found.key) if state is not None else None
    if status is not None:
        document["status"] = status_view(found.key, status)
    return ConfigItem(
        kind=document_kind(found.key.kind),
        namespace=found.key.namespace,
        name=found.key.name,
        origin=str(found.origin),
        digest=found.digest,
        read_only=managed_by is not None,
        document=document,
    )


def whole_document(found: ConfigObject[Any]) -> dict[str, Any]:
    """Return the document with the namespace that it may leave to its reader: so it means the same everywhere."""
    document: dict[str, Any] = msgspec.json.decode(found.document)
    if found.key.namespace:
        document["metadata"] = {**document["metadata"], "namespace": found.key.namespace}
    return document


def proxy_views(statuses: Iterable[ProxyStatus]) -> list[ProxyView]:
    """Return the statuses sorted by proxy id."""
    return sorted((_proxy_view(status) for status in statuses), key=lambda view: view.id)


def _proxy_view(status: ProxyStatus) -> ProxyView:
    proxy = status.proxy
    types = {
        WORDS[kind]: TypeStatusView(
            state=type_status.state,
            sent=type_status.sent,
            acknowledged=type_status.acknowledged,
            rejection=type_status.rejection,
            resources=type_status.resources,
        )
        for kind, type_status in status.types.items()
        if kind in WORDS
    }
    return ProxyView(
        id=proxy.id,
        type=proxy.type.value,
        namespace=proxy.namespace,
        address=proxy.addresses[0] if proxy.addresses else "",
        labels=dict(proxy.labels),
        connected_at=rfc3339(status.connected_at),
        user_agent=status.user_agent,
        types=types,
    )


def resource_view(resource: Resource) -> ResourceView:
    """Return the resource in protobuf JSON, private keys hidden."""
    shown = hide_private(to_json(resource.kind, resource.body))
    return ResourceView(name=resource.name, version=resource.version, resource=shown)


def hide_private(value: Any) -> Any:
    """Return protobuf JSON with every private key and password replaced by `[redacted]`.

    A file name is no secret, so `{"filename": ...}` stays readable.
    """
    match value:
        case {"local_jwks": {"inline_string": str() as text}}:
            return value | {"local_jwks": {"inline_string": without_private_members(text, hidden=HIDDEN)}}
        case dict():
            return {key: _hidden(held) if key in _PRIVATE else hide_private(held) for key, held in value.items()}
        case list():
            return [hide_private(item) for item in value]
        case _:
            return value


def _hidden(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"filename"}:
        return value
    return {"inline_string": HIDDEN}


def service_view(service: Service, endpoints: Iterable[Endpoint], *, virtual: Iterable[str] = ()) -> ServiceView:
    """Return a service with its endpoints, and the virtual addresses that it was given."""
    return ServiceView(
        host=service.host,
        namespace=service.namespace,
        name=service.name,
        ports=[
            ServicePortView(number=port.number, protocol=port.protocol.value, name=port.name) for port in service.ports
        ],
        addresses=list(service.addresses),
        resolution=service.resolution.value,
        external=service.external,
        origin=str(service.origin),
        endpoints=[
            EndpointView(
                address=endpoint.address,
                port=endpoint.port,
                service_port=endpoint.service_port,
                healthy=endpoint.healthy,
                labels=dict(endpoint.labels),
                workload=endpoint.workload,
                locality=str(endpoint.locality),
            )
            for endpoint in endpoints
        ],
        virtual_addresses=list(virtual),
    )


def workload_view(workload: WorkloadRegistration) -> WorkloadView:
    """Return a registered workload."""
    return WorkloadView(
        name=workload.name,
        namespace=workload.namespace,
        service=workload.service,
        version=workload.version,
        address=workload.address,
        ports=[port.port for port in workload.ports],
        labels=dict(workload.labels),
        service_account=workload.service_account,
        locality=workload.locality,
        ready=workload.ready,
    )
