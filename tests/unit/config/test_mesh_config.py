"""MeshConfig: Istio's names, its installation's defaults, both forms of file."""

import pytest

from lateen.config.mesh_config import AccessLogEncoding, MeshConfig, MeshOutboundTrafficPolicyMode, parse_mesh_config
from lateen.model.findings import Severity

SETTINGS = "accessLogFile: /dev/stdout\naccessLogEncoding: JSON\noutboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n"


def read(text: str) -> tuple[MeshConfig, list[tuple[str, int, str]]]:
    config, findings = parse_mesh_config(text.encode(), "mesh.yaml")
    assert all(finding.kind == "MeshConfig" for finding in findings if finding.code != "LAT0001")
    return config, [(finding.code, finding.line, finding.path) for finding in findings]


def test_defaults_are_those_of_an_installation() -> None:
    config = MeshConfig()
    assert config.outbound_traffic_policy.mode is MeshOutboundTrafficPolicyMode.ALLOW_ANY
    assert (config.root_namespace, config.trust_domain, config.connect_timeout) == (
        "istio-system",
        "cluster.local",
        "10s",
    )
    assert config.default_service_export_to == ["*"]
    assert read("") == (config, [])


def test_settings_are_read() -> None:
    config, findings = read(SETTINGS)
    assert config.access_log_encoding is AccessLogEncoding.JSON
    assert config.outbound_traffic_policy.mode is MeshOutboundTrafficPolicyMode.REGISTRY_ONLY
    assert findings == []


def test_istio_s_config_map_is_read_and_its_lines_are_the_file_s() -> None:
    inner = "".join(f"    {line}\n" for line in [*SETTINGS.splitlines(), "nonsense: 1"])
    config, findings = read(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio}}\ndata:\n  mesh: |-\n{inner}  meshNetworks: ''\n"
    )
    assert findings == [("LAT0003", 10, "nonsense")]
    assert config == MeshConfig(), "the default, as there is an error"
    config, findings = read(
        f"apiVersion: v1\nkind: ConfigMap\ndata:\n  mesh: |-\n{inner.replace('    nonsense: 1', '')}"
    )
    assert (config.access_log_file, findings) == ("/dev/stdout", [])


def test_unknown_and_wrong_settings_are_errors() -> None:
    _, findings = read("accesLogFile: /dev/stdout\nconnectTimeout: 5\nenableTracing: 'yes'\n")
    assert findings == [
        ("LAT0003", 1, "accesLogFile"),
        ("LAT0005", 2, "connectTimeout"),
        ("LAT0005", 3, "enableTracing"),
    ]
    _, findings = read("connectTimeout: 1us\nprotocolDetectionTimeout: 0s\n")
    assert findings == [("IST0106", 1, "connectTimeout")]


def test_what_does_not_act_is_said() -> None:
    text = (
        "mesh_mTLS: {minProtocolVersion: TLSV1_3}\n"
        "ca: {address: ca.example.com}\n"
        "extensionProviders: [{name: z, zipkin: {service: z.default, port: 9411}}]\n"
        "defaultConfig: {concurrency: 2, tracing: {sampling: 10}}\n"
        "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n"
    )
    config, findings = parse_mesh_config(text.encode(), "f")
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    assert [finding.path for finding in findings] == [
        "ca",
        "extensionProviders[0].zipkin",
        "defaultConfig.tracing",
    ]
    assert config.mesh_mtls is not None
    assert config.extension_providers[0].zipkin is not None
    assert config.default_config is not None
    assert config.default_config.concurrency == 2


@pytest.mark.parametrize(
    ("text", "path", "severity"),
    [
        ("trustDomain: Bad/Domain", "trustDomain", Severity.ERROR),
        ("trustDomainAliases: [good, '']", "trustDomainAliases[1]", Severity.ERROR),
        ("meshMTLS: {ecdhCurves: [P-256]}", "meshMTLS.ecdhCurves", Severity.ERROR),
        ("meshMTLS: {cipherSuites: [no]}", "meshMTLS.cipherSuites[0]", Severity.WARNING),
    ],
)
def test_settings_of_mutual_tls_are_checked(text: str, path: str, severity: Severity) -> None:
    _, findings = parse_mesh_config(text.encode(), "f")

    assert [(finding.path, finding.severity) for finding in findings] == [(path, severity)]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("defaultConfig: {concurrency: -1}", ["defaultConfig.concurrency"]),
        ("defaultConfig: {drainDuration: fast}", ["defaultConfig.drainDuration"]),
        ("defaultConfig: {terminationDrainDuration: 0s}", []),
        ("defaultConfig: {terminationDrainDuration: 2h}", ["defaultConfig.terminationDrainDuration"]),
        (
            f"defaultConfig: {{proxyStatsMatcher: {{inclusionSuffixes: [{'a, ' * 33}]}}}}",
            ["defaultConfig.proxyStatsMatcher"],
        ),
        ("defaultConfig: {proxyMetadata: {LD_PRELOAD: /a.so}}", ["defaultConfig.proxyMetadata.LD_PRELOAD"]),
        (
            "defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}}",
            ["defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE"],
        ),
        (
            "defaultConfig: {proxyStatsMatcher: {inclusionRegexps: ['(']}}",
            ["defaultConfig.proxyStatsMatcher.inclusionRegexps[0]"],
        ),
        (
            "defaultConfig: {proxyStatsMatcher: {inclusionPrefixes: ['']}}",
            ["defaultConfig.proxyStatsMatcher.inclusionPrefixes[0]"],
        ),
        (
            "defaultConfig: {holdApplicationUntilProxyStarts: false}",
            ["defaultConfig.holdApplicationUntilProxyStarts"],
        ),
        ("defaultConfig: {holdApplicationUntilProxyStarts: true, image: {imageType: debug}}", []),
        ("tlsDefaults: {ecdhCurves: [P-256, P-256], cipherSuites: [NONE]}", None),
        ("verifyCertificateAtClient: true", []),
        ("verifyCertificateAtClient: false", ["verifyCertificateAtClient"]),
        ("{enablePrometheusMerge: false, disableEnvoyListenerLog: true}", []),
    ],
)
def test_what_proxies_begin_with_is_checked(text: str, paths: list[str] | None) -> None:
    found = [finding.path for finding in parse_mesh_config(text.encode(), "f")[1]]
    assert found == (["tlsDefaults.ecdhCurves[1]", "tlsDefaults.cipherSuites[0]"] if paths is None else paths)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("defaultTrafficPolicy: {connectionPool: {}}", "defaultTrafficPolicy.connectionPool"),
        (
            "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}",
            "defaultTrafficPolicy.connectionPool.tcp.maxConnections",
        ),
        (
            "defaultTrafficPolicy: {outlierDetection: {interval: 0s}}",
            "defaultTrafficPolicy.outlierDetection.interval",
        ),
        (
            "defaultTrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
            "defaultTrafficPolicy.outlierDetection.maxEjectionPercent",
        ),
        ("tcpKeepalive: {time: -5s}", "tcpKeepalive.time"),
        ("defaultTrafficPolicy: {connectionPool: {http: {maxRetries: 3}}, outlierDetection: {interval: 5s}}", None),
    ],
)
def test_what_holds_for_every_host_is_checked_as_in_a_destination_rule(text: str, path: str | None) -> None:
    _, findings = parse_mesh_config(text.encode(), "f")
    assert [one.path for one in findings if one.severity is Severity.ERROR] == ([path] if path else [])


def test_default_providers_name_extension_providers() -> None:
    text = (
        "extensionProviders: [{name: logs, envoyFileAccessLog: {path: /dev/stdout}}]\n"
        "defaultProviders: {accessLogging: [logs, other], metrics: [prometheus]}\n"
    )
    findings = parse_mesh_config(text.encode(), "f")[1]
    assert [finding.path for finding in findings if finding.code != "LAT0004"] == ["defaultProviders.accessLogging[1]"]
