"""The folder of one agent, for its owner only and gone with it. Used by `lifecycle`. Must not know: what is in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "lateen-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for its owner only; remove it, with all that is in it, after the block.

    It is in the folder that systemd made for this service, if it did, else in TMPDIR or /tmp.

    Not by `tempfile`, which loads three compression libraries: 0.4 MB in each of a host's many agents.
    """
    own = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    parents = (Path(name) for name in (own, os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp") if name)  # noqa: S108
    parent = next((found for found in parents if os.access(found, os.W_OK | os.X_OK)), Path.cwd())
    folder = parent.absolute() / f"{PREFIX}{os.urandom(8).hex()}"
    # Fails when it is there: a name that nobody guesses is nobody else's folder or link.
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it; another, as its guard, may be removing it too."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            path = Path(place, name)
            with contextlib.suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
