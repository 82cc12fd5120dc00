"""Reading a folder again and again: what stays, what goes, what is reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.model.findings import Severity
from lateen.model.names import ObjectKey
from lateen.stores.files import MAX_FILE_BYTES, Folder
from lateen.stores.protocol import StoreContent

Rule = Callable[..., str]
DOCUMENT = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec: {{host: {host}}}
---
"""
A = ObjectKey("DestinationRule", "default", "a")


def seen(content: StoreContent) -> dict[str, str]:
    return {item.key.name: item.spec.host.removesuffix(".example.com") for item in content.objects.values()}


def errors(content: StoreContent) -> list[str]:
    return [finding.code for finding in content.findings if finding.severity is Severity.ERROR]


def test_files_are_found_recursively_by_suffix_and_hidden_ones_are_left_out(tmp_path: Path, rule: Rule) -> None:
    for path in ("a.yaml", "b.yml", "d/e/c.yaml", ".hidden.yaml", ".git/x.yaml", "notes.txt", "e.yaml~", "f.yaml.bak"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rule(file.name.strip(".").partition(".")[0]))
    (tmp_path / "j.json").write_text(
        '{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", '
        '"metadata": {"name": "j", "namespace": "default"}, "spec": {"host": "x.example.com"}}'
    )
    content = Folder(tmp_path).read()
    assert sorted(seen(content)) == ["a", "b", "c", "j"]
    assert errors(content) == []
    assert str(content.objects[A].origin) == f"{tmp_path}/a.yaml:1"


def test_a_broken_file_keeps_the_last_good_version_of_its_objects(tmp_path: Path, rule: Rule) -> None:
    """Reported with its place; good documents beside the broken one count."""
    file = tmp_path / "a.yaml"
    file.write_text(rule("a", "one") + rule("b", "one"))
    folder = Folder(tmp_path)
    assert seen(folder.read()) == {"a": "one", "b": "one"}

    file.write_text(rule("a", "two") + rule("b", "two").replace("host", "hots"))
    content = folder.read()
    assert seen(content) == {"a": "two", "b": "one"}
    assert errors(content)
    assert all((found.file, found.line >= 6) == (str(file), True) for found in content.findings)

    file.write_text("a: [")
    content = folder.read()
    assert seen(content) == {"a": "two", "b": "one"}
    assert errors(content)

    file.write_text(rule("b", "three"))
    content = folder.read()
    assert seen(content) == {"b": "three"}
    assert errors(content) == []


def test_objects_go_with_their_file(tmp_path: Path, rule: Rule) -> None:
    (tmp_path / "a.yaml").write_text(rule("a"))
    (tmp_path / "b.yaml").write_text("broken: [")
    folder = Folder(tmp_path)
    assert seen(folder.read()) == {"a": "x"}
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").unlink()
    content = folder.read()
    assert (seen(content), content.findings) == ({}, ())


def test_an_unchanged_file_is_not_read_again_and_the_revision_stays(tmp_path: Path, rule: Rule) -> None:
    (tmp_path / "a.yaml").write_text(rule("a"))
    folder = Folder(tmp_path)
    first = folder.read()
    second = folder.read()
    assert second is first
    again = Folder(tmp_path).read()
    assert (again, again.revision) == (first, first.revision)
    assert again.objects[A] is not first.objects[A]


def test_of_two_files_with_one_object_the_first_by_path_counts(tmp_path: Path, rule: Rule) -> None:
    (tmp_path / "a.yaml").write_text(rule("same", "first"))
    (tmp_path / "b.yaml").write_text(rule("other") + rule("same", "second"))
    folder = Folder(tmp_path)
    content = folder.read()
    assert seen(content) == {"other": "x", "same": "first"}
    (finding,) = content.findings
    assert (finding.code, finding.file, finding.line) == ("LAT0007", f"{tmp_path}/b.yaml", 6)
    assert f"{tmp_path}/a.yaml:1" in finding.message
    (tmp_path / "a.yaml").unlink()
    assert seen(folder.read()) == {"other": "x", "same": "second"}


def test_what_is_not_configuration_is_a_finding_and_nothing_is_lost(tmp_path: Path, rule: Rule) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(rule("a"))
    folder = Folder(tmp_path)
    folder.read()
    for garbage in (b"\xff\xfe\x00", b"\x00" * 10, b"#" * (MAX_FILE_BYTES + 1), b"[" * 100_000, b"- 1\n- 2\n"):
        file.write_bytes(garbage)
        content = folder.read()
        assert seen(content) == {"a": "x"}
        assert errors(content)
        assert content.findings[0].file == str(file)


def test_a_file_that_cannot_be_opened_is_a_finding_and_its_objects_stay(tmp_path: Path, rule: Rule) -> None:
    """As when permission is denied; a link to itself does the same to root too."""
    file = tmp_path / "a.yaml"
    file.write_text(rule("a"))
    folder = Folder(tmp_path)
    folder.read()
    file.unlink()
    file.symlink_to(file)
    content = folder.read()
    assert (seen(content), errors(content)) == ({"a": "x"}, ["LAT0012"])
    file.unlink()
    file.write_text(rule("a", "again"))
    content = folder.read()
    assert (seen(content), errors(content)) == ({"a": "again"}, [])


def test_a_folder_with_the_name_of_a_file_is_not_one(tmp_path: Path, rule: Rule) -> None:
    (tmp_path / "a.yaml").mkdir()
    (tmp_path / "a.yaml" / "b.yaml").write_text(rule("b"))
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    content = Folder(tmp_path).read()
    assert (seen(content), content.findings) == ({"b": "x"}, ())


def test_pipes_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert errors(Folder(tmp_path).read()) == ["LAT0012"]


def test_one_bad_entry_does_not_hide_the_others(tmp_path: Path, rule: Rule) -> None:
    (tmp_path / "b.yaml").symlink_to(tmp_path / "b.yaml")
    for name in ("a", "c"):
        (tmp_path / f"{name}.yaml").write_text(rule(name))
    content = Folder(tmp_path).read()
    assert (seen(content), errors(content)) == ({"a": "x", "c": "x"}, ["LAT0012"])


def test_a_folder_that_cannot_be_listed_keeps_its_content(
    tmp_path: Path, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.yaml").write_text(rule("a"))
    (tmp_path / "b.yaml").write_text(rule("b"))
    folder = Folder(tmp_path)
    folder.read()
    list_folder = os.scandir

    def forbidden(path: str) -> Any:
        if path.endswith("/d"):
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    (tmp_path / "b.yaml").unlink()
    content = folder.read()
    assert (seen(content), errors(content)) == ({"a": "x"}, ["LAT0012"])


def test_links_that_lead_back_up_end(tmp_path: Path, rule: Rule) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.yaml").write_text(rule("a"))
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    (tmp_path / "b.yaml").write_text(rule("b"))
    content = Folder(tmp_path).read()
    assert (seen(content), errors(content)) == ({"a": "x", "b": "x"}, [])


def test_a_folder_that_vanishes_keeps_its_content(tmp_path: Path, rule: Rule) -> None:
    """A checkout or mount being replaced must not empty the mesh."""
    place = tmp_path / "config"
    place.mkdir()
    (place / "a.yaml").write_text(rule("a"))
    folder = Folder(place)
    folder.read()
    place.rename(tmp_path / "away")
    content = folder.read()
    assert (seen(content), errors(content)) == ({"a": "x"}, ["LAT0012"])
    place.mkdir()
    assert seen(folder.read()) == {}


def test_a_mounted_config_map_is_read_once(tmp_path: Path, rule: Rule) -> None:
    """Kubernetes: `a.yaml -> ..data/a.yaml`, `..data -> ..2026_01`, and a swap of that link changes everything."""
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(rule("a", f"v{version.strip('.')}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    folder = Folder(tmp_path)
    content = folder.read()
    assert (seen(content), content.findings) == ({"a": "v1"}, ())
    (tmp_path / "..next").symlink_to("..2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert seen(folder.read()) == {"a": "v2"}


def test_an_object_that_is_read_again_unchanged_is_the_same_object(tmp_path: Path, rule: Rule) -> None:
    """Moved to another line it is a new one: its place is part of it."""
    file = tmp_path / "a.yaml"
    file.write_text(rule("a") + rule("b", "one") + rule("c"))
    folder = Folder(tmp_path)
    before = folder.read().objects
    file.write_text(rule("a") + rule("b", "another") + rule("c"))
    after = folder.read().objects
    assert [before[key] is after[key] for key in sorted(before)] == [True, False, True]
    file.write_text(rule("a") + "\n" + rule("b", "another") + rule("c"))
    moved = folder.read().objects
    assert [after[key] is moved[key] for key in sorted(after)] == [True, False, False]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.sets(st.sampled_from("xyz")))), max_size=8))
def test_what_is_read_again_is_what_is_read_for_the_first_time(steps: list[tuple[str, set[str] | None]]) -> None:
    """After any changes of files that share objects: which of them count, and what is said about the others."""
    with TemporaryDirectory() as made:
        place = Path(made)
        folder = Folder(place)
        for number, (file, names) in enumerate(steps):
            path = place / f"{file}.yaml"
            path.unlink(missing_ok=True)
            if names is not None:
                # A new file each time: the clock of a file system may be too coarse to tell two versions apart.
                new = place / f"{number}.new"
                new.write_text("".join(DOCUMENT.format(name=name, host=file) for name in sorted(names)))
                new.rename(path)
            assert folder.read() == Folder(place).read()
