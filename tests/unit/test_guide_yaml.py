"""Every YAML document of the guides is good: it parses without findings, and the analysis finds nothing in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lateen.analysis.references import analyse
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.model.findings import Severity

ERROR = Severity.ERROR
DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted((DOCS / "guide").glob("*.md"))
SERVICES = "".join(
    f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: service-{name}}}
spec:
  hosts: [{name}.default.svc.cluster.local]
  addresses: [10.96.0.{number}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {port}, name: {protocol.lower()}, protocol: {protocol}}}]
  workloadSelector: {{labels: {{app: {name}}}}}
"""
    for number, (name, port, protocol) in enumerate(
        (
            ("reviews", 9080, "HTTP"),
            ("ratings", 9080, "HTTP"),
            ("backend", 80, "HTTP"),
            ("web", 80, "HTTP"),
            ("admin", 80, "HTTP"),
            ("ledger", 5432, "TCP"),
        ),
        1,
    )
)
"""The services that the guides speak of."""
WANTED = {"analyze-in-ci.md": {"IST0101"}, "ingress-tls.md": {"IST0101"}}
"""What a guide is meant to show: a mistake, and a Secret that the reader makes."""
WHOLE = (
    "traffic-shifting",
    "faults",
    "timeouts-and-retries",
    "mirroring",
    "circuit-breaking",
    "locality-failover",
    "egress",
    "ingress-tls",
    "sessions",
    "tcp-and-tls-routing",
    "delegation",
    "sidecar-scoping",
    "analyze-in-ci",
    "coming-from-istio",
    "coming-from-kuma",
    "coming-from-consul",
)
"""Guides all of whose blocks are whole documents; the others also show parts of documents."""


def blocks(guide: Path) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", WHOLE)
def test_the_yaml_of_a_guide_is_good(name: str) -> None:
    guide = DOCS / "guide" / f"{name}.md"
    found: set[str] = set()
    for block in blocks(guide):
        parsed = parse((block + SERVICES).encode(), guide.name)
        state = build_state(parsed.objects, (), MeshConfig())
        findings = (*parsed.findings, *analyse(state, parsed.objects, parsed.positions))
        found |= {each.code for each in findings if each.severity is not Severity.INFO}
        assert parsed.objects
        if guide.name not in WANTED:
            assert [str(each) for each in findings if each.severity is not Severity.INFO] == []

    assert found == WANTED.get(guide.name, set())


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_whole_documents_of_any_guide_are_valid(guide: Path) -> None:
    """Also of those that show parts of documents beside them."""
    for block in blocks(guide):
        if block.startswith("apiVersion:"):
            assert [str(found) for found in parse(block.encode(), guide.name).findings if found.severity is ERROR] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_links_lead_somewhere(guide: Path) -> None:
    """To files that are there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8"))

    assert [link for link in links if not (guide.parent / link).exists()] == []
