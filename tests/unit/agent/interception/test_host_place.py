"""Whose connections `--intercept host` takes: never those of the agent and its Envoy, which would come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lateen.agent.interception import records, transparent
from lateen.agent.interception.capture import PROXY_ID, Capture
from lateen.agent.interception.programs import InterceptionError
from lateen.agent.interception.records import Record
from lateen.agent.interception.transparent import HostPlace
from lateen.agent.settings import AgentSettings

Make = Callable[..., HostPlace]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make the place of an agent that root runs, on a machine that has cgroups."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.getgroups", lambda: [0])
    monkeypatch.setattr("os.getegid", lambda: 0)
    monkeypatch.setattr(transparent, "cgroup_root", lambda: "")

    def made(mode: str = "run", **given: Any) -> HostPlace:
        command = ("app",) if mode == "run" else ()
        settings = AgentSettings(
            mode=mode, service="web", interception="host", address="10.0.0.7", command=command, **given
        )
        return HostPlace(settings, tmp_path)

    return made


@pytest.mark.parametrize("user", ["", "0", "root"])
def test_an_app_of_the_agents_own_user_is_told_by_a_cgroup(make: Make, user: str) -> None:
    wanted = make(app_user=user)._wanted
    assert wanted.users == ()
    assert wanted.cgroups
    assert not wanted.takes(0)


def test_an_app_of_another_user_is_told_by_that(make: Make) -> None:
    wanted = make(app_user="4711")._wanted
    assert (wanted.users, wanted.cgroups) == ((4711,), ())


def test_a_sidecar_is_not_to_intercept_its_own_user(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever name that user goes: settings know the usual ones only."""
    monkeypatch.setattr(transparent, "_user", lambda name: (0, 0, ()) if name else None)
    with pytest.raises(InterceptionError, match="--app-user toor is who the agent and its Envoy run as"):
        make(mode="sidecar", app_user="toor")
    assert make(mode="sidecar", app_user="toor", hops="inbound", ports=((80, "http"),))._wanted.users == (0,)


@pytest.mark.parametrize(
    ("capture", "refused"),
    [
        (Capture(users=(0,)), True),
        (Capture(exclude_users=(PROXY_ID,)), True),  # everybody else
        (Capture(users=(0,), outbound_port=16001), False),
        (Capture(users=(4711,)), False),
        (Capture(exclude_users=(0,)), False),
        (Capture(exclude_groups=(0,)), False),
        (Capture(cgroups=("lateen/other",)), False),
        (Capture(outbound=False, inbound=True, users=(0,)), False),
    ],
)
def test_rules_by_hand_must_leave_the_agent_alone(make: Make, tmp_path: Path, capture: Capture, refused: bool) -> None:
    records.write(tmp_path, Record(capture=capture, backend="nft"))
    if refused:
        with pytest.raises(InterceptionError, match="--exclude-user 0"):
            make(mode="sidecar", own_rules=False)
    else:
        make(mode="sidecar", own_rules=False)


def test_a_given_address_does_not_let_the_other_ip_version_slip_by(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the app sends over IPv6 is intercepted also where the machine is registered by an IPv4 address."""
    monkeypatch.setattr(transparent, "own_addresses", lambda: ["192.0.2.1", "2001:db8::1"])
    place = make(app_user="4711")
    assert place.addresses == ("10.0.0.7", "2001:db8::1")
    assert place._wanted.ipv6
    monkeypatch.setattr(transparent, "own_addresses", lambda: ["192.0.2.1"])
    assert not make(app_user="4711")._wanted.ipv6
