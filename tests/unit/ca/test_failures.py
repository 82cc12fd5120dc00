"""The bound on failed proofs."""

from __future__ import annotations

from lateen.ca import failures
from lateen.ca.failures import Failures


def test_failures_are_bounded_and_come_back_with_time() -> None:
    bound = Failures(per_second=10, burst=3)

    assert [bound.take("a", 0) for _ in range(5)] == [True, True, True, False, False]
    assert [bound.take("a", 0.2) for _ in range(3)] == [True, True, False]
    assert bound.take("b", 0.2)


def test_what_succeeds_costs_nothing() -> None:
    bound = Failures(per_second=10, burst=3)
    for _ in range(100):
        assert bound.take("a", 0)
        bound.give_back("a")


def test_no_more_addresses_are_remembered_than_there_is_room_for() -> None:
    bound = Failures()
    for number in range(failures._MOST_ADDRESSES + 10):
        bound.take(str(number), 0)

    assert len(bound._buckets) == failures._MOST_ADDRESSES
    bound.give_back("0")
