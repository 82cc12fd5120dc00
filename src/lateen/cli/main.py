"""Entry point of `lateen`: how a command begins and how it ends.

A command returns its exit code, or the agent that this process is to become, or raises Failure. The commands are
imported only when `run` is called, so that an early Ctrl-C finds no Python handler that would print where it struck.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lateen.cli.exits import ExitCode, Failure

if TYPE_CHECKING:
    import typer

_INTERRUPTED = 130
"""As a shell says it: 128 + SIGINT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the command's code."""
    if not sys.warnoptions:
        # What libraries say to programmers (a certificate that some later version will refuse) is not for users.
        warnings.simplefilter("ignore")
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        # While modules load, Ctrl-C ends the process in silence instead of with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        import lateen.cli.commands  # noqa: F401  that `run` finds them loaded

        signal.signal(signal.SIGINT, interrupt)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; messages go to stderr."""
    from lateen.app.collecting import rare_collections

    with rare_collections():  # already while the command's modules load: they are many objects, and all stay
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    import typer

    from lateen.cli.commands import application

    command = typer.main.get_command(application())
    given = None if arguments is None else list(arguments)
    try:
        ended = command.main(args=given, prog_name="lateen", standalone_mode=False)
    except Failure as failure:
        _complain(failure.message, failure.hint)
        return failure.code
    except typer.TyperException as error:
        return _usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        from lateen.cli.output import silence_broken_pipe

        silence_broken_pipe()
        return ExitCode.DONE
    from lateen.cli.processes import Becoming

    if isinstance(ended, Becoming):
        ended.become()
    return int(ended) if isinstance(ended, int) else ExitCode.DONE


def _usage_error(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "lateen"
    message = getattr(error, "format_message", lambda: str(error))()
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(message + os.linesep)
    else:
        _complain(message, f"`{path} --help` shows what is expected")
    return ExitCode.USAGE


def _complain(message: str, hint: str) -> None:
    sys.stderr.write(f"lateen: {message}" + (f"\n  {hint}" if hint else "") + "\n")


if __name__ == "__main__":
    main()
