"""`lateen proxy restart`: what it says when an agent does not."""

from __future__ import annotations

import socket
import time
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


def answer(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "workload": "web-v1-1.default", "address": "127.114.161.226", "pid": 1804155, "ready": True, "reason": "",
        "connected": True, "configuration": "stream", "lastGoodAt": 0.0, "certificateExpires": time.time() + 60,
        "envoy": {"restarts": 1, "reliefs": 10},
    }  # fmt: skip
    return usual | changes


def test_the_table_fits_a_terminal_and_says_who_is_how_old(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is long stands below it: a reason must not cost the name, by which a workload is restarted."""
    sick = answer(ready=False, reason="the probe http://:80/healthz fails: HTTP 500")
    alone = answer(
        configuration="last_good", lastGoodAt=time.time() - 420, connected=False,
        certificateExpires=time.time() - 7200,
    )  # fmt: skip
    monkeypatch.setattr(agents, "running", lambda _state: iter([(Path("a"), sick), (Path("b"), alone)]))
    monkeypatch.setenv("COLUMNS", "80")
    assert agents.status() == ExitCode.DONE
    said = capsys.readouterr()
    _, first, second = said.out.splitlines()
    assert "..." not in said.out
    assert first.split()[:4] == ["web-v1-1.default", "127.114.161.226", "1804155", "no"]
    assert "away       7m old" in second
    assert said.err.splitlines() == [
        "web-v1-1.default: not ready: the probe http://:80/healthz fails: HTTP 500",
        "web-v1-1.default: its certificate expired 2h ago: others refuse it",
    ]


def test_an_agent_that_hangs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the connection, which the kernel does for it, and says nothing. One that was killed is none."""
    monkeypatch.setattr(agents, "_STATUS_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)
    folders = [Path("agents") / name for name in ("default.gone@127.64.0.1", "default.web@127.64.0.2")]
    with socket.socket(socket.AF_UNIX) as gone, socket.socket(socket.AF_UNIX) as hanging:
        for folder, made in zip(folders, (gone, hanging), strict=True):
            folder.mkdir(parents=True)
            made.bind(str(folder / "agent.sock"))
        hanging.listen()
        assert list(agents.running(tmp_path)) == []
    assert capsys.readouterr().err.startswith("the agent of default.web@127.64.0.2 does not answer")
