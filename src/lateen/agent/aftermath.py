"""`python -m lateen.agent.aftermath`: clears up after an agent that was killed together with its guard.

A guard (`processes`) outlives its agent and clears up what that leaves. systemd kills both at once, so the unit calls
this when its service has ended, however it did: rules on trial are taken back, and memory that an Envoy shared is
given back. The folders themselves go with the service's own. Nothing imports this module.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lateen.agent.private_folders import PREFIX
from lateen.agent.processes import guard_command


def main() -> None:
    """Do what the guards of this service would have done."""
    for parent in filter(None, os.environ.get("RUNTIME_DIRECTORY", "").split(":")):
        for folder in Path(parent).glob(f"{PREFIX}*"):
            subprocess.run(guard_command(folder), stdin=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main()
