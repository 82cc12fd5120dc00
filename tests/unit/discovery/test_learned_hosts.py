"""The table of learned hosts, in virtual time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.discovery.learned_hosts import (
    EXPIRING_SECONDS,
    REMOVED_SECONDS,
    Bounds,
    HostState,
    LearnedHosts,
)

NOW = 1_800_000_000
WORKLOAD = "reviews-v2.default"


def states(table: LearnedHosts, now: float) -> dict[str, HostState]:
    return {entry.host: entry.state for entry in table.entries(now)}


def test_replicas_are_told_what_their_workload_calls_and_others_are_not() -> None:
    table = LearnedHosts()
    assert table.note(WORKLOAD, ["ratings", "details"], NOW)

    assert table.hosts(WORKLOAD, NOW) == ("details", "ratings")
    assert table.hosts("details-v1.default", NOW) == ()


def test_a_host_expires_then_is_removed() -> None:
    """Both steps count from when it was last seen."""
    table = LearnedHosts()
    table.note(WORKLOAD, ["ratings"], NOW)

    assert states(table, NOW + EXPIRING_SECONDS - 1) == {"ratings": HostState.ACTIVE}
    assert states(table, NOW + EXPIRING_SECONDS) == {"ratings": HostState.EXPIRING}
    assert table.hosts(WORKLOAD, NOW + REMOVED_SECONDS - 1) == ("ratings",)
    assert table.hosts(WORKLOAD, NOW + REMOVED_SECONDS) == ()
    assert table.age(NOW + REMOVED_SECONDS - 1) == 0
    assert table.age(NOW + REMOVED_SECONDS) == 1
    assert len(table) == 0


def test_an_expiring_host_that_is_seen_again_is_active() -> None:
    table = LearnedHosts()
    table.note(WORKLOAD, ["ratings"], NOW)
    later = NOW + REMOVED_SECONDS - 1

    assert not table.note(WORKLOAD, ["ratings"], later), "it is not new"
    assert states(table, later) == {"ratings": HostState.ACTIVE}


def test_a_clock_that_was_set_back_keeps_nothing_for_longer() -> None:
    table = LearnedHosts()
    table.note(WORKLOAD, ["ratings"], NOW + 10 * REMOVED_SECONDS)
    table.age(NOW)

    assert states(table, NOW) == {"ratings": HostState.ACTIVE}
    assert table.age(NOW + REMOVED_SECONDS) == 1


def test_least_recently_seen_goes_first() -> None:
    table = LearnedHosts(Bounds(workloads=2, hosts_per_workload=2, hosts=3))
    table.note("a", ["one", "two"], NOW)
    table.note("a", ["one"], NOW)
    table.note("a", ["three"], NOW)
    assert table.hosts("a", NOW) == ("one", "three")

    table.note("b", ["one"], NOW)
    table.note("a", ["one"], NOW)
    table.note("c", ["one"], NOW)
    assert [entry.workload for entry in table.entries(NOW)] == ["a", "a", "c"]

    table.note("c", ["two"], NOW)
    assert [(entry.workload, entry.host) for entry in table.entries(NOW)] == [("c", "one"), ("c", "two")]


@pytest.mark.parametrize("host", ["", "a b", "a|b", "a\n", "x" * 254, "ä"])
def test_what_cannot_be_the_host_of_a_cluster_is_left_out(host: str) -> None:
    table = LearnedHosts()
    assert not table.note(WORKLOAD, [host], NOW)
    assert len(table) == 0


def test_it_reads_what_it_wrote() -> None:
    table, again = LearnedHosts(), LearnedHosts()
    table.note(WORKLOAD, ["ratings", "*.example.com", "::1"], NOW)
    table.note("web.default", ["reviews"], NOW + 5)

    assert again.take_json(json.loads(json.dumps(table.to_json())), NOW + 10) == 0
    assert list(again.entries(NOW + 10)) == list(table.entries(NOW + 10))


def test_what_is_too_old_is_not_taken_over() -> None:
    table, again = LearnedHosts(), LearnedHosts()
    table.note(WORKLOAD, ["ratings"], NOW)
    again.take_json(table.to_json(), NOW + REMOVED_SECONDS)

    assert len(again) == 0


def test_entries_that_cannot_be_read_cost_no_others() -> None:
    hosts: dict[str, Any] = {"good": NOW, "a b": NOW, "text": "x", "truth": True, "before time": -1, "huge": 1 << 60}
    table = LearnedHosts()

    assert table.take_json({"version": 1, "workloads": {WORKLOAD: hosts, "other": 7}}, NOW) == 6
    assert table.hosts(WORKLOAD, NOW) == ("good",)


@pytest.mark.parametrize("value", [None, [], {}, {"version": 1}, {"workloads": {}}, {"version": 2, "workloads": {}}])
def test_another_thing_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="it "):
        LearnedHosts().take_json(value, NOW)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aA.|\x00é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(_json)
def test_no_content_raises_anything_else(content: object) -> None:
    LearnedHosts().take_json({"version": 1, "workloads": {"a": content}, "more": content}, NOW)


_steps = st.lists(
    st.tuples(
        st.integers(0, EXPIRING_SECONDS), st.sampled_from("abcd"), st.lists(st.sampled_from("12345"), max_size=4)
    ),
    max_size=30,
)


@given(_steps)
def test_ages_are_exact_when_there_is_room(steps: list[tuple[int, str, list[str]]]) -> None:
    """A host is active, expiring or gone by the time since it was last seen and by nothing else, aged or not."""
    table = LearnedHosts()
    seen: dict[tuple[str, str], int] = {}
    now = NOW
    for number, (pause, workload, hosts) in enumerate(steps):
        now += pause
        table.note(workload, hosts, now)
        seen |= {(workload, host): now for host in hosts}
        if number % 3 == 0:
            table.age(now)
        expected = {
            key: HostState.EXPIRING if now - at >= EXPIRING_SECONDS else HostState.ACTIVE
            for key, at in seen.items()
            if now - at < REMOVED_SECONDS
        }
        assert {(entry.workload, entry.host): entry.state for entry in table.entries(now)} == expected


@given(_steps, st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
def test_bounds_hold_and_the_newest_is_kept(
    steps: list[tuple[int, str, list[str]]], workloads: int, per_workload: int, every: int
) -> None:
    bounds = Bounds(workloads=workloads, hosts_per_workload=per_workload, hosts=every)
    table = LearnedHosts(bounds)
    for pause, workload, hosts in steps:
        table.note(workload, hosts, NOW + pause)
        lines = list(table.entries(NOW + pause))
        names = [line.workload for line in lines]

        assert len(table) == len(lines) <= every
        assert len(set(names)) <= workloads
        assert all(names.count(name) <= per_workload for name in names)
        assert not hosts or hosts[-1] in table.hosts(workload, NOW + pause)
