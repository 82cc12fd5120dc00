"""Paths on the command line."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.files import parse_inputs, read_inputs

SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}"


def test_a_folder_is_read_with_all_below_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.yaml", "a.yml", "deep/c.json", "notes.txt"):
        (tmp_path / name).write_text("{}")

    assert [Path(file.name).name for file in read_inputs([str(tmp_path)])] == ["a.yml", "b.yaml", "c.json"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SERVICE)
    files = read_inputs([str(tmp_path), str(tmp_path / "a.yaml")])

    assert len(files) == 1
    assert parse_inputs(files).findings == ()


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"hello")))

    [file] = read_inputs(["-"])
    assert (file.name, file.content) == ("-", b"hello")


def test_what_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "missing.yaml", tmp_path / "empty"):
        with pytest.raises(Failure, match=path.name) as raised:
            read_inputs([str(path)])
        assert raised.value.code is ExitCode.USAGE


def test_the_same_object_in_two_files_is_an_error_and_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SERVICE)
    (tmp_path / "b.yaml").write_text(SERVICE)
    parsed = parse_inputs(read_inputs([str(tmp_path)]))

    assert [found.origin.source for found in parsed.objects] == [str(tmp_path / "a.yaml")]
    [finding] = parsed.findings
    assert (finding.file, finding.code) == (str(tmp_path / "b.yaml"), "LAT0007")
