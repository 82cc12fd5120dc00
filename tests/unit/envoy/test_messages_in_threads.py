"""Message classes when several threads are the first to ask."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from lateen.envoy.messages import pool
together = Barrier(4)
def ask(_):
    together.wait()
    return pool()
with ThreadPoolExecutor(4) as threads:
    print(len({id(found) for found in threads.map(ask, range(4))}))
"""


def test_there_is_one_pool_whoever_asks_first() -> None:
    """Preflight and generation run in different threads, and a class of one pool is refused by those of another."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"
