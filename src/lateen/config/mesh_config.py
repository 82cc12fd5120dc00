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

from lateen.config.acting import ACTING, ALL, Acting, Table, all_but, inert_fields, only
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
from lateen.config.proxy_config import (
    EnvoyDebugHeaders,
    ProxyConfig,
    ProxyHeaders,
    ProxyStatsMatcher,
    RequestId,
    ServerHeader,
    SetCurrentClientCertDetails,
    Topology,
    XForwardedPort,
)
from lateen.config.validation.destination_rules import connection_pool, keepalive, outlier_detection
from lateen.config.validation.extension_providers import extension_providers
from lateen.config.validation.fields import duration, http_retry, labels, locality_setting, port_number
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.config.validation.mesh_settings import default_config, provider_names, tls_defaults
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
    """`REGISTRY_ONLY` refuses them."""
    tls: ClientTLSSettings | None = None
    """TLS towards unknown hosts."""


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
    """The root itself, in PEM."""
    spiffe_bundle_url: str | None = None
    """Where a SPIFFE bundle is fetched."""
    cert_signers: list[str] = []
    """Signers of Kubernetes whose root it is."""
    trust_domains: list[str] = []
    """Trust domains that it is for; unset is all."""


class ServiceSettingsSettings(Spec, frozen=True, kw_only=True):
    """Settings of some services."""

    cluster_local: bool = False
    """Whether other clusters do not see them."""


class ServiceSettings(Spec, frozen=True, kw_only=True):
    """Settings of the services with these hosts."""

    settings: ServiceSettingsSettings | None = None
    hosts: list[str] = []
    """Hosts of the services."""


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
    """Its address."""
    tls_settings: ClientTLSSettings | None = None
    request_timeout: str = ""
    """Duration to wait for a certificate; unset is 10s."""
    istiod_side: bool = False
    """Whether the control plane asks it, not the proxies."""


class DefaultProviders(Spec, frozen=True, kw_only=True):
    """Providers that act when no Telemetry object names one."""

    tracing: list[str] = []
    """Names of providers of traces."""
    metrics: list[str] = []
    """Names of providers of metrics."""
    access_logging: list[str] = []
    """Names of providers of access logs."""


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
    """Unset is `BASE`: `..` and `.` are resolved, `\\` becomes `/`."""


class MeshTLSProtocol(Enum):
    """Minimum TLS version."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class TLSConfig(Spec, frozen=True, kw_only=True):
    """TLS limits."""

    min_protocol_version: MeshTLSProtocol = MeshTLSProtocol.TLS_AUTO
    """Unset is TLS 1.2."""
    ecdh_curves: list[str] = []
    """Curves of key exchange; cannot be chosen for the mesh's own TLS."""
    cipher_suites: list[str] = []
    """OpenSSL's names, for TLS up to 1.2."""


class DefaultTrafficPolicy(Spec, frozen=True, kw_only=True):
    """Traffic policy of every host that names none."""

    connection_pool: ConnectionPoolSettings | None = None
    """Limits of connections and requests."""
    outlier_detection: OutlierDetection | None = None
    """Ejection of endpoints that fail."""


class LabelSelector(Spec, frozen=True, kw_only=True):
    """Objects by label, as Kubernetes writes it."""

    match_labels: dict[str, str] = {}
    """All of these labels."""
    match_expressions: list[LabelSelectorRequirement] = []
    """All of these conditions."""


class LabelSelectorRequirement(Spec, frozen=True, kw_only=True):
    """One expression of a selector."""

    key: str = ""
    """Name of the label."""
    operator: str = ""
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: list[str] = []
    """For `In` and `NotIn`."""


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
    """Any of these; none is every ServiceEntry."""


class VisibilityMatchRule(Spec, frozen=True, kw_only=True):
    """A condition on a ServiceEntry."""

    namespace_selector: LabelSelector | None = None


class ServiceEntryVisibility(Spec, frozen=True, kw_only=True):
    """Default visibility of ServiceEntries."""

    default_visibility: Visibility = Visibility.VISIBILITY_UNSPECIFIED
    apply_to_sidecars: bool = False
    """Whether sidecars keep to it too."""
    policies: list[VisibilityPolicy] = []
    """The first that matches decides."""


class ConfigSource(Spec, frozen=True, kw_only=True):
    """A server of configuration."""

    address: str = ""
    """Its address."""
    tls_settings: ClientTLSSettings | None = None
    subscribed_resources: list[ConfigSourceResource] = []
    """What it serves."""


class DNSCertificate(Spec, frozen=True, kw_only=True):
    """A certificate for DNS names."""

    secret_name: str = ""
    """Secret to put it in."""
    dns_names: list[str] = []
    """Names that it is for."""


class NetworkEndpoints(Spec, frozen=True, kw_only=True):
    """Which endpoints are in a network, unless they say another one themselves."""

    from_cidr: str = ""
    """CIDR range of their addresses."""
    from_registry: str = ""
    """Name of a cluster's registry; there is none here."""


class IstioNetworkGateway(Spec, frozen=True, kw_only=True):
    """Where a network is entered."""

    registry_service_name: str = ""
    """Host of the service that the gateway is."""
    address: str = ""
    """An IP."""
    port: int = 0
    """Port of the gateway for the mesh's mutual TLS."""
    locality: str = ""
    """Locality of the gateway."""


class Network(Spec, frozen=True, kw_only=True):
    """One network."""

    endpoints: list[NetworkEndpoints] = []
    """Which endpoints are in it."""
    gateways: list[IstioNetworkGateway] = []
    """Where it is entered."""


class MeshNetworks(Spec, frozen=True, kw_only=True):
    """The networks of the mesh, by name: what Istio's ConfigMap has under `meshNetworks`."""

    networks: dict[str, Network] = {}
    """Name to network."""


class MeshConfig(Spec, frozen=True, kw_only=True):
    """The mesh. Defaults are those of a standard Istio installation."""

    proxy_listen_port: int = 15001
    """Port that outbound traffic is redirected to."""
    proxy_inbound_listen_port: int = 15006
    """Port that inbound traffic is redirected to."""
    proxy_http_port: int = 0
    """Port of an HTTP proxy; `lateen run` has one without it."""
    connect_timeout: str = "10s"
    """Duration of opening a connection upstream, unless a DestinationRule says another."""
    hbone_idle_timeout: str = ""
    """Duration; ambient mode has no counterpart here."""
    protocol_detection_timeout: str = "0s"
    """Duration to wait for the first bytes of a connection; 0s waits on."""
    tcp_keepalive: TcpKeepalive | None = None
    """For upstream connections, unless a DestinationRule says another."""
    ingress_class: str = "istio"
    """Kubernetes Ingress is not read."""
    ingress_service: str = "istio-ingressgateway"
    """Kubernetes Ingress is not read."""
    ingress_controller_mode: IngressControllerMode = IngressControllerMode.STRICT
    """Kubernetes Ingress is not read."""
    ingress_selector: str = ""
    """Kubernetes Ingress is not read."""
    enable_tracing: bool = True
    """Whether spans are made."""
    access_log_file: str = ""
    """File of the proxy's machine, `/dev/stdout` mostly; empty is no log."""
    access_log_format: str = ""
    """Envoy's format string, or JSON object for JSON; empty is Istio's default format."""
    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    """Whether a line is text or JSON."""
    enable_envoy_access_log_service: bool = False
    """Send access logs by gRPC."""
    disable_envoy_listener_log: bool = False
    """No access log for connections that no filter chain matches."""
    default_config: ProxyConfig | None = None
    """Settings of every proxy."""
    outbound_traffic_policy: MeshOutboundTrafficPolicy = MeshOutboundTrafficPolicy()
    """What happens to calls to hosts that the mesh does not know."""
    inbound_traffic_policy: MeshInboundTrafficPolicy | None = None
    """What happens to inbound traffic on ports that no service has."""
    config_sources: list[ConfigSource] = []
    """Where configuration comes from; here `lateen serve --config`."""
    enable_auto_mtls: bool = True
    """Mutual TLS towards every workload that has a sidecar, without a rule."""
    trust_domain: str = "cluster.local"
    """First part of every identity."""
    trust_domain_aliases: list[str] = []
    """Further trust domains that are taken for the own one."""
    ca_certificates: list[CertificateData] = []
    """Further roots to trust."""
    default_service_export_to: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """For services that say nothing."""
    default_virtual_service_export_to: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """For VirtualServices that say nothing."""
    default_destination_rule_export_to: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """For DestinationRules that say nothing."""
    root_namespace: str = "istio-system"
    """Namespace whose policies are the whole mesh's."""
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    """For hosts with outlier detection, unless a DestinationRule says another."""
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    """Spread within the zone first."""
    dns_refresh_rate: str = "60s"
    """Duration between look-ups of ServiceEntries by DNS."""
    h2_upgrade_policy: MeshH2UpgradePolicy = msgspec.field(
        default=MeshH2UpgradePolicy.DO_NOT_UPGRADE, name="h2UpgradePolicy"
    )
    """Unless a DestinationRule says another."""
    inbound_cluster_stat_name: str = ""
    """Pattern of statistics' names, with `%SERVICE%` and the like."""
    outbound_cluster_stat_name: str = ""
    """Pattern of statistics' names, with `%SERVICE_FQDN%` and the like."""
    certificates: list[DNSCertificate] = []
    """Istio has dropped it too."""
    service_settings: list[ServiceSettings] = []
    """Old form of `serviceScopeConfigs`."""
    service_scope_configs: list[ServiceScopeConfig] = []
    """Which services other clusters see; a mesh here is one."""
    enable_prometheus_merge: bool = True
    """Serve the application's metrics beside the proxy's."""
    verify_certificate_at_client: bool | None = None
    """Check the certificates of servers against the system's roots by default."""
    ca: CertificateAuthority | None = None
    """An authority outside; here the control plane is it."""
    extension_providers: list[ExtensionProvider] = []
    """Servers that policies name: who is asked about requests."""
    default_providers: DefaultProviders | None = None
    """Providers that act without a Telemetry object."""
    discovery_selectors: list[LabelSelector] = []
    """Namespaces of a cluster that count."""
    path_normalization: ProxyPathNormalization | None = None
    """How paths are made equal before rules and policies see them."""
    default_http_retry_policy: HTTPRetry | None = None
    """For routes that say nothing; unset is two retries on failures to connect and 503."""
    mesh_mtls: TLSConfig | None = msgspec.field(default=None, name="meshMTLS")
    """Limits of the mesh's own TLS."""
    tls_defaults: TLSConfig | None = None
    """Limits of other TLS."""
    default_traffic_policy: DefaultTrafficPolicy | None = None
    """For hosts whose DestinationRule says nothing, or that have none."""
    service_entry_visibility: ServiceEntryVisibility | None = None
    """Who sees ServiceEntries."""
    discovery_scope: DiscoveryScope = DiscoveryScope.LAZY
    """How much of the mesh a sidecar is told before it asks. Lateen's own setting."""
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
        "defaultConfig",
        "tlsDefaults",
        "discoverySelectors",
        "disableEnvoyListenerLog",
        "enablePrometheusMerge",
        "verifyCertificateAtClient",
        # Listeners keep no such log: connections that match no chain are counted.
        # Servers are always verified.
        values={
            "disableEnvoyListenerLog": frozenset((True,)),
            "verifyCertificateAtClient": frozenset((True,)),
        },
    ),
    ProxyConfig: Acting(
        fields=frozenset(
            (
                "concurrency",
                "drainDuration",
                "terminationDrainDuration",
                "proxyStatsMatcher",
                "proxyMetadata",
                "holdApplicationUntilProxyStarts",
                "proxyHeaders",
                "gatewayTopology",
                "readinessProbe",
            )
        ),
        # An app never runs before its proxy.
        values={"holdApplicationUntilProxyStarts": frozenset((True,))},
        # What image runs a proxy is a cluster's business.
        silent=frozenset(("image",)),
    ),
    LabelSelector: ALL,
    LabelSelectorRequirement: ALL,
    ProxyStatsMatcher: ALL,
    ProxyHeaders: all_but(
        ProxyHeaders, "attemptCount", "metadataExchangeHeaders", "preserveHttp1HeaderCase", "xForwardedHost"
    ),
    ServerHeader: ALL,
    RequestId: ALL,
    EnvoyDebugHeaders: ALL,
    SetCurrentClientCertDetails: ALL,
    XForwardedPort: ALL,
    Topology: all_but(Topology, "proxyProtocol"),
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
    policy = config.default_traffic_policy or DefaultTrafficPolicy()
    yield from connection_pool(("defaultTrafficPolicy", "connectionPool"), policy.connection_pool)
    yield from outlier_detection(("defaultTrafficPolicy", "outlierDetection"), policy.outlier_detection)
    if config.tcp_keepalive is not None:
        yield from keepalive(("tcpKeepalive",), config.tcp_keepalive)
    yield from locality_setting(("localityLbSetting",), config.locality_lb_setting, has_outlier_detection=True)
    yield from extension_providers(("extensionProviders",), config.extension_providers)
    yield from default_config(("defaultConfig",), config.default_config)
    defaults = config.tls_defaults or TLSConfig()
    yield from tls_defaults(("tlsDefaults",), defaults.ecdh_curves, defaults.cipher_suites)
    for index, selector in enumerate(config.discovery_selectors):
        yield from _label_selector(("discoverySelectors", index), selector)
    known = [provider.name for provider in config.extension_providers]
    named = config.default_providers or DefaultProviders()
    for name, providers in (
        ("tracing", named.tracing),
        ("metrics", named.metrics),
        ("accessLogging", named.access_logging),
    ):
        yield from provider_names(("defaultProviders", name), providers, known)


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


_OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
"""Of label selectors, and whether they take values."""


def _label_selector(path: Path, selector: LabelSelector) -> Iterator[Violation]:
    yield from labels((*path, "matchLabels"), selector.match_labels)
    for index, one in enumerate(selector.match_expressions):
        here = (*path, "matchExpressions", index)
        if not one.key:
            yield Violation((*here, "key"), "an expression is about a label", "add `key: …`")
        if one.operator not in _OPERATORS:
            hint = f"write one of {', '.join(_OPERATORS)}"
            yield Violation((*here, "operator"), f"{one.operator[:40]!r} is not an operator", hint)
        elif _OPERATORS[one.operator] is not bool(one.values):
            message = f"{one.operator} {'needs' if _OPERATORS[one.operator] else 'takes no'} values"
            yield Violation((*here, "values"), message)
