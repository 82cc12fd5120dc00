"""Entry point of `lateen`: the commands, and how a command ends.

A command returns its exit code or raises Failure. Nothing heavy is imported here: see `cli/__init__.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lateen.cli import offline, online, processes
from lateen.cli.exits import ExitCode, Failure

_HELP = "A service mesh: Istio's API on stock Envoy, with or without Kubernetes."


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"lateen {version('lateen')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


def application() -> typer.Typer:
    """Return the command-line application with all commands, in the order that help shows them."""
    # Shell completion and rich's help would both be imported on every start.
    app = typer.Typer(help=_HELP, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.callback()(_root)
    app.command()(offline.validate)
    app.command()(offline.analyze)
    app.command()(offline.generate)
    app.command()(processes.serve)
    # Options of the app's own command must not be taken for ours, with or without `--` before it.
    app.command(context_settings={"allow_interspersed_args": False})(processes.run)
    proxy = typer.Typer(
        help="Run the agent and Envoy alone.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
    )
    proxy.command()(processes.sidecar)
    proxy.command()(processes.gateway)
    app.add_typer(proxy, name="proxy")
    app.command()(processes.demo)
    app.command()(online.apply)
    app.command()(online.get)
    app.command()(online.delete)
    app.command("proxy-status")(online.proxy_status)
    app.command("proxy-config")(online.proxy_config)
    app.command()(online.version)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the command's code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; messages go to stderr."""
    command = typer.main.get_command(application())
    given = None if arguments is None else list(arguments)
    try:
        code = command.main(args=given, prog_name="lateen", standalone_mode=False)
    except Failure as failure:
        _complain(failure.message, failure.hint)
        return failure.code
    except typer.TyperException as error:
        return _usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        from lateen.cli.output import silence_broken_pipe

        silence_broken_pipe()
        return ExitCode.DONE
    return int(code) if isinstance(code, int) else ExitCode.DONE


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
