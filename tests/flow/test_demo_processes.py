"""How the demo starts, watches and stops its programs, with small programs in their place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lateen.agent.settings import RUN, AgentSettings
from lateen.cli.demo.processes import ProgramError, supervised
from lateen.cli.demo.programs import Program
from lateen.cli.demo.stopping import Interrupted, until_interrupted

LAUNCHER = (
    sys.executable,
    "-c",
    "import json, sys; exec(json.loads(sys.argv[2])['command'][0] if sys.argv[1] == 'agent' else sys.argv[2])",
)
"""Runs the code that a program carries as its command."""
ANNOUNCES = "import json, signal; print(json.dumps({'a': 1}), flush=True); print('more', flush=True); signal.pause()"


def program(code: str, name: str = "one program") -> Program:
    return Program(name=name, arguments=(), settings=AgentSettings(mode=RUN, service="any", command=(code,)))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what another process does sets no event here
            await asyncio.sleep(0.01)


async def test_the_first_line_is_the_announcement_and_the_rest_is_logged(tmp_path: Path) -> None:
    async with supervised(tmp_path, LAUNCHER) as programs:
        running = await programs.start(program(ANNOUNCES))
        assert await running.announced == {"a": 1}
        await until(lambda: running.tail() == "more")
    assert not is_alive(running.process.pid)


async def test_leaving_stops_the_first_program_last(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        f"    open({str(tmp_path / 'order')!r}, 'a').write(NAME + ' '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop); print('{}', flush=True); signal.pause()"
    )
    async with supervised(tmp_path, LAUNCHER) as programs:
        for name in ("first", "second"):
            running = await programs.start(program(f"NAME = {name!r}\n{code}", name))
            await running.announced
    assert (tmp_path / "order").read_text() == "second first "


async def test_a_program_that_dies_ends_the_work_with_its_last_words(tmp_path: Path) -> None:

    async def work() -> None:
        async with supervised(tmp_path, LAUNCHER) as programs:
            await programs.start(program("import sys; sys.exit('no port left')"))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await work()
    (error,) = caught.value.exceptions
    assert isinstance(error, ProgramError)
    assert (str(error), error.log) == ("one program ended with exit code 1", "no port left")


async def test_a_program_that_ignores_sigterm_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lateen.cli.demo.processes.STOP_SECONDS", 0.1)
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(child.pid, flush=True); signal.pause()"
    )
    async with supervised(tmp_path, LAUNCHER) as programs:
        running = await programs.start(program(code))
        child = int(str(await running.announced))
    await until(lambda: not is_alive(child) or _is_zombie(child))
    assert not is_alive(running.process.pid)


def _is_zombie(pid: int) -> bool:
    """An orphan's corpse waits for the machine's first process, which may be lazy in a container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:  # reaped meanwhile
        return False


async def test_the_first_signal_asks_and_the_second_is_told_apart() -> None:
    """Work that is slow to clean up hears of the second Ctrl-C; then it ends as interrupted."""
    heard: list[str] = []
    hurry = asyncio.Event()

    async def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await hurry.wait()
        return 0

    def second() -> None:
        heard.append("second")
        hurry.set()

    ended = await until_interrupted(work(), on_first=lambda: heard.append("first"), on_second=second)
    assert ended == Interrupted(number=signal.SIGINT)
    assert heard == ["first", "second"]


async def test_work_that_ends_by_itself_returns_its_code() -> None:
    async def work() -> int:
        return 7

    assert await until_interrupted(work(), on_first=lambda: None, on_second=lambda: None) == 7


async def test_a_tethered_program_stops_when_the_demo_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the demo no time to stop anything; the kernel tells its programs."""
    if sys.platform != "linux":
        pytest.skip("only Linux can tell a program that its parent died")
    inner = (
        "from lateen.cli.demo.tether import tether; tether(); import signal; print('up', flush=True); signal.pause()"
    )
    outer = (
        "import os, subprocess, sys, signal\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); signal.pause()"
    )
    demo = await asyncio.create_subprocess_exec(sys.executable, "-c", outer, stdout=asyncio.subprocess.PIPE)
    assert demo.stdout is not None
    tethered = int(await demo.stdout.readline())
    assert is_alive(tethered)
    demo.kill()
    await demo.wait()
    await until(lambda: not is_alive(tethered) or _is_zombie(tethered))
