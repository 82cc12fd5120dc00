"""The example of docs/guide/explain.md is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lateen.cli.main import run

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "explain.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
MESH, PROXY = (text for kind, text in BLOCKS if kind == "yaml")
PRINTED = [text for kind, text in BLOCKS if not kind and "reviews-v1.default" in text]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "web.yaml").write_text(PROXY)
    monkeypatch.chdir(tmp_path)


def explained(capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    line = "GET http://reviews:9080/reviews/1"
    assert run(["explain", "-f", "mesh.yaml", "--proxy", "web.yaml", "--request", line, *more]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_guide_prints_lines_that_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """In their order; the guide leaves some out."""
    lines = iter(explained(capsys))

    assert len(PRINTED) == 2
    for block in PRINTED:
        for told in block.splitlines():
            assert told in lines, told


def test_the_tester_is_let_in(capsys: pytest.CaptureFixture[str]) -> None:
    lines = explained(capsys, "--header", "end-user=jason")

    assert lines[0] == "GET http://reviews:9080/reviews/1: allowed"
    assert "  as          GET /reviews/1, host reviews:9080" in lines
