"""Workloads that are registered over the attach protocol, without an agent, an application or a proxy.

Used by `serving` to change endpoints as fast as wanted: each change is a new subzone, a serial number that the
simulated proxies read out of what they are sent.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from lateen.agent.attach_protocol import AttachEvent, AttachStream, Refused
from lateen.agent.grpc_call import Ended
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from xds_wire import CHURNING

REGISTERED_WITHIN = 180.0
"""Seconds for all of them."""


class AttachedWorkload:
    """One registered, ready workload on a blocking connection; it is the only one of its service."""

    def __init__(self, port: int, number: int) -> None:
        self.service = f"{CHURNING}{number}"
        self._registration = WorkloadRegistration(
            service=self.service,
            namespace="default",
            address=f"10.9.{number // 250}.{number % 250 + 1}",
            ports=(WorkloadPort(port=80, protocol="http", name="http", app_port=8080),),
            ready=True,
        )
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = AttachStream(f"127.0.0.1:{port}")
        self.registered = False
        self.change(0)

    def fileno(self) -> int:
        return self._socket.fileno()

    def change(self, serial: int) -> None:
        """Move to the subzone of this number."""
        self._registration = replace(self._registration, locality=f"region/zone/{serial}")
        self._stream.register(self._registration)
        self._socket.sendall(self._stream.data_to_send())

    def drain(self) -> None:
        """Read the replies that are there."""
        with suppress(BlockingIOError):
            while True:
                self._receive(socket.MSG_DONTWAIT)

    def _receive(self, flags: int = 0) -> list[AttachEvent]:
        events = self._stream.receive(self._socket.recv(65536, flags))
        for event in events:
            assert not isinstance(event, Ended | Refused), event
            self.registered = True
        if content := self._stream.data_to_send():
            self._socket.sendall(content)
        return events

    def close(self) -> None:
        self._socket.close()


@contextmanager
def attached_workloads(port: int, count: int) -> Iterator[list[AttachedWorkload]]:
    """Attach so many workloads at once; yield them when all are registered."""
    made: list[AttachedWorkload] = []
    try:
        while len(made) < count:
            made.append(AttachedWorkload(port, len(made)))
        _wait_registered(made)
        yield made
    finally:
        for workload in made:
            workload.close()


def _wait_registered(workloads: Sequence[AttachedWorkload]) -> None:
    """Read whatever comes to any of them: who does not answer the control plane's pings is sent away."""
    deadline = time.monotonic() + REGISTERED_WITHIN
    with selectors.DefaultSelector() as selector:
        for workload in workloads:
            selector.register(workload, selectors.EVENT_READ, workload)
        while missing := sum(not workload.registered for workload in workloads):
            assert time.monotonic() < deadline, f"{missing} of {len(workloads)} workloads are not registered"
            for key, _ in selector.select(1):
                key.data.drain()
