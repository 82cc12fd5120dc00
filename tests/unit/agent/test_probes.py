"""The counting of a probe's outcomes, and what is said to and read from gRPC's health service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lateen.agent.probes import (
    Course,
    Tally,
    Verdict,
    health_problem,
    health_request,
    http_problem,
)
from lateen.agent.watching import verdicts
from lateen.model.probes import Probe, shown

PROBE = Probe(kind="tcp", port=80, failures=3, successes=2)
WORDS = {Verdict.UNKNOWN: "?", Verdict.READY: "r", Verdict.SICK: "s"}


def course(outcomes: str, probe: Probe = PROBE) -> str:
    """The verdict after each outcome: `+` a success, `-` a failure."""
    now, said = Course(), ""
    for outcome in outcomes:
        now = now.after("" if outcome == "+" else "broken", probe)
        said += WORDS[now.health.verdict]
    return said


@pytest.mark.parametrize(
    ("outcomes", "verdicts"),
    [
        ("+", "?"),
        ("++", "?r"),
        ("+-+", "???"),
        ("---", "??s"),
        ("--++", "???r"),
        ("++--+", "?rrrr"),
        ("++---", "?rrrs"),
        ("++---+-++", "?rrrssssr"),
        ("--+--+---", "????????s"),
    ],
)
def test_so_many_in_a_row_change_the_verdict(outcomes: str, verdicts: str) -> None:
    assert course(outcomes) == verdicts


def test_one_failure_is_enough_where_the_threshold_is_one() -> None:
    assert course("+-+", replace(PROBE, failures=1, successes=1)) == "rsr"


def test_periods_are_of_beginnings_and_an_app_that_was_never_ready_is_asked_sooner() -> None:
    probe = Probe(kind="tcp", port=80, period=10)
    starting = Course().after("broken", probe)
    assert (starting.pause(probe, 0.25), starting.pause(probe, 3)) == (0.75, 0)
    running = starting.after("", probe)
    assert (running.pause(probe, 0.25), running.after("broken", probe).pause(probe, 0)) == (9.75, 10)


async def test_a_watcher_says_changes_only_and_counts_all() -> None:
    outcomes = iter(["", "", "one", "two", "three", "four", "", ""])
    probe = Probe(kind="tcp", port=80, failures=3, successes=1, period=0.05)
    tally, said = Tally(), []

    async def check() -> str:
        return next(outcomes)

    async for verdict in verdicts(probe, check, tally):
        said.append(verdict)
        if len(said) == 3:
            break
    assert said == [(Verdict.READY, ""), (Verdict.SICK, "three"), (Verdict.READY, "")]
    assert (tally.checks, tally.failures) == (7, 4)


@pytest.mark.parametrize(("status", "good"), [(199, False), (200, True), (399, True), (400, False), (503, False)])
def test_http_is_good_from_200_to_399(status: int, good: bool) -> None:
    assert (http_problem(status) == "") is good


def test_the_health_messages_are_protobufs() -> None:
    """Field 1, length-delimited: the service. Field 1, varint: the status, of which 0 is not even sent."""
    assert health_request("stock") == b"\x0a\x05stock"
    assert health_request("s" * 300) == b"\x0a\xac\x02" + b"s" * 300
    assert health_request("") == b""
    assert health_problem(b"\x08\x01") == ""
    assert health_problem(b"\x08\x02") == "gRPC health NOT_SERVING"
    assert health_problem(b"") == "gRPC health UNKNOWN"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "udp", "port": 1},
        {"kind": "tcp"},
        {"kind": "tcp", "port": 70000},
        {"kind": "tcp", "port": "80"},
        {"kind": "http", "port": 80, "path": "/a b"},
        {"kind": "http", "port": 80, "path": "/a\r\nhost: b"},
        {"kind": "http", "port": 80, "path": "healthz"},
        {"kind": "http", "port": 80, "headers": [["a", "b\r\nc: d"]]},
        {"kind": "http", "port": 80, "headers": [["a", "b"]] * 33},
        {"kind": "exec"},
        {"kind": "exec", "command": [""]},
        {"kind": "exec", "command": ["a\0b"]},
        {"kind": "tcp", "port": 80, "period": 0},
        {"kind": "tcp", "port": 80, "period": float("nan")},
        {"kind": "tcp", "port": 80, "timeout": "1"},
        {"kind": "tcp", "port": 80, "failures": 0},
        {"kind": "tcp", "port": 80, "more": 1},
        [],
    ],
)
def test_what_a_peer_says_that_is_no_probe_is_none(wrong: object) -> None:
    assert Probe.from_json(wrong) is None


def test_a_probe_survives_json() -> None:
    probe = Probe(kind="http", port=80, path="/x", tls=True, headers=(("a", "b"),), failures=1)
    assert Probe.from_json(probe.to_json()) == probe
    assert shown(probe) == "https://:80/x"
