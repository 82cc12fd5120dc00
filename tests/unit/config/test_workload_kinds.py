"""What is wrong with WorkloadGroups, ProxyConfigs, Telemetries and extensions: paths of errors and warnings."""

from __future__ import annotations

import pytest

from lateen.config.parsing import parse
from lateen.model.findings import Severity

VERSIONS = {
    "WorkloadGroup": "networking.istio.io/v1",
    "ProxyConfig": "networking.istio.io/v1beta1",
    "Telemetry": "telemetry.istio.io/v1",
    "WasmPlugin": "extensions.istio.io/v1alpha1",
    "TrafficExtension": "extensions.istio.io/v1alpha1",
}


def problems(kind: str, spec: str) -> tuple[list[str], list[str]]:
    """Paths of the errors, and of the warnings that are not about what has no effect."""
    text = f"apiVersion: {VERSIONS[kind]}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    found = [one for one in parse(text.encode(), "f").findings if one.code != "LAT0004"]
    errors, warnings = (
        [one.path.removeprefix("spec.") for one in found if one.severity is severity]
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    return errors, warnings


MANY_LABELS = ", ".join(f"l{number}: a" for number in range(65))
PROBE = "{template: {}, probe: %s}"


@pytest.mark.parametrize(
    ("spec", "errors", "warnings"),
    [
        ("{template: {}}", [], []),
        ("{}", ["spec"], []),
        ("{template: {address: 10.0.0.1}}", [], ["template.address"]),
        ("{template: {ports: {http: 0}}}", ["template.ports.http"], []),
        ("{template: {labels: {'a b': c}}}", ["template.labels[a b]"], []),
        ("{template: {}, metadata: {labels: {a: 'b c'}}}", ["metadata.labels.a"], []),
        (PROBE % "{}", ["probe"], []),
        (PROBE % "{tcpSocket: {port: 80}, exec: {command: [a]}}", ["probe"], []),
        (PROBE % "{tcpSocket: {port: 80}, periodSeconds: -1}", ["probe.periodSeconds"], []),
        (PROBE % "{httpGet: {port: 0}}", ["probe.httpGet.port"], []),
        (PROBE % "{httpGet: {port: 1, scheme: http}}", ["probe.httpGet.scheme"], []),
        (PROBE % "{httpGet: {port: 1, httpHeaders: [{name: 'a b'}]}}", ["probe.httpGet.httpHeaders[0].name"], []),
        (PROBE % "{httpGet: {port: 1, scheme: HTTPS, path: /healthz}}", [], []),
        (PROBE % "{exec: {command: []}}", ["probe.exec.command"], []),
        (PROBE % "{grpc: {port: 70}}", [], []),
        (f"{{template: {{labels: {{{MANY_LABELS}}}}}}}", ["spec"], []),
    ],
)
def test_workload_groups(spec: str, errors: list[str], warnings: list[str]) -> None:
    assert problems("WorkloadGroup", spec) == (errors, warnings)


@pytest.mark.parametrize(
    ("spec", "errors", "warnings"),
    [
        ("{}", [], []),
        ("{concurrency: 0, environmentVariables: {A_1: b}, image: {imageType: debug}}", [], []),
        ("{concurrency: -1}", ["concurrency"], []),
        ("{concurrency: 100000}", ["concurrency"], []),
        ("{environmentVariables: {PYTHONPATH: /tmp}}", ["environmentVariables.PYTHONPATH"], []),
        ("{selector: {}}", [], ["selector.matchLabels"]),
        ("{selector: {matchLabels: {a: 'b*'}}}", ["selector.matchLabels.a"], []),
        ("{environmentVariables: {LD_PRELOAD: /tmp/a.so}}", ["environmentVariables.LD_PRELOAD"], []),
        ("{environmentVariables: {ld_library_path: /tmp}}", ["environmentVariables.ld_library_path"], []),
        ("{environmentVariables: {'A=B': c}}", ["environmentVariables[A=B]"], []),
        ("{environmentVariables: {A: %s}}" % ("b" * 2049), ["environmentVariables.A"], []),
    ],
)
def test_proxy_configs(spec: str, errors: list[str], warnings: list[str]) -> None:
    assert problems("ProxyConfig", spec) == (errors, warnings)


@pytest.mark.parametrize(
    ("spec", "errors", "warnings"),
    [
        ("{}", [], []),
        ("{selector: {matchLabels: {a: b}}, targetRef: {kind: Gateway, name: g}}", ["targetRef", "targetRef.kind"], []),
        ("{tracing: [{}, {}]}", [], ["tracing[1]"]),
        ("{tracing: [{providers: [{name: a}, {name: b}]}]}", [], ["tracing[0].providers"]),
        ("{tracing: [{providers: [{}]}]}", ["tracing[0].providers[0]"], []),
        ("{tracing: [{randomSamplingPercentage: 100.5}]}", ["tracing[0].randomSamplingPercentage"], []),
        ("{tracing: [{customTags: {a: {literal: {}}}}]}", ["tracing[0].customTags.a.literal.value"], []),
        (
            "{tracing: [{customTags: {a: {literal: {value: b}, header: {name: c}}}}]}",
            ["tracing[0].customTags.a"],
            [],
        ),
        ("{metrics: [{reportingInterval: 0s}]}", ["metrics[0].reportingInterval"], []),
        ("{metrics: [{overrides: [{tagOverrides: {a: {}}}]}]}", ["metrics[0].overrides[0].tagOverrides.a"], []),
        (
            "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]}",
            ["metrics[0].overrides[0].tagOverrides.a"],
            [],
        ),
        (
            "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]}",
            ["metrics[0].overrides[0].match"],
            [],
        ),
        ("{accessLogging: [{providers: [{name: ''}]}]}", ["accessLogging[0].providers[0]"], []),
        ("{accessLogging: [{match: {mode: CLIENT}, filter: {expression: 'response.code >= 400'}}]}", [], []),
    ],
)
def test_telemetries(spec: str, errors: list[str], warnings: list[str]) -> None:
    assert problems("Telemetry", spec) == (errors, warnings)


ENV = "{url: a, vmConfig: {env: [%s]}}"


@pytest.mark.parametrize(
    ("spec", "errors", "warnings"),
    [
        ("{url: 'oci://example.com/filter:v1', pluginConfig: {any: [thing, {at: all}]}}", [], []),
        ("{url: 'example.com:5000/filter:v1'}", [], []),
        ("{url: file:///opt/filter.wasm}", [], []),
        ("{}", ["spec"], []),
        ("{url: ''}", ["url"], []),
        ("{url: ftp://example.com/a}", ["url"], []),
        ("{url: 'https://[half/a'}", ["url"], []),
        ("{url: a, sha256: ABC}", ["sha256"], []),
        ("{url: a, sha256: %s}" % ("0a" * 32), [], []),
        ("{url: a, pluginName: %s}" % ("b" * 257), ["pluginName"], []),
        (ENV % "{name: ''}", ["vmConfig.env[0].name"], []),
        (ENV % "{name: A}, {name: A}", ["vmConfig.env[1].name"], []),
        (ENV % "{name: A, valueFrom: HOST, value: b}", ["vmConfig.env[0].value"], []),
        ("{url: a, match: [{ports: [{number: 0}]}]}", ["match[0].ports[0].number"], []),
        ("{url: a, phase: AUTHN, priority: -5, type: NETWORK}", [], []),
    ],
)
def test_wasm_plugins(spec: str, errors: list[str], warnings: list[str]) -> None:
    assert problems("WasmPlugin", spec) == (errors, warnings)


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ("{wasm: {url: a}}", []),
        ("{lua: {inlineCode: 'function envoy_on_request() end'}}", []),
        ("{}", ["spec"]),
        ("{wasm: {url: a}, lua: {inlineCode: a}}", ["spec"]),
        ("{lua: {inlineCode: ''}}", ["lua.inlineCode"]),
        ("{lua: {}}", ["lua"]),
        ("{wasm: {url: a, sha256: b}}", ["wasm.sha256"]),
        ("{wasm: {url: a}, match: [{mode: SERVER, ports: [{number: 70000}]}]}", ["match[0].ports[0].number"]),
    ],
)
def test_traffic_extensions(spec: str, errors: list[str]) -> None:
    assert problems("TrafficExtension", spec) == (errors, [])
