"""`lateen join` installs the agent that `lateen proxy sidecar` would be with the same flags."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lateen.agent.settings import AgentSettings
from lateen.cli import join as joining
from lateen.cli.exits import Failure
from lateen.cli.processes import sidecar
from lateen.cli.workload_options import Intercept
from lateen.model.probes import GRPC

OF_THE_UNIT = {"state", "print_addresses"}
"""Flags of a sidecar that joining decides itself."""


class _Looked(Exception):  # noqa: N818  it is how these tests end a join
    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def look(_: str, settings: AgentSettings, **__: Any) -> None:
        raise _Looked(settings)

    monkeypatch.setattr(joining, "_look", look)
    (tmp_path / "token").write_text("x")
    return tmp_path / "token"


def test_every_flag_of_a_sidecar_is_one_of_joining() -> None:
    flags = inspect.signature(sidecar).parameters.keys() - OF_THE_UNIT
    assert flags <= inspect.signature(joining.join).parameters.keys()


def test_what_is_said_of_the_app_is_said_to_its_agent(token: Path) -> None:
    with pytest.raises(_Looked) as raised:
        joining.join(
            control_plane="cp:15012", token=token, service="web", port=["80/grpc"], probe="grpc://:80/x",
            probe_failures=3, allow_exec_probe=True, metrics="9090/m", intercept=Intercept.HOST,
            app_user="web", dns=False,
        )  # fmt: skip
    settings = raised.value.settings
    assert settings.probe is not None
    assert (settings.probe.kind, settings.probe.service, settings.probe.failures) == (GRPC, "x", 3)
    assert (settings.metrics_port, settings.metrics_path, settings.group_exec) == (9090, "/m", True)
    assert not settings.dns


def test_rules_take_root(token: Path) -> None:
    """An agent that may not make them would end at each of its starts."""
    join = partial(
        joining.join, control_plane="cp:15012", token=token, service="web", intercept=Intercept.HOST, user="mesh"
    )
    with pytest.raises(Failure, match="--user mesh: the rules"):
        join(app_user="web")
    with pytest.raises(_Looked):
        join(own_rules=False)


def test_a_gateway_has_no_app(token: Path) -> None:
    with pytest.raises(Failure, match="--gateway has no service"):
        joining.join(control_plane="cp:15012", token=token, gateway=True, name="in", probe="tcp://:80")
