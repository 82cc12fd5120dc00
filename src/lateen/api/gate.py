"""The gate in front of every endpoint: who asks, whether they may, and a record of what they changed.

ASGI middleware, mounted by `api/application.py`. It knows the endpoints and refuses by default: a path that is no
endpoint needs a caller too. Credentials are a bearer token, or a Unix socket whose peer is the server's own user or
root. There are no cookies, so a page in the user's browser has nothing that would open the API (CSRF); the checks of
`api/guards.py` come first all the same.

Wrong tokens. A signature costs time to check and anybody can send one, so failures are limited by peer and of all
peers together. Two things keep one bad client from locking out the others: each address has its own limit, far below
that of all; and a token that was right before is known again by its hash and is checked whatever the limits say. The
Unix socket has no limits.

Records. Each change gives one, and each refusal, but for a read without any credentials: that is how a client learns
that it needs some. Refusals are written at a bounded rate; a record says how many were left out.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lateen.api.answers import error_response
from lateen.api.audit import bounded_objects
from lateen.api.control_plane import Access, Audit, AuditRecord, Caller, Outcome, Refused, Role
from lateen.api.guards import READING, refused
from lateen.api.limits import Bucket, FailureLimits, Rate
from lateen.api.unix_sockets import PEER_UID
from lateen.model.names import ObjectKey

MAX_TOKEN = 16 * 1024
"""Characters of a token."""
JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
TOKEN_FILE_HEADER = "Lateen-Token-File"  # noqa: S105  the name of a header
CHALLENGE = 'Bearer realm="lateen"'
_KNOWN_TOKENS = 1024
_REFUSAL_RATE = Rate(burst=100, per_second=5)
"""Records of refusals: what anybody can make us write stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a route asks of its callers."""

    role: Role | None
    """None: nothing, it is open."""
    action: str = ""
    """The word of the audit log for a change; empty for a read."""


@dataclass(slots=True)
class Note:
    """What an endpoint tells the audit log of its request."""

    objects: list[str] = field(default_factory=list)
    changes: bool = True
    """False when the request asks for no change: a dry run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request does not pass."""

    status: int
    code: str
    message: str
    hint: str = ""
    retry_after: int = 0
    caller: Caller | None = None
    quiet: bool = False
    """Not worth a record."""


class KnownTokens:
    """Hashes of tokens that were right when last checked; the longest unused one is forgotten first."""

    def __init__(self, most: int = _KNOWN_TOKENS) -> None:
        self._hashes: OrderedDict[bytes, None] = OrderedDict()
        self._most = most

    def __contains__(self, token: str) -> bool:
        return _hash(token) in self._hashes

    def add(self, token: str) -> None:
        """Remember a token that is right."""
        key = _hash(token)
        self._hashes[key] = None
        self._hashes.move_to_end(key)
        if len(self._hashes) > self._most:
            self._hashes.popitem(last=False)

    def discard(self, token: str) -> None:
        """Forget a token that is not right any more."""
        self._hashes.pop(_hash(token), None)


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


class Gate:
    """Passes on what is allowed, answers the rest with 401, 403 or 429."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Sequence[tuple[BaseRoute, Need]],
        access: Access,
        audit: Audit,
        loopback: bool,
        limits: FailureLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loopback`: bound to loopback (or a Unix socket) only, so other hosts are refused and the file is named."""
        self._app = app
        self._routes = routes
        self._access = access
        self._audit = audit
        self._loopback = loopback
        self._limits = limits or FailureLimits()
        self._clock = clock
        self._known = KnownTokens()
        # Apart, so that strangers cannot hide what a known caller tries.
        self._refusals = {known: Bucket(_REFUSAL_RATE, clock()) for known in (False, True)}
        self._omitted = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the refusal."""
        if scope["type"] != "http":
            return  # neither lifespan nor WebSockets are served
        need = self._need(scope)
        request_id = secrets.token_hex(8)
        checked = self._checked(scope, need)
        if isinstance(checked, Refusal):
            if not checked.quiet:
                self._record_refusal(scope, need, checked, request_id)
            await self._answer(checked, request_id)(scope, receive, send)
            return
        await self._pass(scope, receive, send, need=need, caller=checked, request_id=request_id)

    def _need(self, scope: Scope) -> Need:
        for route, need in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return need
        return Need(role=Role.VIEWER)

    def _checked(self, scope: Scope, need: Need) -> Caller | Refusal | None:
        headers = Headers(scope=scope)
        foreign = refused(scope["method"], headers.get("host", ""), headers.get("origin"), loopback=self._loopback)
        if foreign:
            return Refusal(status=403, code="forbidden", message=foreign)
        if need.role is None:
            return None
        caller = self._caller(scope, headers)
        if isinstance(caller, Caller) and not caller.role.covers(need.role):
            return Refusal(
                status=403,
                code="forbidden",
                message=f"this needs the role {need.role.value}; {caller.name} has {caller.role.value}",
                hint=f"an admin makes such a token: `lateen token create --role {need.role.value} --name WHO`",
                caller=caller,
            )
        return caller

    def _caller(self, scope: Scope, headers: Headers) -> Caller | Refusal:
        given = headers.getlist("authorization")
        if given:
            return self._bearer(given, peer_name(scope))
        uid = peer_uid(scope)
        if uid is not None and uid in (0, os.geteuid()):
            return Caller(name=f"uid {uid}", role=Role.ADMIN, how="socket")
        return Refusal(
            status=401,
            code="unauthenticated",
            message="this needs a token",
            hint="send it as `Authorization: Bearer TOKEN`; an admin makes one: `lateen token create --role ...`",
            quiet=scope["method"] in READING,
        )

    def _bearer(self, given: list[str], peer: str) -> Caller | Refusal:
        scheme, _, token = given[0].strip().partition(" ")
        token = token.strip()
        if len(given) > 1 or scheme.lower() != "bearer" or len(token) > MAX_TOKEN or not JWT.fullmatch(token):
            return self._failed(peer, "the Authorization header is not `Bearer` and one token")
        if token not in self._known and (wait := self._limits.wait(peer, self._clock())):
            return _too_many(wait)
        answer = self._access.authenticate(token)
        if isinstance(answer, Refused):
            self._known.discard(token)
            return self._failed(peer, answer.reason)
        self._known.add(token)
        return answer

    def _failed(self, peer: str, reason: str) -> Refusal:
        now = self._clock()
        if wait := self._limits.wait(peer, now):
            return _too_many(wait)
        self._limits.failed(peer, now)
        return Refusal(status=401, code="unauthenticated", message=reason)

    def _answer(self, refusal: Refusal, request_id: str) -> Response:
        response = error_response(refusal.status, refusal.code, refusal.message, refusal.hint)
        response.headers["x-request-id"] = request_id
        if refusal.status == 401:
            response.headers["www-authenticate"] = CHALLENGE
            if self._loopback and (file := self._access.token_file):
                response.headers[TOKEN_FILE_HEADER] = quote(file)
        if refusal.retry_after:
            response.headers["retry-after"] = str(refusal.retry_after)
        return response

    def _record_refusal(self, scope: Scope, need: Need, refusal: Refusal, request_id: str) -> None:
        if not self._refusals[refusal.caller is not None].take(self._clock()):
            self._omitted += 1
            return
        record = _record(scope, need, refusal.caller, request_id)
        self._audit.record(
            replace(
                record,
                outcome=Outcome.REFUSED,
                status=refusal.status,
                reason=refusal.message,
                omitted=self._omitted,
            )
        )
        self._omitted = 0

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, *, need: Need, caller: Caller | None, request_id: str
    ) -> None:
        note = Note()
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "note": note}
        answered = False

        def keep(status: int) -> None:
            if need.action and note.changes:
                record = replace(_record(scope, need, caller, request_id), objects=bounded_objects(note.objects))
                outcome = Outcome.DONE if 0 < status < 400 else Outcome.FAILED
                self._audit.record(replace(record, outcome=outcome, status=status))

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and not answered:
                answered = True
                MutableHeaders(scope=message)["x-request-id"] = request_id
                # Before the answer: who has it finds the record.
                keep(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if not answered:  # it failed, or was cancelled while it waited: the change may have been made
                keep(0)


def _too_many(wait: float) -> Refusal:
    seconds = math.ceil(wait)
    return Refusal(
        status=429,
        code="throttled",
        message="too many wrong tokens from this address",
        hint=f"try again in {seconds} s; the control plane's own user has its Unix socket",
        retry_after=seconds,
    )


def _record(scope: Scope, need: Need, caller: Caller | None, request_id: str) -> AuditRecord:
    return AuditRecord(
        time=time.time(),
        caller=caller.name if caller else "",
        how=caller.how if caller else "",
        role=caller.role.value if caller else "",
        peer=peer_name(scope),
        action=need.action or f"{scope['method']} {scope['path'][:200]}",
        objects=(),
        outcome=Outcome.DONE,
        status=0,
        reason="",
        request_id=request_id,
    )


def peer_uid(scope: Scope) -> int | None:
    """Return the user at the other end of a Unix socket, None on TCP or when the system does not say."""
    uid: int | None = scope.get("state", {}).get(PEER_UID)
    return uid


def peer_name(scope: Scope) -> str:
    """Return who is at the other end: an IP address, or `uid 1000`."""
    uid = peer_uid(scope)
    if uid is not None:
        return f"uid {uid}"
    client = scope.get("client")
    return str(client[0]) if client else "unix"


def note_objects(request: Request, keys: Sequence[ObjectKey | str], *, changes: bool = True) -> None:
    """Tell the audit log what a request is about; once `changes` is False, it only asks what would happen."""
    note: Note | None = getattr(request.state, "note", None)
    if note is not None:
        note.objects.extend(map(str, keys))
        note.changes = note.changes and changes
