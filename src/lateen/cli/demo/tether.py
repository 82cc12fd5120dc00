"""`python -m lateen.cli.demo.tether lateen ARGUMENTS`: a command, told by the kernel to stop when the demo dies.

The demo stops its programs itself; this is for the day it is killed with SIGKILL and cannot. Linux only (elsewhere
nothing happens).
"""

from __future__ import annotations

import os
import runpy
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


def become(what: str, arguments: list[str]) -> None:
    """Run `lateen ARGUMENTS`, or for `agent` the agent that `lateen run` and `lateen proxy` would become.

    The short way to the agent spares each of the demo's seven a command-line library, and two seconds to the reader.
    """
    if what == "agent":
        sys.argv[1:] = arguments
        runpy.run_module("lateen.agent", run_name="__main__", alter_sys=True)
    else:
        from lateen.cli.main import main

        main(arguments)


if __name__ == "__main__":
    tether()
    become(sys.argv[1], sys.argv[2:])
