"""Access logs as MeshConfig asks for them: where, in which format and encoding.

Called by `generate`. The defaults are Istio's, so that its log parsers keep working.
"""

from __future__ import annotations

import json

from lateen.config.mesh_config import AccessLogEncoding, MeshConfig
from lateen.envoy.messages import Fields, packed

_FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
"""JSON key -> operator, in the order of Istio's text line."""

_QUOTED = frozenset(
    ("upstream_transport_failure_reason", "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host")
)


def text_format() -> str:
    """Return Istio's default line: start, request line in quotes, then one operator per field."""
    request_line = '"' + " ".join(_FIELDS[name] for name in ("method", "path", "protocol")) + '"'
    rest = [
        f'"{operator}"' if name in _QUOTED else operator
        for name, operator in _FIELDS.items()
        if name not in ("start_time", "method", "path", "protocol")
    ]
    return " ".join((f"[{_FIELDS['start_time']}]", request_line, *rest)) + "\n"


def access_logs(mesh_config: MeshConfig) -> list[Fields]:
    """Return the AccessLogs of every HTTP connection manager and TCP proxy; none when no file is set."""
    if not mesh_config.access_log_file:
        return []
    if mesh_config.access_log_encoding is AccessLogEncoding.JSON:
        log_format: Fields = {"json_format": _json_format(mesh_config.access_log_format)}
    else:
        text = mesh_config.access_log_format
        if text and not text.endswith("\n"):
            text += "\n"
        log_format = {"text_format_source": {"inline_string": text or text_format()}}
    config = {"path": mesh_config.access_log_file, "log_format": log_format}
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": packed("envoy.extensions.access_loggers.file.v3.FileAccessLog", config),
        }
    ]


def _json_format(text: str) -> dict[str, str]:
    if not text:
        return dict(_FIELDS)
    try:
        keys = json.loads(text)
    except ValueError:
        # Validation reports it; the default log serves better than none.
        return dict(_FIELDS)
    return {str(key): str(value) for key, value in keys.items()} if isinstance(keys, dict) else dict(_FIELDS)
