"""Durations in Go's syntax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.durations import nanoseconds, seconds, to_fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0s", 0),
        ("1s", 1_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("5.s", 5_000_000_000),
        ("250ms", 250_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1m0.001s", 60_001_000_000),
        ("3us", 3_000),
        ("3µs", 3_000),
        ("7ns", 7),
        ("-2s", -2_000_000_000),
        ("+2s", 2_000_000_000),
    ],
)
def test_go_syntax(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "5sec", "1d", "1.2.3s", "--1s", ".s", "9" * 80 + "s", "300000000h", "1s "]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        nanoseconds(text)


def test_seconds_and_protobuf_fields() -> None:
    assert seconds("1.25s") == 1.25
    assert to_fields("1.25s") == {"seconds": 1, "nanos": 250_000_000}
    assert to_fields("-1.25s") == {"seconds": -1, "nanos": -250_000_000}


@given(st.integers(min_value=0, max_value=9 * 10**12))
def test_milliseconds_are_exact(milliseconds: int) -> None:
    """No float rounding happens on the way to protobuf."""
    fields = to_fields(f"{milliseconds}ms")
    assert fields["seconds"] * 1000 + fields["nanos"] // 1_000_000 == milliseconds
