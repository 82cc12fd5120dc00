"""Starting, watching and stopping the demo's programs.

Called by the tour. Three promises: a program that dies ends the tour with the tail of its log; leaving the `with`
stops everything, politely first and with SIGKILL at a deadline; nothing outlives the demo, even when that is killed
(see `tether`). Must not know what the programs do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lateen.cli.demo.programs import Program
from lateen.cli.demo.tether import PARENT

STOP_SECONDS = 8.0
"""Time that a program has between SIGTERM and SIGKILL: more than a sidecar needs to drain."""
TAIL_LINES = 15
_LINE_LIMIT = 1 << 20


class ProgramError(Exception):
    """A program ended or never became ready. `log` is the tail of what it wrote."""

    def __init__(self, program: Program, what: str, log: str) -> None:
        super().__init__(f"{program.name} {what}")
        self.program = program
        self.log = log


@dataclass(slots=True, kw_only=True, eq=False)
class Running:
    """A started program."""

    program: Program
    process: Process
    log: Path
    announced: asyncio.Future[Mapping[str, Any]]
    """What it said about its addresses; never done for a program that announces nothing."""
    stopping: bool = False

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def signal_group(self, number: int) -> None:
        """Signal the program and whatever it left in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass(slots=True, kw_only=True, eq=False)
class Programs:
    """The programs of one demo. Made by `supervised`."""

    logs: Path
    tasks: asyncio.TaskGroup
    launcher: tuple[str, ...]
    environment: Mapping[str, str]
    started: list[Running] = field(default_factory=list)

    async def start(self, program: Program) -> Running:
        """Start a program in a process group of its own; its output goes to its log."""
        log = self.logs / f"{program.name.replace(' ', '-')}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *self.launcher,
                *program.launched,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=stderr,
                env=dict(self.environment),
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the others in order
                limit=_LINE_LIMIT,
            )
        running = Running(
            program=program, process=process, log=log, announced=asyncio.get_running_loop().create_future()
        )
        self.started.append(running)
        self.tasks.create_task(self._read(running))
        self.tasks.create_task(self._watch(running))
        return running

    async def _read(self, running: Running) -> None:
        """Take the announcement from stdout and append everything else to the log."""
        assert running.process.stdout is not None
        with running.log.open("ab") as log:
            while line := await running.process.stdout.readline():
                if running.program.settings is not None and not running.announced.done():
                    with contextlib.suppress(ValueError):
                        running.announced.set_result(json.loads(line))
                        continue
                log.write(line)
                log.flush()

    async def _watch(self, running: Running) -> None:
        code = await running.process.wait()
        if not running.stopping:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise ProgramError(running.program, how, running.tail())

    async def stop(self, order: Iterable[Iterable[Running]]) -> None:
        """Stop groups of programs one after the other, those of a group together."""
        for running in self.started:
            running.stopping = True
        for group in order:
            members = list(group)
            for running in members:
                if running.process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        running.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await asyncio.gather(*(running.process.wait() for running in members))
            self.kill(members)
            await asyncio.gather(*(running.process.wait() for running in members))

    def kill(self, members: Iterable[Running] | None = None) -> None:
        """End programs, and everything in their process groups, at once."""
        for running in self.started if members is None else members:
            running.stopping = True
            running.signal_group(signal.SIGKILL)


@asynccontextmanager
async def supervised(logs: Path, launcher: tuple[str, ...] = ()) -> AsyncIterator[Programs]:
    """Yield a place to start programs in; on leaving, stop the data plane and then what was started first.

    Raises an ExceptionGroup with a ProgramError when a program dies by itself.
    """
    launch = launcher or (sys.executable, "-m", "lateen.cli.demo.tether")
    environment = {**os.environ, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    async with asyncio.TaskGroup() as tasks:
        programs = Programs(logs=logs, tasks=tasks, launcher=launch, environment=environment)
        try:
            yield programs
        finally:
            first, others = programs.started[:1], programs.started[1:]
            try:
                await programs.stop((others, first))
            finally:
                programs.kill()
