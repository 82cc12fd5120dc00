"""What joining writes, how it is remembered, and the unit: values, and files below a root."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lateen.agent.settings import AgentSettings
from lateen.cli.joining.hosts import Host
from lateen.cli.joining.plans import HostPlan, Wish, host_plan, settings_document
from lateen.cli.joining.records import Record, RecordError, read_record

SETTINGS = AgentSettings(
    mode="sidecar", service="web", ports=((8080, "http"),), control_plane="plane:15012", address="10.0.0.7"
)


def plan(name: str = "web", token: bytes = b"secret\n", **changes: object) -> HostPlan:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return host_plan(Wish(name=name, settings=settings, python="/opt/python"), token, b"")


def tree(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "var/lib").mkdir(parents=True)
    return tmp_path


def test_the_agent_reads_the_settings_as_they_were_meant() -> None:
    """What is not the default is written, and nothing else."""
    made = plan().settings
    assert AgentSettings.from_json(settings_document(made)) == made
    assert "drain_seconds" not in settings_document(made)


def test_leaving_brings_the_tree_back_byte_for_byte(root: Path) -> None:
    before, host, made = tree(root), Host(root), plan()
    host.write(made, None, "id", None)
    record = host.record("web")
    assert record is not None
    assert not host.differences(made, record)
    assert host.remove(record) == []
    assert tree(root) == before


def test_the_last_of_two_that_leave_takes_the_folders_along(root: Path) -> None:
    before, host = tree(root), Host(root)
    for name in ("web", "other"):
        host.write(plan(name), host.record(name), "", None)
    for name in ("web", "other"):
        record = host.record(name)
        assert record is not None
        host.remove(record)
    assert tree(root) == before


def test_what_is_not_ours_is_a_stranger_and_what_changed_is_kept(root: Path) -> None:
    host, made = Host(root), plan()
    unit = root / "etc/systemd/system/lateen-web.service"
    unit.write_text("somebody's")
    assert host.strangers(made, None) == ("/etc/systemd/system/lateen-web.service",)
    unit.unlink()
    host.write(made, None, "", None)
    unit.write_text("changed")
    record = host.record("web")
    assert record is not None
    assert any("was changed by hand" in line for line in host.differences(made, record))
    assert host.remove(record) == ["/etc/systemd/system/lateen-web.service"]
    assert unit.read_text() == "changed"


def test_a_difference_is_said_but_no_secret(root: Path) -> None:
    host = Host(root)
    host.write(plan(), None, "", None)
    changed = host.differences(plan(token=b"other\n", version="v2"), host.record("web"))
    assert any('"version": "v2"' in line for line in changed)
    assert any(line == "/etc/lateen/web.token: another one" for line in changed)
    assert "secret" not in "".join(changed)
    assert "secret" not in repr(plan())


def test_a_join_that_is_interrupted_can_be_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is there before the first file."""
    before, host, made = tree(root), Host(root), plan()
    link = made.links[0].path.parent

    def full(self: Path, target: object) -> None:
        raise OSError(28, "No space left on device", str(link))

    monkeypatch.setattr(Path, "symlink_to", full)
    with pytest.raises(OSError, match="No space"):
        host.write(made, None, "", None)
    record = host.record("web")
    assert record is not None
    host.remove(record)
    assert tree(root) == before


def test_a_record_reads_back_and_nonsense_does_not() -> None:
    record = Record(name="web", unit="u", state="/s", files={"/a": "1"}, links={"/b": "../c"}, folders=("/d",))
    assert read_record(record.to_json()) == record
    for content in (b"", b"[]", b'{"form": 9}'):
        with pytest.raises(RecordError):
            read_record(content)
