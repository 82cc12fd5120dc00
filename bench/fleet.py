"""The client process of the serving benchmark as an object, the canned server that shows its ceiling, and /proc.

Used by `serving`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import hpack
import uvloop

import xds_wire as wire
from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_PREFIX, Snapshot

TICKS = os.sysconf("SC_CLK_TCK")


class Fleet:
    """Simulated proxies in a process of their own; commands are those of `xds_client.Commands`."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("xds_client.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def send(self, do: str, **arguments: Any) -> None:
        """Give a command without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the client ended with {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give a command and return its answer."""
        self.send(do, **arguments)
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process.stdout.close()


@contextmanager
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    try:
        yield made
    finally:
        made.close()


# --- /proc ---------------------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """Return what a process has used, in steps of 10 ms."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """Return resident memory; VmHWM is its highest so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no {name} for process {pid}")


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


# --- canned server -------------------------------------------------------------------------------------------


def canned_response(kind: str, snapshot: Snapshot, nonce: str) -> bytes:
    """Return all resources of a kind as DATA frames."""
    made = message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")(
        system_version_info=snapshot.version,
        type_url=TYPE_PREFIX + kind,
        resources=[
            {"name": r.name, "version": r.version, "resource": {"type_url": TYPE_PREFIX + kind, "value": r.body}}
            for r in snapshot.resources[kind].values()
        ],
    ).SerializeToString()
    made += message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")(nonce=nonce).SerializeToString()
    content = b"\0" + len(made).to_bytes(4, "big") + made
    return b"".join(
        wire.frame(wire.DATA, content[at : at + wire.FRAME], stream=1) for at in range(0, len(content), wire.FRAME)
    )


class _Canned(asyncio.Protocol):
    """Says everything at once and listens to nothing."""

    def __init__(self, everything: bytes, connected: list[asyncio.Transport]) -> None:
        self._everything = everything
        self._connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        transport.write(self._everything)
        self._connected.append(transport)

    def data_received(self, data: bytes) -> None:
        pass


async def _serve_canned(listening: socket.socket, everything: bytes, small: bytes) -> None:
    connected: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Canned(everything, connected), sock=listening)
    pushed = asyncio.Event()
    loop.add_signal_handler(10, pushed.set)  # SIGUSR1: push the small response to everybody
    async with server:
        while True:
            await pushed.wait()
            pushed.clear()
            for transport in connected:
                transport.write(small)


def _run_canned(listening: socket.socket, everything: bytes, small: bytes) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_canned(listening, everything, small))


@contextmanager
def canned_server(snapshot: Snapshot, kinds: Sequence[str] = (CLUSTER, ENDPOINT, LISTENER, ROUTE)) -> Iterator[Any]:
    """Run a server that pushes a snapshot to whoever connects; yield its port, its process and what it pushes."""
    headers = hpack.Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
    everything = wire.frame(wire.SETTINGS, (4).to_bytes(2, "big") + wire.WINDOW.to_bytes(4, "big"))
    everything += wire.frame(wire.WINDOW_UPDATE, (wire.WINDOW - 65535).to_bytes(4, "big"))
    everything += wire.frame(wire.HEADERS, headers, flags=4, stream=1)
    everything += b"".join(canned_response(kind, snapshot, str(number)) for number, kind in enumerate(kinds))
    name, endpoints = next(iter(snapshot.resources[ENDPOINT].items()))
    one = Snapshot(version="one", resources={ENDPOINT: {name: endpoints}})
    small = canned_response(ENDPOINT, one, "9")
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        process = get_context("fork").Process(target=_run_canned, args=(listening, everything, small), daemon=True)
        process.start()
        try:
            yield listening.getsockname()[1], process.pid, len(everything)
        finally:
            process.terminate()
            process.join(10)


def push(pid: int) -> float:
    """Have the canned server push its small response; return when."""
    now = time.monotonic()
    os.kill(pid, 10)
    return now
