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
from collections.abc import Callable, Iterator
from itertools import count

from lateen.agent.interception import dns_messages
from lateen.envoy.bootstrap import DNS_TABLE_PORT
from lateen.model.names import CLUSTER_DOMAIN

ADDRESS = "127.0.0.1"
NONE_OF_IPV4 = "0.0.0.0"
_SECONDS = 0.5
_ATTEMPTS = 2
"""A datagram may be lost while one Envoy hands over to another."""
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

    def __init__(self, namespace: str, place: tuple[str, int] = (ADDRESS, DNS_TABLE_PORT)) -> None:
        """`namespace`: whose services have bare names. `place`: where Envoy answers."""
        self._namespace = namespace
        self._place = place
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = count()

    async def open(self, make: Callable[[], socket.socket]) -> None:
        """Ask by a socket that is where Envoy is. It need not be there yet."""
        made = make()
        made.setblocking(False)
        made.connect(self._place)
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Answers(self), sock=made
        )

    def close(self) -> None:
        """Ask no more."""
        if self._transport is not None:
            self._transport.close()

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
        if self._transport is None or len(self._waiting) >= _PENDING:
            raise TableAway
        number = next(self._numbers) & 0xFFFF
        try:
            query = dns_messages.query(name, kind, number)
        except ValueError:
            return ()
        for _ in range(_ATTEMPTS):
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._waiting[number] = future
            self._transport.sendto(query)
            try:
                async with asyncio.timeout(_SECONDS):
                    return dns_messages.addresses(await future, kind)
            except TimeoutError:
                continue
            except OSError as error:
                raise TableAway from error
            finally:
                self._waiting.pop(number, None)
        raise TableAway

    def answered(self, message: bytes) -> None:
        """Take what came."""
        future = self._waiting.get(int.from_bytes(message[:2], "big"))
        if future is not None and not future.done():
            future.set_result(message)

    def refused(self, error: OSError) -> None:
        """Note that nobody listens there."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)


class _Answers(asyncio.DatagramProtocol):
    """The receiving side of the table's socket."""

    def __init__(self, table: NameTable) -> None:
        self._table = table

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr
        self._table.answered(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._table.refused(exc)
