"""`lateen proxy install --systemd`: a unit that runs a workload's agent from now on and after each boot.

Registered by `cli/commands.py`. Unlike the units of `lateen join` these run the user's own app, and so
confine nothing. The agent speaks `sd_notify`: systemd knows when the workload serves, when it drains,
and restarts an agent whose Envoy does not answer any more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.systemd_units import UNIT_MODE, UNITS_FOLDER, USER_WANTED_BY, WANTED_BY, AgentUnit, Rights, agent_unit

_RUNS = (("run",), ("proxy", "sidecar"), ("proxy", "gateway"))
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")
_PASSED_ON = ("LATEEN_CONTROL_PLANE",)
"""Variables of today's environment that the command may depend on."""
_STATE = "lateen"
"""Below /var/lib: what agents of the machine keep, where `lateen proxy status --state` finds them all."""


def install(
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND...", help="`run ...`, `proxy sidecar ...` or `proxy gateway ...`."),
    ],
    systemd: Annotated[
        bool, typer.Option("--systemd", help="As a unit of systemd; there is no other way yet.")
    ] = False,
    unit: Annotated[
        str, typer.Option("--unit", metavar="NAME", help="Name of the unit; default: after the service or gateway.")
    ] = "",
    user: Annotated[bool, typer.Option("--user", help="A unit of this user, not of the machine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit and change nothing.")] = False,
) -> int:
    """Have systemd run a workload: write a unit, enable and start it.

    Paths in the command are relative to the current folder, then too.
    """
    from lateen.cli.output import note
    from lateen.private_files import write_private

    if not systemd:
        raise Failure("say --systemd", code=ExitCode.USAGE, hint="as in `lateen proxy install --systemd -- run ...`")
    if not any(tuple(command[: len(words)]) == words for words in _RUNS):
        known = ", ".join(f"`{' '.join(words)} ...`" for words in _RUNS)
        raise Failure(f"{' '.join(command)[:80]!r} runs no agent", code=ExitCode.USAGE, hint=f"one of {known}")
    _refuse_what_starts_no_agent(command)
    name = unit or _name_of(command)
    if not _UNIT.fullmatch(name):
        raise Failure(f"--unit {name[:80]!r} is not a unit's name", code=ExitCode.USAGE, hint="letters, digits, - _ .")
    name = name.removesuffix(".service")
    try:
        text = unit_text(command, name=name, folder=Path.cwd(), environment=os.environ, user=user)
    except ValueError as error:
        raise Failure(str(error), code=ExitCode.USAGE) from error
    name += ".service"
    if dry_run:
        sys.stdout.write(text)
        return ExitCode.DONE
    path = _folder(user=user) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text.encode())
        path.chmod(UNIT_MODE)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", hint="as root, or with --user") from error
    note(f"wrote {path}")
    return _start(name, user=user)


def _refuse_what_starts_no_agent(command: Sequence[str]) -> None:
    """Raise Failure for wrong usage, in the command's own words: systemd would start it again every second."""
    from lateen.cli.commands import application
    from lateen.cli.processes import Becoming

    ended = typer.main.get_command(application()).main(args=list(command), prog_name="lateen", standalone_mode=False)
    if not isinstance(ended, Becoming):
        raise Failure(f"{' '.join(command)[:80]!r} runs no agent", code=ExitCode.USAGE)


def _start(name: str, *, user: bool) -> int:
    from lateen.cli.output import note

    tool = shutil.which("systemctl")
    if tool is None or not Path("/run/systemd/system").is_dir():
        note("systemd does not run here: it will find the unit when it does")
        return ExitCode.DONE
    which = ["--user"] if user else []
    for words in (("daemon-reload",), ("enable", name), ("restart", "--no-block", name)):
        done = subprocess.run([tool, *which, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"systemctl {' '.join(words)}: {done.stderr.strip()[:300]}")
    note(f"started {name}; `systemctl {'--user ' if user else ''}status {name}` shows it")
    return ExitCode.DONE


def _name_of(command: Sequence[str]) -> str:
    """Return a unit's name after what the command runs."""
    own, _ = _split(command)
    names = (_flag(own, flag) for flag in ("--name", "--service", "--workload-group"))
    return f"lateen-{next(filter(None, names), 'agent')}"


def _folder(*, user: bool) -> Path:
    if not user:
        return Path(UNITS_FOLDER)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "systemd" / "user"


def unit_text(
    command: Sequence[str], *, name: str, folder: Path, environment: Mapping[str, str], user: bool = False
) -> str:
    """Return the unit that runs `lateen COMMAND` in this folder. Pure. ValueError for a folder that cannot be named."""
    position = next(len(words) for words in _RUNS if tuple(command[: len(words)]) == words)
    own, app = _split(command)
    kept = _flag(own, "--state")
    state = () if kept or user else ("--state", f"/var/lib/{_STATE}")
    where = ("--state", str(folder / kept)) if kept else state
    lateen = (sys.executable, "-m", "lateen.cli.main")
    job = "--job" in own
    return agent_unit(
        AgentUnit(
            name=name,
            description=f"Lateen: {' '.join(command)}",
            command=(*lateen, *own[:position], *state, *own[position:], *app),
            rights=Rights.APP,
            environment={name: environment[name] for name in _PASSED_ON if environment.get(name)},
            folder=str(folder),
            # Services of the machine have no home.
            state_folder=f"{_STATE}/agents" if state else "",
            reload_command=(*lateen, "proxy", "restart", *where, "--pid"),
            # An app that ends well has ended; one that has not is started again, but a job is not begun twice.
            notify=not job,
            restart="no" if job else "always" if command[0] == "proxy" else "on-failure",
            wanted_by=USER_WANTED_BY if user else WANTED_BY,
        )
    )


def _split(command: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own words, and the app's with the `--` before them."""
    end = list(command).index("--") if "--" in command else len(command)
    return list(command[:end]), list(command[end:])


def _flag(words: Sequence[str], flag: str) -> str:
    """Return what a flag is given, empty when it is not there."""
    for position, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag and position + 1 < len(words):
            return words[position + 1]
    return ""
