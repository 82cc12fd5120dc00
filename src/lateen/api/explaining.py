"""The endpoint that explains: what would happen to a request of a connected proxy, and why.

Mounted by `api/application.py`. It only reads; `explain` says what it means.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from lateen.api.answers import error_response, json_response
from lateen.api.configuration import control_plane
from lateen.api.schemas import ExplainAnswer
from lateen.explain.explaining import explain
from lateen.explain.questions import QuestionError, question

_EXAMPLE = "?proxy=web-1.default&request=GET http://reviews:9080/x"


async def explain_request(request: Request) -> Response:
    """GET /v1/explain: what would happen to a request that a connected proxy sends, and why."""
    plane, query = control_plane(request), request.query_params
    state, proxy_id = plane.state, query.get("proxy", "")
    if state is None:
        return error_response(503, "not_ready", "the first state is not built yet")
    if not proxy_id or not query.get("request"):
        return error_response(400, "invalid", "`proxy` and `request` are needed", _EXAMPLE)
    found = plane.snapshot_for(proxy_id)
    if found is None:
        hint = "`lateen proxy-status` lists them"
        return error_response(404, "not_found", f"no proxy {proxy_id[:200]!r} is connected", hint)
    proxy, snapshot = found
    try:
        asked = question(
            proxy,
            query["request"],
            headers=query.getlist("header"),
            claims=query.get("claims", ""),
            source_ip=query.get("source_ip", ""),
            identity=query.get("from", ""),
            plaintext=query.get("plaintext", "") == "true",
        )
        return json_response(ExplainAnswer(explanation=explain(state, asked, snapshot)))
    except QuestionError as error:
        return error_response(400 if error.usage else 404, "invalid", str(error), error.hint)
