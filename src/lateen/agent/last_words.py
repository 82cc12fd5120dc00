"""What Envoy said last on its stderr: passed on to ours as it comes, and the end of it kept for a crash report.

One thing is passed on once a minute only. An Envoy without its control plane says with each of its tries that the
stream "closed since 482s ago": forty lines a minute in the log of every workload, for as long as it lasts. Used by
`envoy_process`. No task and no thread: the loop calls when there is something to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time

_KEPT_BYTES = 16 * 1024
_BLOCK = 16 * 1024
_AGAIN = b" gRPC config stream to xds-grpc closed since "
"""In the lines after the first, which has a colon after `closed`."""
_REMIND_SECONDS = 60.0


class LastWords:
    """A pipe for one child. Give it `writing` as stderr, then call `started`."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._kept = b""
        self._reminded = float("-inf")
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def started(self) -> None:
        """Close our copy of the child's end: the pipe ends with the child."""
        os.close(self.writing)

    def lines(self, most: int = 100) -> list[str]:
        """Return the last lines, the newest last, each at most 500 characters."""
        self._read_rest()
        return [line[:500] for line in self._kept.decode("utf-8", "replace").splitlines()[-most:]]

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
            return False
        data = self._news(data)
        self._kept = (self._kept + data)[-_KEPT_BYTES:]
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), data)
        return True

    def _news(self, data: bytes) -> bytes:
        """Return it without the lines that were said lately. Envoy writes whole lines, as a rule."""
        if _AGAIN not in data:
            return data
        lines = data.splitlines(keepends=True)
        now = time.monotonic()
        said = next((line for line in lines if _AGAIN in line), b"")
        if now - self._reminded < _REMIND_SECONDS:
            said = b""
        else:
            self._reminded = now
        return b"".join(line for line in lines if _AGAIN not in line) + said
