"""The API's Unix socket: binding it so that only its owner reaches it, and asking who is at the other end.

Called by `app` (`unix_socket`) and `api/serving.py` (`uid_of`). Must not know: HTTP.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PEER_UID = "peer_uid"
"""Key in the state of an ASGI scope: the user at the other end of a Unix socket, None when nobody knows."""
_CREDENTIALS = struct.Struct("3i")
"""Linux' `struct ucred`: pid, uid, gid."""
MODE = 0o600


class SocketError(Exception):
    """The socket cannot be bound; the message says what to do."""


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Yield a socket that listens at the path with mode 0600; remove it afterwards. Raises SocketError.

    What is at the path is replaced only if it is a socket on which nobody listens. A lock beside it keeps two control
    planes that start at once from taking it from each other.
    """
    with ExitStack() as held:
        held.enter_context(_locked(path))
        _remove_stale(path)
        bound = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            bound.bind(str(path))
            # Nobody can connect before `listen`, so there is no moment at which the mode is wrong.
            path.chmod(MODE)
            bound.listen(128)
        except OSError as error:
            raise SocketError(f"the Unix socket {path} cannot be made ({error.strerror or error})") from error
        bound.setblocking(False)
        made = path.lstat()
        try:
            yield bound
        finally:
            _remove(path, made)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise SocketError(f"{lock} cannot be made ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SocketError(f"another control plane serves the Unix socket {path}") from error
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketError(f"{path} is there already and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise SocketError(f"the Unix socket {path} is somebody else's ({error.strerror or error})") from error
        else:
            raise SocketError(f"another program serves the Unix socket {path}")
    _remove(path, found)


def _remove(path: Path, known: os.stat_result) -> None:
    """Remove the socket if it is still that one."""
    try:
        if path.lstat().st_ino == known.st_ino:
            path.unlink()
    except FileNotFoundError:
        pass


def uid_of(connection: socket.socket) -> int | None:
    """Return the user at the other end of a Unix socket, as the kernel says; None where Python cannot ask it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    _pid, uid, _gid = _CREDENTIALS.unpack(credentials)
    return int(uid) if uid >= 0 else None
