"""What the commands read is bounded before it is in memory."""

import os
import sys
from pathlib import Path

import pytest

from lateen.cli.files import parse_inputs, read_inputs


class _Endless:
    """A standard input that never ends."""

    def __init__(self) -> None:
        self.buffer = self

    def read(self, most: int) -> bytes:
        return b"#" * most


def test_an_endless_input_is_refused_for_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Endless())
    parsed = parse_inputs([*read_inputs(["-", "/dev/zero"])])
    assert [(one.code, one.file) for one in parsed.findings] == [("LAT0011", "-"), ("LAT0011", "/dev/zero")]


def test_links_in_a_circle_and_pipes_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "up").symlink_to(tmp_path)
    (tmp_path / "self.yaml").symlink_to(tmp_path / "self.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "good.yaml").write_bytes(b"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    (found,) = read_inputs([str(tmp_path)])
    assert found.name.endswith("good.yaml")
    assert len(parse_inputs([found]).objects) == 1
