"""The folder of `--state`: small files that a control plane finds again when it comes back.

Called by `app.learned`. Blocking: while the control plane serves, call it in a thread. Must not know: what is in them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lateen.app.settings import StartError
from lateen.private_files import write_private

_MAX_BYTES = 256 * 1024 * 1024
"""A file larger than this is not one of ours."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """One file. It is there whole or not at all: whoever reads never sees half of what was written."""

    path: Path

    def read(self) -> bytes | None:
        """Return the content; None when there is none yet. OSError when it cannot be read."""
        try:
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > _MAX_BYTES:
            raise OSError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        return content

    def write(self, content: bytes) -> None:
        """Replace the content, readable for our own user only, so that it outlives a power failure. OSError."""
        write_private(self.path, content)

    def set_aside(self) -> Path:
        """Rename the file, so that a person can look at it and the next write does not replace it. OSError."""
        aside = self.path.with_name(f"{self.path.name}.broken")
        self.path.replace(aside)
        return aside


def open_state_folder(folder: Path) -> Path:
    """Return the folder, made if there is none. Raises StartError when it cannot hold files."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except FileExistsError as error:
        raise StartError(f"--state {folder} is not a folder", exit_code=2) from error
    except OSError as error:
        raise StartError(f"--state {folder} cannot be made: {error.strerror or error}", exit_code=2) from error
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o002:
        # Whoever made it, or may write to it, decides what we serve and whose tokens are taken.
        problem = "another user owns it, or all may write to it"
        raise StartError(f"--state {folder} is not ours alone: {problem}", exit_code=2)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"--state {folder} cannot be written to: it needs to be ours", exit_code=2)
    return folder
