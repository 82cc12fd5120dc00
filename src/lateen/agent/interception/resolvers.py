"""The machine's resolvers, as its `resolv.conf` names them: read again when it changes, asked one after the other.

Used by `relay`. Sources: resolv.conf(5); RFC 1035, section 4.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from lateen.agent.interception import dns_messages

PORT = 53
RESOLV_CONF = Path("/etc/resolv.conf")
_SECONDS = 3.0
_ALL_SECONDS = 4.5
"""Less than the five seconds after which a libc asks again."""
_MOST = 3
"""As many as a libc asks."""
_LONGEST = 65535
_GOES_ON = (dns_messages.FAILED, dns_messages.REFUSED)
"""A resolver that says so may know less than the next."""

MakeSocket = Callable[[str, int], socket.socket]
"""Makes a socket of a type that can reach this address."""


class Resolvers:
    """Those of a file."""

    def __init__(self, outside: MakeSocket, path: Path = RESOLV_CONF, port: int = PORT) -> None:
        self._outside = outside
        self._path = path
        self._port = port
        self._seen: tuple[int, int] | None = None
        self._known: tuple[str, ...] = ()

    def addresses(self) -> tuple[str, ...]:
        """Return them, the one that answered last first."""
        try:
            status = self._path.stat()
            seen = status.st_mtime_ns, status.st_ino
            if seen != self._seen:
                self._known, self._seen = named(self._path.read_text(errors="replace")), seen
        except OSError:
            # Being replaced: what it said before holds.
            pass
        return self._known

    async def ask(self, query: bytes, *, stream: bool) -> bytes:
        """Return the answer of the first that gives one; empty when none does."""
        answer = b""
        known = self.addresses()
        seconds = min(_SECONDS, _ALL_SECONDS / max(len(known), 1))
        ask = self._by_stream if stream else self._by_datagram
        for resolver in known:
            try:
                async with asyncio.timeout(seconds):
                    answer = await ask(resolver, query)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            if dns_messages.code(answer) not in _GOES_ON:
                if resolver != known[0] and self._known is known:
                    self._known = (resolver, *(other for other in known if other != resolver))
                break
        return answer

    async def _by_datagram(self, resolver: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with self._outside(resolver, socket.SOCK_DGRAM) as made:
            # Connected, from a port of its own: nobody else's datagrams are taken for the answer.
            await loop.sock_connect(made, (resolver, self._port))
            await loop.sock_sendall(made, query)
            while True:
                answer = await loop.sock_recv(made, _LONGEST)
                if dns_messages.is_answer(answer, query):
                    return answer

    async def _by_stream(self, resolver: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        made = self._outside(resolver, socket.SOCK_STREAM)
        try:
            await loop.sock_connect(made, (resolver, self._port))
        except BaseException:
            made.close()
            raise
        reader, writer = await asyncio.open_connection(sock=made)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def named(text: str) -> tuple[str, ...]:
    """Return the addresses of a `resolv.conf`; without one, that of this machine, as resolv.conf(5) says."""
    lines = (line.split() for line in text.splitlines())
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1])]
    return tuple(dict.fromkeys(found))[:_MOST] or ("127.0.0.1",)


def _is_address(text: str) -> bool:
    """Whether this can be connected to; one of a link only (`fe80::1%eth0`) can. A libc passes over what is none."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
