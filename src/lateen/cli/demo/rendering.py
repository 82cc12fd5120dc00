"""How the demo looks: steps, tables and verdicts as rich renderables. Pure.

Everything fits 80 columns and reads well without colour; `plain` asks for ASCII where the terminal has no Unicode.
Called by the tour through the screen. Must not know: processes, requests, time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from lateen.cli.demo.checks import Verdict, percent
from lateen.cli.demo.steps import STEPS, Step
from lateen.cli.demo.tally import Outcome, Row

WIDTH = 80
BAR = 26
PROBLEMS = 3
"""At most so many are shown for a step that broke its promise."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

STYLES = {
    Outcome.V1: "cyan",
    Outcome.V2: "bold",
    Outcome.V3: "red",
    Outcome.NO_RATINGS: "yellow",
    Outcome.TIMEOUT: "yellow",
    Outcome.REVIEWS_FAILED: "yellow",
    Outcome.PAGE_FAILED: "bold yellow",
}


class Progress(Enum):
    """Where a program stands while the mesh starts."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLine:
    """One line of the table of programs."""

    name: str
    progress: Progress
    where: str = ""
    """Its address, once it is ready."""
    seconds: float = 0.0
    """From the start of the demo until it was ready."""


def programs_table(lines: Sequence[ProgramLine], frame: int, *, plain: bool) -> RenderableType:
    """Return what is starting, and where what has started can be reached. `frame` turns the spinner."""
    grid = Table.grid(padding=(0, 2))
    for cells in (2, 15, 28):  # fixed, so that nothing moves while the mesh starts
        grid.add_column(width=cells, no_wrap=True)
    for line in lines:
        if line.progress is Progress.READY:
            grid.add_row(mark(kept=True, plain=plain), line.name, line.where, Text(f"{line.seconds:.1f} s", "dim"))
        elif line.progress is Progress.STARTING:
            spinner = "*" if plain else _SPINNER[frame % len(_SPINNER)]
            grid.add_row(Text(spinner, "cyan"), line.name, Text("starting", "dim"), "")
        else:
            grid.add_row("", Text(line.name, "dim"), "", "")
    return Padding(grid, (0, 0, 0, 2), expand=False)


def step_heading(number: int, step: Step) -> RenderableType:
    """Return the rule and the story that open a step."""
    title = Text.assemble((f"{number} of {len(STEPS)}", "dim"), "  ", (step.title, "bold"))
    return Group("", Rule(title, align="left", style="dim"), "", Padding(step.story, (0, 2)), "")


def yaml_block(content: str, *, plain: bool) -> RenderableType:
    """Return YAML in colour behind a thin line, exactly as it stands in its file."""
    code = Syntax(content, "yaml", theme="ansi_dark", background_color="default").highlight(content.rstrip("\n"))
    code.rstrip()
    edge = "    | " if plain else "    │ "
    return Group(*(Text(edge, "dim") + line for line in code.split("\n", allow_blank=True)))


def command(text: str) -> Text:
    """Return a command line that can be copied."""
    return Text.assemble("  ", ("$ ", "dim"), (text, "bold"), no_wrap=True, overflow="ignore")


def traffic_table(rows: Sequence[Row], users: Sequence[str], *, plain: bool) -> RenderableType:
    """Return where requests went; with `users`, a first column says whose they were."""
    grid = Table.grid(padding=(0, 2))
    if users:
        grid.add_column(width=13)
    grid.add_column(width=16)
    width = BAR - (8 if users else 0)
    grid.add_column(width=width)
    for cells in (6, 8, 7):
        grid.add_column(width=cells, justify="right", no_wrap=True)
    heads = [*(("who",) if users else ()), "reviews seen", "", "share", "requests", "median"]
    grid.add_row(*(Text(head, "dim") for head in heads))
    shown = None
    for row in rows:
        who = (row.user or "everyone else") if row.user != shown else ""
        shown = row.user
        style = STYLES[row.outcome] if row.count else "dim"
        grid.add_row(
            *((Text(who),) if users else ()),
            Text(row.outcome.value, style),
            Text(bar(row.share, width, plain=plain), style),
            Text("" if not row.count else percent(row.count, round(row.count / row.share)), style),
            Text(str(row.count), style),
            Text(duration(row.p50), style),
        )
    return Padding(grid, (0, 0, 0, 2), expand=False)


def bar(share: float, width: int, *, plain: bool) -> str:
    """Return a bar of at most `width` cells; anything above zero shows at least a sliver."""
    eighths = max(round(share * width * 8), 1 if share else 0)
    if plain:
        return "#" * max(round(share * width), 1 if share else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def duration(seconds: float | None) -> str:
    """Return a median as people read it: `4 ms`, `1.0 s`, nothing for None."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def verdict_lines(step: Step, verdict: Verdict, problems: Sequence[str], *, plain: bool) -> RenderableType:
    """Return whether the step kept its promise, what was expected and what was seen; if not kept, what went wrong."""
    grid = Table.grid(padding=(0, 1))
    separator = "; " if plain else " · "
    numbers = Text(f"expected {verdict.expected}{separator}seen {verdict.seen}", "dim")
    grid.add_row(mark(kept=verdict.kept, plain=plain), Text(step.promise, "bold" if verdict.kept else "bold red"))
    grid.add_row("", numbers)
    if not verdict.kept:
        for problem in problems[:PROBLEMS]:
            grid.add_row("", Text(problem, "yellow"))
    return Padding(grid, (0, 0, 0, 2), expand=False)


def mark(*, kept: bool, plain: bool) -> Text:
    """Return a tick or a cross, words where there is no Unicode."""
    if plain:
        return Text("ok" if kept else "FAILED", "green" if kept else "bold red")
    return Text("✓" if kept else "✗", "green" if kept else "bold red")


def curl(url: str, user: str) -> str:
    """Return a command line that asks for the reviews, as this user or as nobody in particular."""
    header = f" -H 'end-user: {user}'" if user else ""
    return f"curl{header} {url}/reviews"
