"""Units for systemd: what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.cli.exits import Failure
from lateen.cli.install import install, unit_text


def test_what_a_unit_says() -> None:
    command = ["run", "--service", "web", "--", "sh", "-c", 'echo "50 %" $HOME']
    text = unit_text(command, folder=Path("/srv/my app"), environment={"LATEEN_CONTROL_PLANE": "cp:15012"}, user=False)
    lines = text.splitlines()
    assert "Type=notify" in lines
    assert "WorkingDirectory=/srv/my app" in lines
    assert "Environment=LATEEN_CONTROL_PLANE=cp:15012" in lines
    assert "Environment=XDG_STATE_HOME=/var/lib" in lines
    assert "WantedBy=multi-user.target" in lines
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith(r'-m lateen.cli.main run --service web -- sh -c "echo \"50 %%\" $$HOME"')


def test_a_user_s_unit_keeps_things_at_home() -> None:
    text = unit_text(["run"], folder=Path("/"), environment={}, user=True)
    assert "XDG_STATE_HOME" not in text
    assert "WantedBy=default.target" in text


def test_a_dry_run_prints_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    install(["run", "--service", "web", "--", "app"], systemd=True, user=True, dry_run=True)
    assert capsys.readouterr().out.startswith("[Unit]\nDescription=Lateen: run --service web -- app\n")
    assert not list(tmp_path.iterdir())


def test_the_unit_is_named_after_the_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("lateen.cli.install.shutil.which", lambda _name: None)
    install(["proxy", "gateway", "--name", "edge"], systemd=True, user=True)
    assert [path.name for path in (tmp_path / "systemd" / "user").iterdir()] == ["lateen-edge.service"]


@pytest.mark.parametrize("command", [["serve"], ["proxy", "status"], []])
def test_what_runs_no_agent_is_refused(command: list[str]) -> None:
    with pytest.raises(Failure, match="runs no agent"):
        install(command, systemd=True, dry_run=True)
