"""`python -m lateen.agent SETTINGS_JSON`: what the command line execs into; `--settings FILE`: what a service starts.

Configures logging, runs one agent, turns its end into an exit code. Nothing imports this module.
"""

from __future__ import annotations

# First of all, so that an early Ctrl-C ends the process in silence instead of with a traceback: handlers come later.
import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Process 1 of a container: what is behind this line is a child of it.
import os

if __name__ == "__main__" and os.getpid() == 1:
    from lateen.agent.init_process import split_off

    split_off()

# isort: split
# Before the rest: loading its Huffman table takes 12 MB for a moment, which is free while the process is still small.
import hpack.huffman_table  # noqa: F401

# isort: split
import asyncio
import asyncio.sslproto
import sys
from pathlib import Path

from lateen.agent import log
from lateen.agent.errors import StartError
from lateen.agent.lifecycle import run
from lateen.agent.settings import AgentSettings, SettingsError

_USAGE = "usage: python -m lateen.agent SETTINGS_JSON | --settings FILE (start it with `lateen run` or `lateen proxy`)"
_TLS_BUFFER = 16 * 1024
"""A TLS record's size: more than the control plane ever says at once."""


def keep_small() -> None:
    """Give each TLS connection a small buffer: asyncio's of 256 KiB are half a megabyte in each of many agents."""
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER


def watch_children() -> None:
    """Learn of the end of children by file descriptors, as Python 3.12 does, instead of by a thread for each."""
    if sys.version_info >= (3, 12) or sys.platform != "linux":
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return  # an old kernel, or one that may not be asked
    asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def first_start_error(group: BaseExceptionGroup[StartError]) -> StartError:
    """Return the first error inside nested groups: one problem, one line."""
    inner = group.exceptions[0]
    return first_start_error(inner) if isinstance(inner, BaseExceptionGroup) else inner


def main(arguments: list[str]) -> int:
    """Run the agent that the arguments describe; return its exit code."""
    try:
        match arguments:
            case ["--settings", path]:
                settings = AgentSettings.from_json(Path(path).read_text())
            case [text]:
                settings = AgentSettings.from_json(text)
            case _:
                return _complain(_USAGE, 2)
    except OSError as error:
        return _complain(f"cannot read the settings: {error}", 1)
    except SettingsError as error:
        return _complain(str(error), 2)
    # For people on a terminal, for programs otherwise.
    log.configure(sys.stderr, for_people=sys.stderr.isatty())
    keep_small()
    watch_children()
    code = 1
    try:
        code = asyncio.run(run(settings))
    except* StartError as errors:
        first = first_start_error(errors)
        code = _complain(str(first), first.exit_code)
    return code


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"lateen: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
