"""Ports for servers of tests that bind them later, or that run in another process.

A port that the kernel gave and took back is soon somebody else's: of the other test worker, of any connection, or of
the next one who asks. These are none that the kernel gives (Linux: 32768 to 60999), nor those that agents give their
apps (20000 to 29999), and each is handed out to one test only, whatever process asks, until all have had their turn.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from lateen.agent.addresses import port_problem

BLOCK = 4
"""A control plane also takes the port two after the one that it was given, and the one after that."""
_BLOCKS = (*range(10304, 14900, BLOCK), *range(30104, 32700, BLOCK))
_TURN = Path(tempfile.gettempdir()) / f"lateen-test-ports-{os.getuid()}"


def free_port() -> int:
    """Return a port that is free on every address, as are the next three."""
    with _TURN.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        turn = int(file.read() or 0)
        for _ in _BLOCKS:
            turn = (turn + 1) % len(_BLOCKS)
            if not any(port_problem("0.0.0.0", _BLOCKS[turn] + number) for number in range(BLOCK)):
                file.truncate(0)
                file.write(str(turn))
                port: int = _BLOCKS[turn]
                return port
    raise AssertionError("no free port for a test")


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]
