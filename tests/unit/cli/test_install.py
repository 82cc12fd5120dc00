"""Units for systemd: what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.install import install, unit_text
from lateen.cli.main import run


def made(*command: str, user: bool = False) -> str:
    environment = {"LATEEN_CONTROL_PLANE": "cp:15012", "OTHER": "x"}
    return unit_text(command, name="lateen-web", folder=Path("/srv/my app"), environment=environment, user=user)


def line(text: str, name: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(f"{name}=")]
    return found.partition("=")[2]


def test_the_app_s_words_are_as_they_were_given() -> None:
    text = made("run", "--service", "web", "--", "sh", "-c", 'echo "50 %" $HOME')
    assert line(text, "WorkingDirectory") == "/srv/my app"
    assert line(text, "Environment") == "LATEEN_CONTROL_PLANE=cp:15012"
    start = r'-m lateen.cli.main run --state /var/lib/lateen --service web -- sh -c "echo \"50 %%\" $$HOME"'
    assert line(text, "ExecStart").endswith(start)


def test_only_the_folder_of_agents_is_made_private() -> None:
    """The folder above is also that of machines that joined, whose agents may be other users'."""
    assert line(made("run", "--", "app"), "StateDirectory") == "lateen/agents"


@pytest.mark.parametrize("user", [True, False])
def test_a_state_folder_that_was_given_is_the_one(user: bool) -> None:
    """A reload looks for the agent where the agent is told to be."""
    text = made("run", "--state=kept", "--", "app", "--state", "other", user=user)
    assert "StateDirectory" not in text
    assert 'proxy restart --state "/srv/my app/kept" --pid $MAINPID' in line(text, "ExecReload")


def test_a_user_s_unit_keeps_things_at_home() -> None:
    text = made("run", "--", "app", user=True)
    assert "--state" not in text
    assert "StateDirectory" not in text
    assert line(text, "WantedBy") == "default.target"


@pytest.mark.parametrize(
    ("command", "restart"), [(("run", "--", "app"), "on-failure"), (("run", "--job", "--", "app"), "no"),
                             (("run", "--", "app", "--job"), "on-failure"), (("proxy", "sidecar"), "always")]
)  # fmt: skip
def test_a_job_is_not_begun_twice(command: tuple[str, ...], restart: str) -> None:
    assert line(made(*command), "Restart") == restart


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
    (unit,) = (tmp_path / "systemd" / "user").iterdir()
    assert unit.name == "lateen-edge.service"
    assert unit.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("command", [["serve"], ["proxy", "status"], []])
def test_what_runs_no_agent_is_refused(command: list[str]) -> None:
    with pytest.raises(Failure, match="runs no agent"):
        install(command, systemd=True, dry_run=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run --service Web -- app", "--service 'Web' is not"),
        ("run --service web", "no command to run"),
        ("run --servcie web -- app", "--servcie"),
        ("proxy gateway", "--name"),
        ("proxy sidecar --service web --token missing", "--token missing is not a file"),
        ("proxy sidecar --help", "runs no agent"),
    ],
)
def test_a_command_that_would_end_at_each_start_is_refused(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the words that the command itself would say, and nothing is written."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(["proxy", "install", "--systemd", "--user", "--", *words.split()]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
