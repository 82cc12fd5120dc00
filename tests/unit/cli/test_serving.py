"""What `lateen serve` makes of its flags."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.serving import ca_folder, read_certificate_ttl, read_debounce, read_rotation_pause


def test_durations_are_written_as_everywhere_else() -> None:
    assert read_debounce("100ms", "10s") == (0.1, 10.0)
    assert read_debounce("0", "1m30s") == (0.0, 90.0)


@pytest.mark.parametrize(
    ("quiet", "longest", "flag"),
    [
        ("0.5", "10s", "--debounce-quiet"),
        ("100ms", "ten", "--debounce-max"),
        ("-1ms", "10s", "--debounce-quiet"),
        ("100ms", "-1ms", "--debounce-max"),
        ("10s", "9s", "--debounce-quiet"),
    ],
)
def test_a_duration_that_cannot_be_is_wrong_usage_of_its_flag(quiet: str, longest: str, flag: str) -> None:
    with pytest.raises(Failure, match=flag) as raised:
        read_debounce(quiet, longest)

    assert raised.value.code is ExitCode.USAGE
    assert "\n" not in raised.value.message


def test_the_certificate_authority_lives_with_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ca_folder(tmp_path / "given") == tmp_path / "given" / "ca"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert ca_folder(None) == tmp_path / "state" / "lateen" / "ca"


def test_without_a_place_it_is_in_memory_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with structlog.testing.capture_logs() as logs:
        assert ca_folder(None) is None
    assert "--state DIR" in logs[0]["event"]


def test_the_life_of_certificates_is_a_minute_to_a_day() -> None:
    assert [read_certificate_ttl(text) for text in ("1m", "90m", "24h")] == [60.0, 5400.0, 86400.0]
    for text in ("59s", "24h1s", "0", "-1h", "1d"):
        with pytest.raises(Failure, match="--certificate-ttl") as raised:
            read_certificate_ttl(text)
        assert raised.value.code is ExitCode.USAGE


def test_a_rotation_need_not_pause_but_cannot_go_back() -> None:
    assert [read_rotation_pause(text) for text in ("0", "30s")] == [0.0, 30.0]
    with pytest.raises(Failure, match="--rotation-pause"):
        read_rotation_pause("-1s")
