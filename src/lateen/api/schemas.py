"""The API's JSON as frozen structs: what each endpoint answers. docs/reference/api.md is generated from this file.

Made by the endpoints, read by the command line. Field names are written as they stand here. Must not know: Starlette,
or how the control plane holds what it shows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from lateen.explain.explanations import Explanation


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything the API answers."""


class ErrorBody(Answer, frozen=True, kw_only=True):
    """What went wrong, and what to do about it."""

    code: str
    """A constant word: `not_found`, `invalid`, `read_only`, `too_large`, `unauthenticated`, `forbidden` ..."""
    message: str
    hint: str = ""


class FindingView(Answer, frozen=True, kw_only=True):
    """A finding, in the shape that `lateen validate -o json` prints."""

    file: str
    line: int
    column: int
    kind: str
    namespace: str
    name: str
    path: str
    code: str
    severity: str
    """`error`, `warning` or `info`."""
    message: str


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """The body of every answer with a status of 400 and above."""

    error: ErrorBody
    findings: list[FindingView] = []
    """Why a configuration was refused; empty for other errors."""


class FindingList(Answer, frozen=True, kw_only=True):
    """Findings of the configuration in force."""

    items: list[FindingView]


class SourceFile(Answer, frozen=True, kw_only=True):
    """One file of an apply request."""

    name: str
    """As the user named it; findings and origins repeat it."""
    content: str


class ApplyFiles(Answer, frozen=True, kw_only=True):
    """Body of an apply request with the content type `application/vnd.lateen.files+json`: all or nothing."""

    files: list[SourceFile]
    namespace: str = ""
    """Namespace of documents that name none; empty means `default`."""


class AppliedObject(Answer, frozen=True, kw_only=True):
    """One object of an apply request."""

    kind: str
    namespace: str
    name: str
    action: str
    """`created`, `configured` or `unchanged`."""


class TypeStatusView(Answer, frozen=True, kw_only=True):
    """Where one proxy stands with one type of resource."""

    state: str
    """`synced`, `stale`, `rejected` or `not sent`."""
    sent: str
    """Version last sent; empty when nothing was."""
    acknowledged: str
    rejection: str
    """Envoy's own words, empty unless rejected."""
    resources: int


class ProxyView(Answer, frozen=True, kw_only=True):
    """One connected proxy."""

    id: str
    """`reviews-v2-1.default`."""
    type: str
    """`sidecar` or `router` (a gateway)."""
    namespace: str
    address: str
    labels: dict[str, str]
    connected_at: str
    """RFC 3339, UTC."""
    user_agent: str
    types: dict[str, TypeStatusView]
    """Keyed `clusters`, `endpoints`, `listeners`, `routes`, `secrets`, `extensions`."""


class ProxyList(Answer, frozen=True, kw_only=True):
    """Connected proxies, by id."""

    items: list[ProxyView]


class ApplyAnswer(Answer, frozen=True, kw_only=True):
    """What an apply request did. The order of `applied` is the order of the documents."""

    revision: str
    """Version of the state that holds the objects; of the state in force for a dry run."""
    dry_run: bool
    applied: list[AppliedObject]
    findings: list[FindingView]
    """Warnings of the documents, and cross-resource findings about them. They refused nothing."""
    proxies: list[ProxyView]
    """Every connected proxy as it stood when the wait ended; empty without `wait`."""
    synced: bool
    """With `wait`: every proxy answered in time (acknowledged or rejected). Without: false."""


class DeleteAnswer(Answer, frozen=True, kw_only=True):
    """An object was deleted."""

    revision: str
    kind: str
    namespace: str
    name: str
    synced: bool = False
    """With `wait`: whether every connected proxy has answered."""


class ConfigItem(Answer, frozen=True, kw_only=True):
    """One configuration object."""

    kind: str
    namespace: str
    name: str
    origin: str
    """`bookshop.yaml:12`, or who put it into the store."""
    digest: str
    """Hash of its content."""
    read_only: bool
    """Whether a watched directory holds it, so that only its file can change it."""
    document: dict[str, Any]
    """As the user wrote it; the values of a Secret are hidden."""


class ConfigList(Answer, frozen=True, kw_only=True):
    """Objects of one kind, by namespace and name."""

    items: list[ConfigItem]


class ResourceView(Answer, frozen=True, kw_only=True):
    """One xDS resource as it is served to a proxy."""

    name: str
    version: str
    resource: dict[str, Any]
    """Protobuf JSON with proto field names; private keys are hidden."""


class ResourceList(Answer, frozen=True, kw_only=True):
    """Resources of one type for one proxy, by name."""

    proxy: str
    type: str
    items: list[ResourceView]


class ServicePortView(Answer, frozen=True, kw_only=True):
    """A port of a service."""

    number: int
    protocol: str
    name: str


class EndpointView(Answer, frozen=True, kw_only=True):
    """One endpoint of a service."""

    address: str
    port: int
    service_port: int
    healthy: bool
    labels: dict[str, str]
    workload: str
    locality: str


class ServiceView(Answer, frozen=True, kw_only=True):
    """A service of the mesh."""

    host: str
    namespace: str
    name: str
    ports: list[ServicePortView]
    addresses: list[str]
    resolution: str
    external: bool
    origin: str
    endpoints: list[EndpointView]
    virtual_addresses: list[str] = []
    """What its name leads to where sidecars answer names, if it has no address of its own."""


class ServiceList(Answer, frozen=True, kw_only=True):
    """Services by host."""

    items: list[ServiceView]


class WorkloadView(Answer, frozen=True, kw_only=True):
    """A workload that registered through its agent."""

    name: str
    namespace: str
    service: str
    version: str
    address: str
    ports: list[int]
    labels: dict[str, str]
    service_account: str
    locality: str
    ready: bool


class WorkloadList(Answer, frozen=True, kw_only=True):
    """Workloads by namespace and name."""

    items: list[WorkloadView]


class VersionAnswer(Answer, frozen=True, kw_only=True):
    """Version of the control plane."""

    version: str
    revision: str
    """Version of the state in force; empty before the first."""


class ControlPlaneAnswer(Answer, frozen=True, kw_only=True):
    """Where the control plane listens."""

    grpc: str
    http: str


class HealthAnswer(Answer, frozen=True, kw_only=True):
    """`ok`, or what readiness waits for."""

    status: str


class CreateToken(Answer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a request for a token: to join the mesh (`service_account`) or to use this API (`role` and `name`)."""

    service_account: str = ""
    """`NAMESPACE/SERVICE_ACCOUNT`; each part may be `*`."""
    one_time: bool = False
    """Lets one workload join, once."""
    role: Literal["viewer", "editor", "admin", ""] = ""
    name: str = ""
    """Who will use it: the audit log says this name."""
    seconds: Annotated[int, msgspec.Meta(ge=1)] = 3600
    """How long it is valid."""


class TokenView(Answer, frozen=True, kw_only=True):
    """What is kept of a token; never the token."""

    id: str
    audience: str
    """`join` or `api`."""
    subject: str
    """`NAMESPACE/SERVICE_ACCOUNT`, or the name of the API's caller."""
    role: str
    """Empty for `join`."""
    created: str
    expires: str
    """RFC 3339, UTC, like the other times."""
    one_time: bool
    used: bool
    revoked: bool


class TokenList(Answer, frozen=True, kw_only=True):
    """Tokens that were made, the newest first."""

    items: list[TokenView]


class CreatedToken(Answer, frozen=True, kw_only=True):
    """A new token."""

    token: str
    """The secret. It is not kept and cannot be shown again."""
    view: TokenView


class CertificateView(Answer, frozen=True, kw_only=True):
    """A certificate of the certificate authority."""

    sha256: str
    """Fingerprint of its DER."""
    subject: str
    not_before: str
    not_after: str
    active: bool
    """Whether new certificates are issued under it."""
    pem: str


class AuthorityAnswer(Answer, frozen=True, kw_only=True):
    """The certificate authority, and where its rotation stands."""

    trust_domain: str
    roots: list[CertificateView]
    """All that are trusted; several while a root is rotated."""
    intermediates: list[CertificateView]
    rotating: bool
    phase: str
    """What the rotation waits for; empty when none is under way."""
    missing: list[str]
    """Workloads that have not done what the phase waits for."""


class Rotate(Answer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a request to rotate a key of the certificate authority."""

    what: Literal["root", "intermediate"] = "root"
    force: bool = False
    """Go on although workloads are missing: they lose their connections until they have the new root."""


class IssueCertificate(Answer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a request for a certificate."""

    service_account: str
    """`NAMESPACE/SERVICE_ACCOUNT`."""
    csr: str
    """PEM. If it asks for an identity, then for this one."""
    seconds: Annotated[int, msgspec.Meta(ge=1)] = 86400
    """How long it is valid."""


class IssuedAnswer(Answer, frozen=True, kw_only=True):
    """A certificate."""

    chain: str
    """PEM: the leaf, then intermediates."""
    roots: str
    """PEM: every root to trust."""
    identity: str
    """SPIFFE ID."""
    not_after: str


class AuditView(Answer, frozen=True, kw_only=True):
    """One change, or one attempt that was refused."""

    time: str
    """RFC 3339, UTC."""
    caller: str
    """Empty when nobody proved who they are."""
    how: str
    """`token`, `socket` or empty."""
    role: str
    peer: str
    """IP address, or `uid 1000` on the Unix socket."""
    action: str
    """`apply`, `delete`, `token create`, `token revoke`, `ca rotate`, `ca issue`; of a read METHOD and path."""
    objects: list[str]
    """Keys of what it was about."""
    outcome: str
    """`done`, `refused` or `failed`."""
    status: int
    """HTTP status of the answer, 0 when none was sent."""
    reason: str
    """Why it was refused."""
    request_id: str
    """The answer had it in its header `x-request-id`."""
    omitted: int
    """Refusals before this one that were too many to record."""


class AuditList(Answer, frozen=True, kw_only=True):
    """Records of the audit log that are still in memory, the newest first."""

    items: list[AuditView]


class ExplainAnswer(Answer, frozen=True, kw_only=True):
    """What would happen to a request, and why."""

    explanation: Explanation
