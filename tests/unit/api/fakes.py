"""Fakes of the API's own protocols: a control plane, and what protects it. Also for the flow tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lateen.api.audit import AuditLog
from lateen.api.control_plane import (
    AuthorityStatus,
    Caller,
    CertificateStatus,
    IssuedCertificate,
    OperationError,
    ProxyStatus,
    ReadOnlyObjectError,
    Refused,
    Role,
    Security,
    TokenStatus,
    WantedToken,
)
from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.discovery.figures import Figures, Histogram
from lateen.discovery.health_reports import HealthReports
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


@dataclass
class FakeCertificateFigures:
    requests: int = 3
    issued: int = 2
    refused: Mapping[str, int] = field(default_factory=lambda: {"unproven": 1})
    root_expires: float = 2e9
    signer_expires: float = 1.9e9


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
        self.certificates = FakeCertificateFigures()
        self.rebuilt = 7
        self.dns_names_left_out = 0
        self.learned = FakeLearned()
        self.health = HealthReports()

    @property
    def state(self) -> MeshState | None:
        return build_state(self.held.values(), (), MeshConfig())

    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]:
        return dict(sorted(self.held.items()))

    def read_only(self, key: ObjectKey) -> Origin | None:
        return self.folder.get(key)

    def findings(self) -> tuple[Finding, ...]:
        return self.known_findings

    async def look_again(self) -> None:
        pass

    async def preview(
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


class FakeAccess:
    """Knows `h.ROLE.s` for each role, and what is added."""

    def __init__(self) -> None:
        self.token_file = "/state/local/admin-token"
        self.bearers = {f"h.{role.value}.s": Caller(name=f"the-{role.value}", role=role, how="token") for role in Role}
        self.asked: list[str] = []

    def authenticate(self, token: str) -> Caller | Refused:
        self.asked.append(token)
        return self.bearers.get(token) or Refused(reason="this token is expired" if ".old." in token else "not ours")


class FakeOperations:
    """Makes tokens of the form `h.N.secret`; refuses to rotate while somebody is missing."""

    def __init__(self) -> None:
        self.wanted: list[WantedToken] = []
        self.made: dict[str, TokenStatus] = {}
        self.missing: tuple[str, ...] = ()

    async def create_token(self, wanted: WantedToken) -> tuple[str, TokenStatus]:
        if wanted.seconds > 1_000_000:
            raise OperationError("invalid", "no token lives so long", "at most 1,000,000 s")
        self.wanted.append(wanted)
        status = TokenStatus(
            id=f"id-{len(self.wanted)}",
            audience="api" if wanted.role else "join",
            subject=wanted.subject or wanted.name,
            role=wanted.role,
            created=0.0,
            expires=float(wanted.seconds),
            one_time=wanted.one_time,
            used=False,
            revoked=False,
        )
        self.made[status.id] = status
        return f"h.{status.id}.secret", status

    def tokens(self) -> Sequence[TokenStatus]:
        return list(self.made.values())

    async def revoke_token(self, token_id: str) -> TokenStatus:
        if token_id not in self.made:
            raise OperationError("not_found", f"there is no token {token_id}")
        self.made[token_id] = replace(self.made[token_id], revoked=True)
        return self.made[token_id]

    def ca(self) -> AuthorityStatus:
        root = CertificateStatus(
            sha256="ab" * 32, subject="CN=root", not_before=0.0, not_after=1e9, active=True, pem="PEM"
        )
        return AuthorityStatus(
            trust_domain="cluster.local",
            roots=(root,),
            rotating=bool(self.missing),
            phase="waiting for workloads" if self.missing else "",
            missing=self.missing,
        )

    async def rotate(self, what: str, *, force: bool) -> AuthorityStatus:
        if self.missing and not force:
            raise OperationError("conflict", "a rotation is under way", "--force goes on")
        self.missing = () if force else ("reviews-v1-1.default",)
        return self.ca()

    async def issue(self, subject: str, csr: str, seconds: int) -> IssuedCertificate:
        identity = f"spiffe://cluster.local/ns/{subject.replace('/', '/sa/')}"
        return IssuedCertificate(chain=f"chain of {len(csr)}", roots="roots", identity=identity, not_after=seconds)


@dataclass
class FakeSecurity:
    """All three fakes, and the lines that the audit log wrote."""

    access: FakeAccess = field(default_factory=FakeAccess)
    operations: FakeOperations = field(default_factory=FakeOperations)
    lines: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.audit = AuditLog(self.lines.append)

    @property
    def real(self) -> Security:
        return Security(access=self.access, audit=self.audit, operations=self.operations)
