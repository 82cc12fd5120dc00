"""Tables of what a proxy was sent: every type of a whole snapshot has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lateen.api.answers import TYPES
from lateen.cli.resources import print_resource_tables

GOLDEN = Path(__file__).parents[2] / "goldens" / "request-authentication" / "out.yaml"


def test_every_type_has_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a filter, whose tokens it takes and by which keys; of a route, which claims it asks for."""
    found = yaml.safe_load(GOLDEN.read_text())
    snapshot = {word: list(found.get(kind.rpartition(".")[2], {}).values()) for word, kind in TYPES.items()}

    print_resource_tables(snapshot)

    shown = capsys.readouterr().out
    assert "https://accounts.example.com" in shown
    assert "customers" in shown
    assert "claim org.unit" in shown
