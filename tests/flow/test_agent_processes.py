"""Child processes: their groups, their exit codes, and the guard that outlives the agent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lateen.agent.processes import Child, Guard, start


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def child(*command: str) -> Child:
    return await start(command, env=dict(os.environ), quiet_stdout=True)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
async def test_exit_codes_are_a_shells(script: str, code: int) -> None:
    assert await (await child("sh", "-c", script)).exit_code() == code


async def test_child_leads_its_own_session() -> None:
    """A Ctrl-C in the agent's terminal does not reach it."""
    started = await child("sleep", "1000")
    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    await started.stop(signal.SIGTERM, 30)


async def test_stop_reaches_the_whole_group_and_kills_the_stubborn(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    started = await child(
        "sh", "-c", f"trap '' TERM; (trap '' TERM; sleep 1000) & touch {ready}; while :; do wait; done"
    )
    await until(ready.exists)
    await started.stop(signal.SIGTERM, 0.1)
    assert await started.exit_code() == 137
    await until(started.group_is_empty)


async def test_unknown_program_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await child("no-such-program")


async def test_guard_clears_up_after_an_agent_that_is_gone(tmp_path: Path) -> None:
    """Processes of the group that no parent-death signal reaches, and the private folder."""
    folder, ready, watched = tmp_path / "private", tmp_path / "ready", tmp_path / "watched"
    folder.mkdir()
    (folder / "file").touch()
    agent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"""
import asyncio, os
from pathlib import Path
from lateen.agent.processes import Guard, start

async def main():
    guard = Guard(Path({str(folder)!r}))
    command = ["sh", "-c", "sleep 1000 & echo $! > {ready}.new; mv {ready}.new {ready}; wait"]
    guard.watch(await start(command, env=dict(os.environ), quiet_stdout=True))
    Path({str(watched)!r}).touch()
    await asyncio.Event().wait()

asyncio.run(main())
""",
    )
    await until(lambda: ready.exists() and watched.exists())
    orphan = int(ready.read_text())
    agent.kill()
    await agent.wait()
    await until(lambda: not folder.exists() and not _alive(orphan))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Killed, but nobody has reaped it.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # reaped meanwhile, or a system without /proc: to be asked again
        return True


async def test_closed_guard_touches_nothing(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    guard.close()
    assert tmp_path.exists()
