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
        "tlsDefaults: {ecdhCurves: [P-256]}\n"
        "extensionProviders: [{name: z, zipkin: {service: z.default, port: 9411}}]\n"
        "defaultConfig: {concurrency: 2, tracing: {sampling: 10}}\n"
        "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n"
    )
    config, findings = parse_mesh_config(text.encode(), "f")
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    assert [finding.path for finding in findings] == [
        "tlsDefaults",
        "extensionProviders[0].zipkin",
        "defaultConfig",
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
