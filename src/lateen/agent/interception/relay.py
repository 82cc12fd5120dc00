"""DNS of an app whose connections are intercepted: names of the mesh from Envoy's table, all others from the machine's
resolvers.

Whoever asks for an address of a service gets it, or the answer that it has none of this IP version, but never that
there is no such name: resolvers take that for the name's end. Other types than addresses (TXT, MX, SRV) are the
machine's to answer also for names that the mesh knows, but for HTTPS and SVCB, which would lead past the answers for A
and AAAA. While Envoy is away nobody can say what the mesh knows: what the machine's resolvers do not know either fails
then, for a while, instead of not existing.

Nothing is cached: Envoy's table is beside us, and the rest the machine's resolver caches, or nobody. Used by `network`
and `transparent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from lateen.agent.interception import dns_messages
from lateen.agent.interception.dns_messages import AAAA, FAILED, HTTPS, NO_SUCH_NAME, SVCB, A, Question
from lateen.agent.interception.names import NameTable, TableAway
from lateen.agent.interception.resolvers import Resolvers
from lateen.agent.log import get_log

INNER_ADDRESS = "127.0.0.1"
INNER_ADDRESSES = (INNER_ADDRESS, "::1")
_IDLE_SECONDS = 30.0
_MOST_QUERIES = 512
"""At once; more are dropped, and asked again by their resolvers."""
_MOST_CONNECTIONS = 64
_BURST = 1 << 20
"""Of bytes that may wait in a socket: a burst of queries is no loss."""


class Relay:
    """Answers queries, until cancelled."""

    def __init__(self, table: NameTable, resolvers: Resolvers) -> None:
        self._table = table
        self._resolvers = resolvers
        self._asking = 0
        self._connections = 0

    async def run(self, datagrams: Sequence[socket.socket], streams: Sequence[socket.socket]) -> None:
        """Serve these sockets, all of them bound, the streams listening."""
        servers = [await asyncio.start_server(self._connection, sock=made) for made in streams]
        transports = []
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                for made in datagrams:
                    transport, _ = await loop.create_datagram_endpoint(lambda: _Queries(self, group), sock=made)
                    transports.append(transport)
                await asyncio.Event().wait()
        finally:
            for server in servers:
                server.close()
            for transport in transports:
                transport.close()
            self._table.close()

    def begin(self, group: asyncio.TaskGroup, transport: asyncio.DatagramTransport, query: bytes, source: Any) -> None:
        """Answer a datagram, unless too many are being answered."""
        if self._asking < _MOST_QUERIES:
            self._asking += 1
            group.create_task(self._answer_datagram(transport, query, source))

    async def _answer_datagram(self, transport: asyncio.DatagramTransport, query: bytes, source: Any) -> None:
        try:
            if (answer := await self.answer(query, stream=False)) and not transport.is_closing():
                transport.sendto(answer, source)
        except Exception:  # noqa: BLE001  logged; one query must not end the answering of all, and with it the agent
            get_log().exception("a dns query could not be answered")
        finally:
            self._asking -= 1

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of one TCP connection, one after the other."""
        self._connections += 1
        try:
            while self._connections <= _MOST_CONNECTIONS:
                async with asyncio.timeout(_IDLE_SECONDS):
                    query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                    answer = await self.answer(query, stream=True)
                    if not answer:
                        break
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            # Also who takes too long; what it has not read yet is not kept for it.
            writer.transport.abort()
        finally:
            self._connections -= 1
            writer.close()

    async def answer(self, query: bytes, *, stream: bool) -> bytes:
        """Return the answer to a query; empty for one that gets none."""
        asked = dns_messages.question(query)
        if asked is None and not dns_messages.is_query(query):
            return b""
        if asked is None:
            return await self._resolvers.ask(query, stream=stream)
        limit = 0xFFFF if stream else asked.limit
        away = False
        if asked.type in _OURS:
            try:
                found = await self._table.find(asked.name, asked.type)
            except TableAway:
                away = True
            else:
                if found is not None:
                    return dns_messages.answer(asked, found, limit=limit)
        answer = await self._resolvers.ask(query, stream=stream)
        if not answer:
            return dns_messages.answer(asked, result=FAILED)
        if dns_messages.code(answer) == NO_SUCH_NAME:
            return await self._doubted(asked, answer, away=away)
        return answer

    async def _doubted(self, asked: Question, answer: bytes, *, away: bool) -> bytes:
        """Return what to say when the machine's resolvers know no such name."""
        if asked.type not in _OURS:
            try:
                known = await self._table.find(asked.name, A) is not None
            except TableAway:
                away = True
            else:
                return dns_messages.answer(asked) if known else answer
        return dns_messages.answer(asked, result=FAILED) if away else answer


_OURS = frozenset({A, AAAA, HTTPS, SVCB})


class _Queries(asyncio.DatagramProtocol):
    """The datagrams of one socket."""

    def __init__(self, relay: Relay, group: asyncio.TaskGroup) -> None:
        self._relay = relay
        self._group = group
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._transport is not None:
            self._relay.begin(self._group, self._transport, data, addr)


def bound_sockets(port: int, *, ipv6: bool) -> tuple[list[socket.socket], list[socket.socket]]:
    """Return sockets for datagrams and for streams on loopback, where the caller is. OSError when a port is taken."""
    datagrams: list[socket.socket] = []
    streams: list[socket.socket] = []
    try:
        for address in INNER_ADDRESSES if ipv6 else INNER_ADDRESSES[:1]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for kind, made in ((socket.SOCK_DGRAM, datagrams), (socket.SOCK_STREAM, streams)):
                bound = socket.socket(family, kind)
                made.append(bound)
                bound.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                else:
                    with contextlib.suppress(OSError):
                        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
                bound.bind((address, port))
        for stream in streams:
            stream.listen(_MOST_CONNECTIONS)
    except OSError:
        for bound in (*datagrams, *streams):
            bound.close()
        raise
    return datagrams, streams


def inner_resolv_conf(text: str) -> str:
    """Return the same `resolv.conf`, but with the relay for a resolver."""
    kept = [line for line in text.splitlines() if line.split()[:1] in (["search"], ["domain"], ["options"])]
    return "\n".join(("# by lateen: answered by the agent", f"nameserver {INNER_ADDRESS}", *kept, ""))
