"""Rules on trial: whoever applies them and is locked out by them gets the machine back by waiting.

Naive would be a timer in the process that applied them, which dies with the SSH session that the rules cut. So the
waiting is somebody else's: a transient timer of systemd where there is systemd, else a process of its own session
that no terminal can hang up. It is started before the rules are applied, so that there is no moment in which they are
in force and nobody waits. What ends a trial is the record: a confirmed one names no trial any more, and then the
one who waited goes without a word. Called by `host`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lateen.agent.interception.programs import InterceptionError, program, run_program, said

_SYSTEMD = Path("/run/systemd/system")
SYSTEMD, PROCESS = "systemd", "process"


def command(folder: Path) -> tuple[str, ...]:
    """Return how this package is called for a folder of records."""
    return (sys.executable, "-m", "lateen.agent.interception", str(folder))


def environment() -> dict[str, str]:
    """Return what of our environment another process needs to find this package."""
    path = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": path} if path else {}


def systemd_runs() -> bool:
    """Whether systemd is this machine's init, as sd_booted(3) has it."""
    return _SYSTEMD.is_dir()


def begin(folder: Path, name: str, trial: str, seconds: float, *, systemd: bool | None = None) -> str:
    """Have the rules of this trial taken back after `seconds`; return who waits. InterceptionError when nobody can."""
    if systemd is None:
        systemd = systemd_runs() and bool(program("systemd-run"))
    if systemd:
        _begin_timer((*command(folder), "expire", name, trial), name, trial, seconds)
        return SYSTEMD
    _begin_process((*command(folder), "expire", name, trial, f"{seconds:g}"))
    return PROCESS


def _begin_timer(words: Sequence[str], name: str, trial: str, seconds: float) -> None:
    unit = f"lateen-intercept-{name or 'default'}-trial-{trial}"
    settings = [f"--setenv={variable}={value}" for variable, value in environment().items()]
    # Replaced when the time has come, as in the words of a unit.
    escaped = [word.replace("$", "$$") for word in words]
    timer = ("--on-active", f"{seconds:g}s", "--timer-property=AccuracySec=1s", "--unit", unit, "--collect")
    done = run_program(("systemd-run", "--quiet", *timer, *settings, "--", *escaped))
    if done.returncode:
        raise InterceptionError(f"systemd does not wait for the end of the trial, nothing was changed: {said(done)}")


def _begin_process(words: Sequence[str]) -> None:
    # Forked twice, so that it is nobody's child; it says so when it is ready to wait.
    reading, writing = os.pipe()
    with open(reading, "rb") as told:  # noqa: PTH123  a descriptor, not a path
        _start_waiter(words, writing)
        if told.read(1) != b"w":
            raise InterceptionError("no process could be started that ends the trial, so nothing was changed")


def _start_waiter(words: Sequence[str], writing: int) -> None:
    """Start it, and close our copy of its end of the pipe."""
    try:
        starter = subprocess.Popen(
            ("/bin/sh", "-c", '"$@" & exit 0', "lateen", *words, str(writing)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            pass_fds=(writing,),
        )
        starter.wait()
    finally:
        os.close(writing)
