"""Endpoints for administrators: tokens, the certificate authority, the audit log.

Mounted by `api/application.py`; `app` fulfils the operations. A token and a certificate are in one answer each and
nowhere else: neither in a log nor in the audit log. Must not know: how tokens and certificates are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lateen.api.answers import error_response, json_response, rfc3339
from lateen.api.control_plane import (
    AuditRecord,
    AuthorityStatus,
    CertificateStatus,
    OperationError,
    Role,
    Security,
    TokenStatus,
    WantedToken,
)
from lateen.api.gate import note_objects
from lateen.api.guards import BodyTooLargeError, bounded_body
from lateen.api.schemas import (
    AuditList,
    AuditView,
    AuthorityAnswer,
    CertificateView,
    CreatedToken,
    CreateToken,
    IssueCertificate,
    IssuedAnswer,
    Rotate,
    TokenList,
    TokenView,
)
from lateen.model.identities import DEFAULT_TRUST_DOMAIN, Identity

MAX_REQUEST = 64 * 1024
"""Bytes of a body: a CSR is the largest thing in one."""
MAX_NAME = 253
"""Characters of a caller's name."""
MAX_RECORDS = 1000
_STATUS = {"invalid": 422, "not_found": 404, "conflict": 409}

BodyT = TypeVar("BodyT")


async def list_tokens(request: Request) -> Response:
    """GET /v1/tokens: tokens that were made, without the tokens themselves."""
    return json_response(TokenList(items=[_token(status) for status in _security(request).operations.tokens()]))


async def create_token(request: Request) -> Response:
    """POST /v1/tokens: make a token, described by a CreateToken; the answer alone has it."""
    body = await _body(request, CreateToken)
    if isinstance(body, Response):
        return body
    if wrong := _wrong_token(body):
        return error_response(422, "invalid", wrong)
    note_objects(request, [f"{body.role} {body.name}" if body.role else f"join {body.service_account}"])
    wanted = WantedToken(
        seconds=body.seconds,
        subject=body.service_account,
        one_time=body.one_time,
        role=Role(body.role) if body.role else None,
        name=body.name,
    )
    try:
        token, status = await _security(request).operations.create_token(wanted)
    except OperationError as error:
        return _operation_failed(error)
    note_objects(request, [f"Token {status.id}"])
    answer = json_response(CreatedToken(token=token, view=_token(status)), 201)
    answer.headers["cache-control"] = "no-store"
    return answer


def _wrong_token(body: CreateToken) -> str:
    if bool(body.service_account) is bool(body.role):
        return "give either service_account (to join the mesh) or role and name (to use this API)"
    if body.service_account:
        return "name goes with role" if body.name else wrong_subject(body.service_account, wildcards=True)
    if body.one_time:
        return "one_time goes with service_account: a token of this API is used for each request"
    if not 0 < len(body.name) <= MAX_NAME or not body.name.isprintable() or body.name != body.name.strip():
        return f"name must say in 1 to {MAX_NAME} printable characters who will use the token"
    return ""


def wrong_subject(subject: str, *, wildcards: bool = False) -> str:
    """Return what is wrong with `NAMESPACE/SERVICE_ACCOUNT`, empty when nothing is."""
    namespace, slash, account = subject.partition("/")
    if wildcards:
        namespace, account = (part if part != "*" else "any" for part in (namespace, account))
    try:
        Identity(DEFAULT_TRUST_DOMAIN, namespace, account)
    except ValueError:
        slash = ""
    return "" if slash else f"{subject[:100]!r} is not NAMESPACE/SERVICE_ACCOUNT, as in default/reviews"


async def revoke_token(request: Request) -> Response:
    """DELETE /v1/tokens/{id}: revoke a token; from then on it opens nothing."""
    token_id = request.path_params["id"]
    note_objects(request, [f"Token {token_id[:100]}"])
    try:
        return json_response(_token(await _security(request).operations.revoke_token(token_id)))
    except OperationError as error:
        return _operation_failed(error)


async def show_authority(request: Request) -> Response:
    """GET /v1/ca: the certificate authority's roots, and where a rotation stands."""
    return json_response(_authority(_security(request).operations.ca()))


async def rotate(request: Request) -> Response:
    """POST /v1/ca/rotate: begin to rotate a key, described by a Rotate; GET /v1/ca tells how it goes on."""
    body = await _body(request, Rotate)
    if isinstance(body, Response):
        return body
    note_objects(request, [body.what, *(["force"] if body.force else [])])
    try:
        return json_response(_authority(await _security(request).operations.rotate(body.what, force=body.force)))
    except OperationError as error:
        return _operation_failed(error)


async def issue(request: Request) -> Response:
    """POST /v1/ca/certificates: sign a CSR, described by an IssueCertificate."""
    body = await _body(request, IssueCertificate)
    if isinstance(body, Response):
        return body
    if wrong := wrong_subject(body.service_account):
        return error_response(422, "invalid", wrong)
    note_objects(request, [body.service_account])
    try:
        issued = await _security(request).operations.issue(body.service_account, body.csr, body.seconds)
    except OperationError as error:
        return _operation_failed(error)
    answer = IssuedAnswer(
        chain=issued.chain, roots=issued.roots, identity=issued.identity, not_after=rfc3339(issued.not_after)
    )
    return json_response(answer, 201)


async def show_audit(request: Request) -> Response:
    """GET /v1/audit: the newest records of changes and refusals, at most `?limit=` (100, up to 1,000)."""
    word = request.query_params.get("limit", "100")
    if not (word.isascii() and word.isdigit()) or not 1 <= int(word[:9]) <= MAX_RECORDS or len(word) > 9:
        return error_response(400, "bad_request", f"limit must be a number from 1 to {MAX_RECORDS}")
    return json_response(AuditList(items=audit_views(_security(request).audit.newest(int(word)))))


def audit_views(records: Sequence[AuditRecord]) -> list[AuditView]:
    """Return the records as the API shows them."""
    return [
        AuditView(
            time=rfc3339(record.time),
            caller=record.caller,
            how=record.how,
            role=record.role,
            peer=record.peer,
            action=record.action,
            objects=list(record.objects),
            outcome=record.outcome.value,
            status=record.status,
            reason=record.reason,
            request_id=record.request_id,
            omitted=record.omitted,
        )
        for record in records
    ]


def _security(request: Request) -> Security:
    security: Security = request.app.state.security
    return security


async def _body(request: Request, shape: type[BodyT]) -> BodyT | Response:
    """Return the decoded body, or the answer that says what is wrong with it."""
    try:
        return msgspec.json.decode(await bounded_body(request, MAX_REQUEST), type=shape)
    except msgspec.DecodeError as error:
        return error_response(400, "bad_request", f"the body is no {shape.__name__}: {error}")
    except BodyTooLargeError:
        return error_response(413, "too_large", f"the request is larger than {MAX_REQUEST // 1024} KiB")
    except TimeoutError:
        return error_response(408, "timeout", "the body did not arrive in time")


def _operation_failed(error: OperationError) -> Response:
    return error_response(_STATUS[error.kind], error.kind, str(error), error.hint)


def _token(status: TokenStatus) -> TokenView:
    return TokenView(
        id=status.id,
        audience=status.audience,
        subject=status.subject,
        role=status.role.value if status.role else "",
        created=rfc3339(status.created),
        expires=rfc3339(status.expires),
        one_time=status.one_time,
        used=status.used,
        revoked=status.revoked,
    )


def _authority(status: AuthorityStatus) -> AuthorityAnswer:
    return AuthorityAnswer(
        trust_domain=status.trust_domain,
        roots=[_certificate(root) for root in status.roots],
        intermediates=[_certificate(intermediate) for intermediate in status.intermediates],
        rotating=status.rotating,
        phase=status.phase,
        missing=list(status.missing),
    )


def _certificate(status: CertificateStatus) -> CertificateView:
    return CertificateView(
        sha256=status.sha256,
        subject=status.subject,
        not_before=rfc3339(status.not_before),
        not_after=rfc3339(status.not_after),
        active=status.active,
        pem=status.pem,
    )
