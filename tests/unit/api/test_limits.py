"""How often a wrong token may be tried."""

from __future__ import annotations

import pytest

from lateen.api.limits import Bucket, FailureLimits, Rate, network

SLOW = Rate(burst=3, per_second=0.5)
WIDE = Rate(burst=1000, per_second=1000)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(SLOW, 10.0)

    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(10.0) == 2.0
    assert bucket.wait(12.0) == 0.0
    assert bucket.take(12.0)
    assert not bucket.take(12.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(SLOW, 10.0)
    for _ in range(3):
        bucket.take(10.0)

    assert not bucket.take(0.0)


def test_who_fails_waits_and_nobody_else_does() -> None:
    limits = FailureLimits(SLOW, WIDE)
    for _ in range(3):
        assert limits.wait("192.0.2.1", 0.0) == 0.0
        limits.failed("192.0.2.1", 0.0)

    assert limits.wait("192.0.2.1", 0.0) == 2.0
    assert limits.wait("192.0.2.2", 0.0) == 0.0


def test_many_peers_together_meet_the_limit_of_all() -> None:
    limits = FailureLimits(SLOW, Rate(burst=10, per_second=1))
    for number in range(10):
        limits.failed(f"192.0.2.{number}", 0.0)

    assert limits.wait("198.51.100.1", 0.0) > 0
    assert limits.wait("198.51.100.1", 2.0) == 0


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    limits = FailureLimits(SLOW, WIDE, max_peers=10)
    for number in range(100):
        for _ in range(3):
            limits.failed(f"192.0.2.{number}", 0.0)

    assert len(limits) == 10
    assert limits.wait("192.0.2.99", 0.0) > 0


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::"),
        ("2001:db8::ffff:1", "2001:db8::"),
        ("2001:db8:0:1::1", "2001:db8:0:1::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("uid 1000", "uid 1000"),
    ],
)
def test_an_address_of_ipv6_stands_for_its_network(peer: str, key: str) -> None:
    assert network(peer) == key
