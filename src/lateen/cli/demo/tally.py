"""Counting where requests went. Pure: answers in, rows of a table out.

Called by the traffic (which makes `Seen`), the checks and the rendering. Must not know: HTTP clients, terminals, time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Any


class Outcome(Enum):
    """Which reviews a request for the product brought, as its reader would tell it."""

    V1 = "v1, no stars"
    V2 = "v2, black stars"
    V3 = "v3, red stars"
    NO_RATINGS = "no ratings"
    TIMEOUT = "timed out (504)"
    REVIEWS_FAILED = "failed"
    PAGE_FAILED = "no page"


_OF_VERSION = {"v1": Outcome.V1, "v2": Outcome.V2, "v3": Outcome.V3}
SUCCESSES = (Outcome.V1, Outcome.V2, Outcome.V3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request and what came of it."""

    at: float
    """When it was answered, seconds on the traffic's own clock."""
    user: str
    """The `end-user` header, empty for everybody else."""
    outcome: Outcome
    latency: float
    """Seconds."""
    problem: str = ""
    """What the service that failed said; empty when nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    user: str
    outcome: Outcome
    count: int
    share: float
    """Of the requests of the same group: of this user when rows are split by user, else of all."""
    p50: float | None
    """Median seconds; None when nothing was counted."""


def outcome_of(status: int, product: Mapping[str, Any]) -> Outcome:
    """Say what an answer of `/api/v1/products/0` came to. `product` is its JSON, empty when there was none."""
    reviews = product.get("reviews")
    if status != 200 or not isinstance(reviews, Mapping):
        return Outcome.PAGE_FAILED
    if "error" in reviews:
        return Outcome.TIMEOUT if reviews.get("status") == 504 else Outcome.REVIEWS_FAILED
    if "ratings_error" in reviews:
        return Outcome.NO_RATINGS
    return _OF_VERSION.get(str(reviews.get("version", "")), Outcome.PAGE_FAILED)


def problem_of(status: int, product: Mapping[str, Any]) -> str:
    """Return in whose words an answer of `/api/v1/products/0` was not whole; empty when it was."""
    reviews = product.get("reviews")
    if status != 200 or not isinstance(reviews, Mapping):
        return f"the page answered {status}"
    if "error" in reviews:
        return f"reviews answered {reviews.get('status')}: {reviews['error']}"
    return f"ratings answered {reviews['ratings_error']}" if "ratings_error" in reviews else ""


def table(seen: Sequence[Seen], outcomes: Collection[Outcome], users: Sequence[str] = ()) -> tuple[Row, ...]:
    """Count by outcome, and by user first where `users` names them (`""` stands for everybody else).

    `outcomes` always have a row, in the order of `Outcome`; others only when they happened, so that nothing is hidden.
    """
    if not users:
        return _group("", seen, outcomes)
    named = {user for user in users if user}
    return tuple(
        row
        for user in users
        for row in _group(user, [s for s in seen if (s.user if s.user in named else "") == user], outcomes)
    )


def _group(user: str, seen: Sequence[Seen], outcomes: Collection[Outcome]) -> tuple[Row, ...]:
    rows = []
    for outcome in Outcome:
        latencies = [one.latency for one in seen if one.outcome is outcome]
        if latencies or outcome in outcomes:
            rows.append(
                Row(
                    user=user,
                    outcome=outcome,
                    count=len(latencies),
                    share=len(latencies) / len(seen) if seen else 0.0,
                    p50=median(latencies) if latencies else None,
                )
            )
    return tuple(rows)


def problems(seen: Iterable[Seen]) -> tuple[str, ...]:
    """Return the different problems, the most frequent first."""
    counted = Counter(one.problem for one in seen if one.problem)
    return tuple(f"{number} x {problem}" for problem, number in counted.most_common())


def count(seen: Iterable[Seen], *outcomes: Outcome) -> int:
    """Return how many came to one of the outcomes."""
    return sum(one.outcome in outcomes for one in seen)
