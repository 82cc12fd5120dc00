"""Child processes that never outlive the agent: the app and Envoy.

Three things make sure of it. Each child leads its own session, so a Ctrl-C in the terminal reaches only the agent,
which drains first; on Linux the kernel kills a direct child when the agent dies (PR_SET_PDEATHSIG); and a `Guard`, a
small shell that waits at the end of a pipe, kills what is left of the children's process groups and removes the
private folder when the agent is gone, however it went. Must not know: what the children are.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02

_GUARD = """
trap '' HUP INT TERM
groups=
while read -r group; do groups="$groups $group"; done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
# Memory that the epochs of a killed Envoy shared: nobody else removes it.
if id=$(cat -- "$1/base-id" 2>/dev/null); then rm -f -- "/dev/shm/envoy_shared_memory_${id}0"; fi
[ ! -f "$1/undo" ] || /bin/sh "$1/undo"
rm -rf -- "$1"
"""


class Child:
    """A running child process that leads its own process group."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._began = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def pid(self) -> int:
        """Process id; also the id of its group and session."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the leader has not exited yet."""
        return self._process.returncode is None

    async def exit_code(self) -> int:
        """Wait for the leader; return its exit code as a shell does: 128 + signal when a signal killed it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send a signal to the whole group; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def group_is_empty(self) -> bool:
        """Whether no process of the group is left (a zombie that nobody reaps counts as one)."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    async def group_gone(self) -> None:
        """Wait until no process of the group is left."""
        await self._process.wait()
        while not self.group_is_empty():  # noqa: ASYNC110  the kernel tells nobody when a group becomes empty
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self, number: int, patience: float) -> None:
        """Signal the group, wait `patience` seconds for all of it, then kill what is left."""
        self.send(number)
        try:
            async with asyncio.timeout(patience):
                await self.group_gone()
        except TimeoutError:
            self.send(signal.SIGKILL)
        # A process in uninterruptible sleep must not hold the agent.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.group_gone()


async def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    quiet_stdout: bool = False,
    stderr: int | None = None,
    folder: Path | None = None,
    enter: Callable[[], None] | None = None,
) -> Child:
    """Start a command in its own session; it inherits stdin, stdout and stderr, and the working directory if no folder.

    `quiet_stdout` sends its stdout to its stderr and its stdin to nothing; `stderr` is another one than ours. `enter`
    is called in the child before the program is. Raises OSError when it cannot be started.
    """
    return Child(
        await asyncio.create_subprocess_exec(
            *command,
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL if quiet_stdout else None,
            stdout=(sys.stderr.fileno() if stderr is None else stderr) if quiet_stdout else None,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_first_of_all(enter),
        )
    )


def _first_of_all(enter: Callable[[], None] | None) -> Callable[[], None] | None:
    """Return what the child must do between fork and exec. Dying comes last: a change of user takes that wish back."""
    die = _die_with_parent()
    if enter is None or die is None:
        return enter or die

    def in_child() -> None:
        enter()
        die()

    return in_child


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child must do between fork and exec. The library is loaded before the fork, not after."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    agent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != agent:
            # The agent died before the call above could notice.
            os._exit(1)

    return in_child


def give_back_memory() -> None:
    """Return to the system what is free of our memory: after a start, and after much was read, that is a megabyte."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def guard_command(folder: Path) -> tuple[str, ...]:
    """Return the guard's program: it reads process groups, a line each, and when there are no more, clears up."""
    return ("/bin/sh", "-c", _GUARD, "lateen-guard", str(folder))


class Guard:
    """Cleans up after an agent that was killed: process groups, what the folder's script `undo` is for, the folder."""

    def __init__(self, folder: Path) -> None:
        self._shell = subprocess.Popen(
            guard_command(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def watch(self, child: Child) -> None:
        """Kill this child's group too, should the agent die."""
        assert self._shell.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.write(f"{child.pid}\n".encode())
            self._shell.stdin.flush()

    def close(self) -> None:
        """End the guard: the agent has cleaned up itself."""
        self._shell.kill()
        self._shell.wait()
        assert self._shell.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()
