"""The relay between an app's resolver, Envoy's table and the machine's resolvers, all of them on loopback."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lateen.agent.interception import dns_messages, relay
from lateen.agent.interception.dns_messages import AAAA, FAILED, HTTPS, NO_SUCH_NAME, A
from lateen.agent.interception.names import NameTable, full_names
from lateen.agent.interception.network import socket_here
from lateen.agent.interception.relay import Relay, bound_sockets
from lateen.agent.interception.resolvers import Resolvers, named
from ports import free_port

TXT = 16
TABLE = {
    "reviews.shop.svc.cluster.local": ("240.240.0.1", "2001:2::1"),
    "only4.example.com": ("192.0.2.4",),
    "only6.example.com": ("0.0.0.0", "2001:db8::6"),
}
MACHINE = {"known.test": ("192.0.2.7",)}


class Server(asyncio.DatagramProtocol):
    """A DNS server that knows these names, or has something else to say."""

    def __init__(self, names: Mapping[str, tuple[str, ...]], *, exists: bool, result: int | None = None) -> None:
        self.names, self.exists, self.result = names, exists, result
        self.asked: list[tuple[str, int]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asked = dns_messages.question(data)
        assert asked is not None
        self.asked.append((asked.name, asked.type))
        version = 6 if asked.type == AAAA else 4
        found = [one for one in self.names.get(asked.name, ()) if (":" in one) == (version == 6)]
        known = asked.name in self.names and (bool(found) or self.exists)
        result = self.result if self.result is not None else 0 if known else NO_SUCH_NAME
        kind = asked.type in (A, AAAA)
        self.transport.sendto(dns_messages.answer(asked, found if kind and not result else (), result=result), addr)


class Bed:
    """A relay, what it asks, and who asks it."""

    def __init__(self, made: Relay, table: Server, machine: list[Server], conf: Path) -> None:
        self.relay, self.table, self.machine, self.conf = made, table, machine, conf

    async def ask(self, name: str, kind: int = A, *, stream: bool = False) -> tuple[int, tuple[str, ...]]:
        answer = await self.relay.answer(dns_messages.query(name, kind, 4711), stream=stream)
        assert answer[:2] == (4711).to_bytes(2, "big")
        return dns_messages.code(answer), dns_messages.addresses(answer, kind)


@asynccontextmanager
async def bed(
    folder: Path, *, results: tuple[int | None, ...] = (None,), table_there: bool = True
) -> AsyncIterator[Bed]:
    loop = asyncio.get_running_loop()
    port = free_port()
    machine, transports = [], []
    for number, result in enumerate(results):
        server = Server(MACHINE, exists=True, result=result)
        address = (f"127.0.0.{number + 1}", port)
        transports.append((await loop.create_datagram_endpoint(lambda made=server: made, local_addr=address))[0])  # type: ignore[misc]
        machine.append(server)
    known = Server(TABLE, exists=False)
    transport, _ = await loop.create_datagram_endpoint(lambda: known, local_addr=("127.0.0.1", 0))
    place = transport.get_extra_info("sockname")
    if not table_there:
        transport.close()
    transports.append(transport)
    conf = folder / "resolv.conf"
    conf.write_text("".join(f"nameserver 127.0.0.{number + 1}\n" for number in range(len(results))))
    names = NameTable("shop", (place[1],))
    await names.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        yield Bed(Relay(names, Resolvers(socket_here, conf, port)), known, machine, conf)
    finally:
        names.close()
        for one in transports:
            one.close()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    def with_bed(test: Callable[[Bed], Any], **options: Any) -> None:
        async def go() -> None:
            async with asyncio.timeout(20), bed(tmp_path, **options) as made:
                await test(made)

        asyncio.run(go())

    return with_bed


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("reviews", A, (0, ("240.240.0.1",))),
        ("Reviews.SHOP", AAAA, (0, ("2001:2::1",))),
        ("reviews.shop.svc", A, (0, ("240.240.0.1",))),
        ("reviews.shop.svc.cluster.local", A, (0, ("240.240.0.1",))),
        ("reviews", HTTPS, (0, ())),
        ("reviews", TXT, (0, ())),
        ("only4.example.com", AAAA, (0, ())),
        ("only6.example.com", A, (0, ())),
        ("only6.example.com", AAAA, (0, ("2001:db8::6",))),
        ("known.test", A, (0, ("192.0.2.7",))),
        ("known.test", AAAA, (0, ())),
        ("nobody", A, (NO_SUCH_NAME, ())),
        ("reviews.other", A, (NO_SUCH_NAME, ())),
    ],
)
def test_what_is_answered(run: Any, name: str, kind: int, answer: tuple[int, tuple[str, ...]]) -> None:
    """Names of the mesh in every form and case, and never that one does not exist that lacks what is asked for."""

    async def test(made: Bed) -> None:
        assert await made.ask(name, kind) == answer
        if name == "reviews" and kind == A:
            assert not made.machine[0].asked, "what the mesh knows does not leave the machine"

    run(test)


def test_without_the_table_names_that_nobody_knows_fail(run: Any) -> None:
    """They may exist; what the machine knows is answered."""

    async def test(made: Bed) -> None:
        assert await made.ask("reviews") == (FAILED, ())
        assert await made.ask("reviews", TXT) == (FAILED, ())
        assert await made.ask("known.test") == (0, ("192.0.2.7",))

    run(test, table_there=False)


def test_the_next_resolver_is_asked_and_remembered(run: Any) -> None:
    """One that fails costs the first query only."""

    async def test(made: Bed) -> None:
        for _ in range(3):
            assert await made.ask("known.test") == (0, ("192.0.2.7",))
        assert len(made.machine[0].asked) == 1
        assert len(made.machine[1].asked) == 3

    run(test, results=(FAILED, None))


def test_a_changed_resolv_conf_is_followed(run: Any) -> None:
    """Networks come and go."""

    async def test(made: Bed) -> None:
        made.conf.write_text("nameserver 127.0.0.1\n")
        assert await made.ask("known.test") == (FAILED, ())
        new = made.conf.with_name("new")
        new.write_text("nameserver 127.0.0.2\n")
        new.replace(made.conf)
        assert await made.ask("known.test") == (0, ("192.0.2.7",))

    run(test, results=(FAILED, None))


def test_short_forms() -> None:
    """What a name may stand for, the name itself first."""
    assert list(full_names("a", "n")) == ["a", "a.n.svc.cluster.local"]
    assert list(full_names("a.b", "n")) == ["a.b", "a.b.svc.cluster.local"]
    assert list(full_names("a.b.svc", "n")) == ["a.b.svc", "a.b.svc.cluster.local"]
    assert list(full_names("a.b.c", "n")) == ["a.b.c"]


def test_lines_of_a_resolv_conf_that_name_no_address_are_passed_over(run: Any) -> None:
    """A mistake of an administrator is not the end of the agent."""

    async def test(made: Bed) -> None:
        made.conf.write_text("nameserver dns.example\nnameserver\nnameserver 127.0.0.1 # ours\n")
        assert await made.ask("known.test") == (0, ("192.0.2.7",))

    run(test)


def test_resolvers_of_a_link_keep_their_interface() -> None:
    assert named("nameserver fe80::1%eth0\nnameserver 192.0.2.1\n") == ("fe80::1%eth0", "192.0.2.1")
    assert named("nameserver nonsense\n") == ("127.0.0.1",)


@pytest.mark.parametrize("noise", [b"", b"\0" * 11, dns_messages.query("a.b", A, 1)[:2] + b"\x80" + b"\0" * 20])
def test_what_is_no_query_is_not_passed_on(run: Any, noise: bytes) -> None:
    async def test(made: Bed) -> None:
        assert await made.relay.answer(noise, stream=False) == b""
        assert not made.machine[0].asked

    run(test)


def test_a_query_that_fails_by_a_mistake_of_ours_does_not_end_the_others(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(made: Bed) -> None:
        datagrams, streams = bound_sockets(0, ipv6=False)
        place = datagrams[0].getsockname()
        answer = made.relay.answer

        async def fails_once(query: bytes, *, stream: bool) -> bytes:
            monkeypatch.setattr(made.relay, "answer", answer)
            raise ZeroDivisionError

        monkeypatch.setattr(made.relay, "answer", fails_once)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.relay.run(datagrams, streams))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.setblocking(False)
                asking.connect(place)
                for number in (1, 2):
                    await loop.sock_sendall(asking, dns_messages.query("known.test", A, number))
                found = await loop.sock_recv(asking, 512)
            running.cancel()
        assert found[:2] == b"\0\2"

    run(test)


def test_who_begins_a_query_and_does_not_end_it_is_cut_off(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for one query."""
    monkeypatch.setattr(relay, "_IDLE_SECONDS", 0.3)

    async def test(made: Bed) -> None:
        datagrams, streams = bound_sockets(0, ipv6=False)
        place = streams[0].getsockname()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.relay.run(datagrams, streams))
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"\x00")  # the first half of a length
            assert await reader.read() == b""
            writer.close()
            running.cancel()

    run(test)


async def test_the_table_is_found_at_whichever_of_its_ports_answers() -> None:
    """First where it answered last; a port that refuses, or one that says nothing any more, is passed over."""
    loop, known = asyncio.get_running_loop(), Server(TABLE, exists=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as nobody:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        nobody.bind(("127.0.0.1", 0))
        transport, _ = await loop.create_datagram_endpoint(lambda: known, local_addr=("127.0.0.1", 0))
        ports = [silent.getsockname()[1], nobody.getsockname()[1], transport.get_extra_info("sockname")[1]]
        table = NameTable("shop", ports)
        await table.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            for _ in range(3):
                assert await table.find("only4.example.com", A)
            while silent in select.select([silent], [], [], 0)[0]:
                silent.recv(512)
            assert await table.find("only4.example.com", A)
            with pytest.raises(BlockingIOError):  # it asks first where it was answered
                silent.recv(512)
        finally:
            table.close()
            transport.close()
