"""Files that only their owner may read, each written at once, and the folder that they are in.

Used by `lifecycle`, `certificates` and its child `csr`. Must not know: what the files hold.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for its owner only, in TMPDIR or /tmp; remove it, with all that is in it, after the block.

    Not by `tempfile`, which loads three compression libraries: 0.4 MB in each of a host's many agents.
    """
    parents = (Path(name) for name in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp") if name)  # noqa: S108
    parent = next((found for found in parents if os.access(found, os.W_OK | os.X_OK)), Path.cwd())
    folder = parent.absolute() / f"lateen-{os.urandom(8).hex()}"
    # Fails when it is there: a name that nobody guesses is nobody else's folder or link.
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder that its guard may be removing too."""
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


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one for its owner only, atomically: nobody ever sees half of it, and watchers see a move."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)
