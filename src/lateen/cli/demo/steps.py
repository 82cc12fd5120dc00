"""The steps of the tour as data: what is applied, what is promised, what to try. Pure.

The YAML itself is in `examples/bookshop/`; the tour reads it and shows it as it stands there.
"""

from __future__ import annotations

from dataclasses import dataclass

from lateen.cli.demo.checks import Check, cut_short, everything_to, failing_host_left_out, share_of, user_apart
from lateen.cli.demo.tally import Outcome

FOUNDATION = ("gateway.yaml", "destination-rules.yaml")
"""Applied before the first step: the way in, and the names of the versions."""

JASON = "jason"
"""The user whom the rules treat apart; one request in four of the demo's traffic is his."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One station of the tour."""

    title: str
    story: str
    """What the rule does and why one would want it: two sentences at most."""
    file: str
    """In `examples/bookshop/`."""
    rows: tuple[Outcome, ...]
    """Outcomes that have a row even at zero."""
    promise: str
    check: Check
    by_user: bool = False
    try_as: tuple[str, ...] = ("",)
    """A curl line for each of these users; empty for nobody in particular."""
    breaks: str = ""
    """Version of reviews that is told to answer 500 while the step runs."""


STEPS = (
    Step(
        title="Everything to v1",
        story="Three versions of reviews are running, and one rule keeps everybody on v1: "
        "the new ones are deployed, but not released.",
        file="01-all-v1.yaml",
        rows=(Outcome.V1, Outcome.V2, Outcome.V3),
        promise="every request is answered by v1",
        check=everything_to(Outcome.V1),
    ),
    Step(
        title="One user tries v2",
        story="The header `end-user` decides: jason is sent to v2, everybody else stays on v1.",
        file="02-user-to-v2.yaml",
        rows=(Outcome.V1, Outcome.V2),
        by_user=True,
        promise="jason sees v2, everybody else v1",
        check=user_apart(JASON, Outcome.V2, Outcome.V1),
        try_as=(JASON, ""),
    ),
    Step(
        title="A canary: 10 % to v3",
        story="One request in ten goes to v3, whoever asks.",
        file="03-canary-v3.yaml",
        rows=(Outcome.V1, Outcome.V2, Outcome.V3),
        promise="a tenth goes to v3, the rest to v1",
        check=share_of(Outcome.V3, Outcome.V1, 0.10),
    ),
    Step(
        title="Slow ratings: a delay meets a timeout",
        story="jason's calls to ratings are held back for 7 seconds. But reviews has one second to answer, "
        "so jason quickly gets a page without reviews instead of a slow one.",
        file="04-delay-timeout.yaml",
        rows=(Outcome.V3, Outcome.TIMEOUT),
        by_user=True,
        promise="jason waits one second, nobody else waits",
        check=cut_short(JASON, 1.0, 7.0, Outcome.V3),
        try_as=(JASON,),
    ),
    Step(
        title="Failing ratings: an abort",
        story="Half of the calls to ratings end with a 500 that ratings never sent. "
        "The program copes: it shows the reviews without stars.",
        file="05-abort.yaml",
        rows=(Outcome.V3, Outcome.NO_RATINGS),
        promise="half of the pages come without stars",
        check=share_of(Outcome.NO_RATINGS, Outcome.V3, 0.50),
    ),
    Step(
        title="A failing host is left out",
        story="All three versions share the load, and v2 has just been broken: it answers 500. "
        "After three errors in a row it gets no more requests for 30 seconds.",
        file="06-outlier.yaml",
        rows=(Outcome.V1, Outcome.V2, Outcome.V3, Outcome.REVIEWS_FAILED),
        promise="three errors, then v1 and v3 carry on alone",
        check=failing_host_left_out(Outcome.V2, 3),
        breaks="v2",
    ),
)
