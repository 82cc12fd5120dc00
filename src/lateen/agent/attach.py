"""Keeps this workload registered: one connection to the control plane, made again whenever it breaks.

Problem: the stream is the lease, so a broken stream must come back under the same workload name and with the newest
registration, while Envoy and the app go on. What we do: the wanted registration is a latest-value slot; each new
connection begins with it, and each change of it is sent on the connection that is there. Nothing is queued.

Used by `lifecycle`. Must not know: Envoy, or the app.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import structlog

from lateen.agent.addresses import host_port, split_host_port
from lateen.agent.attach_protocol import Alive, AttachStream, Ended, Left, Refused, Registered, SpeaksHttp1
from lateen.agent.backoff import pauses
from lateen.agent.http1 import Http1Error, fetch
from lateen.model.workloads import WorkloadRegistration

MAX_HOSTS = 1000
"""Called hosts that wait to be told; what a control plane remembers of a workload."""
_BLOCK = 16 * 1024
_UNREACHABLE = "cannot reach the control plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachTimes:
    """Times in seconds; tests shorten them."""

    connect: float = 5.0
    ping: float = 10.0
    """Between pings; a ping not answered by the next one breaks the connection."""
    first_pause: float = 0.1
    longest_pause: float = 1.0
    """Short, because a control plane that restarts waits so long for its workloads (`SETTLE_SECONDS` of the app)."""
    remind: float = 60.0
    """Between log lines about one lasting failure; several may take turns."""


class Attachment:
    """The workload's registration, kept up by `run` until `leave`."""

    def __init__(
        self,
        control_plane: str,
        registration: WorkloadRegistration,
        *,
        read_token: Callable[[], str] = str,
        times: AttachTimes = AttachTimes(),
    ) -> None:
        self._address = split_host_port(control_plane)
        self._wanted = registration
        self._read_token = read_token
        self._times = times
        self._log = structlog.get_logger().bind(control_plane=control_plane)
        self._changed = asyncio.Event()
        """Whether there is something to say."""
        self._outdated = False
        """Whether it is the registration."""
        self._calls: dict[str, None] = {}
        """Hosts to be told, at most MAX_HOSTS."""
        self.takes_calls = False
        """Whether the control plane wants to know whom the workload calls; known once it is registered."""
        self._named = asyncio.Event()
        self._leaving = False
        self._unanswered = False
        self._left: asyncio.Future[bool] | None = None
        self._pauses = pauses(times.first_pause, times.longest_pause)
        self._told: dict[str, float] = {}
        """When each failure was logged last."""
        self.connected = False
        """Whether the control plane holds this registration now."""
        self.reconnects = 0
        self.pings_answered = 0

    @property
    def control_plane(self) -> tuple[str, int]:
        """Host and port of the gRPC server in use (the HTTP port may have pointed us to another)."""
        return self._address

    @property
    def registration(self) -> WorkloadRegistration:
        """The newest wanted registration, with the name that the control plane gave."""
        return self._wanted

    @property
    def was_registered(self) -> bool:
        """Whether the control plane ever took this workload: only then anybody can send to it."""
        return self._named.is_set()

    def update(self, registration: WorkloadRegistration) -> None:
        """Register this from now on. The name stays."""
        wanted = replace(registration, name=self._wanted.name or registration.name)
        if wanted != self._wanted:
            self._wanted = wanted
            self._outdated = True
            self._changed.set()

    def report_calls(self, hosts: Iterable[str]) -> None:
        """Tell the control plane which hosts the workload calls: now, or when there is one that takes it."""
        self._calls.update(dict.fromkeys(islice(hosts, MAX_HOSTS - len(self._calls))))
        self._changed.set()

    async def named(self) -> str:
        """Wait for the first registration; return the workload's name."""
        await self._named.wait()
        return self._wanted.name

    async def leave(self, timeout: float) -> bool:  # noqa: ASYNC109  the wait's bound is part of the contract
        """Deregister; return whether every proxy has dropped the workload. False at once when not connected."""
        self._leaving = True
        if not self.connected:
            return False
        self._left = asyncio.get_running_loop().create_future()
        self._changed.set()
        try:
            async with asyncio.timeout(timeout):
                return await self._left
        except TimeoutError:
            return False

    async def run(self) -> None:
        """Hold the registration until it has left. Never raises for what the network or the peer does."""
        while not self._leaving:
            reason = await self._one_connection()
            self.connected = False
            if self._left and not self._left.done():
                self._left.set_result(False)
            if reason:
                self._report(reason)
            self.reconnects += 1
            # Jitter keeps a thousand agents from coming back in one instant.
            await asyncio.sleep(next(self._pauses) * random.uniform(0.8, 1.2))  # noqa: S311  not a secret

    async def _one_connection(self) -> str:
        """Return why it ended; empty when it is worth no word."""
        host, port = self._address
        try:
            token = self._read_token()
        except OSError as error:
            return f"cannot read the token file {error.filename}: {error.strerror}"
        try:
            async with asyncio.timeout(self._times.connect):
                reader, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return f"{_UNREACHABLE}: no answer in {self._times.connect:g} s"
        except OSError as error:
            # asyncio's own text repeats the address; the system's says what happened.
            return f"{_UNREACHABLE}: {os.strerror(error.errno) if error.errno and error.errno > 0 else error}"
        try:
            stream = AttachStream(host_port(host, port), token)
            ended = await _first(self._listen(stream, reader, writer), self._talk(stream, writer))
        finally:
            writer.close()
        if isinstance(ended, SpeaksHttp1):
            return await self._ask_for_grpc_port()
        return ended.reason

    async def _listen(
        self, stream: AttachStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Ended | SpeaksHttp1:
        while True:
            try:
                data = await reader.read(_BLOCK)
            except OSError as error:
                return Ended(f"the connection broke: {error.strerror or error}")
            for event in stream.receive(data):
                match event:
                    case Ended() | SpeaksHttp1():
                        return event
                    case Registered(name=name, takes_calls=takes_calls):
                        self.takes_calls = takes_calls
                        self._on_registered(name)
                    case Refused(message=message):
                        return Ended(f"the control plane refused this workload: {message}")
                    case Left(acknowledged=acknowledged):
                        if self._left and not self._left.done():
                            self._left.set_result(acknowledged)
                        return Ended("")
                    case Alive():
                        self._unanswered = False
                        self.pings_answered += 1
            writer.write(stream.data_to_send())

    async def _talk(self, stream: AttachStream, writer: asyncio.StreamWriter) -> Ended:
        self._changed.clear()
        self._unanswered = self._outdated = self.takes_calls = False
        stream.register(self._wanted)
        while True:
            writer.write(stream.data_to_send())
            try:
                async with asyncio.timeout(self._times.ping):
                    await writer.drain()
                    await self._changed.wait()
            except TimeoutError:
                if self._unanswered:
                    return Ended("the control plane stopped answering")
                self._unanswered = True
                stream.ping()
                continue
            except OSError as error:
                return Ended(f"the connection broke: {error.strerror or error}")
            self._changed.clear()
            if self._leaving:
                stream.leave()
            elif self._outdated:
                self._outdated = False
                stream.register(self._wanted)
            if self._calls and self.takes_calls and not self._leaving and not stream.blocked:
                stream.calls(tuple(self._calls))
                self._calls.clear()

    def _on_registered(self, name: str) -> None:
        if self._wanted.name and self._wanted.name != name:
            self._log.warning("the control plane knows this workload under another name", name=name)
        if not self.connected:
            self._log.info("registered with the control plane", workload=name, namespace=self._wanted.namespace)
        self._wanted = replace(self._wanted, name=self._wanted.name or name)
        self.connected = True
        self._pauses = pauses(self._times.first_pause, self._times.longest_pause)
        self._told = {}
        self._named.set()
        if self._calls:
            self._changed.set()

    async def _ask_for_grpc_port(self) -> str:
        """The address is an HTTP server's: if it is our control plane's, it says where gRPC is."""
        host, port = self._address
        try:
            async with asyncio.timeout(self._times.connect):
                answer = await fetch(host, port, "/v1/control-plane", limit=64 * 1024)
            said: dict[str, Any] = json.loads(answer.body) if answer.status == 200 else {}
            grpc_host, grpc_port = split_host_port(str(said["grpc"]))
        except (OSError, TimeoutError, Http1Error, ValueError, KeyError, TypeError, AttributeError):
            return (
                f"{host_port(host, port)} is a plain HTTP server, not a control plane's gRPC port: "
                "pass --control-plane HOST:PORT with the gRPC port (15010 by default)"
            )
        if grpc_host in ("0.0.0.0", "::", ""):
            grpc_host = host
        self._address = (grpc_host, grpc_port)
        self._log = self._log.bind(control_plane=host_port(grpc_host, grpc_port))
        self._log.info("that was the control plane's HTTP port, this is its gRPC port")
        return ""

    def _report(self, reason: str) -> None:
        """Log each distinct failure when it is new, then rarely."""
        now = asyncio.get_running_loop().time()
        self._told = {told: at for told, at in self._told.items() if now - at < self._times.remind}
        if reason not in self._told:
            self._told[reason] = now
            if reason.startswith(_UNREACHABLE):
                todo = "start it with `lateen serve`, or pass --control-plane HOST:PORT; trying again until then"
                self._log.warning(reason, todo=todo)
            else:
                self._log.warning(reason, todo="trying again")


async def _first(*jobs: Any) -> Ended | SpeaksHttp1:
    """Run the jobs side by side; return the result of the first to end and cancel the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in jobs]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    ended: Ended | SpeaksHttp1 = done.pop().result()
    return ended
