"""Says each failure when it is new, then rarely: something that is tried every second must not fill a log.

Used by whatever tries again: `attach` and `certificates`. Must not know: what failed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from lateen.agent.secure_connection import UNREACHABLE

START_IT = "start it with `lateen serve`, or pass --control-plane HOST:PORT; trying again until then"


class Complaints:
    """Remembers what was said when."""

    def __init__(self, remind: float) -> None:
        self._remind = remind
        """Seconds between log lines about one lasting failure; several may take turns."""
        self._told: dict[str, float] = {}

    def say(self, log: Any, reason: str, todo: str = "trying again") -> None:
        """Log the failure unless that was done lately."""
        now = asyncio.get_running_loop().time()
        self._told = {told: at for told, at in self._told.items() if now - at < self._remind}
        if reason not in self._told:
            self._told[reason] = now
            log.warning(reason, todo=START_IT if reason.startswith(UNREACHABLE) else todo)

    def forget(self) -> None:
        """All is well: the next failure is new."""
        self._told = {}
