"""What the API needs of a control plane: protocols that `app` fulfils and tests fake.

The shapes of the discovery room's statuses are repeated here as protocols because edges never import each other.
Must not know: HTTP, stores, registries, gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol

from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.envoy.resources import Snapshot
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.proxies import Proxy


class ReadOnlyObjectError(Exception):
    """An object that a watched directory holds cannot be changed through the API; only its file can."""

    def __init__(self, key: ObjectKey, origin: Origin) -> None:
        super().__init__(f"{key} is managed by {origin}")
        self.key = key
        self.origin = origin


class TypeStatus(Protocol):
    """Where one proxy stands with one type of resource (see `schemas.TypeStatusView`)."""

    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def sent(self) -> str: ...  # noqa: D102
    @property
    def acknowledged(self) -> str: ...  # noqa: D102
    @property
    def rejection(self) -> str: ...  # noqa: D102
    @property
    def resources(self) -> int: ...  # noqa: D102


class ProxyStatus(Protocol):
    """One connected proxy; `connected_at` is Unix time in seconds, `types` is keyed by message name."""

    @property
    def proxy(self) -> Proxy: ...  # noqa: D102
    @property
    def connected_at(self) -> float: ...  # noqa: D102
    @property
    def user_agent(self) -> str: ...  # noqa: D102
    @property
    def types(self) -> Mapping[str, TypeStatus]: ...  # noqa: D102


class ControlPlane(Protocol):
    """The running control plane as the API sees it. All reads answer from the newest published state."""

    @property
    def ready(self) -> bool:
        """Whether the first state is published and proxies are accepted."""

    @property
    def state(self) -> MeshState | None:
        """The newest published state, None before the first."""

    @property
    def grpc_address(self) -> str:
        """`HOST:PORT` of plaintext xDS."""

    @property
    def http_address(self) -> str:
        """`HOST:PORT` of this API."""

    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]:
        """Return every object in force, whatever store holds it, sorted by key."""

    def read_only(self, key: ObjectKey) -> Origin | None:
        """Return where a directory holds this object, None when it can be changed here."""

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong with the configuration in force, with the cross-resource findings of `look_again`."""

    async def look_again(self) -> None:
        """Look for cross-resource findings if the configuration in force changed since."""

    async def preview(
        self, objects: Sequence[ConfigObject[Any]], positions: Mapping[ObjectKey, Positions]
    ) -> tuple[Finding, ...]:
        """Return the cross-resource findings about these objects, as if they were applied.

        `positions` say where their fields stand, so that the findings have a place.
        """

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        """Store the objects and return the version of a published state that holds them.

        Raises ReadOnlyObjectError, and then stores nothing.
        """

    async def remove(self, key: ObjectKey) -> str:
        """Delete the object and return the version of a published state without it.

        Raises ReadOnlyObjectError, or KeyError when there is no such object.
        """

    def proxies(self) -> Sequence[ProxyStatus]:
        """Return the connected proxies, sorted by id."""

    def snapshot_for(self, proxy_id: str) -> tuple[Proxy, Snapshot] | None:
        """Return what a connected proxy is served, None when it is not connected."""

    async def wait_synced(self, version: str, seconds: float) -> Sequence[ProxyStatus]:
        """Wait until each connected proxy acknowledged or rejected that state, at most so many seconds."""

    def is_synced(self, version: str) -> bool:
        """Whether each connected proxy has acknowledged or rejected that state, or a later one."""


class Role(Enum):
    """What a caller may do; each role may do all that the one before it may."""

    VIEWER = "viewer"
    """Read."""
    EDITOR = "editor"
    """Change configuration."""
    ADMIN = "admin"
    """Tokens, the certificate authority, the audit log."""

    def covers(self, needed: Role) -> bool:
        """Whether a caller of this role may do what needs that one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who proved who they are."""

    name: str
    role: Role
    how: Literal["token", "socket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A token that opens nothing."""

    reason: str
    """Words for its bearer: expired, revoked, not signed by this control plane. Nothing of the token itself."""


class Access(Protocol):
    """Who callers are."""

    @property
    def token_file(self) -> str:
        """Absolute path of a file with an admin's token that only the server's own OS user can read; "" for none."""

    def authenticate(self, token: str) -> Caller | Refused:
        """Return whose token this is. It has the form of a JWT and at most 16 KiB; its content is not to be trusted.

        Called for each request, so it must be quick and must not block. Comparisons of secrets are constant-time.
        """


class Outcome(Enum):
    """How an attempt ended."""

    DONE = "done"
    REFUSED = "refused"
    """Who asked may not, or did not prove who they are."""
    FAILED = "failed"
    """Who asked may, but it was wrong, or went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One change, or one attempt that was refused."""

    time: float
    """Unix seconds."""
    caller: str
    """Empty when nobody proved who they are."""
    how: str
    """`token`, `socket` or empty."""
    role: str
    peer: str
    """IP address, or `uid 1000` on the Unix socket."""
    action: str
    """As `apply`, `token create`; METHOD and path of what has no such word."""
    objects: tuple[str, ...]
    """Keys of what it is about; never contents."""
    outcome: Outcome
    status: int
    """HTTP status of the answer, 0 when none was sent."""
    reason: str
    """Why it was refused, empty otherwise."""
    request_id: str
    omitted: int = 0
    """Refusals before this one that were too many to record."""


class Audit(Protocol):
    """Where records go."""

    def record(self, record: AuditRecord) -> None:
        """Keep a record. Neither blocks nor raises."""

    def newest(self, limit: int) -> Sequence[AuditRecord]:
        """Return at most so many records, the newest first."""


class OperationError(Exception):
    """A security operation that cannot be done; the words are for whoever asked."""

    def __init__(self, kind: Literal["invalid", "not_found", "conflict"], message: str, hint: str = "") -> None:
        """`conflict`: not in the state that things are in now, as a rotation during another."""
        super().__init__(message)
        self.kind = kind
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedToken:
    """A token to make: for a workload to join with (`subject`), or for a caller of the API (`role` and `name`)."""

    seconds: int
    """How long it is valid, at least 1."""
    subject: str = ""
    """`NAMESPACE/SERVICE_ACCOUNT`, each part may be `*`; empty for a token of the API."""
    one_time: bool = False
    """Joins one workload only."""
    role: Role | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatus:
    """What is known of a token that was made; never the token. Times are Unix seconds."""

    id: str
    audience: Literal["join", "api"]
    subject: str
    """`NAMESPACE/SERVICE_ACCOUNT`, or the name of the API's caller."""
    role: Role | None
    """Of a token for the API."""
    created: float
    expires: float
    one_time: bool
    used: bool
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateStatus:
    """A certificate of the certificate authority. Times are Unix seconds."""

    sha256: str
    """Fingerprint of its DER, lower-case hex."""
    subject: str
    not_before: float
    not_after: float
    active: bool
    """Whether new certificates are issued under it."""
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityStatus:
    """The certificate authority and where its rotation stands."""

    trust_domain: str
    roots: tuple[CertificateStatus, ...]
    """All that are trusted; several while a root is rotated."""
    intermediates: tuple[CertificateStatus, ...] = field(default=())
    rotating: bool
    phase: str
    """What the rotation waits for, in a few words; empty when none is under way."""
    missing: tuple[str, ...] = ()
    """Who has not done what the phase waits for, as `reviews-v2-1.default`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate made on an administrator's word."""

    chain: str
    """PEM: the leaf, then intermediates."""
    roots: str
    """PEM: every root to trust."""
    identity: str
    """SPIFFE ID."""
    not_after: float
    """Unix seconds."""


class SecurityOperations(Protocol):
    """What administrators do. Each method may raise OperationError."""

    async def create_token(self, wanted: WantedToken) -> tuple[str, TokenStatus]:
        """Make a token; return it, which is never shown again, and what is kept of it."""

    def tokens(self) -> Sequence[TokenStatus]:
        """Return the tokens that were made and have not been forgotten, the newest first."""

    async def revoke_token(self, token_id: str) -> TokenStatus:
        """Take a token back; from then on it opens nothing. Again: nothing changes."""

    def ca(self) -> AuthorityStatus:
        """Return how the certificate authority stands."""

    async def rotate(self, what: Literal["root", "intermediate"], *, force: bool) -> AuthorityStatus:
        """Begin a rotation, or with `force` go on although some workloads are missing; return at once."""

    async def issue(self, subject: str, csr: str, seconds: int) -> IssuedCertificate:
        """Sign a CSR (PEM) for `NAMESPACE/SERVICE_ACCOUNT`, whatever identity the CSR asks for must be that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """All that protects the API."""

    access: Access
    audit: Audit
    operations: SecurityOperations
