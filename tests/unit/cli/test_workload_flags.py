"""Flags of `run` and `proxy`."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

from lateen.agent.settings import AgentSettings
from lateen.cli import processes
from lateen.cli.exits import ExitCode, Failure
from lateen.cli.join import join
from lateen.cli.main import run
from lateen.cli.workload_flags import check_control_plane, read_labels, read_port_map, split_name, workload_flags
from lateen.cli.workload_options import PROBE_TIMES
from lateen.envoy.statistics import StatsInclusion
from lateen.model.proxies import Upstream


def test_flags_become_settings() -> None:
    flags = workload_flags(["app=web", "tier="], ["9080/http", "7070"], ["reviews:9080=19080", "a.shop.svc:1=2"])

    assert flags == {
        "labels": {"app": "web", "tier": ""},
        "ports": ((9080, "http"), (7070, "")),
        "upstreams": (
            Upstream(host="reviews", port=9080, local_port=19080),
            Upstream(host="a.shop.svc", port=1, local_port=2),
        ),
    }
    assert read_port_map(["80:8080"]) == {80: 8080}
    assert split_name("reviews", "--service") == ("reviews", "default")
    assert split_name("reviews.shop", "--service") == ("reviews", "shop")


@pytest.mark.parametrize("text", ["", ".", "Reviews", "reviews.", "reviews.shop.svc", "re views", "-a", "a" * 64])
def test_a_name_is_a_dns_label(text: str) -> None:
    with pytest.raises(Failure, match="--service") as raised:
        split_name(text, "--service")
    assert raised.value.code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["9080/htp", "0", "65536", "http", "9080/", "-1", "٣", "9080/http/2", "9" * 5000])
def test_a_port_is_a_number_and_a_known_protocol(text: str) -> None:
    with pytest.raises(Failure) as raised:
        workload_flags((), [text], ())
    assert raised.value.code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["reviews", "reviews:9080", "reviews=19080", ":9080=1", "reviews:x=1", "reviews:1=x"])
def test_an_upstream_is_name_port_and_local_port(text: str) -> None:
    with pytest.raises(Failure, match="--upstream"):
        workload_flags((), (), [text])


@pytest.mark.parametrize("text", ["app", "=web", "a b=c", "app=we b", "app=-"])
def test_a_label_is_key_and_value(text: str) -> None:
    with pytest.raises(Failure, match="--label"):
        read_labels([text])


@pytest.mark.parametrize("text", ["80", "80:", ":80", "80:x", "80:0"])
def test_a_port_map_is_two_ports(text: str) -> None:
    with pytest.raises(Failure, match="--port-map"):
        read_port_map([text])


@pytest.mark.parametrize("text", ["", "127.0.0.1", "http://127.0.0.1:15010", "127.0.0.1:x", ":15010"])
def test_a_control_plane_is_host_and_port(text: str) -> None:
    with pytest.raises(Failure, match="--control-plane"):
        check_control_plane(text)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> list[AgentSettings]:
    """Settings that would have been given to an agent."""
    given: list[AgentSettings] = []
    monkeypatch.setattr(os, "execv", lambda _program, words: given.append(AgentSettings.from_json(words[-1])))
    return given


def test_run_execs_the_agent_with_everything_it_was_told(agents: list[AgentSettings], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    roots = tmp_path / "roots.pem"
    roots.touch()
    words = "run --service reviews.shop --version v2 --label team=a --port 9080/http --upstream ratings:1=2"
    words += f" --service-account sa --locality r/z/s --control-plane cp:1 --token {token} --intercept none"
    words += f" --ca-file {roots} --stop-timeout 45"
    run([*words.split(), "--address", "127.9.9.9", "--print-addresses", "--", "python", "app.py", "--port", "1"])

    [settings] = agents
    assert (settings.mode, settings.service, settings.namespace, settings.version) == ("run", "reviews", "shop", "v2")
    assert settings.command == ("python", "app.py", "--port", "1")
    assert (settings.ports, settings.labels, settings.interception) == (((9080, "http"),), {"team": "a"}, "none")
    assert (settings.token_file, settings.ca_file) == (str(token), str(roots))
    assert settings.print_addresses
    assert settings.app_stop_seconds == 45


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--service", "web", "--", "python"],
        ["proxy", "sidecar", "--service", "web"],
        ["proxy", "gateway", "--name", "ingress"],
    ],
)
def test_statistics_can_be_added_to_every_kind_of_proxy(words: list[str], agents: list[AgentSettings]) -> None:
    added = ["--stats-inclusion-prefix", "runtime", "--stats-inclusion-prefix", "tcp.", "--stats-inclusion-suffix"]
    added += ["_open", "--stats-inclusion-regexp", r"cluster\..*\.membership_.*"]
    start = 1 if words[0] == "run" else 2
    run([*words[:start], *added, *words[start:]])

    assert agents[0].stats_inclusion == StatsInclusion(
        prefixes=("runtime", "tcp."), suffixes=("_open",), regexps=(r"cluster\..*\.membership_.*",)
    )


@pytest.mark.parametrize(("text", "message"), [("a(b", "missing )"), ("a(?!b)", "does not compile"), ("", "empty")])
def test_an_expression_that_envoy_would_not_compile_is_refused(
    text: str, message: str, agents: list[AgentSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "--service", "web", "--stats-inclusion-regexp", text, "--", "python"]) == ExitCode.USAGE
    assert agents == []
    printed = capsys.readouterr().err
    assert "--stats-inclusion-regexp" in printed
    assert message in printed


def test_times_of_a_probe_are_nothing_without_one() -> None:
    """What `read_probe` takes for "not given" is what the commands have as defaults."""
    for command in (processes.run, processes.sidecar, join):
        defaults = inspect.signature(command).parameters
        assert {name: defaults[f"probe_{name}"].default for name in PROBE_TIMES} == PROBE_TIMES


def test_the_command_needs_no_dashes_before_it(agents: list[AgentSettings]) -> None:
    run(["run", "--service", "web", "python", "-m", "http.server", "--version", "x"])

    assert agents[0].command == ("python", "-m", "http.server", "--version", "x")
    assert agents[0].version == ""


def test_a_gateway_is_told_its_port_map(agents: list[AgentSettings]) -> None:
    run(
        ["proxy", "gateway", "--name", "ingress", "--namespace", "edge", "--label", "istio=in", "--port-map", "80:8080"]
    )

    assert (agents[0].mode, agents[0].name, agents[0].namespace) == ("gateway", "ingress", "edge")
    assert agents[0].port_map == {80: 8080}


@pytest.mark.parametrize(
    "words",
    [
        "run --service web",
        "run -- python app.py",
        "run --service web --port x -- python",
        "run --service web --port 1 --port 1 -- python",
        "run --service web --intercept magic -- python",
        "run --service web --port 80 --probe-period 1 -- python",
        "run --service web --intercept netns --exclude-network 10.0.0.0/33 -- python",
        "run --service web --intercept netns --address 10.0.0.1 -- python",
        "run --service web --token /no/such/file -- python",
        "run --service web --ca-file /no/such/file -- python",
        "proxy sidecar",
        "proxy gateway",
        "proxy",
        "proxy teapot",
    ],
)
def test_wrong_usage_is_exit_code_2_and_starts_nothing(
    words: str, agents: list[AgentSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.split()) == ExitCode.USAGE
    assert agents == []
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
