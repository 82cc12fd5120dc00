"""`python -m lateen.cli.demo.tether ARGUMENTS`: `lateen ARGUMENTS`, told by the kernel to stop when the demo dies.

The demo stops its programs itself; this is for the day it is killed with SIGKILL and cannot. Linux only (elsewhere
nothing happens): the setting outlives the exec by which `lateen run` becomes the agent.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PARENT = "LATEEN_DEMO_PID"
"""Environment variable with the demo's process id, to notice a demo that died before the setting took hold."""


def tether() -> None:
    """Ask for SIGTERM on the parent's death."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        sys.exit("the demo that started this is gone")


if __name__ == "__main__":
    tether()
    from lateen.cli.main import main

    main()
