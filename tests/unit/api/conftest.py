"""A fake control plane behind the API's protocol, and a client that calls ASGI applications without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import pytest
from starlette.types import ASGIApp, Message, Scope

from lateen.api.application import api_application
from lateen.api.control_plane import ProxyStatus, ReadOnlyObjectError
from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.discovery.figures import Figures, Histogram
from lateen.discovery.learned_hosts import EXPIRING_SECONDS, LearnedHost, LearnedHosts
from lateen.discovery.scopes import ScopeStatus
from lateen.discovery.sharing import Bodies, MemoryPart
from lateen.envoy.resources import LISTENER, Resource, Snapshot
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.proxies import Proxy, ProxyType


@dataclass
class FakeTypeStatus:
    state: str = "synced"
    sent: str = "v1"
    acknowledged: str = "v1"
    rejection: str = ""
    resources: int = 1


@dataclass
class FakeProxyStatus:
    proxy: Proxy
    connected_at: float = 0.0
    user_agent: str = "envoy"
    types: dict[str, FakeTypeStatus] = field(default_factory=dict)


class FakeLearned:
    """A table of learned hosts at a fixed time."""

    def __init__(self) -> None:
        self.table = LearnedHosts()

    def __len__(self) -> int:
        return len(self.table)

    def entries(self, workload: str | None = None) -> Iterator[LearnedHost]:
        return self.table.entries(EXPIRING_SECONDS, workload)


class FakeControlPlane:
    """Holds objects in a dict; builds real states."""

    def __init__(self) -> None:
        self.ready = True
        self.grpc_address = "127.0.0.1:15010"
        self.http_address = "127.0.0.1:15080"
        self.held: dict[ObjectKey, ConfigObject[Any]] = {}
        self.folder: dict[ObjectKey, Origin] = {}
        self.known_findings: tuple[Finding, ...] = ()
        self.statuses: list[FakeProxyStatus] = []
        self.snapshots: dict[str, tuple[Proxy, Snapshot]] = {}
        self.waited: list[float] = []
        self.figures = Figures()
        self.sharing = {"responses": Bodies()}
        self.build_times = Histogram()
        self.rebuilt = 7
        self.learned = FakeLearned()

    @property
    def state(self) -> MeshState | None:
        return build_state(self.held.values(), (), MeshConfig())

    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]:
        return dict(sorted(self.held.items()))

    def read_only(self, key: ObjectKey) -> Origin | None:
        return self.folder.get(key)

    def findings(self) -> tuple[Finding, ...]:
        return self.known_findings

    def preview(
        self, objects: Sequence[ConfigObject[Any]], positions: Mapping[ObjectKey, Positions]
    ) -> tuple[Finding, ...]:
        assert positions.keys() == {found.key for found in objects}
        return ()

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        self.held |= {found.key: found for found in objects}
        assert self.state is not None
        return self.state.version

    async def remove(self, key: ObjectKey) -> str:
        if key in self.folder:
            raise ReadOnlyObjectError(key, self.folder[key])
        del self.held[key]
        return "after"

    def proxies(self) -> Sequence[ProxyStatus]:
        return self.statuses

    def snapshot_for(self, proxy_id: str) -> tuple[Proxy, Snapshot] | None:
        return self.snapshots.get(proxy_id)

    async def wait_synced(self, version: str, seconds: float) -> Sequence[ProxyStatus]:
        self.waited.append(seconds)
        return self.statuses

    def is_synced(self, version: str) -> bool:
        return all(kind.state != "stale" for status in self.statuses for kind in status.types.values())

    def scopes(self) -> tuple[ScopeStatus, ...]:
        return (ScopeStatus(key="all", proxies=2, version="v", resources={LISTENER: 3}, bytes=400),)

    def memory(self) -> dict[str, MemoryPart]:
        return {"streams": MemoryPart(2, 0)}

    def connect(self, name: str, **types: FakeTypeStatus) -> None:
        proxy = Proxy(type=ProxyType.SIDECAR, name=name, namespace="default", addresses=("127.0.0.9",))
        self.statuses.append(FakeProxyStatus(proxy, types={LISTENER: types.get("listeners", FakeTypeStatus())}))

    def serve(self, name: str, resource: Resource) -> None:
        proxy = Proxy(type=ProxyType.SIDECAR, name=name, namespace="default")
        snapshot = Snapshot(version="v", resources={resource.kind: {resource.name: resource}})
        self.snapshots[proxy.id] = (proxy, snapshot)


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
    application: ASGIApp, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
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
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "server": ("127.0.0.1", 15080),
        "client": ("127.0.0.1", 40000),
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
def call(plane: FakeControlPlane) -> Call:
    application = api_application(plane, loopback=True)

    def made(
        method: str, target: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Awaitable[Response]:
        return asgi_call(application, method, target, body, headers)

    return made


@pytest.fixture
def call_application() -> Callable[..., Awaitable[Response]]:
    return asgi_call


@pytest.fixture
def type_status() -> type[FakeTypeStatus]:
    return FakeTypeStatus
