"""What the steps promise, and when a promise counts as kept."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.cli.demo.checks import (
    cut_short,
    everything_to,
    failing_host_left_out,
    percent,
    share_of,
    user_apart,
)
from lateen.cli.demo.tally import Outcome, Seen

V1, V2, V3 = Outcome.V1, Outcome.V2, Outcome.V3
FAILED = Outcome.REVIEWS_FAILED


def answers(outcomes: Sequence[Outcome], user: str = "", latency: float = 0.01) -> list[Seen]:
    return [Seen(at=at, user=user, outcome=outcome, latency=latency) for at, outcome in enumerate(outcomes)]


def test_one_stray_answer_breaks_everything_to_v1() -> None:
    check = everything_to(V1)
    assert check(answers([V1] * 100)).kept
    broken = check(answers([V1] * 999 + [V2]))
    assert (broken.kept, broken.seen) == (False, "99 % of 1000")


@pytest.mark.parametrize(
    "check",
    [
        everything_to(V1),
        share_of(V3, V1, 0.1),
        user_apart("jason", V2, V1),
        cut_short("jason", 1, 7, V3),
        failing_host_left_out(V2, 3),
    ],
)
def test_no_answers_prove_nothing(check: object) -> None:
    assert callable(check)
    assert not check([]).kept


@given(st.integers(0, 2**32))
def test_a_fair_canary_is_accepted_and_an_ignored_weight_is_not(seed: int) -> None:
    """Four standard deviations: chance alone practically never fails the step (draws outside it are skipped)."""
    draw = Random(seed)
    fair = [V3 if draw.random() < 0.1 else V1 for _ in range(140)]
    kept = share_of(V3, V1, 0.1)(answers(fair)).kept
    assert kept == (1 <= fair.count(V3) <= 28)
    assert not share_of(V3, V1, 0.1)(answers([V1, V3] * 70)).kept
    assert not share_of(V3, V1, 0.1)(answers([V1] * 140)).kept


def test_a_canary_that_fails_some_requests_is_not_accepted() -> None:
    assert not share_of(V3, V1, 0.1)(answers([V3] * 14 + [V1] * 125 + [FAILED])).kept


def test_both_jason_and_the_others_must_be_there() -> None:
    check = user_apart("jason", V2, V1)
    assert check(answers([V2] * 20, "jason") + answers([V1] * 60)).kept
    assert not check(answers([V2] * 20, "jason")).kept
    assert not check(answers([V1] * 60)).kept
    assert not check(answers([V2] * 20, "jason") + answers([V1] * 59 + [V2])).kept


@pytest.mark.parametrize(("waited", "kept"), [(1.0, True), (1.9, True), (7.0, False), (0.1, False)])
def test_a_timeout_must_come_when_the_rule_says(waited: float, kept: bool) -> None:
    found = cut_short("jason", 1, 7, V3)(answers([Outcome.TIMEOUT] * 20, "jason", waited) + answers([V3] * 60))
    assert found.kept == kept


def test_an_ejected_host_is_met_a_few_times_and_then_no_more() -> None:
    check = failing_host_left_out(V2, 3)
    start = [V1, FAILED, V3] * 3
    assert check(answers(start + [V1, V3] * 50)).kept
    assert not check(answers([V1, FAILED, V3] * 40)).kept, "errors go on"
    assert not check(answers([V1, V3] * 50)).kept, "nothing ever failed"
    assert not check(answers(start + [V1] * 100)).kept, "a healthy version gets nothing"
    assert not check(answers(start + [V1, V2, V3] * 30)).kept, "the host was never left out"


@pytest.mark.parametrize(
    ("part", "total", "text"),
    [(0, 9, "0 %"), (9, 9, "100 %"), (999, 1000, "99 %"), (1, 1000, "1 %"), (0, 0, "nothing")],
)
def test_percentages_never_round_to_all_or_nothing(part: int, total: int, text: str) -> None:
    assert percent(part, total) == text
