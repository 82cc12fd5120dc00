"""Analyzers of Istio's that need no cluster, and the table of those that do."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from analysis_cases import codes, document, service
from lateen.analysis.reports import Report
from lateen.analysis.telemetry import telemetries
from lateen.config.codes import CODES
from lateen.config.istio_messages import NOT_GIVEN
from lateen.config.mesh_config import DefaultProviders, MeshConfig
from lateen.config.objects import ConfigObject
from lateen.mesh.build import build_state
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin

PORT = "{name: http, port: 9080}"


def annotated(annotation: str, kind: str = "Service") -> str:
    spec = f"{{selector: {{app: reviews}}, ports: [{PORT}]}}" if kind == "Service" else ""
    return document(kind, "reviews", spec, extra=f", annotations: {{{annotation}}}")


@pytest.mark.parametrize(
    ("annotation", "kind", "expected"),
    [
        ("sidecar.istio.io/nothing: x", "Service", ["IST0108"]),
        ("sidecar.istio.io/nothing: x", "Namespace", ["IST0108"]),
        ("sidecar.istio.io/logLevel: debug", "Service", ["IST0107"]),
        ("traffic.sidecar.istio.io/kubevirtInterfaces: x", "Namespace", ["IST0107", "IST0135"]),
        ("networking.istio.io/exportTo: '*,a'", "Service", ["IST0125"]),
        ("networking.istio.io/exportTo: 'default,a'", "Service", []),
        ("networking.istio.io/traffic-distribution: PreferClose", "Namespace", []),
        ("galley.istio.io/analyze-suppress: IST0001", "Service", []),
        ("example.com/own: x", "Service", []),
        ("istio.io/rev: x", "Namespace", []),
    ],
)
def test_annotations(annotation: str, kind: str, expected: list[str]) -> None:
    """Unknown, misplaced, deprecated, malformed; others' are nobody's business."""
    found = [line for line in codes(annotated(annotation, kind)) if "annotations" in line]
    assert sorted(line.split()[0] for line in found) == expected


def test_annotations_are_suppressed_like_everything() -> None:
    """By the very annotation."""
    text = "sidecar.istio.io/nothing: x, galley.istio.io/analyze-suppress: IST0108"
    assert not [line for line in codes(annotated(text)) if line.startswith("IST0108")]


def test_one_port_of_two_transports() -> None:
    """Of the same workloads; of others it is two ports."""
    spec = "{selector: {app: %s}, ports: [{name: dns, port: 53, protocol: %s}]}"
    one, other = document("Service", "a", spec % ("x", "TCP")), document("Service", "b", spec % ("x", "UDP"))
    apart = document("Service", "c", spec % ("y", "UDP"))
    assert [line for line in codes(one, other) if "IST0116" in line] == ["IST0116 Service/b spec.ports[0]"]
    assert not [line for line in codes(one, apart) if "IST0116" in line]


def test_a_gateway_does_not_take_the_subsets_of_the_mesh() -> None:
    """A rule for sidecars chooses a subset, the one of the gateway does not."""
    rule = document("DestinationRule", "d", "{host: reviews, subsets: [{name: v1, labels: {version: v1}}]}")
    mesh = "{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}"
    edge = "{hosts: [shop.test], gateways: [g], http: [{route: [{destination: {host: reviews%s}}]}]}"
    server = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"
    gateway = document("Gateway", "g", f"{{selector: {{istio: edge}}, servers: [{server}]}}")
    mesh_rule = document("VirtualService", "mesh", mesh)
    given = (service(), rule, gateway, mesh_rule)
    found = codes(*given, document("VirtualService", "edge", edge % ""))
    assert "IST0140 VirtualService/edge spec.http[0].route[0].destination" in found
    named = codes(*given, document("VirtualService", "edge", edge % ", subset: v1"))
    assert not [line for line in named if line.startswith("IST0140")]


def test_a_selector_does_not_act_on_a_gateway_of_the_gateway_api() -> None:
    """`targetRefs` does."""
    chosen = "{selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: edge}}, rules: [{}]}"
    found = codes(service(), document("AuthorizationPolicy", "a", chosen))
    assert [line for line in found if "IST0166" in line] == ["IST0166 AuthorizationPolicy/a spec.selector"]


@dataclass
class Selector:
    match_labels: dict[str, str]


@dataclass
class Logging:
    providers: list[str] = field(default_factory=list)
    disabled: bool | None = None


@dataclass
class TelemetrySpec:
    """As the kind's struct is, as far as the rules look."""

    selector: Selector | None = None
    target_ref: object = None
    target_refs: list[object] = field(default_factory=list)
    access_logging: list[Logging] = field(default_factory=list)


def telemetry(name: str, **spec: Any) -> ConfigObject[Any]:
    made = TelemetrySpec(**spec)
    return ConfigObject(
        key=ObjectKey("Telemetry", "default", name),
        api_version="telemetry.istio.io/v1",
        spec=made,
        origin=Origin("f", 1),
        digest=name,
        document=b"{}",
    )


def telemetry_codes(*objects: ConfigObject[Any], mesh_config: MeshConfig | None = None) -> list[str]:
    report = Report({})
    telemetries(report, objects, build_state((), (), mesh_config or MeshConfig()))
    return [f"{one.code} {one.name} {one.path}" for one in report.findings]


def test_telemetries_that_compete() -> None:
    """Two without selector, and two with the same one."""
    assert telemetry_codes(telemetry("a"), telemetry("b")) == ["IST0160 a metadata.name", "IST0160 b metadata.name"]
    chosen = Selector({"app": "x"})
    found = telemetry_codes(telemetry("a", selector=chosen), telemetry("b", selector=chosen), telemetry("c"))
    assert found == ["IST0159 a spec.selector", "IST0159 b spec.selector"]
    assert telemetry_codes(telemetry("a"), telemetry("b", target_refs=[object()])) == []


def test_access_logs_without_provider() -> None:
    """Unless the mesh has one, or they are switched off."""
    nobody = telemetry("a", access_logging=[Logging(disabled=True), Logging()])
    assert telemetry_codes(nobody) == ["IST0157 a spec.accessLogging[1]"]
    default = MeshConfig(default_providers=DefaultProviders(access_logging=["envoy"]))
    assert telemetry_codes(nobody, mesh_config=default) == []


def test_every_message_of_istio_is_given_or_not() -> None:
    """Each number is in one of the two tables (those of EnvoyFilter come with that kind); retired ones in neither."""
    given, not_given = {code.code for code in CODES}, {one.code for one in NOT_GIVEN}
    assert not given & not_given
    assert [one.code for one in NOT_GIVEN] == sorted(not_given)
    retired = {104, 105, 114, 115, 117, 119, 120, 121, 122, 124}
    of_envoy_filter = range(151, 156)
    wanted = {
        f"IST{number:04}" for number in range(101, 178) if number not in retired and number not in of_envoy_filter
    }
    assert wanted <= given | not_given
