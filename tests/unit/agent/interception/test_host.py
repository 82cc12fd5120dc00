"""What is left when rules cannot be applied, or cannot be taken back at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lateen.agent.interception import __main__ as command
from lateen.agent.interception import host, records
from lateen.agent.interception.capture import Capture
from lateen.agent.interception.programs import InterceptionError
from lateen.agent.interception.records import Record

OLD, NEW = Capture(users=(1,)), Capture(users=(2,))


class Kernel:
    """Rules in force, by backend; refuses some."""

    def __init__(self) -> None:
        self.rules: dict[str, Capture] = {}
        self.refuses: list[Capture] = []

    def backend(self, name: str) -> type:
        kernel = self

        class Backend:
            def apply(self, capture: Capture, **_: Any) -> None:
                # As with iptables, where one IP version may be taken before the other is refused.
                kernel.rules.pop(name, None)
                if capture in kernel.refuses:
                    raise InterceptionError("no")
                kernel.rules[name] = capture

            def revert(self, capture: Capture, **_: Any) -> None:
                del capture
                kernel.rules.pop(name, None)

        Backend.name = name  # type: ignore[attr-defined]
        return Backend


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(host, "BACKENDS", {name: made.backend(name) for name in ("nft", "iptables")})
    return made


def programs_of(module: Any) -> Any:
    """The backends that `host` knows now."""
    return module.BACKENDS


def applied(folder: Path, capture: Capture, backend: str) -> None:
    host.apply(folder, Record(capture=capture, backend=backend), programs_of(host)[backend]())


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_when_new_rules_fail_the_old_ones_are_in_force_and_on_record(
    kernel: Kernel, tmp_path: Path, backend: str
) -> None:
    """Also when the new ones were to be of another backend, for which the old ones had gone."""
    applied(tmp_path, OLD, "iptables")
    kernel.refuses = [NEW]
    with pytest.raises(InterceptionError, match="no"):
        applied(tmp_path, NEW, backend)
    assert kernel.rules == {"iptables": OLD}
    assert records.read(tmp_path, "") == Record(capture=OLD, backend="iptables")


def test_nothing_is_on_record_that_is_not_in_force(kernel: Kernel, tmp_path: Path) -> None:
    applied(tmp_path, OLD, "nft")
    kernel.refuses = [OLD, NEW]
    with pytest.raises(InterceptionError):
        applied(tmp_path, NEW, "nft")
    assert kernel.rules == {}
    assert records.read(tmp_path, "") is None


def test_the_first_rules_that_fail_leave_nothing(kernel: Kernel, tmp_path: Path) -> None:
    kernel.refuses = [NEW]
    with pytest.raises(InterceptionError):
        applied(tmp_path, NEW, "nft")
    assert records.read(tmp_path, "") is None


def test_a_trial_that_cannot_end_is_ended_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever is locked out waits for it, and can do nothing else."""
    outcomes = [InterceptionError("busy"), InterceptionError("busy"), None]

    def revert(*_: object, **__: object) -> bool:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome
        return True

    monkeypatch.setattr(host, "revert", revert)
    monkeypatch.setattr(command, "_PAUSE_SECONDS", 0.0)
    assert command.main([str(tmp_path), "expire", "", "trial"]) == 0
    assert outcomes == []


@pytest.mark.parametrize("others", [False, True])
def test_the_folder_of_our_cgroups_goes_with_the_last_of_them(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    del kernel
    monkeypatch.setattr(host, "cgroup_folder", lambda path: tmp_path / "cgroups" / path)
    for name in ("run_1", *(["run_2"] if others else [])):
        (tmp_path / "cgroups" / "lateen" / name).mkdir(parents=True)
    host.apply(tmp_path, Record(capture=OLD, backend="nft", cgroup="lateen/run_1"), programs_of(host)["nft"]())
    assert host.revert(tmp_path, "")
    assert [folder.name for folder in (tmp_path / "cgroups").rglob("*")] == (["lateen", "run_2"] if others else [])
