"""Bringing the demo's mesh up, with its progress on the screen.

The control plane comes first, the foundation is applied, and everything with an Envoy starts together. Called by the
tour, which gets a `Mesh` once the whole chain has answered a request. Must not know the steps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rich.console import RenderableType

from lateen.cli.demo import programs as command_lines
from lateen.cli.demo.control_plane import ControlPlane
from lateen.cli.demo.ports import choose_ports
from lateen.cli.demo.processes import Programs
from lateen.cli.demo.programs import GATEWAY, Program
from lateen.cli.demo.rendering import ProgramLine, Progress, programs_table
from lateen.cli.demo.screen import Screen
from lateen.cli.demo.traffic import until_answered

LIMIT = 60.0
"""Seconds that the mesh has to come up. Usually it needs a tenth of that."""


class LaunchError(Exception):
    """The mesh did not come up in time; the message says what was missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A running mesh."""

    control_plane: ControlPlane
    gateway: str
    """URL of the ingress gateway."""
    inbound: Mapping[str, str]
    """Program name -> `HOST:PORT` where its sidecar takes requests for it."""


@dataclass(slots=True, kw_only=True)
class _Board:
    """The lines on the screen, and the clock they show."""

    begun: float
    lines: dict[str, ProgramLine]
    frame: int = 0

    def starting(self, name: str) -> None:
        self.lines[name] = replace(self.lines[name], progress=Progress.STARTING)

    def ready(self, name: str, where: str) -> None:
        self.lines[name] = replace(
            self.lines[name], progress=Progress.READY, where=where, seconds=time.monotonic() - self.begun
        )

    def waiting_for(self) -> list[str]:
        return [line.name for line in self.lines.values() if line.progress is not Progress.READY]


async def launch(programs: Programs, screen: Screen, foundation: Mapping[str, str], begun: float) -> Mesh:
    """Start everything and return the mesh. `begun` is the monotonic time from which the screen counts.

    Raises LaunchError, or ApplyError for the foundation; a program that dies ends the caller's task group.
    """
    ports = choose_ports()
    first, others = command_lines.control_plane(ports), command_lines.data_plane(ports)
    board = _Board(
        begun=begun,
        lines={one.name: ProgramLine(name=one.name, progress=Progress.WAITING) for one in (first, *others)},
    )

    def render() -> RenderableType:
        board.frame += 1
        return programs_table(tuple(board.lines.values()), board.frame, plain=screen.plain)

    control_plane = ControlPlane(f"http://127.0.0.1:{ports.http}")
    async with screen.live(render):
        try:
            async with asyncio.timeout(LIMIT):
                board.starting(first.name)
                await programs.start(first)
                await control_plane.ready()
                board.ready(first.name, control_plane.url)
                await control_plane.apply(foundation, wait=False)
                inbound = await _start_together(programs, others, board)
                await control_plane.workloads_ready(len(command_lines.BOOKSHOP))
                await until_answered(inbound[GATEWAY])
        except TimeoutError:
            missing = ", ".join(board.waiting_for()) or "an answer through the gateway"
            raise LaunchError(f"the mesh did not come up in {LIMIT:.0f} s; still missing: {missing}") from None
    return Mesh(control_plane=control_plane, gateway=inbound[GATEWAY], inbound=inbound)


async def _start_together(programs: Programs, wanted: tuple[Program, ...], board: _Board) -> dict[str, str]:
    """Start programs at once; return where each can be reached."""
    reached: dict[str, str] = {}

    async def start(program: Program) -> None:
        board.starting(program.name)
        running = await programs.start(program)
        reached[program.name] = where(program.name, await running.announced)
        board.ready(program.name, reached[program.name])

    async with asyncio.TaskGroup() as tasks:
        for program in wanted:
            tasks.create_task(start(program))
    return reached


def where(name: str, announced: Mapping[str, object]) -> str:
    """Return where others reach a program: a URL for the gateway, `HOST:PORT` for a workload."""
    addresses = announced["listeners" if name == GATEWAY else "inbound"]
    assert isinstance(addresses, Mapping)
    if name != GATEWAY:
        return str(next(iter(addresses.values())))
    host, _, port = str(addresses["80"]).rpartition(":")
    return f"http://{'localhost' if host == '127.0.0.1' else host}:{port}"
