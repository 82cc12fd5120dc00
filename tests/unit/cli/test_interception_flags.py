"""Flags of `lateen intercept`: what would do nothing, or means nobody, is refused before any rule is made."""

from __future__ import annotations

import pytest

from lateen.cli.exits import ExitCode
from lateen.cli.main import run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--user 1 --inbound-port 80", "--inbound-port does nothing with --hops outbound"),
        ("--user 1 --exclude-inbound-port 80", "--exclude-inbound-port does nothing with --hops outbound"),
        ("--hops inbound --inbound-port 80 --user 1", "--user does nothing with --hops inbound"),
        ("--hops inbound --inbound-port 80 --exclude-network 10.0.0.0/8", "--exclude-network does nothing"),
        ("--user no.such.user", "there is no user 'no.such.user'"),
        ("--user 1 --exclude-group no.such.group", "there is no group 'no.such.group'"),
    ],
)
def test_a_flag_that_does_nothing_is_refused(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["intercept", "plan", *flags.split()]) == ExitCode.USAGE
    assert f"lateen: {message}" in capsys.readouterr().err
