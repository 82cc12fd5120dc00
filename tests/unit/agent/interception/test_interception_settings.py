"""Settings of the agent that concern interception."""

from __future__ import annotations

import pytest

from lateen.agent.interception.places import Place, hops, place
from lateen.agent.settings import AgentSettings, SettingsError
from lateen.model.proxies import Upstream


def settings(**given: object) -> AgentSettings:
    return AgentSettings(**{"mode": "run", "service": "a", "command": ("x",), **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"interception": "netns", "mode": "sidecar", "command": ()}, "use `lateen run`"),
        ({"interception": "netns", "hops": "inbound"}, "no way out"),
        ({"interception": "netns", "address": "10.0.0.1"}, "leave out --address"),
        ({"interception": "netns", "ports": ((15006, ""),)}, "sidecar's own"),
        ({"interception": "host", "mode": "sidecar", "command": ()}, "--app-user"),
        ({"interception": "host", "inbound_mode": "tproxy"}, "is for --intercept netns"),
        ({"interception": "netns", "inbound_mode": "tproxy", "hops": "outbound"}, "with --hops both"),
        ({"interception": "netns", "upstreams": (Upstream(host="b", port=80, local_port=8080),)}, "calls the service"),
        ({"interception": "netns", "own_rules": False}, "--no-rules is for"),
        ({"own_rules": False}, "--no-rules is for"),
        ({"interception": "host", "hops": "inbound", "exclude_ports": (25,)}, "are of outbound connections"),
        ({"interception": "host", "own_rules": False, "exclude_ports": (25,)}, "lateen intercept apply"),
        ({"hops": "outbound"}, "--hops is for"),
        ({"app_user": "me"}, "--app-user is for"),
        ({"exclude_ports": (25,)}, "--exclude-port is for"),
        ({"exclude_networks": ("10.0.0.0/8",)}, "--exclude-network is for"),
        ({"hops": "none"}, "not one of"),
    ],
)
def test_settings_that_would_not_act_are_refused(given: dict[str, object], why: str) -> None:
    """Nothing that was asked for is left out in silence."""
    with pytest.raises(SettingsError, match=why):
        settings(**given)


def test_settings_read_back_equal() -> None:
    """The agent is told what the command line understood."""
    given = settings(interception="netns", hops="outbound", exclude_ports=(25,), exclude_networks=("10.0.0.0/8",))
    assert AgentSettings.from_json(given.to_json()) == given
    assert hops(given) == (True, False)


def test_without_interception_nothing_is_opened() -> None:
    """The usual agent is where it always was."""
    with place(settings()) as where:
        assert type(where) is Place
        assert not where.intercepts
        assert where.app_entrance() is where.envoy_entrance() is None
