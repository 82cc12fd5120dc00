"""Files of a CA: written whole or not at all, for our own user only, one process at a time.

Used by `authority`, `tokens` and `local`. Blocking: while the control plane serves, call it in a thread, except where a
caller says why not. Must not know: what is in the files.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_BYTES = 16 * 1024 * 1024
"""A file larger than this is not one of ours."""
_LOCK = ".lock"


class CaFileError(Exception):
    """A file or folder of the CA that cannot be used. The message names it and says what to do."""


def open_private_folder(folder: Path) -> Path:
    """Return the folder, made (0700) if there is none. CaFileError when others could put files into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise CaFileError(f"{folder} cannot be made: {error.strerror or error}") from error
    if found.st_uid not in (0, os.geteuid()):
        # Made before us, where others may make folders: its owner could put in keys of his own at any time.
        raise CaFileError(f"{folder} belongs to another user, so its keys prove nothing: choose another folder")
    if found.st_mode & 0o022:
        raise CaFileError(f"others can write to {folder}, so its keys prove nothing: run `chmod 700 {folder}`")
    return folder


def read_file(path: Path) -> bytes:
    """Return the content of a file that holds nothing secret. CaFileError."""
    content = read_if_there(path)
    if content is None:
        raise CaFileError(f"{path} is missing")
    return content


def read_if_there(path: Path) -> bytes | None:
    """Return the content of a file that holds nothing secret, None when there is none. CaFileError."""
    return _read(path, private=False)


def read_private(path: Path) -> bytes | None:
    """Return the content of a file that only we may read, None when there is none. CaFileError when others may too."""
    return _read(path, private=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this thread of this process; wait for whoever holds it now. CaFileError."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CaFileError(f"{folder} cannot be locked: {error.strerror or error}") from error
    try:
        # The lock belongs to this open file, not to the process: threads exclude one another as well.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path, *, private: bool) -> bytes | None:
    try:
        with path.open("rb") as file:
            if private:
                _check_private(path, os.fstat(file.fileno()))
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CaFileError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise CaFileError(f"{path} is larger than {_MAX_BYTES >> 20} MiB: it is none of ours")
    return content


def _check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a key that others can read, as ssh does.

    A file that belongs to another user (a mounted Kubernetes Secret: root's) may be readable by a group: that is how we
    read it.
    """
    forbidden = 0o077 if status.st_uid == os.geteuid() else 0o007
    if stat.S_IMODE(status.st_mode) & forbidden:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise CaFileError(f"others can read the private key {path} (mode {mode}): run `chmod 600 {path}`")
