"""PROXY.yaml: the proxy that `lateen generate` imagines, read strictly into the model's Proxy.

Called by the offline commands. Must not know: where the text came from.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from lateen.cli.exits import Failure
from lateen.config.codes import Subject
from lateen.config.decoding import check, decode
from lateen.config.documents import Document, problem_findings, read_documents
from lateen.config.networking import Port, Spec
from lateen.config.positions import render_path
from lateen.model.loopback import is_loopback
from lateen.model.names import DEFAULT_NAMESPACE
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
from lateen.model.services import Locality

_EXAMPLE = (
    "as in {type: sidecar, name: reviews-v2-1, namespace: default, labels: {app: reviews}, addresses: [10.0.0.5]}"
)


class ProxyKind(Enum):
    """`type` of a PROXY.yaml."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"


class InterceptionMode(Enum):
    """`interception` of a PROXY.yaml."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class UpstreamDocument(Spec, frozen=True, kw_only=True):
    """One of `upstreams`, as `--upstream HOST:PORT=LOCALPORT`."""

    host: str
    """Name of the service; a short one is of the proxy's namespace."""
    port: Port
    """Port of the service."""
    local_port: Port
    """Where the app calls it."""


class ProxyDocument(Spec, frozen=True, kw_only=True):
    """A PROXY.yaml as written."""

    type: ProxyKind
    """Whether it is beside a workload or at the edge."""
    name: str
    """Name of the proxy, as `NAME.NAMESPACE` in commands."""
    namespace: str = DEFAULT_NAMESPACE
    """Namespace of the workload."""
    service_account: str = "default"
    """Who the workload is, for mutual TLS."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """For selectors of services, gateways and policies."""
    addresses: list[str] = msgspec.field(default_factory=list)
    """IP addresses of the workload; services that have them as endpoints are inbound."""
    locality: str = ""
    """`region/zone/subzone`."""
    network: str = ""
    """Network of its addresses."""
    interception: InterceptionMode | None = None
    """Without it NONE for a sidecar on a loopback address, where nothing can be intercepted, else REDIRECT."""
    port_map: dict[str, Port] = msgspec.field(default_factory=dict)
    """Gateways: declared port -> port to bind."""
    privileged: bool = True
    """Whether it may bind ports below 1024; if not, those that `portMap` lacks are bound 8000 higher."""
    upstreams: list[UpstreamDocument] = msgspec.field(default_factory=list)
    """Local ports for services."""
    answers_dns: bool = False
    """Whether the names of services are answered beside it, as with `--intercept netns` and `host`."""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    """Of its node, by which EnvoyFilters may match; ISTIO_VERSION is its version."""
    certificates: bool | None = None
    """Whether it has a certificate of the mesh. Without it yes, as beside an agent; no for a bare Envoy."""


def read_proxy(content: bytes, file: str, *, bare: bool = False) -> Proxy:
    """Return the proxy that a PROXY.yaml describes. Raises Failure with every error, file:line:column each.

    `bare`: no agent is beside it that would get it a certificate.
    """
    documents = read_documents(content, file)
    found = [str(finding) for finding in documents.findings]
    if not found and len(documents.documents) != 1:
        raise Failure(f"{file}: one document is expected, not {len(documents.documents)}", hint=_EXAMPLE)
    for document in documents.documents:
        found += [str(finding) for finding in problem_findings(document, file, Subject())]
        found += _violations(document, file)
    if found:
        raise Failure("\n".join(found), hint=_EXAMPLE)
    value = documents.documents[0].value
    return _proxy(decode(check(value, ProxyDocument, protobuf=False), ProxyDocument), bare=bare)


def _violations(document: Document, file: str) -> list[str]:
    lines = []
    for violation in check(document.value, ProxyDocument, protobuf=False).violations:
        line, column = document.positions.line_of(violation.path)
        lines.append(
            f"{file}:{line}:{column}: error {violation.code.code} {render_path(violation.path)}: {violation.text}"
        )
    for key in document.value.get("portMap") or {}:
        if not (str(key).isdigit() and 0 < int(key) < 65536):
            line, column = document.positions.line_of(("portMap", key))
            lines.append(f"{file}:{line}:{column}: error LAT0006 portMap.{key}: must be a port, 1 to 65535")
    return lines


def _proxy(document: ProxyDocument, *, bare: bool) -> Proxy:
    return Proxy(
        type=ProxyType.GATEWAY if document.type is ProxyKind.GATEWAY else ProxyType.SIDECAR,
        name=document.name,
        namespace=document.namespace,
        addresses=tuple(document.addresses),
        labels=document.labels,
        service_account=document.service_account,
        network=document.network,
        locality=Locality.parse(document.locality),
        interception=_interception(document),
        port_map={int(port): bound for port, bound in document.port_map.items()},
        privileged=document.privileged,
        upstreams=tuple(
            Upstream(host=one.host, port=one.port, local_port=one.local_port) for one in document.upstreams
        ),
        answers_dns=document.answers_dns,
        istio_version=document.metadata.get("ISTIO_VERSION", ""),
        metadata=document.metadata,
        certificates=not bare if document.certificates is None else document.certificates,
    )


def _interception(document: ProxyDocument) -> Interception:
    if document.interception is not None:
        return Interception(document.interception.value)
    on_loopback = bool(document.addresses) and is_loopback(document.addresses[0])
    return Interception.NONE if document.type is ProxyKind.SIDECAR and on_loopback else Interception.REDIRECT
