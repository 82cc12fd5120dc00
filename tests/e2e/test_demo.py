"""The whole demo on real Envoys, as a stranger runs it, without a browser.

Everything the demo starts carries its process id in the environment, so that what it leaves behind can be found.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from lateen.cli.demo.steps import STEPS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for leftovers in /proc"),
]
UP_SECONDS = 60.0
"""Several times what a reader at an idle machine waits: this one may be slow. The demo itself gives up after that."""


@dataclass
class Demo:
    """A running `lateen demo`, its output so far, and where it may write."""

    process: subprocess.Popen[bytes]
    folder: Path
    begun: float
    output: str = ""

    def read(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.output += line.decode()

    def wait_for(self, text: str, *, seconds: float = 60) -> float:
        """Return seconds since the start when the text has appeared."""
        eventually(lambda: text in self.output or self.process.poll() is not None, seconds=seconds)
        assert text in self.output, self.output
        return time.monotonic() - self.begun

    def interrupt(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def leftovers(self) -> list[str]:
        """Programs that the demo started and that still run, and files below its temporary directory."""
        marker = f"LATEEN_DEMO_PID={self.process.pid}\0".encode()
        found = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*")]
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if marker in environ.read_bytes():
                    found.append((environ.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def leaves_nothing(self) -> bool:
        """Whether nothing is left; what was killed takes a moment to end."""
        eventually(lambda: not self.leftovers(), seconds=20)
        return not self.leftovers()


def eventually(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)  # the interval of a poll


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[Demo]:
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "lateen.cli.main", "demo", *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        demo = Demo(process=process, folder=folder, begun=time.monotonic())
        reader = threading.Thread(target=demo.read, args=(process.stdout,))
        reader.start()
        try:
            yield demo
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(60)
            reader.join(60)


def fetch(url: str, **headers: str) -> str:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        return str(response.read().decode())


@pytest.mark.timeout(300)
def test_the_tour_proves_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path / "tmp") as demo:
        up = demo.wait_for("The mesh is up")
        code = demo.process.wait(200)
    assert code == 0, demo.output
    for number, step in enumerate(STEPS, start=1):
        assert f"{number} of {len(STEPS)}  {step.title}" in demo.output
        assert f"✓ {step.promise}" in demo.output
    assert f"{len(STEPS)} of {len(STEPS)} steps kept their promise" in demo.output
    assert [line for line in demo.output.splitlines() if len(line.rstrip()) > 80 and "$ " not in line] == []
    assert demo.leaves_nothing(), demo.leftovers()
    assert up < UP_SECONDS


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("moment", "number"),
    [("", signal.SIGTERM), ("4 of 6", signal.SIGINT)],
    ids=["at the start", "amid a fault"],
)
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, moment: str, number: int) -> None:
    with running(tmp_path / "tmp") as demo:
        if moment:
            demo.wait_for(moment)
        else:
            # As soon as it has started something, which is when there is something to forget.
            eventually(lambda: len(demo.leftovers()) > 2, seconds=60)
        code = demo.interrupt(number)
    assert code == 128 + number, demo.output
    assert "Nothing is left behind" in demo.output
    assert demo.leaves_nothing(), demo.leftovers()


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes stdin the controlling terminal, so that a typed Ctrl-C becomes a signal."""


@pytest.mark.timeout(300)
def test_without_traffic_it_waits_for_the_reader_and_a_typed_ctrl_c_ends_it(tmp_path: Path) -> None:
    """At a terminal the demo repaints in place; the URL it prints serves the shop; Ctrl-C is the ordinary end."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "lateen.cli.main", "demo", "--no-traffic"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        output = read_terminal(ours, until=b"until Ctrl-C")
        found = re.search(rb"curl (http://[^/\s]+)/reviews", output)
        assert found is not None, output.decode(errors="replace")
        page = fetch(f"{found[1].decode()}/productpage")
        reviews = fetch(f"{found[1].decode()}/reviews", **{"end-user": "jason"})
        os.write(ours, b"\x03")
        output += read_terminal(ours, until=None)
        os.close(ours)
        assert process.wait(60) == 0, output.decode(errors="replace")
    assert "Sailing Alone Around the World" in page
    assert '"version": "v1"' in reviews
    assert output.rfind(b"\x1b[?25h") > output.rfind(b"\x1b[?25l") >= 0, "the cursor stays hidden"
    eventually(lambda: not list(tmp_path.iterdir()), seconds=20)
    assert list(tmp_path.iterdir()) == []


def read_terminal(terminal: int, *, until: bytes | None, seconds: float = 60) -> bytes:
    """Read until the bytes have come, or with None until the other side is gone."""
    output = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (until is None or until not in output):
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                output += os.read(terminal, 65536)
            except OSError:  # how Linux says that nobody holds the terminal any more
                return output
    return output
