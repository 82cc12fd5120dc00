"""`lateen proxy install --systemd`: a unit that runs a workload's agent from now on and after each boot.

Registered by `cli/commands.py`. Unlike the units of `lateen join` (`cli/units.py`) these run the user's own app, and so
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
from lateen.cli.units import UNITS_FOLDER, WANTED_BY, quoted

_RUNS = (("run",), ("proxy", "sidecar"), ("proxy", "gateway"))
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,100}")
_PASSED_ON = ("LATEEN_CONTROL_PLANE",)
"""Variables of today's environment that the command may depend on."""
_STOP_SECONDS = 60
"""Leaving, draining and the app's own end take 6 + 5 + 10 s by default, and the mesh may say more."""


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
    name = unit or _name_of(command)
    if not _UNIT.fullmatch(name):
        raise Failure(
            f"--unit {name[:80]!r} is not a unit's name", code=ExitCode.USAGE, hint="letters, digits, - _ . @"
        )
    name = f"{name.removesuffix('.service')}.service"
    text = unit_text(command, folder=Path.cwd(), environment=os.environ, user=user)
    if dry_run:
        sys.stdout.write(text)
        return ExitCode.DONE
    path = _folder(user=user) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text.encode())
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", hint="as root, or with --user") from error
    note(f"wrote {path}")
    return _start(name, user=user)


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
    for flag in ("--name", "--service", "--workload-group"):
        for position, word in enumerate(command):
            if word == "--":
                break
            if word.startswith(f"{flag}="):
                return f"lateen-{word.partition('=')[2]}"
            if word == flag and position + 1 < len(command):
                return f"lateen-{command[position + 1]}"
    return "lateen-agent"


def _folder(*, user: bool) -> Path:
    if not user:
        return Path(UNITS_FOLDER)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "systemd" / "user"


def unit_text(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], user: bool) -> str:
    """Return the unit that runs `lateen COMMAND` in this folder. Pure."""
    words = " ".join(quoted(word, command=True) for word in (sys.executable, "-m", "lateen.cli.main", *command))
    variables = [f"{name}={environment[name]}" for name in _PASSED_ON if environment.get(name)]
    if not user:
        # What the agent keeps, outside of any home: services of the machine have none.
        variables.append("XDG_STATE_HOME=/var/lib")
    kept = "" if user else "StateDirectory=lateen\nStateDirectoryMode=0700\n"
    return (
        "[Unit]\n"
        f"Description=Lateen: {_printable(' '.join(command))[:120]}\n"
        "Wants=network-online.target\n"
        "After=network-online.target\n"
        "\n"
        "[Service]\n"
        "Type=notify\n"
        "NotifyAccess=main\n"
        f"WorkingDirectory={_printable(str(folder))}\n"
        + "".join(f"Environment={quoted(variable)}\n" for variable in variables)
        + f"ExecStart={words}\n"
        # Without a control plane a first start waits, and says so; that is no failure.
        "TimeoutStartSec=infinity\n"
        "WatchdogSec=30\n"
        "Restart=on-failure\n"
        "RestartSec=1\n"
        # The agent stops Envoy and the app itself, in order.
        "KillMode=mixed\n"
        f"TimeoutStopSec={_STOP_SECONDS}\n"
        # An app that SIGTERM has ended.
        "SuccessExitStatus=143\n"
        f"{kept}"
        "\n"
        "[Install]\n"
        f"WantedBy={'default.target' if user else WANTED_BY}\n"
    )


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text).replace("%", "%%")
