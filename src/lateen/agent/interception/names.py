"""The names of the mesh, asked of Envoy: it holds the table (`generate.dns_table`), so that the agent need not.

Why not in the agent: the table grows with the mesh, agents are many, and Envoy gets it with everything else: over the
one stream, scoped, live, and kept for when the control plane is away. What Envoy's filter cannot do is done here and in
`relay`: it compares letters' case (so it is asked in lower case), says that a name does not exist when it only lacks an
address of the asked version (so it is asked for the other, which every name has: 0.0.0.0 stands for none), and knows
full names only (so short ones are completed). It takes no TCP, EDNS0 or other types: those never reach it.

Used by `relay`. Must not know: where the sockets are.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from lateen.agent.interception import dns_messages
from lateen.envoy.bootstrap import DNS_TABLE_PORTS
from lateen.model.names import CLUSTER_DOMAIN

ADDRESS = "127.0.0.1"
NONE_OF_IPV4 = "0.0.0.0"
_SECONDS = 0.5
_PENDING = 1 << 12


class TableAway(Exception):  # noqa: N818  it is not there, which need not be an error
    """Envoy does not answer."""


def full_names(name: str, namespace: str) -> Iterator[str]:
    """Yield what a name may be in the table: itself, and the full host of a service that it may be short for."""
    yield name
    labels = name.split(".")
    match labels:
        case [_]:
            yield f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"
        case [_, _]:
            yield f"{name}.svc.{CLUSTER_DOMAIN}"
        case [*_, "svc"]:
            yield f"{name}.{CLUSTER_DOMAIN}"


class NameTable:
    """Envoy's table. Open it before asking."""

    def __init__(self, namespace: str, ports: Sequence[int] = DNS_TABLE_PORTS) -> None:
        """`namespace`: whose services have bare names. `ports`: where Envoys answer, each after the one before."""
        self._namespace = namespace
        self._ports = ports
        self._transports: list[asyncio.DatagramTransport] = []
        self._answering = 0
        """Which of the ports answered last: asked first."""
        self._waiting: dict[int, tuple[int, asyncio.Future[bytes]]] = {}
        """By number of the question: where it was asked, and its answer."""
        self._numbers = count()

    async def open(self, make: Callable[[], socket.socket]) -> None:
        """Ask by sockets that are where Envoy is. It need not be there yet."""
        for place, port in enumerate(self._ports):
            made = make()
            made.setblocking(False)
            made.connect((ADDRESS, port))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda place=place: _Answers(self, place),  # type: ignore[misc]
                sock=made,
            )
            self._transports.append(transport)

    def close(self) -> None:
        """Ask no more."""
        for transport in self._transports:
            transport.close()

    async def find(self, name: str, kind: int) -> tuple[str, ...] | None:
        """Return the addresses of a type that a name has, none if it has only others; None if there is no such name.

        TableAway when nobody can say.
        """
        for full in full_names(name, self._namespace):
            if kind == dns_messages.AAAA and (found := await self._ask(full, kind)):
                return found
            if known := await self._ask(full, dns_messages.A):
                wanted = known if kind == dns_messages.A else ()
                return tuple(address for address in wanted if address != NONE_OF_IPV4)
        return None

    async def _ask(self, name: str, kind: int) -> tuple[str, ...]:
        if not self._transports or len(self._waiting) >= _PENDING:
            raise TableAway
        number = next(self._numbers) & 0xFFFF
        try:
            query = dns_messages.query(name, kind, number)
        except ValueError:
            return ()
        first, places = self._answering, len(self._transports)
        for place in ((first + step) % places for step in range(places)):
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._waiting[number] = place, future
            self._transports[place].sendto(query)
            try:
                async with asyncio.timeout(_SECONDS):
                    found = dns_messages.addresses(await future, kind)
            except (TimeoutError, OSError):
                continue
            finally:
                self._waiting.pop(number, None)
            self._answering = place
            return found
        raise TableAway

    def answered(self, message: bytes, place: int) -> None:
        """Take what came."""
        asked, future = self._waiting.get(int.from_bytes(message[:2], "big"), (-1, None))
        if asked == place and future is not None and not future.done():
            future.set_result(message)

    def refused(self, error: OSError, place: int) -> None:
        """Note that nobody listens there."""
        for asked, future in self._waiting.values():
            if asked == place and not future.done():
                future.set_exception(error)


class _Answers(asyncio.DatagramProtocol):
    """The receiving side of the table's socket."""

    def __init__(self, table: NameTable, place: int) -> None:
        self._table = table
        self._place = place

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr
        self._table.answered(data, self._place)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._table.refused(exc, self._place)
