"""The terminal: prints once where output is a file, repaints in place where it is a terminal.

Called by the tour. Must not know what it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from lateen.cli.demo.rendering import WIDTH

FRAME = 0.1
"""Seconds between repaints."""


class Screen:
    """A console of at most 80 columns."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=False)
        if self._console.width > WIDTH:
            self._console.width = WIDTH

    @property
    def plain(self) -> bool:
        """Whether only ASCII can be shown."""
        return self._console.options.ascii_only

    @property
    def is_terminal(self) -> bool:
        """Whether somebody may be watching."""
        return self._console.is_terminal

    def say(self, *what: RenderableType) -> None:
        """Print things below each other; a text that must not be wrapped (a command to copy) stays one line."""
        for one in what:
            self._console.print(one, soft_wrap=isinstance(one, Text) and one.no_wrap)

    @asynccontextmanager
    async def live(self, render: Callable[[], RenderableType]) -> AsyncIterator[None]:
        """Keep what `render` returns on the screen until the block ends; its last state stays.

        Where output is no terminal, only that last state is printed, and nothing when the block is left by an error.
        """
        if not self.is_terminal:
            yield
            self._console.print(render())
            return
        with Live(console=self._console, auto_refresh=False, get_renderable=render) as live:
            async with asyncio.TaskGroup() as tasks:
                painter = tasks.create_task(_repaint(live))
                try:
                    yield
                finally:
                    painter.cancel()
            live.refresh()


async def _repaint(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(FRAME)
