"""The memory that an Envoy and those that relieve it share: which is free, and what one that failed has left in it.

Envoy makes a file for it in /dev/shm, named by its base id, and leaves it behind. An Envoy that comes up marks there
that it does, so that no other tries meanwhile, and takes the mark away once it serves; one that dies before that leaves
it, and "previous envoy process is still initializing" is the end of all that follow. Who knows that it is dead can take
it away. Layout (`SharedMemory` in Envoy's `hot_restart_impl.h`): u64 size of it all, u64 version, two mutexes, u64
flags; `envoy --hot-restart-version` shows version and size.

Used by `envoy_process`; the guard in `processes` knows the names too. Must not know: processes.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

SHARED_MEMORY = "/dev/shm/envoy_shared_memory_{}0"  # noqa: S108  Envoy's name for it
"""Where epochs of one base id share their memory (Envoy appends a digit for an instance that it does not use)."""
BASE_ID_FILE = "base-id"
"""In Envoy's working directory: the number that its epochs know each other by. The guard reads it too."""
_BASE_IDS = 200_000_000
_VERSION = 11
"""Of the layout."""
_HEAD = struct.Struct("=QQ")
_FLAGS = struct.Struct("=Q")
_LARGEST = 4096
_INITIALIZING = 1


def free_base_id() -> int:
    """Return a number that no other Envoy of this machine uses to share its memory.

    Not Envoy's own `--use-dynamic-base-id`: it goes beyond what ten times fits into 32 bits, and the name of the
    memory is then another than anybody would look for.
    """
    while True:
        number = int.from_bytes(os.urandom(4), "big") % _BASE_IDS + 1
        if not Path(SHARED_MEMORY.format(number)).exists():
            return number


def forget_start(base_id: int) -> bool:
    """Take away the mark of an Envoy that was coming up and is dead; return whether it had left one.

    Only while none of this base id comes up. Memory of another layout, or none at all, is left alone.
    """
    try:
        memory = os.open(SHARED_MEMORY.format(base_id), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        head = os.pread(memory, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return False
        size, version = _HEAD.unpack(head)
        if version != _VERSION or not _HEAD.size + _FLAGS.size < size <= _LARGEST:
            return False
        at = size - _FLAGS.size
        found = os.pread(memory, _FLAGS.size, at)
        if len(found) < _FLAGS.size or not (flags := _FLAGS.unpack(found)[0]) & _INITIALIZING:
            return False
        os.pwrite(memory, _FLAGS.pack(flags & ~_INITIALIZING), at)
        return True
    finally:
        os.close(memory)


def remove(base_id: int) -> None:
    """Remove the memory: Envoy itself leaves it behind."""
    with contextlib.suppress(OSError):
        Path(SHARED_MEMORY.format(base_id)).unlink()
