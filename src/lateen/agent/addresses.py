"""The workload's own loopback address and its ports.

On one host many workloads live side by side, each with the same well-known ports (15000, 15001, 9080 ...). On Linux
the whole of 127.0.0.0/8 is the loopback, so each workload gets an address of its own out of 127.64.0.0/10, chosen by
hash: the same workload usually gets the same address again, which keeps curl lines in a shell history right.

Two agents must never share an address, although Envoy's listeners use SO_REUSEPORT and would share it in silence. The
lock is a listening socket on ADDRESS:15020 without SO_REUSEPORT, held for the agent's life; the kernel lets go of it
however the agent dies. It is no waste: the agent serves metrics there.

macOS has only 127.0.0.1. There the ports are chosen free instead. Must not know: the control plane, or Envoy.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address

from lateen.agent.errors import StartError
from lateen.envoy.bootstrap import ADMIN_PORT, OUTBOUND_PORT, PROMETHEUS_PORT
from lateen.model.loopback import is_loopback

METRICS_PORT = 15020
READY_PORT = 15021
LOOPBACK = "127.0.0.1"

_BLOCK = int(IPv4Address("127.64.0.0"))
_BLOCK_SIZE = 1 << 22
_MOST_PROBES = 4096
_CLEARING_SECONDS = 2.0
"""The guard of an agent that was killed ends its Envoy at once, as far as the machine lets it."""
_CLEARING_POLL_SECONDS = 0.02
_APP_PORTS = range(20000, 30000)
"""Below the kernel's range for outgoing connections (32768 and up), so that no connection takes the port meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPorts:
    """Ports of one agent and its Envoy; they differ from the well-known ones only where addresses are shared."""

    admin: int = ADMIN_PORT
    outbound: int = OUTBOUND_PORT
    metrics: int = METRICS_PORT
    ready: int = READY_PORT
    prometheus: int = PROMETHEUS_PORT

    def moved(self) -> dict[int, int]:
        """Return well-known port -> port, for those that the control plane must bind elsewhere."""
        return {} if self.outbound == OUTBOUND_PORT else {OUTBOUND_PORT: self.outbound}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAddress:
    """An address that belongs to this agent for as long as the sockets stay open."""

    ip: str
    ports: OwnPorts
    metrics_socket: socket.socket
    """Listening on the metrics port; it is the lock."""
    ready_socket: socket.socket

    @property
    def private_ip(self) -> str:
        """Admin page and outbound proxy stay on the loopback even when the workload is reachable from outside."""
        return self.ip if is_loopback(self.ip) else LOOPBACK

    def close(self) -> None:
        """Give the address back."""
        self.metrics_socket.close()
        self.ready_socket.close()


def host_port(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_control_planes(text: str) -> tuple[tuple[str, int], ...]:
    """Read `HOST:PORT[,HOST:PORT]...`, each once. ValueError says what is wrong."""
    found = tuple(split_host_port(part.strip()) for part in text.split(","))
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} names a control plane twice")
    return found


def split_host_port(text: str) -> tuple[str, int]:
    """Read `HOST:PORT` or `[V6]:PORT`; ValueError otherwise."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def candidates(seed: str) -> Iterator[str]:
    """Yield addresses of 127.64.0.0/10, beginning at the seed's hash; never one that ends in .0 or .255."""
    start = int.from_bytes(blake2b(seed.encode(), digest_size=4).digest(), "big")
    for step in range(_BLOCK_SIZE):
        number = _BLOCK + (start + step) % _BLOCK_SIZE
        if 0 < number & 0xFF < 0xFF:
            yield str(IPv4Address(number))


def listen(ip: str, port: int) -> socket.socket:
    """Return a listening socket that nobody else can share; OSError when the port is in use or not ours."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        # REUSEADDR passes over connections in TIME_WAIT, not over listeners.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((ip, port))
        opened.listen(128)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def port_problem(ip: str, port: int) -> int:
    """Return 0 when the port can be bound now, else the errno."""
    try:
        listen(ip, port).close()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def has_own_loopback_addresses() -> bool:
    """Whether this system lets a process bind any address of 127.0.0.0/8 (Linux does, macOS does not)."""
    return port_problem("127.127.255.254", 0) == 0


def can_bind_privileged(ip: str) -> bool:
    """Whether this process may bind ports below 1024. A port in use counts as allowed."""
    return port_problem(ip, 80) not in (errno.EACCES, errno.EPERM)


class PortError(StartError):
    """One port cannot be had on one address."""

    def __init__(self, ip: str, port: int, problem: int) -> None:
        super().__init__(_in_the_way(ip, port, problem))
        self.port = port
        self.problem = problem
        """errno."""


def take_address(ip: str, listeners: tuple[int, ...], *, until: float | None = None) -> OwnAddress:
    """Take a given address with the well-known ports. `listeners` are ports that Envoy will bind there.

    Raises StartError that names the port in the way. An address whose agent is gone and whose Envoy is not yet, because
    somebody killed the agent, is waited for: `until` a time of the monotonic clock, a short while if none is given.
    """
    until = time.monotonic() + _CLEARING_SECONDS if until is None else until
    with ExitStack() as held:
        metrics, ready = (held.enter_context(_listen(ip, port)) for port in (METRICS_PORT, READY_PORT))
        for port in (ADMIN_PORT, OUTBOUND_PORT, PROMETHEUS_PORT, *listeners):
            while problem := port_problem(ip, port):
                if problem != errno.EADDRINUSE or time.monotonic() >= until:
                    raise PortError(ip, port, problem)
                time.sleep(_CLEARING_POLL_SECONDS)
        held.pop_all()
    return OwnAddress(ip=ip, ports=OwnPorts(), metrics_socket=metrics, ready_socket=ready)


def _listen(ip: str, port: int) -> socket.socket:
    try:
        return listen(ip, port)
    except OSError as error:
        raise PortError(ip, port, error.errno or errno.EIO) from error


def pick_address(seed: str, listeners: tuple[int, ...]) -> OwnAddress:
    """Take the first free address for this seed (`namespace/service/version`)."""
    if not has_own_loopback_addresses():
        return share_loopback(listeners)
    ports: set[int] = set()
    until = time.monotonic() + _CLEARING_SECONDS
    for _, ip in zip(range(_MOST_PROBES), candidates(seed), strict=False):
        try:
            return take_address(ip, listeners, until=until)
        except PortError as error:
            last = error
            ports.add(error.port)
    if len(ports) == 1 and last.problem == errno.EADDRINUSE:
        intercepted = ": a workload with --intercept host?" if last.port == OUTBOUND_PORT else ""
        raise StartError(
            f"port {last.port} is in use on every address, so another process listens on all of them{intercepted}; "
            f"`ss -ltnp 'sport = :{last.port}'` shows which"
        )
    raise StartError(f"no free address in 127.64.0.0/10 after {_MOST_PROBES} tries; the last: {last}")


def share_loopback(listeners: tuple[int, ...]) -> OwnAddress:
    """Take 127.0.0.1 with free ports: for systems with one loopback address only."""
    for port in listeners:
        problem = port_problem(LOOPBACK, port)
        if problem:
            raise StartError(
                _in_the_way(LOOPBACK, port, problem)
                + " (this system has one loopback address, so each service needs ports of its own)"
            )
    metrics, ready, *others = (listen(LOOPBACK, 0) for _ in range(5))
    admin, outbound, prometheus = (other.getsockname()[1] for other in others)
    for other in others:
        other.close()
    ports = OwnPorts(
        admin=admin,
        outbound=outbound,
        prometheus=prometheus,
        metrics=metrics.getsockname()[1],
        ready=ready.getsockname()[1],
    )
    return OwnAddress(ip=LOOPBACK, ports=ports, metrics_socket=metrics, ready_socket=ready)


def reserve_app_ports(seed: str, count: int) -> tuple[socket.socket, ...]:
    """Reserve free loopback ports for the app; close the sockets right before it starts.

    A port is taken only if it is free on *every* address, because many apps bind the wildcard address.
    """
    start = int.from_bytes(blake2b(seed.encode(), digest_size=4).digest(), "big")
    reserved: list[socket.socket] = []
    for step in range(len(_APP_PORTS)):
        if len(reserved) == count:
            return tuple(reserved)
        port = _APP_PORTS[(start + step) % len(_APP_PORTS)]
        if _free_everywhere(port):
            try:
                reserved.append(listen(LOOPBACK, port))
            except OSError:
                continue
    for opened in reserved:
        opened.close()
    raise StartError("no free port between 20000 and 29999 for the app")


def _free_everywhere(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Bound, never listening: nobody can reach it.
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


def _in_the_way(ip: str, port: int, problem: int) -> str:
    place = host_port(ip, port)
    if problem == errno.EADDRINUSE:
        return f"port in use: {place} is taken by another process; stop it, or choose another address with --address"
    if problem == errno.EADDRNOTAVAIL:
        return f"{ip} is not an address of this machine; choose another with --address"
    if problem in (errno.EACCES, errno.EPERM):
        return f"no permission to bind {place}: choose a port above 1023"
    return f"cannot bind {place}: {errno.errorcode.get(problem, problem)}"
