"""Files for their owner only, each there whole or not at all. Standard library only: any edge may use this.

Used wherever a key, a token or a state is kept. Blocking. Must not know: what is in the files.
"""

from __future__ import annotations

import os
from pathlib import Path

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace the file's content, mode 0600: a reader sees the old or the new one, a watcher a move. OSError.

    `durable`: it outlives a power failure.
    """
    # A name of its own: two that write the same file must not write into one another's.
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable too. A power failure without it brings the old content back, no worse."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
