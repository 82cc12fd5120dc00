"""Substitution commands in header values."""

import pytest

from lateen.config.validation.formatters import formatter_problem


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "100%%",
        "%DOWNSTREAM_REMOTE_ADDRESS%",
        "a %REQ(x-user)% b %REQ(X?Y):10% c",
        "%START_TIME(%s.%3f)%".replace("%s.%3f", "%%s"),
        "%START_TIME%",
        "%DYNAMIC_METADATA(a:b)%",
    ],
)
def test_known_commands_are_admitted(value: str) -> None:
    assert formatter_problem(value) == ""


@pytest.mark.parametrize("value", ["50%", "%NOSUCH%", "%FILTER_STATE()%", "%REQ%", "%lower%", "%%%"])
def test_what_envoy_refuses_is_found(value: str) -> None:
    assert formatter_problem(value)
