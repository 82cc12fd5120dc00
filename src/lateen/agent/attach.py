"""Keeps this workload registered: one connection to the control plane, made again whenever it breaks.

Problem: the stream is the lease, so a broken stream must come back under the same workload name and with the newest
registration, while Envoy and the app go on. What we do: the wanted registration is a latest-value slot; each new
connection begins with it, and each change of it is sent on the connection that is there. Nothing is queued.

Used by `membership`. Must not know: Envoy, or the app.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from lateen.agent.addresses import host_port, split_host_port
from lateen.agent.attach_protocol import AttachStream, Left, Refused, Registered, Trust
from lateen.agent.backoff import pauses
from lateen.agent.complaints import Complaints
from lateen.agent.grpc_call import Alive, Ended, SpeaksHttp1
from lateen.agent.locating import grpc_address, no_grpc
from lateen.agent.log import get_log
from lateen.agent.secure_connection import ConnectError, DistrustError, Tls, broke, connection, is_alert
from lateen.model.workloads import CALLS, TRUSTS, WorkloadRegistration

MAX_HOSTS = 1000
"""Called hosts that wait to be told; what a control plane remembers of a workload."""
_BLOCK = 16 * 1024


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


class Credentials(Protocol):
    """How this workload proves who it is (`agent.certificates.Certificates`)."""

    @property
    def address(self) -> tuple[str, int]:
        """The control plane's secure address."""

    def tls(self) -> Tls:
        """How to connect to it now."""

    def trust(self, roots: tuple[str, ...], *, issuer: str) -> str:
        """Trust these roots from now on, and get a certificate of that issuer; return what to say, if anything."""

    def distrusted(self) -> None:
        """The control plane and this workload do not take each other's certificates."""


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
        self._credentials: Credentials | None = None
        self._log = get_log().bind(control_plane=control_plane)
        self._changed = asyncio.Event()
        """Whether there is something to say."""
        self._outdated = False
        """Whether it is the registration."""
        self._calls: dict[str, None] = {}
        """Hosts to be told, at most MAX_HOSTS."""
        self._trusts = ""
        """What to say about the roots; empty when it is said."""
        self._takes: frozenset[str] = frozenset()
        self._named = asyncio.Event()
        self._leaving = False
        self._unanswered = False
        self._left: asyncio.Future[bool] | None = None
        self._pauses = pauses(times.first_pause, times.longest_pause)
        self._complaints = Complaints(times.remind)
        self.bootstrap: Mapping[str, Any] = {}
        """What the control plane wants merged into Envoy's bootstrap."""
        self.connected = False
        """Whether the control plane holds this registration now."""
        self.told: Registered | None = None
        """The first answer: what the proxy begins with."""
        self.reconnects = 0
        self.pings_answered = 0

    @property
    def control_plane(self) -> tuple[str, int]:
        """Host and port of the gRPC server in use (the HTTP port may have pointed us to another)."""
        return self._credentials.address if self._credentials else self._address

    def routes(self) -> tuple[tuple[tuple[str, int], Tls | None], ...]:
        """Return where the control plane is, and how to connect to it; nothing while it is away."""
        return ((self.control_plane, self._credentials.tls() if self._credentials else None),) if self.connected else ()

    @property
    def takes_calls(self) -> bool:
        """Whether the control plane wants to know whom the workload calls; known once it is registered."""
        return CALLS in self._takes

    @property
    def registration(self) -> WorkloadRegistration:
        """The newest wanted registration, with the name that the control plane gave."""
        return self._wanted

    @property
    def was_registered(self) -> bool:
        """Whether the control plane ever took this workload: only then anybody can send to it."""
        return self._named.is_set()

    def secure(self, credentials: Credentials) -> None:
        """Connect by mTLS, without the token: the certificate says who this is. Called before `run`."""
        self._credentials = credentials

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
                self._complaints.say(self._log, reason)
            self.reconnects += 1
            # Jitter keeps a thousand agents from coming back in one instant.
            await asyncio.sleep(next(self._pauses) * random.uniform(0.8, 1.2))  # noqa: S311  not a secret

    async def _one_connection(self) -> str:
        """Return why it ended; empty when it is worth no word."""
        address, credentials = self.control_plane, self._credentials
        try:
            token = "" if credentials else self._read_token()
        except OSError as error:
            return f"cannot read the token file {error.filename}: {error.strerror}"
        tls = credentials.tls() if credentials else None
        try:
            async with connection(address, tls, self._times.connect) as (reader, writer):
                stream = AttachStream(host_port(*address), token, scheme="https" if tls else "http")
                ended = await _first(self._listen(stream, reader, writer), self._talk(stream, writer))
        except ConnectError as error:
            if credentials and isinstance(error, DistrustError):
                credentials.distrusted()
            return str(error)
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
                return self._broke(error)
            for event in stream.receive(data):
                match event:
                    case Ended() | SpeaksHttp1():
                        return event
                    case Registered(takes=takes):
                        self._takes = takes
                        self.bootstrap = event.bootstrap
                        self._on_registered(event)
                    case Trust(roots=roots, issuer=issuer):
                        self._on_trust(roots, issuer)
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
        self._unanswered = self._outdated = False
        self._takes = frozenset()
        self._trusts = ""
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
                return self._broke(error)
            self._changed.clear()
            if self._leaving:
                stream.leave()
            elif self._outdated:
                self._outdated = False
                stream.register(self._wanted)
            if self._trusts and TRUSTS in self._takes:
                stream.trusts(self._trusts)
                self._trusts = ""
            if self._calls and self.takes_calls and not self._leaving and not stream.blocked:
                stream.calls(tuple(self._calls))
                self._calls.clear()

    def _broke(self, error: OSError) -> Ended:
        if self._credentials and is_alert(error):
            self._credentials.distrusted()
        return Ended(broke(error))

    def _on_trust(self, roots: tuple[str, ...], issuer: str) -> None:
        """Without a certificate of our own, roots mean nothing to us."""
        if self._credentials:
            self._trusts = self._credentials.trust(roots, issuer=issuer)
            self._changed.set()

    def _on_registered(self, event: Registered) -> None:
        name = event.name
        if self.told is None:
            self.told = event
        if self._wanted.name and self._wanted.name != name:
            self._log.warning("the control plane knows this workload under another name", name=name)
        if not self.connected:
            self._log.info("registered with the control plane", workload=name, namespace=self._wanted.namespace)
        self._wanted = replace(self._wanted, name=self._wanted.name or name)
        self.connected = True
        self._pauses = pauses(self._times.first_pause, self._times.longest_pause)
        self._complaints.forget()
        self._named.set()
        if self._calls:
            self._changed.set()

    async def _ask_for_grpc_port(self) -> str:
        found = await grpc_address(self._address, self._times.connect)
        if found is None:
            return no_grpc(self._address)
        self._address = found
        self._log = self._log.bind(control_plane=host_port(*found))
        self._log.info("that was the control plane's HTTP port, this is its gRPC port")
        return ""


async def _first(*jobs: Any) -> Ended | SpeaksHttp1:
    """Run the jobs side by side; return the result of the first to end and cancel the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in jobs]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    ended: Ended | SpeaksHttp1 = done.pop().result()
    return ended
