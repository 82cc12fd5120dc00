"""What systemd is told of an agent, by the socket that it names in the environment: ready, stopping, still alive.

The protocol is a datagram of `NAME=VALUE` lines (`sd_notify(3)`). The watchdog is told that all is well only while
Envoy answers: an agent whose Envoy hangs is no use to anybody. Used by `lifecycle`. Must not know: what is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "RUNTIME_DIRECTORY", "STATE_DIRECTORY")
"""Of systemd, meant for us and not for the app."""


class Notifier:
    """Tells systemd; without its socket nobody is told."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        meant = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.pause = int(microseconds) / 2_000_000 if meant and microseconds.isdigit() else 0.0
        """Seconds between two signs of life, half of what systemd waits; 0 when it waits for none."""

    def say(self, *lines: str) -> None:
        """Send these lines. A systemd that does not take them is no reason to fail."""
        if self._address[:1] not in ("/", "@"):
            return
        name = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), name)

    def stopping(self, why: str, seconds: float) -> None:
        """Tell that the end has begun and may take so long, should that be more than systemd would wait."""
        self.say("STOPPING=1", f"STATUS={why}: draining", f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    async def watch(self, well: Callable[[], Awaitable[bool]]) -> None:
        """Give signs of life while all is `well`, until cancelled. Returns at once when none are awaited."""
        while self._address and self.pause:
            if await well():
                self.say("WATCHDOG=1")
            await asyncio.sleep(self.pause)
