"""What each step of the tour promises, as functions of what was seen. Pure.

A check returns a `Verdict` that the tour prints; a failed one makes the exit code 1. Shares are accepted within four
standard deviations of a binomial draw, so that chance fails an honest mesh less than once in ten thousand runs, and
a mesh that ignores the weights practically always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

from lateen.cli.demo.tally import SUCCESSES, Outcome, Seen, count

Check = Callable[[Sequence[Seen]], "Verdict"]

ENOUGH = 20
"""Fewer answers than this prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a promise was kept, and the numbers."""

    kept: bool
    expected: str
    seen: str


def tolerance(share: float, total: int) -> float:
    """Return how far a seen share may stray from the true one: four standard deviations of `total` draws."""
    return 4 * sqrt(share * (1 - share) / total)


def everything_to(outcome: Outcome) -> Check:
    """Promise that each request came to this outcome."""

    def check(seen: Sequence[Seen]) -> Verdict:
        right = count(seen, outcome)
        return Verdict(
            kept=len(seen) >= ENOUGH and right == len(seen),
            expected="100 %",
            seen=f"{percent(right, len(seen))} of {len(seen)}",
        )

    return check


def share_of(outcome: Outcome, rest: Outcome, share: float) -> Check:
    """Promise that about this share came to `outcome`, and all others to `rest`."""

    def check(seen: Sequence[Seen]) -> Verdict:
        part, total = count(seen, outcome), len(seen)
        close = total >= ENOUGH and abs(part / total - share) <= tolerance(share, total)
        return Verdict(
            kept=close and part > 0 and part + count(seen, rest) == total,
            expected=f"about {share:.0%}".replace("%", " %"),
            seen=f"{percent(part, total)} of {total}",
        )

    return check


def user_apart(user: str, outcome: Outcome, rest: Outcome) -> Check:
    """Promise that one user always got `outcome` and nobody else did: they got `rest`."""

    def check(seen: Sequence[Seen]) -> Verdict:
        theirs = [one for one in seen if one.user == user]
        others = [one for one in seen if one.user != user]
        right, right_rest = count(theirs, outcome), count(others, rest)
        return Verdict(
            kept=len(seen) >= ENOUGH and 0 < right == len(theirs) and 0 < right_rest == len(others),
            expected="100 % and 100 %",
            seen=f"{percent(right, len(theirs))} and {percent(right_rest, len(others))}",
        )

    return check


def cut_short(user: str, after: float, instead_of: float, rest: Outcome) -> Check:
    """Promise that one user's reviews timed out after `after` seconds, not `instead_of`, and others got `rest`."""

    def check(seen: Sequence[Seen]) -> Verdict:
        apart = user_apart(user, Outcome.TIMEOUT, rest)(seen)
        waits = [one.latency for one in seen if one.outcome is Outcome.TIMEOUT]
        waited = median(waits) if waits else 0.0
        return Verdict(
            kept=apart.kept and after * 0.9 <= waited <= after + (instead_of - after) / 4,
            expected=f"{after:.0f} s, not {instead_of:.0f} s",
            seen=f"{waited:.1f} s" if waits else "no timeout",
        )

    return check


def failing_host_left_out(failing: Outcome, errors: int) -> Check:
    """Promise that the failing version was seen to fail, and that after a few errors nobody met it any more.

    `errors` is what the rule asks for; twice as many are accepted, because requests in flight when the last of them
    is counted still arrive. The second half of the answers must be free of errors and of that version.
    """

    def check(seen: Sequence[Seen]) -> Verdict:
        failed = count(seen, Outcome.REVIEWS_FAILED)
        late = sorted(seen, key=lambda one: one.at)[len(seen) // 2 :]
        healthy = [outcome for outcome in SUCCESSES if outcome is not failing]
        clean = count(late, *healthy) == len(late) and all(count(late, outcome) for outcome in healthy)
        return Verdict(
            kept=len(seen) >= ENOUGH and clean and errors <= failed <= 2 * errors,
            expected=f"{errors} errors, then none",
            seen=f"{failed} errors, {'then none' if clean else 'and they go on'}",
        )

    return check


def percent(part: int, total: int) -> str:
    """Return a share in whole percent; never `100 %` or `0 %` when that is only nearly so."""
    if not total:
        return "nothing"
    rounded = round(100 * part / total)
    if rounded == 100 and part < total:
        return "99 %"
    return "1 %" if rounded == 0 and part else f"{rounded} %"
