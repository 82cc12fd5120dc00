"""Checks before joining: what was observed in, one line each out."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from lateen.cli.joining.checks import Check, FolderSeen, Observations, PortInUse, ServerSeen, State, check, problems

NOW = 1_000_000.0
SERVERS = tuple(
    ServerSeen(what=what, port=port, reached=True, trusted=True, begins=NOW - 3600, ends=NOW + 3600)
    for what, port in (("secure", 15012), ("join", 15013))
)
FINE = Observations(
    now=NOW,
    root=True,
    elsewhere=False,
    offline=False,
    user="",
    user_known=True,
    python="/opt/lateen/bin/python",
    python_problem="",
    envoy="1.40.0",
    envoy_problem="",
    systemd=True,
    starts=True,
    folders=(FolderSeen(path="/etc/lateen", writable=True, free_bytes=1 << 30),),
    strangers=(),
    token_problem="",
    token_todo="",
    token_file="t",
    token_subject="default/web",
    token_issued=NOW - 10,
    token_expires=NOW + 3600,
    control_plane=("plane", 15012),
    addresses=("10.0.0.5",),
    dns_problem="",
    own_address="10.0.0.7",
    address_problem=0,
    ports=(PortInUse(address="10.0.0.7", port=15020, problem=0),),
    servers=SERVERS,
)


def of(seen: Observations, name: str) -> Check:
    (found,) = (each for each in check(seen) if each.name == name)
    return found


def test_nothing_stands_in_the_way_of_a_machine_that_is_fine() -> None:
    assert {each.state for each in check(FINE)} == {State.OK}


TAKEN = (PortInUse(address="10.0.0.7", port=8080, problem=errno.EADDRINUSE, declared=True),)
AWAY = tuple(ServerSeen(what=each.what, port=each.port, reached=False, reason="no answer") for each in SERVERS)
STRANGE = tuple(replace(each, trusted=False, reason="unknown issuer") for each in SERVERS)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"root": False}, "user", "needs root"),
        ({"user": "mesh", "user_known": False}, "user", "no user 'mesh'"),
        ({"python_problem": "Permission denied"}, "python", "Permission denied"),
        ({"envoy_problem": "Envoy is missing", "envoy": ""}, "envoy", "missing"),
        ({"systemd": False}, "systemd", "not started by systemd"),
        ({"folders": (FolderSeen(path="/etc", writable=False, free_bytes=1 << 30),)}, "disk", "/etc cannot be written"),
        ({"folders": (FolderSeen(path="/etc", writable=True, free_bytes=1 << 20),)}, "disk", "1 MiB left"),
        ({"strangers": ("/etc/lateen/web.json",)}, "files", "no join made it"),
        ({"token_problem": "it expired", "token_todo": "another"}, "token", "expired"),
        ({"own_address": ""}, "address", "no address"),
        ({"address_problem": errno.EADDRNOTAVAIL}, "address", "EADDRNOTAVAIL"),
        ({"ports": TAKEN}, "ports", "10.0.0.7:8080 is taken"),
        ({"rules_problem": "there is no user 'app'", "rules_todo": "`useradd`"}, "rules", "no user 'app'"),
        ({"servers": STRANGE}, "roots", "unknown issuer"),
    ],
)
def test_each_obstacle_is_one_problem_with_something_to_do(change: dict[str, object], name: str, words: str) -> None:
    """One cause, one problem: what cannot be looked at because of it is skipped."""
    checks = check(replace(FINE, **change))  # type: ignore[arg-type]
    (found,) = problems(checks)
    assert (found.name, words in found.message) == (name, True), found
    assert found.todo


def test_one_of_several_control_planes_is_enough() -> None:
    checks = check(replace(FINE, others_away=("cp2:15012 cannot be joined by now: no answer",)))
    assert not problems(checks)
    assert [each.name for each in checks if each.state is State.WARNING] == ["others"]


def test_a_network_that_is_away_is_no_fault_of_the_machine() -> None:
    """And is said so: the command ends with another code."""
    for change in ({"dns_problem": "Name or service not known", "addresses": (), "servers": ()}, {"servers": AWAY}):
        found = problems(check(replace(FINE, **change)))
        assert found
        assert all(each.network for each in found)


@pytest.mark.parametrize(
    ("now", "state", "words"),
    [
        (NOW, State.OK, "fits"),
        (NOW - 3600 - 61, State.PROBLEM, "too early: the token was made"),
        (NOW - 10 - 59, State.OK, "fits"),
        (NOW - 10 - 61, State.PROBLEM, "61 seconds too early"),
        (NOW + 3601, State.PROBLEM, "certificate ended"),
    ],
)
def test_a_wrong_clock_is_known_by_the_token_and_the_certificate(now: float, state: State, words: str) -> None:
    found = of(replace(FINE, now=now), "clock")
    assert (found.state, words in found.message) == (state, True), found


def test_a_clock_before_the_control_planes_certificate_without_a_date_in_the_token() -> None:
    found = of(replace(FINE, now=NOW - 3 * 3600, token_issued=0.0), "clock")
    assert "2 hours too early: the control plane's certificate begins" in found.message


def test_loopback_is_a_warning_and_offline_looks_at_no_network() -> None:
    assert of(replace(FINE, own_address="127.0.0.9"), "address").state is State.WARNING
    offline = check(replace(FINE, offline=True, servers=AWAY, dns_problem="x"))
    assert not problems(offline)


def test_without_systemd_it_is_installed_but_not_started() -> None:
    assert of(replace(FINE, systemd=False, starts=False), "systemd").state is State.WARNING
