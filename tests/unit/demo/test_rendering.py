"""How the demo looks: 80 columns, and readable without colour or Unicode."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from lateen.cli.demo.checks import Verdict
from lateen.cli.demo.examples import bookshop_folder, without_comments
from lateen.cli.demo.rendering import (
    BAR,
    ProgramLine,
    Progress,
    bar,
    command,
    curl,
    duration,
    programs_table,
    step_heading,
    traffic_table,
    verdict_lines,
    yaml_block,
)
from lateen.cli.demo.steps import JASON, STEPS, Step
from lateen.cli.demo.tally import Outcome, Seen, table

LONGEST_GATEWAY = "http://127.127.255.254:8080"


def shown(*what: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    for one in what:
        console.print(one)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def everything(step: Step, *, plain: bool) -> str:
    users = (JASON, "") if step.by_user else ()
    seen = [Seen(at=0, user=user, outcome=outcome, latency=12.5) for user in (JASON, "") for outcome in Outcome]
    content = without_comments((bookshop_folder() / step.file).read_text())
    return shown(
        yaml_block(content, plain=plain),
        command(f"lateen apply -f examples/bookshop/{step.file}"),
        traffic_table(table(seen, step.rows, users), users, plain=plain),
        verdict_lines(step, step.check(seen), [], plain=plain),
        verdict_lines(step, Verdict(kept=True, expected="3 errors, then none", seen="as it was"), [], plain=plain),
        *(command(curl(LONGEST_GATEWAY, user)) for user in step.try_as),
    )


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.file)
def test_nothing_is_wider_than_80_columns(step: Step) -> None:
    assert [line for line in everything(step, plain=False).splitlines() if len(line.rstrip()) > 80] == []


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.file)
def test_plain_output_is_ascii(step: Step) -> None:
    assert everything(step, plain=True).isascii()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.file)
def test_the_yaml_is_shown_as_it_stands_in_its_file(step: Step) -> None:
    content = without_comments((bookshop_folder() / step.file).read_text())
    lines = shown(yaml_block(content, plain=True)).splitlines()
    assert "".join(line.removeprefix("    | ") + "\n" for line in lines) == content


def test_a_step_opens_with_its_number_title_and_story() -> None:
    text = shown(step_heading(2, STEPS[1]))
    assert f"2 of {len(STEPS)}  {STEPS[1].title}" in text
    assert "jason" in text


def test_the_table_of_programs_tells_what_is_where() -> None:
    lines = [
        ProgramLine(name="control plane", progress=Progress.READY, where="http://127.0.0.1:15080", seconds=0.94),
        ProgramLine(name="reviews v2", progress=Progress.STARTING),
        ProgramLine(name="details", progress=Progress.WAITING),
    ]
    rows = [line.split() for line in shown(programs_table(lines, 0, plain=True)).splitlines()]
    assert rows == [
        ["ok", "control", "plane", "http://127.0.0.1:15080", "0.9", "s"],
        ["*", "reviews", "v2", "starting"],
        ["details"],
    ]


def test_a_broken_promise_says_what_went_wrong() -> None:
    broken, kept = (Verdict(kept=kept, expected="100 %", seen="99 %") for kept in (False, True))
    problems = ["1 x reviews answered 503: no healthy upstream"]
    assert problems[0] in shown(verdict_lines(STEPS[0], broken, problems, plain=True))
    assert problems[0] not in shown(verdict_lines(STEPS[0], kept, problems, plain=True))


def test_a_user_is_named_once() -> None:
    seen = [Seen(at=0, user=user, outcome=Outcome.V1, latency=0.004) for user in (JASON, JASON, "")]
    text = shown(traffic_table(table(seen, STEPS[1].rows, (JASON, "")), (JASON, ""), plain=True))
    assert (text.count("jason"), text.count("everyone else")) == (1, 1)
    assert "100 %         2     4 ms" in text


@pytest.mark.parametrize("plain", [True, False])
def test_bars_grow_with_the_share_and_show_the_smallest(plain: bool) -> None:
    assert bar(0, BAR, plain=plain) == ""
    assert len(bar(0.001, BAR, plain=plain)) == 1
    assert len(bar(1, BAR, plain=plain)) == BAR
    assert len(bar(0.5, BAR, plain=plain)) == BAR // 2


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (0.0042, "4 ms"), (1.004, "1.0 s")])
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
