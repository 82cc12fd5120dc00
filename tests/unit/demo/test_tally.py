"""Counting where requests went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.cli.demo.tally import Outcome, Seen, outcome_of, problem_of, problems, table


def seen(outcome: Outcome, user: str = "", latency: float = 0.01) -> Seen:
    return Seen(at=0, user=user, outcome=outcome, latency=latency)


@pytest.mark.parametrize(
    ("status", "product", "outcome", "problem"),
    [
        (200, {"reviews": {"status": 200, "version": "v2", "reviews": []}}, Outcome.V2, ""),
        (
            200,
            {"reviews": {"status": 200, "version": "v3", "ratings_error": "500 fault"}},
            Outcome.NO_RATINGS,
            "ratings answered 500 fault",
        ),
        (200, {"reviews": {"status": 504, "error": "timeout"}}, Outcome.TIMEOUT, "reviews answered 504: timeout"),
        (200, {"reviews": {"status": 500, "error": "told"}}, Outcome.REVIEWS_FAILED, "reviews answered 500: told"),
        (200, {"reviews": {"status": 200, "version": "v9"}}, Outcome.PAGE_FAILED, ""),
        (200, {"reviews": "not an object"}, Outcome.PAGE_FAILED, "the page answered 200"),
        (503, {}, Outcome.PAGE_FAILED, "the page answered 503"),
        (200, {}, Outcome.PAGE_FAILED, "the page answered 200"),
    ],
)
def test_an_answer_comes_to_one_outcome(
    status: int, product: dict[str, object], outcome: Outcome, problem: str
) -> None:
    assert outcome_of(status, product) is outcome
    assert problem_of(status, product) == problem


def test_rows_that_are_asked_for_stand_even_at_zero() -> None:
    rows = table([seen(Outcome.V1, latency=0.002), seen(Outcome.V1, latency=0.004)], (Outcome.V1, Outcome.V2))
    assert [(row.outcome, row.count, row.share, row.p50) for row in rows] == [
        (Outcome.V1, 2, 1.0, 0.003),
        (Outcome.V2, 0, 0.0, None),
    ]


def test_an_outcome_nobody_asked_for_is_not_hidden() -> None:
    rows = table([seen(Outcome.V1), seen(Outcome.PAGE_FAILED)], (Outcome.V1,))
    assert [row.outcome for row in rows] == [Outcome.V1, Outcome.PAGE_FAILED]


def test_shares_are_of_the_users_own_requests() -> None:
    """Users that are not named count as everybody else."""
    answers = [seen(Outcome.V2, "jason"), *(seen(Outcome.V1) for _ in range(3)), seen(Outcome.V1, "amy")]
    rows = table(answers, (), ("jason", ""))
    assert [(row.user, row.outcome, row.count, row.share) for row in rows] == [
        ("jason", Outcome.V2, 1, 1.0),
        ("", Outcome.V1, 4, 1.0),
    ]


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.sampled_from(["", "jason"]))), st.booleans())
def test_no_request_is_lost_in_the_table(answers: list[tuple[Outcome, str]], by_user: bool) -> None:
    rows = table([seen(outcome, user) for outcome, user in answers], (), ("jason", "") if by_user else ())
    assert sum(row.count for row in rows) == len(answers)


def test_problems_are_counted_the_most_frequent_first() -> None:
    said = ["", "broken", "slow", "slow"]
    answers = [Seen(at=0, user="", outcome=Outcome.V1, latency=0, problem=problem) for problem in said]
    assert problems(answers) == ("2 x slow", "1 x broken")
