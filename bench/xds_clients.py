"""Many light xDS clients in one process of its own: what the serving benchmarks measure the control plane with.

    python bench/xds_clients.py HOST:PORT STREAMS NAMES_FILE

A client of gRPC's own would cost as much as the server it measures. This one speaks just enough HTTP/2 by hand: one
connection per proxy, as Envoy has, four subscriptions (clusters, endpoints by name, listeners, routes by name) on one
delta stream, and an ACK for each response, of which it reads only type and nonce. It never checks what it is sent.
Commands come on standard input: `cpu` is answered by one line of JSON, the end of the input ends it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import cast

import uvloop
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hpack import Encoder

from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_PREFIX

API = "envoy.service.discovery.v3."
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
WINDOW = 2**31 - 1
DATA, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 4, 6, 7, 8
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "bench"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def _head_class() -> type:
    """Return a message that reads type and nonce of a response; the rest of it stays an unknown blob."""
    file = descriptor_pb2.FileDescriptorProto(name="head.proto", package="bench", syntax="proto3")
    message = file.message_type.add(name="Head")
    for name, number in ("type_url", 4), ("nonce", 5):
        message.field.add(name=name, number=number, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: type = message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Head"))
    return made


HEAD = _head_class()
REQUEST = message_class(API + "DeltaDiscoveryRequest")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def message_frames(content: bytes, size: int = 16384) -> bytes:
    """Return a gRPC message as DATA frames of stream 1."""
    body = b"\0" + len(content).to_bytes(4, "big") + content
    return b"".join(frame(DATA, 0, 1, body[at : at + size]) for at in range(0, len(body), size))


class Client(asyncio.Protocol):
    """One connection, one stream."""

    def __init__(self, opening: list[bytes], counts: Counter[str]) -> None:
        self._opening = opening
        self._counts = counts
        self._buffer = bytearray()
        self._message = bytearray()
        self._credit = 65535
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        settings = (4).to_bytes(2, "big") + WINDOW.to_bytes(4, "big")
        transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, (WINDOW - 65535).to_bytes(4, "big"))
            + frame(1, 4, 1, Encoder().encode(HEADERS))
        )
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        self._counts["lost"] += 1

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        while end - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if end - at - 9 < length:
                break
            self._frame(buffer[at + 3], buffer[at + 4], bytes(buffer[at + 9 : at + 9 + length]))
            at += 9 + length
        del buffer[:at]

    def _frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == DATA:
            self._take(payload)
        elif kind == SETTINGS and not flags & 1:
            self._transport.write(frame(SETTINGS, 1, 0, b""))
        elif kind == PING and not flags & 1:
            self._transport.write(frame(PING, 1, 0, payload))
        elif kind == WINDOW_UPDATE:
            self._credit += int.from_bytes(payload, "big")
            self._send()
        elif kind == 1 and flags & 1:
            self._counts["ended"] += 1
        elif kind == GOAWAY:
            self._counts["goaway"] += 1

    def _take(self, payload: bytes) -> None:
        self._taken += len(payload)
        message = self._message
        message += payload
        while len(message) >= 5 and len(message) >= (size := 5 + int.from_bytes(message[1:5], "big")):
            head = HEAD.FromString(bytes(message[5:size]))  # type: ignore[attr-defined]
            del message[:size]
            self._counts["responses"] += 1
            self._counts["bytes"] += size
            ack = REQUEST(type_url=head.type_url, response_nonce=head.nonce).SerializeToString()
            self._opening.append(message_frames(ack))
        if self._taken > WINDOW // 2:
            for stream in 0, 1:
                self._transport.write(frame(WINDOW_UPDATE, 0, stream, self._taken.to_bytes(4, "big")))
            self._taken = 0
        self._send()

    def _send(self) -> None:
        """Send what waits, as far as the server's window reaches."""
        while self._opening and len(self._opening[0]) <= self._credit:
            content = self._opening.pop(0)
            self._credit -= len(content)
            self._transport.write(content)


def opening(number: int, names: dict[str, list[str]]) -> list[bytes]:
    """Return the first requests of a client."""
    node = {
        "id": f"sidecar~10.{number >> 16}.{number >> 8 & 255}.{number & 255}~app-{number}.default"
        "~default.svc.cluster.local",
        "user_agent_name": "envoy",
        "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}},
        "metadata": {"NAMESPACE": "default", "LABELS": {"app": "app"}, "INTERCEPTION_MODE": "REDIRECT"},
    }
    requests = []
    for index, kind in enumerate((CLUSTER, ENDPOINT, LISTENER, ROUTE)):
        first = {"node": node} if index == 0 else {}
        request = REQUEST(type_url=TYPE_PREFIX + kind, resource_names_subscribe=names[kind], **first)
        # Small enough to fit the first window of a stream with others.
        requests.append(message_frames(request.SerializeToString(), 8192))
    return [part for content in requests for part in (content[at : at + 8192] for at in range(0, len(content), 8192))]


async def main(address: str, streams: int, names: dict[str, list[str]]) -> None:
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    counts: Counter[str] = Counter()
    made = [opening(number, names) for number in range(streams)]
    input_ = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(input_), sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    await input_.readline()
    connections = [
        await loop.create_connection(partial(Client, requests, counts), host, int(port)) for requests in made
    ]
    while await input_.readline():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({**counts, "cpu": time.process_time(), "rss_mb": usage.ru_maxrss // 1024}), flush=True)
    for transport, _ in connections:
        transport.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())))
