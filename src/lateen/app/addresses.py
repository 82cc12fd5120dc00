"""Addresses to bind: reading `HOST:PORT`, and binding with errors that say which flag to change."""

from __future__ import annotations

import errno
import os
import socket

from lateen.app.settings import StartError


def split_address(address: str, flag: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises StartError naming the flag."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise StartError(f"{flag} {address!r} is not HOST:PORT, as in 127.0.0.1:15080", exit_code=2)
    return host, int(port)


def bind(address: str, flag: str) -> socket.socket:
    """Return a socket bound to the address. Raises StartError naming the address and the flag."""
    host, port = split_address(address, flag)
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise StartError(f"{flag} {address}: the host cannot be resolved ({error.strerror})") from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    # Without it a restart has to wait for connections of the last run in TIME_WAIT.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(where)
        bound.listen(1024)
    except OSError as error:
        bound.close()
        raise StartError(_explain(error, address, flag)) from error
    bound.setblocking(False)
    return bound


def shown(bound: socket.socket) -> str:
    """Return `HOST:PORT` of a bound socket."""
    host, port, *_ = bound.getsockname()
    return with_port(str(host), int(port))


def with_port(host: str, port: int) -> str:
    """Return `host:port`, brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain(error: OSError, address: str, flag: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{address} is taken by another program: stop that, or choose another address with {flag} HOST:PORT"
        case errno.EACCES | errno.EPERM:
            return f"{address} may not be bound without privileges: choose a port above 1023 with {flag} HOST:PORT"
        case errno.EADDRNOTAVAIL:
            return f"{address} is no address of this machine: choose another with {flag} HOST:PORT"
        case _:
            reason = os.strerror(error.errno) if error.errno else str(error)
            return f"{address} cannot be bound ({reason}): choose another address with {flag} HOST:PORT"
