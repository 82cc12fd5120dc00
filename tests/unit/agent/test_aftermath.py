"""What a killed agent leaves below its service's folder, when its guard was killed too."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.agent import aftermath
from lateen.agent.private_folders import private_folder


def test_what_a_guard_would_have_done_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The undo script runs, the folder goes, and nothing of others is touched."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    left = tmp_path / "lateen-0123"
    left.mkdir()
    (left / "undo").write_text(f"touch {tmp_path}/undone\n")
    (tmp_path / "other").mkdir()
    aftermath.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "undone"]


def test_an_agent_s_folder_is_where_systemd_made_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    with private_folder() as folder:
        assert folder.parent == tmp_path


def test_without_systemd_nothing_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    aftermath.main()
