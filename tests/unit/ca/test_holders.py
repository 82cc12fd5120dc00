"""Who is waited for in a rotation, from what agents do."""

from __future__ import annotations

import datetime as dt
import hashlib

from ca_requests import NOW
from lateen.ca.holders import Holders, bundle_digest
from lateen.ca.rotation import Facts

DAY = dt.timedelta(days=1)


class Seen(Holders):
    """Of a control plane that knows all from its start."""

    def __init__(self, complete_from: dt.datetime = NOW) -> None:
        super().__init__(NOW, complete_from)

    def issue(self, serial: int, *, issuer: str = "old", renews: int | None = None, trusts: str = "first") -> None:
        self.issued(
            f"leaf-{serial}", serial=serial, not_after=NOW + DAY, issuer_id=issuer, renews=renews, trusts=trusts
        )

    def look(self, now: dt.datetime = NOW, *, trusts: str = "first", issuer: str = "old") -> Facts:
        return self.facts(now, trusts=trusts, issuer_id=issuer, issues_new=issuer != "old")


def test_the_digest_is_the_one_of_the_wire() -> None:
    assert bundle_digest(["a", "b"]) == hashlib.blake2b(b"a\nb", digest_size=16).hexdigest()


def test_an_agent_is_waited_for_until_it_trusts_and_until_it_has_renewed() -> None:
    seen = Seen()
    seen.issue(1)
    agent = seen.attached("reviews-1.default", serial=1, not_after=NOW + DAY, issuer_id="old")

    assert seen.look() == Facts(watching_since=NOW, absent=())
    assert seen.look(trusts="both").distrusting == ("reviews-1.default",)
    seen.confirmed(agent, "both")
    assert seen.look(trusts="both").distrusting == ()
    assert seen.look(trusts="both", issuer="new").holding_old == ("reviews-1.default",)
    seen.issue(2, issuer="new", renews=1, trusts="both")
    assert seen.look(trusts="both", issuer="new") == Facts(watching_since=NOW, absent=())


def test_whoever_is_cut_off_is_waited_for_while_its_leaf_is_valid() -> None:
    seen = Seen()
    seen.issue(1)
    seen.issue(2)
    seen.detached(seen.attached("cut-off", serial=1, not_after=NOW + DAY, issuer_id="old"), for_good=False)

    assert seen.look(trusts="both").absent == ("cut-off", "leaf-2")
    assert seen.look(trusts="both", issuer="new").absent == ("cut-off", "leaf-2")
    assert seen.look(NOW + DAY, trusts="both").absent == ()


def test_whoever_has_left_for_good_is_not() -> None:
    seen = Seen()
    agent = seen.attached("gone", serial=1, not_after=NOW + DAY, issuer_id="old")
    seen.issue(2, renews=1)
    seen.detached(agent, for_good=True)

    assert seen.look(trusts="both").absent == ()


def test_one_that_is_connected_is_waited_for_even_when_its_leaf_has_expired() -> None:
    """Its connection is still there, and it will renew on it."""
    seen = Seen()
    seen.attached("late", serial=1, not_after=NOW + DAY, issuer_id="old")

    assert seen.look(NOW + 2 * DAY, trusts="both").distrusting == ("late",)


def test_after_a_restart_nobody_can_say_who_is_absent() -> None:
    seen = Seen(complete_from=NOW + DAY)

    assert seen.look().absent is None
    assert seen.look(NOW + DAY).absent == ()


def test_one_that_comes_back_before_its_old_stream_ends_is_connected() -> None:
    seen = Seen()
    first, second = (seen.attached("a", serial=1, not_after=NOW + DAY, issuer_id="old") for _ in range(2))
    seen.detached(first, for_good=False)

    assert seen.look(trusts="both").distrusting == ("a",)
    seen.detached(second, for_good=False)
    assert seen.look(trusts="both").absent == ("a",)
