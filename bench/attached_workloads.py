"""Workloads that are registered over the attach protocol, without an agent, an application or a proxy.

Used by `serving` to change endpoints as fast as wanted: each change is a new subzone, a serial number that the
simulated proxies read out of what they are sent.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from lateen.agent.attach_protocol import AttachEvent, AttachStream, Ended, Refused
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from xds_wire import CHURNING


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
        self.change(0)

    def wait_registered(self) -> None:
        """Wait for the first reply."""
        while not self._receive():
            pass

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
        if content := self._stream.data_to_send():
            self._socket.sendall(content)
        return events

    def close(self) -> None:
        self._socket.close()


@contextmanager
def attached_workloads(port: int, count: int) -> Iterator[list[AttachedWorkload]]:
    made: list[AttachedWorkload] = []
    try:
        while len(made) < count:
            made.append(AttachedWorkload(port, len(made)))
        for workload in made:
            workload.wait_registered()
        yield made
    finally:
        for workload in made:
            workload.close()
