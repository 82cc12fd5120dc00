"""No rule compares each object with each, also where thousands of them have something in common."""

import gc
import time

import pytest

from analysis_cases import document
from lateen.analysis.references import analyse
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state

HTTP = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [%s]}"


def _documents(kind: str, index: int) -> str:
    match kind:
        case "one host":
            return document("VirtualService", f"v{index}", "{hosts: [a.test], http: [{directResponse: {status: 200}}]}")
        case "one port":
            spec = "{selector: {istio: edge}, servers: [%s]}" % (HTTP % "a.test")
            return document("Gateway", f"g{index}", spec)
        case "unknown hosts":
            return document("DestinationRule", f"d{index}", f"{{host: u{index}x}}")
        case "wildcards":
            return document("DestinationRule", f"d{index}", f"{{host: '*.s{index}.test'}}")
        case "policies":
            chosen = f"selector: {{matchLabels: {{app: x{index}}}}}"
            spec = f"{{{chosen}, action: CUSTOM, provider: {{name: p{index % 2}}}, rules: [{{}}]}}"
            return document("AuthorizationPolicy", f"a{index}", spec)
        case "one selector":
            return document(
                "Sidecar", f"s{index}", "{workloadSelector: {labels: {app: x}}, egress: [{hosts: ['*/*']}]}"
            )
        case _:
            spec = f"{{workloadSelector: {{labels: {{app: x{index}}}}}, egress: [{{hosts: ['*/*']}}]}}"
            return document("Sidecar", f"s{index}", spec)


def _seconds(kind: str, count: int) -> float:
    parsed = parse("---\n".join(_documents(kind, index) for index in range(count)).encode(), "f")
    assert len(parsed.objects) == count, parsed.findings[:3]
    state = build_state(parsed.objects, (), MeshConfig())
    # What thousands of other tests have left behind is looked through with each full collection: 0.2 s.
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        analyse(state, parsed.objects, parsed.positions)
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "kind", ["one host", "one port", "unknown hosts", "wildcards", "policies", "one selector", "sidecars"]
)
def test_cost_follows_the_number_of_objects(kind: str) -> None:
    """Six times as many take much less than 36 times as long (a quarter of a second is noise)."""
    few, many = _seconds(kind, 200), _seconds(kind, 1200)
    assert many < max(15 * few, 0.25)
