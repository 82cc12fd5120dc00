"""Choosing addresses that nobody else uses."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import asdict

from lateen.agent.addresses import port_problem
from lateen.cli.demo.programs import Ports

HOST = "127.0.0.1"
Free = Callable[[int], bool]


def is_free(port: int) -> bool:
    """Whether the port of 127.0.0.1 can be bound.

    Without SO_REUSEPORT on purpose: two Envoys that set it share a port in silence.
    """
    return not port_problem(HOST, port)


def any_free_port() -> int:
    """Return a port that the kernel has just given and taken back."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def choose_ports(free: Free = is_free, other: Callable[[], int] = any_free_port) -> Ports:
    """Return the usual ports, each replaced by another one where it is taken.

    Who listens on every address (a web server on 0.0.0.0:8080) has the port of every loopback address too.
    """
    chosen = {name: port if free(port) else other() for name, port in asdict(Ports()).items()}
    return Ports(**chosen)
