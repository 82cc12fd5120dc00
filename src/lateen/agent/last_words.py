"""What Envoy said last on its stderr: passed on to ours as it comes, and the end of it kept for a crash report.

One thing is passed on once a minute only. An Envoy without its control plane says with each of its tries that the
stream "closed since 482s ago": forty lines a minute in the log of every workload, for as long as it lasts. Used by
`envoy_process`. No task and no thread: the loop calls when there is something to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time

_KEPT_BYTES = 16 * 1024
_BLOCK = 16 * 1024
_AGAIN = re.compile(
    rb"\[[-0-9 :.]+\]\[\d+\]\[warning\]\[config\] \[[^]]*\] \w+ gRPC config stream to xds-grpc closed since "
)
"""How the lines after the first begin, which has a colon after `closed`. Access logs come by the same pipe, and hold
what clients write."""
_REMIND_SECONDS = 60.0


class LastWords:
    """A pipe for one child. Give it `writing` as stderr, then call `started`."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._kept = b""
        self._begun = b""
        """A line of which the end is still to come."""
        self._reminded = float("-inf")
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def started(self) -> None:
        """Close our copy of the child's end: the pipe ends with the child."""
        os.close(self.writing)

    def lines(self, most: int = 100) -> list[str]:
        """Return the last lines, the newest last, each at most 500 characters."""
        self._read_rest()
        return [line[:500] for line in (self._kept + self._begun).decode("utf-8", "replace").splitlines()[-most:]]

    def _read_rest(self) -> None:
        """Take what is still in the pipe: whoever died has said it before the loop could call."""
        while self._reading >= 0 and self._read():
            pass

    def _read(self) -> bool:
        """Return whether there may be more."""
        try:
            data = os.read(self._reading, _BLOCK)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(self._reading)
            os.close(self._reading)
            self._reading = -1
            self._pass_on(self._begun)
            self._begun = b""
            return False
        whole, newline, begun = (self._begun + data).rpartition(b"\n")
        self._pass_on(b"".join(line for line in (whole + newline).splitlines(keepends=True) if self._is_news(line)))
        if len(begun) > _BLOCK:
            self._pass_on(begun)
            begun = b""
        self._begun = begun
        return True

    def _pass_on(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-_KEPT_BYTES:]
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), data)

    def _is_news(self, line: bytes) -> bool:
        """Whether it was not said lately."""
        if not _AGAIN.match(line):
            return True
        now = time.monotonic()
        if now - self._reminded < _REMIND_SECONDS:
            return False
        self._reminded = now
        return True
