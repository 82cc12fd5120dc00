"""AgentSettings: the seam between the command line and the agent process."""

from __future__ import annotations

import pytest

from lateen.agent.settings import AgentSettings, SettingsError
from lateen.model.proxies import Upstream

FULL = AgentSettings(
    mode="run",
    service="reviews",
    namespace="shop",
    version="v2",
    labels={"tier": "back"},
    ports=((9080, "http"), (7070, "")),
    upstreams=(Upstream(host="ratings", port=9080, local_port=19080),),
    port_map={80: 8080},
    command=("python", "app.py"),
)


def test_settings_survive_the_exec() -> None:
    """What the CLI writes is what the agent reads, types included."""
    assert AgentSettings.from_json(FULL.to_json()) == FULL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"mode": "run", "colour": 1}', "unknown setting 'colour'"),
        ('{"service": "a"}', "cannot be read"),
        ('{"mode": "walk"}', "not one of run, sidecar, gateway"),
        ('{"mode": "run", "service": "a"}', "no command"),
        ('{"mode": "gateway"}', "needs a name"),
        ('{"mode": "sidecar", "service": "a", "command": ["x"]}', "runs no command"),
        ('{"mode": "sidecar", "service": "a", "interception": "netns"}', "use --intercept proxy or none"),
        ('{"mode": "sidecar", "service": "a", "interception": "magic"}', "not one of"),
        ('{"mode": "sidecar", "service": "a", "ports": [[0, ""]]}', "not between"),
        ('{"mode": "sidecar", "service": "a", "ports": [[80, ""], [80, "http"]]}', "twice"),
        ('{"mode": "sidecar"}', "no service name"),
    ],
)
def test_contradictory_settings_say_what_to_write_instead(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AgentSettings.from_json(text)
