"""Probes and annotations of groups, as agents are told them; which of them an agent takes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from lateen.agent import workload
from lateen.agent.attach_protocol import Registered
from lateen.agent.settings import AgentSettings, SettingsError
from lateen.config.probes import probe_of, problem_of, scraped
from lateen.config.proxy_config import ReadinessProbe
from lateen.model.probes import Probe
from lateen.model.proxy_settings import GroupTraits, ProxySettings

RUN = AgentSettings(mode="run", service="web", ports=((80, "http"),), command=("app",))
COMMAND = Probe(kind="exec", command=("check",))
TCP = Probe(kind="tcp", port=80)


def said(**fields: object) -> ReadinessProbe:
    return msgspec.convert(fields, ReadinessProbe)


def test_what_is_unset_or_zero_has_kubernetes_defaults() -> None:
    probe = probe_of(said(httpGet={"port": 80, "path": "x", "scheme": "HTTPS"}, failureThreshold=2))
    assert probe == Probe(kind="http", port=80, path="/x", tls=True, failures=2, period=10, timeout=1)


def test_a_probe_that_no_agent_can_make_has_a_problem_and_is_not_told() -> None:
    probe = said(httpGet={"port": 80, "path": "/a b"})
    assert (probe_of(probe), bool(problem_of(probe))) == (None, True)


@pytest.mark.parametrize(
    ("annotations", "page"),
    [
        ({}, (0, "")),
        ({"prometheus.io/port": "80"}, (0, "")),
        ({"prometheus.io/scrape": "true"}, (0, "/metrics")),
        ({"prometheus.io/scrape": "true", "prometheus.io/port": "9", "prometheus.io/path": "/m"}, (9, "/m")),
        ({"prometheus.io/scrape": "true", "prometheus.io/path": "m\r\n"}, (0, "")),
    ],
)
def test_annotations(annotations: dict[str, str], page: tuple[int, str]) -> None:
    assert scraped(annotations) == page


def told(probe: Probe | None, of_all: Probe | None = None) -> Registered:
    return Registered("a", proxy=ProxySettings(probe=of_all), group=GroupTraits(probe=probe))


def test_a_flag_wins_over_the_group_and_the_group_over_the_mesh() -> None:
    other = Probe(kind="tcp", port=81)
    assert workload.as_told(replace(RUN, probe=TCP), told(other)).probe == TCP
    assert workload.as_told(RUN, told(TCP, other)).probe == TCP
    assert workload.as_told(RUN, told(None, other)).probe == other


def test_a_command_of_the_control_plane_is_taken_only_by_leave() -> None:
    refused = workload.as_told(RUN, told(COMMAND))
    assert (refused.probe, workload.declines_probe(refused, told(COMMAND))) == (None, True)
    allowed = workload.as_told(replace(RUN, group_exec=True), told(COMMAND))
    assert (allowed.probe, workload.declines_probe(allowed, told(COMMAND))) == (COMMAND, False)
    # Nor by way of what was kept when it was allowed.
    assert workload.as_remembered(RUN, allowed.to_json()).probe is None


def test_settings_with_a_probe_survive_json_and_the_sidecars_own_ports_are_no_pages() -> None:
    settings = replace(RUN, probe=replace(TCP, headers=(("a", "b"),)), metrics_path="/m", metrics_port=9)
    assert AgentSettings.from_json(settings.to_json()) == settings
    for wrong in ({"metrics_path": "/m", "metrics_port": 15020}, {"probe": replace(TCP, port=15021)}):
        with pytest.raises(SettingsError, match="sidecar's own"):
            replace(RUN, **wrong)
