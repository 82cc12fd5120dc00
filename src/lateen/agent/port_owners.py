"""Whose port it is: on one machine, a port of the control plane's may be taken by another user while that is down.

Called by `agent.certificates`, before a control plane is believed that proves nothing of itself, and by
`cli.credentials`, before a token goes there. Only Linux tells. Must not know: what is said on the port.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp."""
_PROC = Path("/proc/net")


def listening_users(host: str, port: int, proc: Path = _PROC) -> set[int] | None:
    """Return the ids of the users whose sockets may have taken a connection to this address; None if unknown."""
    hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    addresses = {socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in hosts}
    addresses |= {bytes(4), bytes(16)} | {bytes(10) + b"\xff\xff" + one for one in addresses if len(one) == 4}
    users: set[int] = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, _, _, _, user, *_ = line.split()
            address, _, listens = local.partition(":")
            if state == _LISTEN and int(listens, 16) == port and _bytes(address) in addresses:
                users.add(int(user))
    return users or None


def _bytes(address: str) -> bytes:
    """Return the address in network order; the kernel prints its 32-bit words as this machine holds them."""
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    return struct.pack(f"={len(words)}I", *words)
