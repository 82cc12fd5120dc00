"""The durations of `lateen serve`."""

from __future__ import annotations

import pytest

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.serving import read_debounce


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
