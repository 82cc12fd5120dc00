"""A client that calls ASGI applications without a socket, and the API over fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import pytest
from starlette.types import ASGIApp, Message, Scope

from lateen.api.application import api_application
from unit.api.fakes import FakeControlPlane, FakeSecurity, FakeTypeStatus


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Call(Protocol):
    def __call__(
        self, method: str, target: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Awaitable[Response]: ...


async def asgi_call(
    application: ASGIApp,
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    client: tuple[str, int] | None = ("127.0.0.1", 40000),
    state: Mapping[str, Any] | None = None,
    more: Sequence[tuple[str, str]] = (),
) -> Response:
    path, _, query = target.partition("?")
    given = {"host": "127.0.0.1:15080", "content-length": str(len(body))} | dict(headers or {})
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (*given.items(), *more) if value],
        "server": ("127.0.0.1", 15080),
        "client": client,
        "state": dict(state or {}),
    }
    sent: list[Message] = []
    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(received, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    start = sent[0]
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], answered, b"".join(part.get("body", b"") for part in sent[1:]))


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane()


@pytest.fixture
def security() -> FakeSecurity:
    return FakeSecurity()


@pytest.fixture
def call(plane: FakeControlPlane, security: FakeSecurity) -> Call:
    """Call the API as an admin; another, or an empty, `authorization` header is another caller or none."""
    application = api_application(plane, loopback=True, security=security.real)

    def made(
        method: str, target: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Awaitable[Response]:
        return asgi_call(application, method, target, body, {"authorization": "Bearer h.admin.s"} | dict(headers or {}))

    return made


@pytest.fixture
def call_application() -> Callable[..., Awaitable[Response]]:
    return asgi_call


@pytest.fixture
def type_status() -> type[FakeTypeStatus]:
    return FakeTypeStatus
