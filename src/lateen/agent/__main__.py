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

# structlog loads `rich` when it is installed, for pretty tracebacks: 6 MB and 0.3 s in each of a host's many agents.
sys.modules["rich"] = None  # type: ignore[assignment]

import structlog  # noqa: E402  see above

from lateen.agent.errors import StartError  # noqa: E402
from lateen.agent.lifecycle import run  # noqa: E402
from lateen.agent.settings import AgentSettings, SettingsError  # noqa: E402

_USAGE = "usage: python -m lateen.agent SETTINGS_JSON | --settings FILE (start it with `lateen run` or `lateen proxy`)"
_TLS_BUFFER = 16 * 1024
"""A TLS record's size: more than the control plane ever says at once."""


def keep_small() -> None:
    """Give each TLS connection a small buffer: asyncio's of 256 KiB are half a megabyte in each of many agents."""
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER


def configure_logging() -> None:
    """Log to stderr: for people on a terminal, JSON lines otherwise. Level info and above."""
    renderer: structlog.typing.Processor
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


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
    configure_logging()
    keep_small()
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
