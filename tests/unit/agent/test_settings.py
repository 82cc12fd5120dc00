"""AgentSettings: the seam between the command line and the agent process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lateen.agent.settings import AgentSettings, SettingsError
from lateen.envoy.statistics import StatsInclusion
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
    token_file="/run/join-token",
    ca_file="/run/roots.pem",
    command=("python", "app.py"),
    stats_inclusion=StatsInclusion(prefixes=("runtime",), suffixes=("_open",), regexps=(r"http\..*",)),
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
        ('{"mode": "run", "service": "a", "command": ["x"], "app_stop_seconds": -1}', "--stop-timeout -1 is not"),
        ('{"mode": "run", "service": "a", "command": ["x"], "app_stop_seconds": NaN}', "--stop-timeout nan is not"),
        ('{"mode": "gateway"}', "needs a name"),
        ('{"mode": "sidecar", "service": "a", "command": ["x"]}', "runs no command"),
        ('{"mode": "sidecar", "service": "a", "interception": "netns"}', "use `lateen run`, or host"),
        ('{"mode": "sidecar", "service": "a", "interception": "host", "app_user": "root"}', "a user of its own"),
        ('{"mode": "sidecar", "service": "a", "interception": "magic"}', "not one of"),
        (
            '{"mode": "sidecar", "service": "a", "interception": "host", "app_user": "b", "exclude_ports": [0]}',
            "--exclude-port 0 is not between",
        ),
        (
            '{"mode": "sidecar", "service": "a", "interception": "host", "app_user": "b", "exclude_networks": ["x"]}',
            "--exclude-network 'x' is not a network",
        ),
        ('{"mode": "sidecar", "service": "a", "ports": [[0, ""]]}', "not between"),
        ('{"mode": "sidecar", "service": "a", "ports": [[80, ""], [80, "http"]]}', "--port 80 is given twice"),
        ('{"mode": "sidecar", "service": "A"}', "--service 'A'"),
        ('{"mode": "gateway", "name": "a", "namespace": "a.b"}', "--namespace 'a.b'"),
        ('{"mode": "gateway", "name": "a_b"}', "--name 'a_b'"),
        ('{"mode": "sidecar", "service": "a", "version": "v 1"}', "--version 'v 1'"),
        ('{"mode": "sidecar", "service": "a", "network": "-"}', "--network '-'"),
        ('{"mode": "sidecar", "service": "a", "service_account": ""}', "--service-account ''"),
        ('{"mode": "sidecar", "service": "a", "locality": "a/b/c/d"}', "not REGION/ZONE/SUBZONE"),
        ('{"mode": "sidecar", "service": "a", "locality": "' + "x" * 201 + '"}', "not REGION/ZONE/SUBZONE"),
        ('{"mode": "sidecar", "service": "a", "address": "nonsense"}', "--address 'nonsense'"),
        ('{"mode": "sidecar", "service": "a", "labels": {"lateen.io/discovery-scope": "ful"}}', "lazy or full"),
        ('{"mode": "sidecar", "service": "a", "address": "0.0.0.0"}', "not an address of one host"),
        ('{"mode": "sidecar"}', "no service name"),
        ('{"mode": "sidecar", "service": "a", "stats_inclusion": {"prefixes": [""]}}', "-prefix is empty"),
        ('{"mode": "sidecar", "service": "a", "stats_inclusion": {"words": ["a"]}}', "cannot be read"),
    ],
)
def test_contradictory_settings_say_what_to_write_instead(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AgentSettings.from_json(text)


def upstreams(*ports: int) -> tuple[Upstream, ...]:
    return tuple(Upstream(host="ratings", port=9080, local_port=port) for port in ports)


@pytest.mark.parametrize(
    ("ports", "local", "port_map", "message"),
    [
        ((), (19080, 19080), {}, "--upstream ...=19080 is given twice"),
        ((9080,), (9080,), {}, "9080 is the local port of an upstream and a --port"),
        ((), (0,), {}, "port 0 is not between"),
        *(((port,), (), {}, f"port {port} is the sidecar's own") for port in (15000, 15001, 15020, 15021, 15090)),
        *(((), (port,), {}, f"port {port} is the sidecar's own") for port in (15000, 15001, 15020, 15021, 15090)),
        ((), (), {80: 15021}, "choose another for --port-map"),
        ((), (), {80: 8080, 81: 8080}, "--port-map ...:8080 is given twice"),
    ],
)
def test_no_two_listeners_want_one_port(
    ports: tuple[int, ...], local: tuple[int, ...], port_map: dict[int, int], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        AgentSettings(
            mode="sidecar",
            service="a",
            ports=tuple((port, "") for port in ports),
            upstreams=upstreams(*local),
            port_map=port_map,
        )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (StatsInclusion(suffixes=("x" * 1025,)), "--stats-inclusion-suffix 'xxx.*longer than 1024"),
        (StatsInclusion(regexps=("",)), "--stats-inclusion-regexp is empty: everything is --stats-inclusion-regexp"),
        (StatsInclusion(prefixes=("a",) * 40, suffixes=("b",) * 25), "more than 64"),
    ],
)
def test_statistics_are_added_by_patterns_that_envoy_starts_with(added: StatsInclusion, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(FULL, stats_inclusion=added)
