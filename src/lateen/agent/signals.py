"""Signals as two events: stop, and hurry.

Used by `lifecycle`. Must not know: what stopping means.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SAME_SIGNAL_SECONDS = 0.5
"""A terminal's Ctrl-C often arrives twice (from the terminal, and passed on by a parent): that is one wish."""
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """What the user asked for by signals."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.number = signal.SIGTERM
        """The signal to pass on to the app."""
        self._since = 0.0

    @contextmanager
    def installed(self, pass_on: Callable[[int], None]) -> Iterator[None]:
        """Handle signals inside the block; those that mean nothing to an agent go to `pass_on` at once.

        After it they are ignored: the process is about to exit with a code that an impatient signal must not replace.
        """
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            # nohup(1) asks for that: whoever used it means to close the terminal.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.received, number)
        for number in _PASSED_ON:
            loop.add_signal_handler(number, pass_on, number)
        try:
            yield
        finally:
            for number in (*_STOPPING, *_PASSED_ON):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    def received(self, number: signal.Signals) -> None:
        """Take a signal: the first stops, a later one hurries."""
        now = asyncio.get_running_loop().time()
        if not self.stop.is_set():
            # A closed terminal is no wish to reload, which many apps take SIGHUP for.
            self.number = signal.SIGTERM if number == signal.SIGHUP else number
            self._since = now
            self.stop.set()
        elif now - self._since >= _SAME_SIGNAL_SECONDS:
            self.hurry.set()
