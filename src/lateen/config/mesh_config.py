"""MeshConfig: the settings of the whole mesh, with Istio's names and its installation's defaults.

Called by `mesh`, `generate`, the stores and the commands. Field names are Istio's in snake case (istio/api
`mesh/v1alpha1/config.proto`); durations stay strings as written, `config.durations` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from typing import Any

import msgspec

from lateen.config.acting import ACTING, ALL, Acting, Table, inert_fields, only
from lateen.config.codes import NO_EFFECT, WRONG_TYPE, Subject
from lateen.config.decoding import check, decode
from lateen.config.documents import Document, problem_findings, read_documents
from lateen.config.extension_providers import (
    EnvoyExternalAuthorizationGrpcProvider,
    EnvoyExternalAuthorizationHttpProvider,
    EnvoyExternalAuthorizationRequestBody,
    ExtensionProvider,
)
from lateen.config.networking import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    HTTPRetry,
    LocalityLoadBalancerSetting,
    OutlierDetection,
    Spec,
    TcpKeepalive,
    ZoneAwareLoadBalancerSetting,
)
from lateen.config.positions import Path, render_path
from lateen.config.proxy_config import ProxyConfig
from lateen.config.validation.extension_providers import extension_providers
from lateen.config.validation.fields import duration, http_retry, locality_setting, port_number
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.config.violations import Violation, warning
from lateen.model.findings import Finding, has_errors
from lateen.model.identities import is_trust_domain


class ConfigSourceResource(Enum):
    """What a configuration source serves."""

    SERVICE_REGISTRY = "SERVICE_REGISTRY"


class IngressControllerMode(Enum):
    """Which Kubernetes Ingress resources count."""

    UNSPECIFIED = "UNSPECIFIED"
    OFF = "OFF"
    DEFAULT = "DEFAULT"
    STRICT = "STRICT"


class AccessLogEncoding(Enum):
    """Format of access log lines."""

    TEXT = "TEXT"
    JSON = "JSON"


class MeshH2UpgradePolicy(Enum):
    """Whether HTTP/1.1 is upgraded to HTTP/2 upstream, mesh-wide."""

    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class MeshOutboundTrafficPolicyMode(Enum):
    """What happens to calls to unknown hosts."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"


class MeshOutboundTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Calls to unknown hosts, mesh-wide. Unlike a Sidecar's, the default lets them through."""

    mode: MeshOutboundTrafficPolicyMode = MeshOutboundTrafficPolicyMode.ALLOW_ANY
    tls: ClientTLSSettings | None = None


class DiscoveryScope(Enum):
    """How much of the mesh a sidecar is told before it asks. Lateen's own setting."""

    LAZY = "lazy"
    """What it is known to use; the rest on the first request."""
    FULL = "full"
    """Everything that it may call, as under Istio."""


class MeshInboundTrafficPolicyMode(Enum):
    """Where inbound traffic to unknown ports goes."""

    PASSTHROUGH = "PASSTHROUGH"
    LOCALHOST = "LOCALHOST"


class MeshInboundTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Inbound traffic to unknown ports."""

    mode: MeshInboundTrafficPolicyMode = MeshInboundTrafficPolicyMode.PASSTHROUGH


class CertificateData(Spec, frozen=True, kw_only=True):
    """An extra root of trust."""

    pem: str | None = None
    spiffe_bundle_url: str | None = None
    cert_signers: list[str] = []
    trust_domains: list[str] = []


class ServiceSettingsSettings(Spec, frozen=True, kw_only=True):
    """Settings of some services."""

    cluster_local: bool = False


class ServiceSettings(Spec, frozen=True, kw_only=True):
    """Settings of the services with these hosts."""

    settings: ServiceSettingsSettings | None = None
    hosts: list[str] = []


class ServiceScope(Enum):
    """Whether a service is visible outside its cluster."""

    LOCAL = "LOCAL"
    GLOBAL = "GLOBAL"


class ServiceScopeConfig(Spec, frozen=True, kw_only=True):
    """Scope of services by label."""

    namespace_selector: LabelSelector | None = None
    services_selector: LabelSelector | None = None
    scope: ServiceScope = ServiceScope.LOCAL


class CertificateAuthority(Spec, frozen=True, kw_only=True):
    """An external certificate authority."""

    address: str = ""
    tls_settings: ClientTLSSettings | None = None
    request_timeout: str = ""
    istiod_side: bool = False


class DefaultProviders(Spec, frozen=True, kw_only=True):
    """Providers that act when no Telemetry object names one."""

    tracing: list[str] = []
    metrics: list[str] = []
    access_logging: list[str] = []


class PathNormalization(Enum):
    """How a path is normalized before routing."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class ProxyPathNormalization(Spec, frozen=True, kw_only=True):
    """Path normalization."""

    normalization: PathNormalization = PathNormalization.DEFAULT


class MeshTLSProtocol(Enum):
    """Minimum TLS version."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class TLSConfig(Spec, frozen=True, kw_only=True):
    """TLS limits."""

    min_protocol_version: MeshTLSProtocol = MeshTLSProtocol.TLS_AUTO
    ecdh_curves: list[str] = []
    cipher_suites: list[str] = []


class DefaultTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Traffic policy of every host that names none."""

    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None


class LabelSelector(Spec, frozen=True, kw_only=True):
    """Objects by label, as Kubernetes writes it."""

    match_labels: dict[str, str] = {}
    match_expressions: list[LabelSelectorRequirement] = []


class LabelSelectorRequirement(Spec, frozen=True, kw_only=True):
    """One expression of a selector."""

    key: str = ""
    operator: str = ""
    values: list[str] = []


class Visibility(Enum):
    """Who sees a ServiceEntry."""

    VISIBILITY_UNSPECIFIED = "VISIBILITY_UNSPECIFIED"
    NONE = "NONE"
    NAMESPACE = "NAMESPACE"
    PUBLIC = "PUBLIC"


class VisibilityPolicy(Spec, frozen=True, kw_only=True):
    """Visibility of the ServiceEntries that match a rule."""

    visibility: Visibility = Visibility.VISIBILITY_UNSPECIFIED
    matching_rules: list[VisibilityMatchRule] = []


class VisibilityMatchRule(Spec, frozen=True, kw_only=True):
    """A condition on a ServiceEntry."""

    namespace_selector: LabelSelector | None = None


class ServiceEntryVisibility(Spec, frozen=True, kw_only=True):
    """Default visibility of ServiceEntries."""

    default_visibility: Visibility = Visibility.VISIBILITY_UNSPECIFIED
    apply_to_sidecars: bool = False
    policies: list[VisibilityPolicy] = []


class ConfigSource(Spec, frozen=True, kw_only=True):
    """A server of configuration."""

    address: str = ""
    tls_settings: ClientTLSSettings | None = None
    subscribed_resources: list[ConfigSourceResource] = []


class DNSCertificate(Spec, frozen=True, kw_only=True):
    """A certificate for DNS names."""

    secret_name: str = ""
    dns_names: list[str] = []


class NetworkEndpoints(Spec, frozen=True, kw_only=True):
    """Which endpoints are in a network, unless they say another one themselves."""

    from_cidr: str = ""
    from_registry: str = ""


class IstioNetworkGateway(Spec, frozen=True, kw_only=True):
    """Where a network is entered."""

    registry_service_name: str = ""
    address: str = ""
    """An IP."""
    port: int = 0
    locality: str = ""


class Network(Spec, frozen=True, kw_only=True):
    """One network."""

    endpoints: list[NetworkEndpoints] = []
    gateways: list[IstioNetworkGateway] = []


class MeshNetworks(Spec, frozen=True, kw_only=True):
    """The networks of the mesh, by name: what Istio's ConfigMap has under `meshNetworks`."""

    networks: dict[str, Network] = {}


class MeshConfig(Spec, frozen=True, kw_only=True):
    """The mesh. Defaults are those of a standard Istio installation."""

    proxy_listen_port: int = 15001
    proxy_inbound_listen_port: int = 15006
    proxy_http_port: int = 0
    connect_timeout: str = "10s"
    hbone_idle_timeout: str = ""
    protocol_detection_timeout: str = "0s"
    tcp_keepalive: TcpKeepalive | None = None
    ingress_class: str = "istio"
    ingress_service: str = "istio-ingressgateway"
    ingress_controller_mode: IngressControllerMode = IngressControllerMode.STRICT
    ingress_selector: str = ""
    enable_tracing: bool = True
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    enable_envoy_access_log_service: bool = False
    disable_envoy_listener_log: bool = False
    default_config: ProxyConfig | None = None
    outbound_traffic_policy: MeshOutboundTrafficPolicy = MeshOutboundTrafficPolicy()
    inbound_traffic_policy: MeshInboundTrafficPolicy | None = None
    config_sources: list[ConfigSource] = []
    enable_auto_mtls: bool = True
    trust_domain: str = "cluster.local"
    trust_domain_aliases: list[str] = []
    ca_certificates: list[CertificateData] = []
    default_service_export_to: list[str] = msgspec.field(default_factory=lambda: ["*"])
    default_virtual_service_export_to: list[str] = msgspec.field(default_factory=lambda: ["*"])
    default_destination_rule_export_to: list[str] = msgspec.field(default_factory=lambda: ["*"])
    root_namespace: str = "istio-system"
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    dns_refresh_rate: str = "60s"
    h2_upgrade_policy: MeshH2UpgradePolicy = msgspec.field(
        default=MeshH2UpgradePolicy.DO_NOT_UPGRADE, name="h2UpgradePolicy"
    )
    inbound_cluster_stat_name: str = ""
    outbound_cluster_stat_name: str = ""
    certificates: list[DNSCertificate] = []
    service_settings: list[ServiceSettings] = []
    service_scope_configs: list[ServiceScopeConfig] = []
    enable_prometheus_merge: bool = True
    verify_certificate_at_client: bool | None = None
    ca: CertificateAuthority | None = None
    extension_providers: list[ExtensionProvider] = []
    default_providers: DefaultProviders | None = None
    discovery_selectors: list[LabelSelector] = []
    path_normalization: ProxyPathNormalization | None = None
    default_http_retry_policy: HTTPRetry | None = None
    mesh_mtls: TLSConfig | None = msgspec.field(default=None, name="meshMTLS")
    tls_defaults: TLSConfig | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    service_entry_visibility: ServiceEntryVisibility | None = None
    discovery_scope: DiscoveryScope = DiscoveryScope.LAZY
    mesh_networks: MeshNetworks | None = None
    """Beside MeshConfig in Istio's ConfigMap; here a part of it."""


ACTING_MESH: dict[type[msgspec.Struct], Acting] = {
    MeshConfig: only(
        "connectTimeout",
        "protocolDetectionTimeout",
        "tcpKeepalive",
        "accessLogFile",
        "accessLogFormat",
        "accessLogEncoding",
        "outboundTrafficPolicy",
        "rootNamespace",
        "defaultServiceExportTo",
        "defaultVirtualServiceExportTo",
        "defaultDestinationRuleExportTo",
        "h2UpgradePolicy",
        "defaultHttpRetryPolicy",
        "pathNormalization",
        "defaultTrafficPolicy",
        "localityLbSetting",
        "dnsRefreshRate",
        "inboundClusterStatName",
        "outboundClusterStatName",
        "proxyListenPort",
        "proxyInboundListenPort",
        "discoveryScope",
        "meshNetworks",
        "trustDomain",
        "trustDomainAliases",
        "enableAutoMtls",
        "meshMTLS",
        "extensionProviders",
    ),
    TLSConfig: ALL,
    MeshNetworks: ALL,
    Network: ALL,
    NetworkEndpoints: only("fromCidr"),
    IstioNetworkGateway: only("registryServiceName", "address", "port"),
    MeshOutboundTrafficPolicy: only("mode"),
    ProxyPathNormalization: ALL,
    DefaultTrafficPolicy: ALL,
    ExtensionProvider: only("name", "envoyExtAuthzHttp", "envoyExtAuthzGrpc"),
    EnvoyExternalAuthorizationHttpProvider: ALL,
    EnvoyExternalAuthorizationGrpcProvider: ALL,
    EnvoyExternalAuthorizationRequestBody: ALL,
}
"""Which settings of the mesh act; `tcpKeepalive` and the retry policy are structs of `config.acting`."""

_TABLE: Table = ACTING | ACTING_MESH
_DURATIONS = ("connectTimeout", "hboneIdleTimeout", "dnsRefreshRate")
_SUBJECT = Subject(kind="MeshConfig")


def parse_mesh_config(content: bytes, file: str) -> tuple[MeshConfig, tuple[Finding, ...]]:
    """Read a MeshConfig: plain YAML of its fields, or Istio's ConfigMap with that YAML under `data.mesh`.

    With an error among the findings the default MeshConfig is returned. Empty content is the default too.
    """
    read = read_documents(content, file)
    findings = list(read.findings)
    result = MeshConfig()
    for document in read.documents:
        value = document.value.get("data")
        if document.value.get("kind") == "ConfigMap" and isinstance(value, dict):
            result, inner = _from_config_map(document, value, file)
            findings += inner
            continue
        findings += problem_findings(document, file, _SUBJECT)
        result, inner = _decoded(document, file)
        findings += inner
    return (MeshConfig() if has_errors(findings) else result), tuple(findings)


def _from_config_map(document: Document, data: dict[str, Any], file: str) -> tuple[MeshConfig, list[Finding]]:
    """Read the text under `data.mesh`; findings inside it point at the right line of the file."""
    line, column = document.positions.line_of(("data", "mesh"))
    text = data.get("mesh")
    if text is None:
        return MeshConfig(), []
    if not isinstance(text, str):
        message = "must be the text of a MeshConfig; write `mesh: |-` and indent the settings below it"
        place = replace(_SUBJECT, path="data.mesh")
        return MeshConfig(), [WRONG_TYPE.finding(message, file=file, place=(line, column), subject=place)]
    result, inner = parse_mesh_config(text.encode(), file)
    # A block scalar begins on the line after its key.
    return result, [replace(one, line=one.line + line) for one in inner]


def _decoded(document: Document, file: str) -> tuple[MeshConfig, list[Finding]]:
    checked = check(document.value, MeshConfig, protobuf=True)
    violations = list(checked.violations)
    result = MeshConfig()
    if not violations:
        result = decode(checked, MeshConfig)
        violations += _violations(result, checked.normal)
        inert = inert_fields(checked.normal, MeshConfig, table=_TABLE)
        violations += (Violation(path, text, "", NO_EFFECT) for path, text in inert)
    findings = []
    for violation in violations:
        place = document.positions.line_of(violation.path)
        subject = replace(_SUBJECT, path=render_path(violation.path))
        findings.append(violation.code.finding(violation.text, file=file, place=place, subject=subject))
    return result, findings


def _violations(config: MeshConfig, normal: dict[str, Any]) -> Iterator[Violation]:
    yield from port_number(("proxyListenPort",), config.proxy_listen_port)
    for name in _DURATIONS:
        if name in normal:
            yield from duration((name,), normal[name])
    path: Path = ("protocolDetectionTimeout",)
    if path[0] in normal:
        yield from duration(path, config.protocol_detection_timeout, minimum=0)
    yield from http_retry(("defaultHttpRetryPolicy",), config.default_http_retry_policy)
    yield from _mutual_tls(config)
    yield from locality_setting(("localityLbSetting",), config.locality_lb_setting, has_outlier_detection=True)
    yield from extension_providers(("extensionProviders",), config.extension_providers)


def _mutual_tls(config: MeshConfig) -> Iterator[Violation]:
    named: list[tuple[Path, str]] = [(("trustDomain",), config.trust_domain)]
    named += [(("trustDomainAliases", index), alias) for index, alias in enumerate(config.trust_domain_aliases)]
    for path, name in named:
        if not is_trust_domain(name):
            hint = "use lower-case letters, digits, `-`, `_` and `.`"
            yield Violation(path, f"{name[:80]!r} is not a trust domain", hint)
    settings = config.mesh_mtls or TLSConfig()
    if settings.ecdh_curves:
        # Istio refuses it too.
        yield Violation(("meshMTLS", "ecdhCurves"), "curves of the mesh's own TLS cannot be chosen", "remove it")
    for index, suite in enumerate(settings.cipher_suites):
        if suite not in CIPHER_SUITES:
            path = ("meshMTLS", "cipherSuites", index)
            yield warning(path, f"{suite!r} is not a cipher suite and is ignored", "use OpenSSL's names")
