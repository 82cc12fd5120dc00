"""YAML that a guide shows is accepted as it stands, without a warning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lateen.analysis.envoy_filters import value_findings
from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse

GUIDES = Path(__file__).parents[3] / "docs" / "guide"
SHOWN = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "name", ["request-authentication.md", "gateway-api.md", "workload-groups.md", "mesh-config.md"]
)
def test_shown_documents(name: str) -> None:
    texts = SHOWN.findall((GUIDES / name).read_text())
    assert texts
    for text in texts:
        assert parse(text.encode(), name).findings == ()


def test_the_shown_mesh_config() -> None:
    """It is no document, so that its block is a plain one."""
    (text,) = re.findall(
        r"^```\n(rootNamespace.*?)^```", (GUIDES / "mesh-config.md").read_text(), re.DOTALL | re.MULTILINE
    )
    config, findings = parse_mesh_config(text.encode(), "mesh-config.md")
    assert findings == ()
    assert config.default_config is not None


def test_documents_of_the_guide_to_envoy_filters() -> None:
    """They are messages of Envoy, and nothing but the general warning is said of them."""
    for text in SHOWN.findall((GUIDES / "envoy-filters.md").read_text()):
        parsed = parse(text.encode(), "envoy-filters.md")
        assert [finding.path for finding in parsed.findings] == ["spec"]
        assert value_findings(parsed.objects, parsed.positions) == ()
