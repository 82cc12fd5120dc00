"""The terminal, with a file in its place."""

from __future__ import annotations

import io

from rich.console import Console

from lateen.cli.demo.rendering import WIDTH, command
from lateen.cli.demo.screen import Screen


def printed(*what: object) -> list[str]:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    Screen(console).say(*what)  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_command_to_copy_is_never_broken() -> None:
    long = "lateen apply " + "-f some/file.yaml " * 10
    assert printed(command(long)) == ["  $ " + long]


def test_prose_is_wrapped_at_80_columns() -> None:
    assert max(map(len, printed("word " * 100))) <= WIDTH


async def test_a_file_gets_the_last_state_once() -> None:
    console = Console(file=io.StringIO(), width=80)
    states = iter(range(100))
    screen = Screen(console)
    async with screen.live(lambda: f"state {next(states)}"):
        pass
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "state 0\n"
