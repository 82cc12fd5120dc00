"""Many simulated proxies in one process: each has a connection and a delta ADS stream, and acknowledges everything.

    python bench/xds_client.py          commands as JSON lines on stdin, an answer for each on stdout

`serving` starts it as a process of its own (class `Fleet` there), so that its CPU is not the server's. A proxy
subscribes to all clusters and listeners, then to the endpoints and routes that those name, as Envoy does; one whose
application calls hosts asks for their virtual hosts too, where routes are to be had on demand. It counts bytes and
drops bodies. HTTP/2 is spoken by hand, one stream per connection; see `xds_wire` for why.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import hpack
import uvloop

import xds_wire as wire
from xds_wire import FOLLOWED_BY, KINDS, NAMED, Bodies, Body

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
RETRY_SECONDS = 0.2
_RENEW = wire.WINDOW // 4
ENVOY = "1.40.0"
"""Version of Envoy that a proxy which asks on demand has."""


@dataclass
class Counts:
    """What all proxies got since the last mark."""

    bytes: int = 0
    responses: Counter[str] = field(default_factory=Counter)
    resources: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    first: dict[str, dict[int, float]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    """When each proxy acknowledged its first response of a kind; monotonic."""
    last: float = 0.0


class Fleet:
    """The proxies, what they share, and what is asked of them."""

    def __init__(self) -> None:
        self.port = 0
        self.bodies = Bodies()
        self.counts = Counts()
        self.proxies: list[Proxy] = []
        self.logged = 0
        """The serials that the first so many proxies acknowledge are logged."""
        self.log: list[tuple[int, str, int, float]] = []
        self.refused = 0
        self.closing = False
        self.progress = asyncio.Event()
        self._memo: dict[object, tuple[object, Any]] = {}
        encoder = hpack.Encoder()
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": METHOD,
            ":authority": "127.0.0.1",
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "lateen-bench",
        }
        self.opening = wire.opening(encoder.encode(list(headers.items())))

    def once(self, what: str, of: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Return `make()` from memory when it was asked for with the same objects before."""
        key = (what, *(id(item) for item in of))
        if key not in self._memo:
            if len(self._memo) > 256:
                self._memo.clear()
            self._memo[key] = (of, make())
        return self._memo[key][1]

    def missing(self) -> dict[str, int]:
        found = Counter(kind for proxy in self.proxies for kind in proxy.first_missing())
        return {kind: found[kind] for kind in KINDS}


class Proxy(asyncio.Protocol):
    """One simulated proxy: at most one connection at a time, made again when it breaks."""

    def __init__(self, fleet: Fleet, number: int, node: bytes, calls: Sequence[str] = (), batch: int = 1) -> None:
        """`calls`: virtual hosts that are asked for, `batch` of them at once, when those before have come."""
        self._fleet = fleet
        self._uncalled = list(calls)
        self._batch = batch
        self._kinds = tuple(kind for kind in KINDS if calls or kind != "VHDS")
        self._number = number
        self._node = node
        self._transport: asyncio.Transport | None = None
        self.held: dict[str, list[Body]] = {kind: [] for kind in KINDS}
        self.subscribed: dict[str, frozenset[str]] = {}
        self.connections = 0
        self.opened = 0.0
        """When the server took the stream of the present connection."""
        self._missing: dict[str, frozenset[str]] = {"VHDS": frozenset(calls)}
        self._reset()

    def _reset(self) -> None:
        self._rest = b""
        self._room = 65535
        self._stream_room = 65535
        self._first_stream_room = 65535
        self._unsent = bytearray()
        self._unrenewed = 0
        self._size = 0
        """Of the message that is arriving; 0 between messages."""
        self._start = b""
        self._expected: tuple[bytes, Body] | None = None
        self._seen = 0
        self._gathered = bytearray()

    async def connect(self) -> None:
        """Connect now, or as soon as somebody listens."""
        loop = asyncio.get_running_loop()
        while not self._fleet.closing:
            try:
                await loop.create_connection(lambda: self, "127.0.0.1", self._fleet.port)
            except OSError:
                self._fleet.refused += 1
                await asyncio.sleep(RETRY_SECONDS * random.uniform(0.5, 1.5))
            else:
                return

    def first_missing(self) -> list[str]:
        """Return kinds of which something that was asked for never came."""
        return [kind for kind in self._kinds if not self.held[kind] or self._missing.get(kind)]

    # --- connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self._reset()
        self.connections += 1
        self.opened = 0.0
        self._transport = transport
        transport.write(self._fleet.opening)
        node = self._node
        for kind in ("CDS", "LDS", "EDS", "RDS", "VHDS"):
            if self.held[kind]:
                names = self.subscribed.get(kind, ()) if kind in NAMED else ()
                self._send(self._resume(kind, tuple(self.held[kind]), tuple(names), node))
            elif kind in FOLLOWED_BY:
                self._send(wire.request(kind, node=node, subscribe=["*"]))
            node = b""

    def _resume(self, kind: str, held: tuple[Body, ...], names: tuple[str, ...], node: bytes) -> bytes:
        def rest() -> bytes:
            versions: dict[str, str] = {}
            for body in held:
                versions.update(body.versions)
                for name in body.removed:
                    versions.pop(name, None)
            return wire.request(kind, subscribe=names or ["*"], held=versions)[5:]

        shared: bytes = self._fleet.once(f"resume {kind}", held, rest)
        if node:
            shared = wire.request(kind, node=node)[5:] + shared  # protobuf messages may be concatenated
        return b"\0" + len(shared).to_bytes(4, "big") + shared

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._transport = None
        self._fleet.progress.set()
        if not self._fleet.closing:
            asyncio.get_running_loop().call_later(RETRY_SECONDS * random.uniform(0.5, 1.5), self._again)

    def _again(self) -> None:
        # The loop keeps a weak reference to its tasks only; this one must live until it is connected.
        self._connecting = asyncio.get_running_loop().create_task(self.connect())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if end - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == wire.DATA:
                self._unrenewed += size
                self._content(data[at + 9 : at + 9 + size])
            else:
                self._control(kind, flags, data[at + 5 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]
        if self._unrenewed > _RENEW and self._transport is not None:
            more = self._unrenewed.to_bytes(4, "big")
            self._transport.write(wire.frame(wire.WINDOW_UPDATE, more) + wire.frame(wire.WINDOW_UPDATE, more, stream=1))
            self._unrenewed = 0

    def _control(self, kind: int, flags: int, content: bytes) -> None:
        stream, payload = int.from_bytes(content[:4], "big"), content[4:]
        transport = self._transport
        if transport is None:
            return
        if kind == wire.SETTINGS and not flags & 1:
            for at in range(0, len(payload), 6):
                if payload[at + 1] == 4:
                    window = int.from_bytes(payload[at + 2 : at + 6], "big")
                    self._stream_room += window - self._first_stream_room
                    self._first_stream_room = window
            transport.write(wire.frame(wire.SETTINGS, b"", flags=1))
            self._flush()
        elif kind == wire.PING and not flags & 1:
            transport.write(wire.frame(wire.PING, payload, flags=1))
        elif kind == wire.WINDOW_UPDATE:
            if stream:
                self._stream_room += int.from_bytes(payload, "big")
            else:
                self._room += int.from_bytes(payload, "big")
            self._flush()
        elif kind == wire.HEADERS:
            if self.opened or flags & 1:
                transport.abort()  # trailers: the stream is over
            self.opened = time.monotonic()
            self._fleet.progress.set()
        elif kind in (wire.GOAWAY, wire.RESET):
            transport.abort()

    def _send(self, message: bytes) -> None:
        self._unsent += message
        self._flush()

    def _flush(self) -> None:
        while self._unsent and self._transport is not None:
            room = min(self._room, self._stream_room, wire.FRAME)
            if room <= 0:
                return
            part = bytes(self._unsent[:room])
            del self._unsent[:room]
            self._room -= len(part)
            self._stream_room -= len(part)
            self._transport.write(wire.frame(wire.DATA, part, stream=1))

    # --- messages --------------------------------------------------------------------------------------------

    def _content(self, data: bytes) -> None:
        """Take a piece of the stream of length-prefixed messages."""
        while data:
            if not self._size:
                self._start += data
                if len(self._start) < 6:
                    return
                self._size = int.from_bytes(self._start[1:5], "big")
                data, self._start = self._start[5:], b""
                self._seen = 0
                self._gathered.clear()
                self._expected = self._fleet.bodies.expected(self._size, data[: self._size])
            part, data = data[: self._size - self._seen], data[self._size - self._seen :]
            self._take(part)
            if self._seen == self._size:
                body, nonce = self._whole()
                self._size = 0
                self._on_response(body, nonce)

    def _take(self, part: bytes) -> None:
        """Compare a part with what is expected; gather it when it differs."""
        if self._expected is not None:
            prefix = self._expected[0]
            same = prefix[self._seen : self._seen + len(part)]
            if len(same) == len(part):
                if same == part:
                    self._seen += len(part)
                    return
            elif part.startswith(same):
                self._gathered += part[len(same) :]
                self._seen += len(part)
                return
            self._gathered[:0] = prefix[: self._seen]  # what was seen of the nonce follows it
            self._expected = None
        self._gathered += part
        self._seen += len(part)

    def _whole(self) -> tuple[Body, bytes]:
        if self._expected is None:
            return self._fleet.bodies.read(bytes(self._gathered))
        prefix, body = self._expected
        if self._gathered[:2] == bytes((5 << 3 | 2, len(self._gathered) - 2)):
            return body, bytes(self._gathered[2:])
        return self._fleet.bodies.read(prefix + self._gathered)

    def _on_response(self, body: Body, nonce: bytes) -> None:
        fleet, kind = self._fleet, body.kind
        self._send(wire.request(kind, nonce=nonce))
        now = time.monotonic()
        counts = fleet.counts
        counts.bytes += body.size
        counts.responses[kind] += 1
        counts.resources[kind] += len(body.versions)
        counts.removed[kind] += len(body.removed)
        counts.first[kind].setdefault(self._number, now)
        counts.last = now
        if body.serials and self._number < fleet.logged:
            fleet.log.extend((self._number, name, serial, now) for name, serial in body.serials.items())
        self.held[kind].append(body)
        if left := self._missing.get(kind):
            self._missing[kind] = fleet.once("left", (left, body.answered), lambda: left - body.answered)
        if kind == "RDS":
            if body.follows and self._uncalled and not self.held["VHDS"]:
                self._send(wire.request("VHDS"))
        elif body.follows:
            self._follow(FOLLOWED_BY[kind], body.follows)
        if kind == "VHDS" and self._uncalled and not self._missing["VHDS"].difference(self._uncalled):
            self._call()
        if kind == "CDS" and body.removed:
            self._forget("EDS", body.removed)
        fleet.progress.set()

    def _follow(self, kind: str, names: frozenset[str]) -> None:
        """Ask for the resources of the next kind that were not asked for yet."""
        known = self.subscribed.get(kind, frozenset())
        once = self._fleet.once
        new = once("new", (names, known), lambda: names - known)
        if new:
            self.subscribed[kind] = once("known", (names, known), lambda: names | known)
            missing = self._missing.get(kind, frozenset())
            self._missing[kind] = once("missing", (new, missing), lambda: new | missing)
            self._send(once("request", (new,), lambda: wire.request(kind, subscribe=sorted(new))))

    def _call(self) -> None:
        """Ask for the next virtual hosts."""
        names, self._uncalled = self._uncalled[: self._batch], self._uncalled[self._batch :]
        self.subscribed["VHDS"] = self.subscribed.get("VHDS", frozenset()).union(names)
        self._send(wire.request("VHDS", subscribe=names))

    def _forget(self, kind: str, names: frozenset[str]) -> None:
        """Stop asking for what nothing names any more."""
        known, once = self.subscribed.get(kind, frozenset()), self._fleet.once
        if gone := once("gone", (known, names), lambda: known & names):
            self.subscribed[kind] = once("left", (known, names), lambda: known - names)
            self._send(once("unsubscribe", (gone,), lambda: wire.request(kind, unsubscribe=sorted(gone))))


# --- commands ------------------------------------------------------------------------------------------------


class Commands:
    """What `serving` asks for, by name of the command; each returns the JSON of its answer."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def connect(
        self,
        *,
        port: int,
        count: int,
        scopes: int = 1,
        interception: str = "REDIRECT",
        at_once: int = 100,
        services: int = 0,
        calls: int = 0,
        batch: int = 1,
    ) -> dict[str, Any]:
        """Connect more proxies, `at_once` of them at a time; their labels make so many different workloads.

        Each calls so many of the services, and fetches `batch` of their virtual hosts at once.
        """
        fleet = self._fleet
        fleet.port = port
        before, begun = len(fleet.proxies), time.monotonic()
        for number in range(before, before + count):
            labels = {"app": f"client-{number % scopes}"}
            version = ENVOY if calls else ""
            node = wire.node(number, labels=labels, interception=interception, version=version)
            called = wire.services_called(number, services, calls)
            hosts = [f"80.vhds/random-{service}.host.example" for service in called]
            fleet.proxies.append(Proxy(fleet, number, node, hosts, batch))
        for first in range(before, before + count, at_once):
            async with asyncio.TaskGroup() as tasks:
                for proxy in fleet.proxies[first : first + at_once]:
                    tasks.create_task(proxy.connect())
        return {"begun": begun, "connected": time.monotonic()}

    async def wait(self, *, what: str, seconds: float, proxies: int = 0) -> dict[str, Any]:
        """Wait until all proxies have `everything`, a response of a kind since the mark, or have a stream (`open`).

        For a response so many `proxies` are enough.
        """
        fleet = self._fleet
        enough = proxies or len(fleet.proxies)
        conditions: dict[str, Callable[[], bool]] = {
            "everything": lambda: not any(proxy.first_missing() for proxy in fleet.proxies),
            "open": lambda: all(proxy.opened for proxy in fleet.proxies),
            **{kind: lambda kind=kind: len(fleet.counts.first[kind]) >= enough for kind in KINDS},  # type: ignore[misc]
        }
        complete = False
        deadline = time.monotonic() + seconds
        while not (complete := conditions[what]()) and (left := deadline - time.monotonic()) > 0:
            fleet.progress.clear()
            try:
                async with asyncio.timeout(left):
                    await fleet.progress.wait()
            except TimeoutError:
                break
            if what == "everything":
                await asyncio.sleep(
                    0.02
                )  # looking at a thousand proxies after each response would be the client's cost
        return {"complete": complete, **self._report()}

    async def quiet(self, *, seconds: float = 0.3, at_most: float = 10) -> dict[str, Any]:
        """Wait until nothing came for a time."""
        deadline = time.monotonic() + at_most
        before = -1
        while self._fleet.counts.bytes != before and time.monotonic() < deadline:
            before = self._fleet.counts.bytes
            await asyncio.sleep(seconds)
        return self._report()

    async def mark(self) -> dict[str, Any]:
        """Count from here."""
        self._fleet.counts = Counts()
        return {}

    async def log(self, *, proxies: int) -> dict[str, Any]:
        """Return the log of serials so far, and log those of the first so many proxies from here."""
        logged, self._fleet.log = self._fleet.log, []
        self._fleet.logged = proxies
        return {"log": logged}

    def _report(self) -> dict[str, Any]:
        counts, usage = self._fleet.counts, resource.getrusage(resource.RUSAGE_SELF)
        first = {kind: sorted(times.values()) for kind, times in counts.first.items() if times}
        return {
            "bytes": counts.bytes,
            "responses": dict(counts.responses),
            "resources": dict(counts.resources),
            "removed": dict(counts.removed),
            "last": counts.last,
            "first": {kind: {"median": t[len(t) // 2], "last": t[-1], "proxies": len(t)} for kind, t in first.items()},
            "opened": max((proxy.opened for proxy in self._fleet.proxies), default=0.0),
            "connections": sum(proxy.connections for proxy in self._fleet.proxies),
            "missing": self._fleet.missing(),
            "cpu": usage.ru_utime + usage.ru_stime,
            "rss_mb": usage.ru_maxrss / 1024,
        }


async def serve_commands() -> None:
    """Answer commands until stdin ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    fleet = Fleet()
    commands = Commands(fleet)
    while line := await reader.readline():
        command = json.loads(line)
        answer = await getattr(commands, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)
    fleet.closing = True
    for proxy in fleet.proxies:
        proxy.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_commands())
