"""The state folder decides what a control plane serves: it is used only if nobody else can write to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.app.settings import StartError
from lateen.app.state_folder import open_state_folder


def test_a_folder_that_all_may_write_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(StartError, match="not ours alone"):
        open_state_folder(tmp_path)


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    if tmp_path.stat().st_uid == 0:  # a test that runs as root can give it away
        import os

        os.chown(tmp_path, 4711, -1)
    with pytest.raises(StartError, match="not ours alone"):
        open_state_folder(tmp_path)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    assert open_state_folder(tmp_path / "state").stat().st_mode & 0o777 == 0o700
