"""The demo from start to end: the mesh comes up, the tour walks through its steps, everything is gone again.

Called by `lateen.cli.demo`. The order of things is here; what is shown is in `rendering`, what is promised in
`steps`, what is started in `programs`.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from lateen.cli.demo import rendering
from lateen.cli.demo.checks import Verdict
from lateen.cli.demo.control_plane import ApplyError
from lateen.cli.demo.examples import bookshop_folder, shown_path, without_comments
from lateen.cli.demo.launch import LaunchError, Mesh, launch
from lateen.cli.demo.processes import ProgramError, Programs, supervised
from lateen.cli.demo.programs import workload_name
from lateen.cli.demo.screen import Screen
from lateen.cli.demo.steps import FOUNDATION, JASON, STEPS, Step
from lateen.cli.demo.stopping import Interrupted, until_interrupted
from lateen.cli.demo.tally import Outcome, problems, table
from lateen.cli.demo.traffic import Traffic, misbehave
from lateen.cli.exits import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the tour goes. Both paces send about as many requests for each step."""

    step_seconds: float
    requests_per_second: float
    reading_seconds: float
    """After each verdict, before the next step scrolls it away."""

    @property
    def enough(self) -> int:
        """How many answers a step is judged by at least: most of those that it should have."""
        return round(self.step_seconds * self.requests_per_second * 0.8)


FOR_READERS = Pace(step_seconds=7.0, requests_per_second=20.0, reading_seconds=3.0)
FOR_MACHINES = Pace(step_seconds=3.0, requests_per_second=40.0, reading_seconds=0.0)
WINDOW = 15.0
"""Seconds that the table covers while the demo stays up after the tour."""


@dataclass(slots=True, kw_only=True)
class Demo:
    """One run of the demo."""

    screen: Screen
    folder: Path
    """Where the YAML is."""
    logs: Path
    keep: bool
    traffic: bool
    pace: Pace
    begun: float
    programs: Programs | None = None
    """Set while there is anything to stop."""
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def toured(self) -> bool:
        """Whether the tour is over (or was not wanted), so that Ctrl-C is the ordinary end."""
        return not self.traffic or len(self.verdicts) == len(STEPS)

    @property
    def failed(self) -> bool:
        """Whether a step has broken its promise."""
        return not all(verdict.kept for verdict in self.verdicts)

    async def run(self) -> int:
        """Start the mesh, tour it, stop it; return the exit code. Raises what goes wrong in an ExceptionGroup."""
        foundation = {self._path(name): self._read(name) for name in FOUNDATION}
        self.screen.say("", Text.assemble("  ", ("Lateen", "bold"), "  a service mesh, all of it on this machine"), "")
        async with supervised(self.logs) as self.programs:
            mesh = await launch(self.programs, self.screen, foundation, self.begun)
            self._welcome(mesh)
            if self.traffic:
                await self._with_traffic(mesh)
            else:
                await self._without_traffic(mesh)
        return int(self.failed)

    async def _with_traffic(self, mesh: Mesh) -> None:
        traffic = Traffic(mesh.gateway, self.pace.requests_per_second)
        async with asyncio.TaskGroup() as tasks:
            flow = tasks.create_task(traffic.flow())
            for number, step in enumerate(STEPS, start=1):
                self.verdicts.append(await self._step(number, step, mesh, traffic))
                await asyncio.sleep(self.pace.reading_seconds)
            self._summary(traffic)
            if self.keep:
                await self._stay(mesh, traffic)
            flow.cancel()

    async def _without_traffic(self, mesh: Mesh) -> None:
        step = STEPS[0]
        await mesh.control_plane.apply({self._path(step.file): self._read(step.file)})
        self.screen.say(
            rendering.step_heading(1, step),
            rendering.command(self._apply_command(mesh, step)),
            "",
            *_hints(mesh, step),
            "",
            "  The mesh stays up until Ctrl-C. The other steps are files beside that one.",
        )
        await asyncio.Event().wait()

    async def _step(self, number: int, step: Step, mesh: Mesh, traffic: Traffic) -> Verdict:
        content = self._read(step.file)
        plain = self.screen.plain
        self.screen.say(
            rendering.step_heading(number, step),
            rendering.command(self._apply_command(mesh, step)),
            rendering.yaml_block(without_comments(content), plain=plain),
        )
        proxies = await mesh.control_plane.apply({self._path(step.file): content})
        self.screen.say(Text(f"    acknowledged by all {proxies} proxies", "dim"), "")
        users = (JASON, "") if step.by_user else ()

        def render() -> RenderableType:
            return rendering.traffic_table(table(traffic.seen, step.rows, users), users, plain=plain)

        traffic.restart()
        if step.breaks:
            await traffic.settled()
            await misbehave(mesh.inbound[workload_name("reviews", step.breaks)], 500)
        async with self.screen.live(render):
            await asyncio.sleep(self.pace.step_seconds)
            # A machine that stood still meanwhile has sent less than chance needs to be fair.
            await traffic.seen_enough(self.pace.enough)
            traffic.stop_counting()
        if step.breaks:
            await misbehave(mesh.inbound[workload_name("reviews", step.breaks)], 0)
        verdict = step.check(traffic.seen)
        self.screen.say(
            "", rendering.verdict_lines(step, verdict, problems(traffic.seen), plain=plain), "", *_hints(mesh, step)
        )
        return verdict

    async def _stay(self, mesh: Mesh, traffic: Traffic) -> None:
        """Show the last seconds of traffic until Ctrl-C."""
        self.screen.say(
            "  The mesh stays up. Apply a file, or one of your own, and watch the last",
            f"  {WINDOW:.0f} seconds here. Ctrl-C ends everything and leaves nothing behind.",
            "",
            rendering.command(self._apply_command(mesh, STEPS[2])),
            "",
        )
        traffic.restart()

        def render() -> RenderableType:
            traffic.forget_before(traffic.now() - WINDOW)
            rows = table(traffic.seen, (Outcome.V1, Outcome.V2, Outcome.V3))
            return rendering.traffic_table(rows, (), plain=self.screen.plain)

        async with self.screen.live(render):
            await asyncio.Event().wait()

    def _welcome(self, mesh: Mesh) -> None:
        took = time.monotonic() - self.begun
        self.screen.say(
            "",
            f"  The mesh is up after {took:.1f} s. Each call between two services passes two Envoys,",
            "  and the services do not know. See the shop in a browser, or as jason:",
            "",
            Text.assemble(
                "    ", (f"{mesh.gateway}/", "bold cyan"), "    ", (f"{mesh.gateway}/?user={JASON}", "bold cyan")
            ),
        )

    def _summary(self, traffic: Traffic) -> None:
        kept = sum(verdict.kept for verdict in self.verdicts)
        text = f"{kept} of {len(STEPS)} steps kept their promise, over {traffic.total} requests."
        style = "bold red" if self.failed else "bold"
        self.screen.say("", Rule(style="dim"), "", Padding(Text(text, style), (0, 2)), "")

    def _apply_command(self, mesh: Mesh, step: Step) -> str:
        server = "" if mesh.control_plane.is_default else f"--server {mesh.control_plane.url} "
        return f"lateen apply {server}-f {shlex.quote(self._path(step.file))}"

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def _path(self, name: str) -> str:
        return shown_path(self.folder / name, Path.cwd())


def _hints(mesh: Mesh, step: Step) -> Iterator[RenderableType]:
    yield Text("  Try it:", "dim")
    for user in step.try_as:
        yield rendering.command(rendering.curl(mesh.gateway, user))


def run(*, keep: bool, traffic: bool) -> int:
    """Run the demo in this terminal and return its exit code (see `lateen.cli.demo.demo`)."""
    try:
        folder = bookshop_folder()
    except FileNotFoundError as error:
        raise Failure(str(error), hint="install the wheel, or run from a checkout") from error
    watched = sys.stdin.isatty() and sys.stdout.isatty()
    demo = Demo(
        screen=Screen(),
        folder=folder,
        logs=Path(tempfile.mkdtemp(prefix="lateen-demo-")),
        keep=keep or watched,
        traffic=traffic,
        pace=FOR_READERS if watched else FOR_MACHINES,
        begun=time.monotonic(),
    )
    keep_logs = True
    try:
        ended = asyncio.run(_until_interrupted(demo))
        # Ctrl-C leaves no file behind, whatever was seen before.
        keep_logs = demo.failed and not isinstance(ended, Interrupted)
    except ExceptionGroup as group:
        _explain(group, demo.screen)
        ended = 1
    finally:
        if keep_logs:
            where = Text(f"  Stopped. The logs are in {demo.logs}", no_wrap=True, overflow="ignore")
            demo.screen.say(where, "")
        else:
            shutil.rmtree(demo.logs, ignore_errors=True)
            demo.screen.say("  Stopped. Nothing is left behind.", "")
    if isinstance(ended, Interrupted):
        return int(demo.failed) if demo.toured else 128 + ended.number
    return ended


async def _until_interrupted(demo: Demo) -> int | Interrupted:
    def say_so() -> None:
        demo.screen.say("", "  Stopping ...")

    def kill() -> None:
        if demo.programs is not None:
            demo.programs.kill()

    return await until_interrupted(demo.run(), on_first=say_so, on_second=kill)


def _explain(group: ExceptionGroup[Exception], screen: Screen) -> None:
    """Say what went wrong, for the failures that a demo can meet; anything else is a bug and rises."""
    _, bugs = group.split((ProgramError, LaunchError, ApplyError))
    if bugs is not None:
        raise bugs
    problem = next(_leaves(group))
    screen.say("", Text(f"  {problem}", "bold red"))
    if isinstance(problem, ProgramError):
        screen.say(
            Text(f"  $ {problem.program.typed}", "dim", no_wrap=True, overflow="ignore"),
            "",
            Text(problem.log, no_wrap=True, overflow="ignore"),
            "",
        )


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
