"""What an agent does that is process 1 of its container: a small parent that reaps what nobody else does.

Problem: process 1 inherits every orphan of its namespace and has to reap it, and signals that it does not handle do
nothing. An agent waits for its own children by their ids, and must not take away the exit code of one that it will ask
for. So process 1 is another process: it starts the agent, passes signals on to it, reaps everybody, and ends with the
agent's exit code; the kernel then ends what is left.

Called first of all by `agent.__main__`, while the process is still small. Must not know: what an agent is.
"""

from __future__ import annotations

import os
import signal
import sys

_NOT_PASSED_ON = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP}
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}


def split_off() -> None:
    """Return in the process that is to be the agent. The one that stays behind never returns."""
    passed_on = signal.valid_signals() - _NOT_PASSED_ON - _FAULTS
    # Until handlers are there, a signal waits; without one process 1 would lose it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on | {signal.SIGCHLD})
    agent = os.fork()
    if agent == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _exit(_be_init(agent, passed_on | {signal.SIGCHLD}))


def _be_init(agent: int, awaited: set[signal.Signals]) -> int:
    """Pass on signals and reap until the agent has ended; return how it did, as a waiting parent is told."""
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(agent, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1
            if pid == 0:
                break
            if pid == agent:
                return os.waitstatus_to_exitcode(status)


def _exit(code: int) -> None:
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)
