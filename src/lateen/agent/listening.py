"""What an app really listens on: read from /proc, matched with the ports that its user declared.

Many apps ignore PORT. So the agent looks which loopback ports the app's processes listen on (Linux: socket inodes of
/proc/PID/fd, found in /proc/PID/net/tcp) and tells the proxy to use those. `match_ports` and `parse_table` are pure;
`ListeningPorts` reads /proc and nothing else. Used by `application`. Must not know: Envoy, or the control plane.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

_LISTEN = "0A"
_REACHABLE = {"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"}
"""Bound addresses that a connection to 127.0.0.1 reaches (`::` unless the app asked for IPv6 only)."""


@dataclass(frozen=True, slots=True)
class Match:
    """Declared port -> port where the app listens."""

    certain: Mapping[int, int]
    guessed: Mapping[int, int]
    """The app listens on one other port only: taken when it stays so for a moment."""


def match_ports(offered: Mapping[int, int], listening: frozenset[int]) -> Match:
    """Match declared ports with what the app listens on.

    `offered` is declared port -> port given to the app in its environment. An app that took the offer is certain,
    then one that listens on the declared port itself; one single port without an owner is a guess for one single
    declared port that is left.
    """
    certain = {}
    for declared, port in offered.items():
        if port in listening:
            certain[declared] = port
        elif declared in listening:
            certain[declared] = declared
    missing = offered.keys() - certain.keys()
    others = listening - set(certain.values())
    guessed = dict(zip(missing, others, strict=True)) if len(missing) == 1 and len(others) == 1 else {}
    return Match(certain, guessed)


def parse_table(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield (inode, address, port) of the listening sockets of a `/proc/net/tcp` or `tcp6` table.

    Addresses there are hexadecimal words in the machine's byte order (proc(5)); this reads little-endian ones.
    """
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 10 or columns[3] != _LISTEN:
            continue
        address, _, port = columns[1].partition(":")
        raw = bytes.fromhex(address)
        words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
        shown = str(IPv4Address(words)) if len(words) == 4 else _v6(IPv6Address(words))
        yield int(columns[9]), shown, int(port, 16)


def _v6(address: IPv6Address) -> str:
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)


@dataclass(slots=True)
class ListeningPorts:
    """Ports reachable at 127.0.0.1 that a process, its descendants and its session listen on."""

    pid: int
    proc: Path = Path("/proc")
    _seen: frozenset[tuple[int, int]] = frozenset()
    _found: frozenset[int] = field(default=frozenset())

    def scan(self) -> frozenset[int]:
        """Return the ports now; empty where there is no /proc. Walks the processes only when a socket is new."""
        sockets = frozenset(self._sockets())
        if sockets != self._seen:
            self._seen = sockets
            port_of = dict(sockets)
            owned = {inode for pid in self._family() for inode in self._inodes(pid)}
            self._found = frozenset(port for inode, port in port_of.items() if inode in owned)
        return self._found

    def _sockets(self) -> Iterator[tuple[int, int]]:
        for table in ("tcp", "tcp6"):
            with contextlib.suppress(OSError, ValueError):
                text = (self.proc / str(self.pid) / "net" / table).read_text()
                for inode, address, port in parse_table(text):
                    if address in _REACHABLE:
                        yield inode, port

    def _family(self) -> set[int]:
        """The process, its session (it leads one) and its descendants, which may have left the session."""
        parents: dict[int, int] = {}
        family = {self.pid}
        for folder in self.proc.iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The command in parentheses may hold spaces and parentheses itself.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                pid, parents[pid] = int(folder.name), int(fields[1])
                if int(fields[3]) == self.pid:
                    family.add(pid)
        while grown := {pid for pid, parent in parents.items() if parent in family and pid not in family}:
            family |= grown
        return family

    def _inodes(self, pid: int) -> Iterator[int]:
        with contextlib.suppress(OSError):
            for link in (self.proc / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError, ValueError):
                    target = str(link.readlink())
                    if target.startswith("socket:["):
                        yield int(target[8:-1])
