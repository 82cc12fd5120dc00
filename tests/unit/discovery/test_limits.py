"""Rates and the log's patience, in virtual time."""

from __future__ import annotations

from lateen.discovery.limits import Bucket, Sparing


def test_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    bucket = Bucket(rate=100, burst=1000, now=0)
    assert [bucket.take(10, 0) for _ in range(1000)] == [0.0] * 1000
    assert bucket.take(10, 0) == 0.01
    assert bucket.take(10, 0.02) == 0.0


def test_large_requests_count_for_more() -> None:
    bucket = Bucket(rate=100, burst=1000, now=0)
    assert bucket.take(1024 * 1024, 0) > 0
    assert Bucket(rate=100, burst=1000, now=0).take(1024, 0) == 0


def test_bucket_never_holds_more_than_the_burst() -> None:
    bucket = Bucket(rate=100, burst=10, now=0)
    assert [bucket.take(0, 1e6) > 0 for _ in range(11)] == [False] * 10 + [True]


def test_log_speaks_once_a_minute_and_says_how_much_it_withheld() -> None:
    sparing = Sparing()
    assert [sparing.admit("rejected", now) for now in (0, 1, 2, 59.9, 60, 61)] == [0, None, None, None, 3, None]
    assert sparing.admit("another", 1) == 0
