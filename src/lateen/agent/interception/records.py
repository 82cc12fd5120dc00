"""What was done to this machine, on disk: so that it can be taken back by anybody, after anything.

One file per name, for root only, written before the rules are. Called by `host`. Must not know: rules.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lateen.agent.interception.capture import Capture, CaptureError
from lateen.private_files import write_private

STATE_FOLDER = Path("/var/lib/lateen/interception")


class RecordError(Exception):
    """A file is not a record; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An interception of this machine."""

    capture: Capture
    backend: str
    trial: str = ""
    """Names the trial that takes the rules back unless they are confirmed; empty when they are."""
    deadline: float = 0.0
    """Unix time at which the trial ends."""
    unit: bool = False
    """Whether a unit of systemd is to bring the rules back after a reboot, once they are confirmed."""
    cgroup: str = ""
    """A cgroup that was made for it, and goes with it."""

    def confirmed(self) -> Record:
        """Return the record of rules that stay."""
        return replace(self, trial="", deadline=0.0)

    def to_json(self) -> str:
        """Return the file's content."""
        document = {
            "capture": json.loads(self.capture.to_json()),
            "backend": self.backend,
            "trial": self.trial,
            "deadline": self.deadline,
            "unit": self.unit,
            "cgroup": self.cgroup,
        }
        return json.dumps(document, indent=1) + "\n"


def path_of(folder: Path, name: str) -> Path:
    """Return where the record of a name is."""
    return folder / f"{name or 'default'}.json"


def write(folder: Path, record: Record) -> None:
    """Write a record, at once and whole."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path_of(folder, record.capture.name), record.to_json().encode())


def read(folder: Path, name: str) -> Record | None:
    """Return the record of a name, if there is one. RecordError when it cannot be read."""
    path = path_of(folder, name)
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        return Record(
            capture=Capture.from_json(json.dumps(document["capture"])),
            backend=str(document["backend"]),
            trial=str(document["trial"]),
            deadline=float(document["deadline"]),
            unit=bool(document["unit"]),
            cgroup=str(document["cgroup"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, CaptureError) as error:
        raise RecordError(f"{path} is not readable as a record of an interception: {error}") from error


def remove(folder: Path, name: str) -> None:
    """Forget."""
    path_of(folder, name).unlink(missing_ok=True)
