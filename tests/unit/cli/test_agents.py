"""`lateen proxy restart`: what it says when an agent does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.cli import agents
from lateen.cli.exits import ExitCode


def test_an_agent_that_goes_while_it_is_asked_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the others are asked all the same."""
    gone = [(tmp_path / name / "agent.sock", {"workload": f"{name}.default", "pid": 1}) for name in ("web", "api")]
    monkeypatch.setattr(agents, "running", lambda _state: iter(gone))
    assert agents.restart(every=True) == ExitCode.REJECTED
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("web.default: its agent has gone, or does not answer: ")
    assert second.startswith("api.default: ")
