"""Connections to the control plane's API: plain HTTP, HTTPS, or its Unix socket.

Called by `cli/client.py`. Over HTTPS with `--ca-file` the control plane is known by its SPIFFE ID when the certificate
does not name the host: that is the identity which proxies check, too.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lateen.cli.exits import ExitCode, Failure
from lateen.model.loopback import is_loopback

_CONTROL_PLANE = re.compile(r"spiffe://[a-z0-9._-]+/ns/istio-system/sa/istiod")
_NAME_MISMATCHES = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the API is, as `--server` says."""

    url: str
    scheme: str
    """`http`, `https` or `unix`."""
    host: str
    port: int
    prefix: str = ""
    """Put before each path."""
    socket: str = ""
    """Path of the Unix socket."""


def read_server(url: str) -> Server:
    """Read `http://HOST:PORT`, `https://HOST:PORT` (each with a path as prefix) or `unix:///PATH`. Raises Failure."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return Server(url=url, scheme="unix", host="localhost", port=0, socket=unquote(parts.path))
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.username is not None:
        raise Failure(
            f"--server {url!r} is not an http://, https:// or unix:// URL",
            code=ExitCode.USAGE,
            hint="as in http://127.0.0.1:15080, https://mesh.example:15080 or unix:///run/lateen/api.sock",
        )
    return Server(url=url, scheme=parts.scheme, host=parts.hostname, port=port, prefix=parts.path.rstrip("/"))


def connect(server: Server, ca_file: Path | None, seconds: float) -> http.client.HTTPConnection:
    """Return an open connection. Raises OSError when there is none, Failure when the files are wrong."""
    if server.scheme == "unix":
        return _UnixConnection(server.socket, seconds)
    if server.scheme == "http":
        connection = http.client.HTTPConnection(server.host, server.port, timeout=seconds)
        connection.connect()
        return connection
    context = _context(ca_file)
    try:
        return _secure(server, context, seconds)
    except ssl.SSLCertVerificationError as error:
        if ca_file is None or error.verify_code not in _NAME_MISMATCHES:
            raise
    context.check_hostname = False
    secure = _secure(server, context, seconds)
    if not _is_control_plane(secure.sock):
        secure.close()
        raise ssl.SSLCertVerificationError(f"the certificate is neither for {server.host} nor a control plane's")
    return secure


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on a Unix socket, connected from the start."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(seconds)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise


def _secure(server: Server, context: ssl.SSLContext, seconds: float) -> http.client.HTTPSConnection:
    connection = http.client.HTTPSConnection(server.host, server.port, timeout=seconds, context=context)
    try:
        connection.connect()
    except OSError:
        connection.close()
        raise
    return connection


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or "it holds no certificates"
        raise Failure(f"--ca-file {ca_file} cannot be used: {reason}", code=ExitCode.USAGE) from error


def _is_control_plane(connection: ssl.SSLSocket | socket.socket) -> bool:
    assert isinstance(connection, ssl.SSLSocket)
    names: Any = (connection.getpeercert() or {}).get("subjectAltName", ())
    uris = [str(value) for kind, value in names if kind == "URI"]
    return len(uris) == 1 and _CONTROL_PLANE.fullmatch(uris[0]) is not None


def loopback_peer(connection: http.client.HTTPConnection) -> str:
    """Return the loopback address that the connection goes to, "" when it goes elsewhere or to a Unix socket."""
    name = connection.sock.getpeername()
    if not isinstance(name, tuple):
        return ""
    address = str(name[0])
    return address if is_loopback(address) else ""
