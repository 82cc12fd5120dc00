"""Debounce in virtual time: the clock is an argument."""

from __future__ import annotations

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
