"""DNS of an app in a network namespace of its own: asked inside, answered by the machine's resolvers outside.

A name that those do not know, and that may be a service's, is answered with an address nobody has: it only leads the
connection to the sidecar, which goes by the host name of the request (HTTP), or by TLS's server name. Other protocols
need a service with an address of its own. AAAA of such a name has no answer, but no error either: resolvers take an
error for the name's.

Nothing is cached: the machine's resolver does that, or nobody. Used by `network`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lateen.agent.interception import dns_messages

PORT = 53
INNER_ADDRESS = "127.0.0.1"
_SECONDS = 3.0
_MOST_QUERIES = 512
"""At once; more are refused, and asked again by their resolvers."""
_LONGEST = 65535

MakeSocket = Callable[[str, int], socket.socket]
"""Makes a socket of a type that can reach this address."""
Ask = Callable[[str, bytes], Awaitable[bytes]]


class Relay:
    """Answers queries on sockets made inside, until cancelled."""

    def __init__(self, resolvers: Sequence[str], outside: MakeSocket) -> None:
        self._resolvers = tuple(resolvers)
        self._outside = outside
        self._asking = 0

    async def run(self, datagrams: Sequence[socket.socket], streams: Sequence[socket.socket]) -> None:
        """Serve these sockets, all of them bound, the streams listening."""
        servers = [await asyncio.start_server(self._connection, sock=made) for made in streams]
        try:
            async with asyncio.TaskGroup() as group:
                for made in datagrams:
                    group.create_task(self._datagrams(group, made))
        finally:
            for server in servers:
                server.close()
            for made in datagrams:
                made.close()

    async def _datagrams(self, group: asyncio.TaskGroup, inner: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            query, source = await loop.sock_recvfrom(inner, _LONGEST)
            if self._asking < _MOST_QUERIES:
                self._asking += 1
                group.create_task(self._answer_datagram(inner, query, source))

    async def _answer_datagram(self, inner: socket.socket, query: bytes, source: Any) -> None:
        try:
            if answer := await self._answer(query, self._by_datagram):
                # Whoever asked may be gone.
                with contextlib.suppress(OSError):
                    await asyncio.get_running_loop().sock_sendto(inner, answer, source)
        finally:
            self._asking -= 1

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of one TCP connection, one after the other."""
        try:
            while True:
                async with asyncio.timeout(10 * _SECONDS):
                    query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                answer = await self._answer(query, self._by_stream)
                if answer:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _answer(self, query: bytes, ask: Ask) -> bytes:
        asked = dns_messages.question(query)
        answer = b""
        for resolver in self._resolvers:
            try:
                async with asyncio.timeout(_SECONDS):
                    answer = await ask(resolver, query)
                break
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
        if asked is None:
            return answer
        unknown = not answer or dns_messages.code(answer) in _UNKNOWN
        if unknown and dns_messages.may_be_of_the_mesh(asked.name):
            known = dns_messages.mesh_address(asked.name) if asked.type == dns_messages.A else ""
            return dns_messages.answer(asked, known)
        return answer or dns_messages.answer(asked, result=dns_messages.FAILED)

    async def _by_datagram(self, resolver: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with self._outside(resolver, socket.SOCK_DGRAM) as made:
            # Connected: nobody else's datagrams are taken for the answer.
            await loop.sock_connect(made, (resolver, PORT))
            await loop.sock_sendall(made, query)
            while True:
                answer = await loop.sock_recv(made, _LONGEST)
                if answer[:2] == query[:2]:
                    return answer

    async def _by_stream(self, resolver: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        made = self._outside(resolver, socket.SOCK_STREAM)
        try:
            await loop.sock_connect(made, (resolver, PORT))
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


_UNKNOWN = (dns_messages.NO_SUCH_NAME, dns_messages.REFUSED, dns_messages.FAILED)


def resolvers(text: str) -> tuple[str, ...]:
    """Return the addresses of a `resolv.conf`."""
    lines = (line.split() for line in text.splitlines())
    return tuple(words[1].partition("%")[0] for words in lines if len(words) > 1 and words[0] == "nameserver")


def inner_resolv_conf(text: str) -> str:
    """Return the same `resolv.conf`, but with the relay for a resolver."""
    kept = [line for line in text.splitlines() if line.split()[:1] in (["search"], ["domain"], ["options"])]
    return "\n".join(("# by lateen: answered by the agent", f"nameserver {INNER_ADDRESS}", *kept, ""))
