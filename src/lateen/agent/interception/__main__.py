"""`python -m lateen.agent.interception FOLDER WORD NAME ...`: what timers and units call.

`expire NAME TRIAL [SECONDS READY]` takes rules back that are still on that trial, at once or after waiting; `restore
NAME` and `withdraw NAME` are the start and stop of the unit. Nothing imports this module.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from lateen.agent.interception import host
from lateen.agent.interception.programs import InterceptionError

_ATTEMPTS, _PAUSE_SECONDS = 10, 3.0


def _expire(folder: Path, name: str, trial: str, seconds: str = "", ready: str = "") -> None:
    if seconds:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.write(int(ready), b"w")
        os.close(int(ready))
        time.sleep(float(seconds))
    for _ in range(_ATTEMPTS - 1):
        # Somebody may be locked out of this machine: what fails once may be somebody else's lock.
        try:
            host.revert(folder, name, trial=trial)
            return
        except InterceptionError as error:
            sys.stderr.write(f"lateen: tried again: {error}\n")
            time.sleep(_PAUSE_SECONDS)
    host.revert(folder, name, trial=trial)


def main(arguments: list[str]) -> int:
    """Do one thing; return the exit code."""
    try:
        folder, word, name, *more = arguments
        if word == "expire":
            _expire(Path(folder), name, *more)
        else:
            {"restore": host.restore, "withdraw": host.withdraw}[word](Path(folder), name)
    except InterceptionError as error:
        sys.stderr.write(f"lateen: {error}\n")
        return error.exit_code
    except (ValueError, KeyError, TypeError):
        sys.stderr.write(f"usage: python -m lateen.agent.interception FOLDER WORD NAME ...; see `{__doc__}`\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
