"""Debounce in virtual time: the clock is an argument."""

from __future__ import annotations

from itertools import accumulate, cycle

from hypothesis import given
from hypothesis import strategies as st

from lateen.app.debounce import Debounce


def test_nothing_is_due_before_a_change() -> None:
    assert Debounce(quiet=0.1, maximum=10).due is None
    assert not Debounce(quiet=0.1, maximum=10).take(1e9)


def test_a_single_change_is_due_after_the_quiet_time() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    debounce.changed(5.0)

    assert not debounce.take(5.05)
    assert debounce.due == 5.1
    assert debounce.take(5.1)
    assert debounce.due is None


def test_each_change_starts_the_quiet_time_again() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    for moment in (5.0, 5.09, 5.18):
        debounce.changed(moment)

    assert not debounce.take(5.2)
    assert debounce.take(5.28)


def test_changes_that_never_end_are_taken_after_the_maximum() -> None:
    debounce = Debounce(quiet=0.1, maximum=1.0)
    moment = 5.0
    while not debounce.take(moment):
        debounce.changed(moment)
        moment += 0.05

    assert 6.0 <= moment <= 6.06


def test_an_urgent_change_takes_the_waiting_ones_along_at_once() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    debounce.changed(5.0)
    debounce.changed(5.01, urgent=True)

    assert debounce.take(5.01)
    assert debounce.due is None


def test_urgency_does_not_outlive_its_change() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    debounce.changed(5.0, urgent=True)
    assert debounce.take(5.0)
    debounce.changed(6.0)

    assert not debounce.take(6.05)


def test_after_acting_it_rests_as_long_as_acting_took() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    debounce.changed(5.0, urgent=True)
    assert debounce.take(5.0)
    debounce.changed(5.2, urgent=True)
    debounce.acted(5.3, took=0.3)
    debounce.changed(5.4, urgent=True)

    assert debounce.due == 5.6
    assert not debounce.take(5.5)
    assert debounce.take(5.6)


def test_what_changes_after_the_rest_is_urgent_as_ever() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    debounce.changed(5.0, urgent=True)
    assert debounce.take(5.0)
    debounce.acted(5.3, took=0.3)
    debounce.changed(5.7, urgent=True)

    assert debounce.take(5.7)


def test_a_change_that_is_not_urgent_waits_for_quiet_and_for_the_rest() -> None:
    debounce = Debounce(quiet=0.1, maximum=10)
    debounce.changed(5.0, urgent=True)
    assert debounce.take(5.0)
    debounce.acted(5.3, took=0.3)
    debounce.changed(5.3)
    assert debounce.due == 5.6
    debounce.changed(5.75)

    assert debounce.due == 5.85


def test_no_rest_is_longer_than_the_maximum() -> None:
    debounce = Debounce(quiet=0.1, maximum=1.0)
    debounce.changed(5.0, urgent=True)
    assert debounce.take(5.0)
    debounce.acted(35.0, took=30.0)
    debounce.changed(35.0, urgent=True)

    assert debounce.due == 36.0


@given(
    st.lists(st.floats(min_value=0.0001, max_value=0.05), min_size=1, max_size=30),
    st.lists(st.floats(min_value=0.001, max_value=0.5), min_size=1, max_size=5),
)
def test_churn_keeps_it_busy_for_half_of_the_time_and_delays_no_change_for_long(
    gaps: list[float], works: list[float]
) -> None:
    """Urgent changes without end, twenty to ten thousand in a second, whatever acting takes each time."""
    debounce = Debounce(quiet=0.1, maximum=10.0)
    changes, takes = accumulate(cycle(gaps)), cycle(works)
    coming, now, busy = next(changes), 0.0, 0.0
    waiting: list[float] = []
    while now < 5:
        while coming <= now:
            debounce.changed(coming, urgent=True)
            waiting.append(coming)
            coming = next(changes)
        if debounce.take(now):
            assert now - waiting[0] <= 2 * max(works) + 1e-6
            waiting.clear()
            took = next(takes)
            now, busy = now + took, busy + took
            debounce.acted(now, took)
        else:
            now = min(due for due in (coming, debounce.due) if due is not None)
    assert busy <= now / 2 + max(works)


@given(st.lists(st.floats(min_value=0, max_value=3), min_size=1, max_size=50))
def test_no_change_waits_longer_than_the_maximum(gaps: list[float]) -> None:
    """Whatever the gaps, when somebody looks at each due time, the oldest change is taken within the maximum."""
    debounce = Debounce(quiet=0.5, maximum=2.0)
    now, oldest = 0.0, None
    for gap in gaps:
        until = now + gap
        while (due := debounce.due) is not None and due <= until:
            assert oldest is not None
            assert due - oldest <= 2.0 + 1e-9
            assert debounce.take(due)
            oldest = None
        now = until
        debounce.changed(now)
        oldest = now if oldest is None else oldest
    assert debounce.due is not None
    assert debounce.due >= now - 2.0
