"""TLS peers of end-to-end tests: a server outside the mesh, and a client that says what came of its handshake."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.meshes import Answer

Pair = tuple[bytes, bytes]


@dataclass
class TlsServer:
    """Answers each request with what its handshake was like."""

    port: int
    refused: list[str] = field(default_factory=list)
    """Handshakes that failed."""


def save(folder: Path, name: str, pem: bytes) -> str:
    """Write a PEM file, and return its path."""
    path = folder / f"{name}.pem"
    path.write_bytes(pem)
    return str(path)


@contextmanager
def tls_server(folder: Path, pair: Pair, *, client_ca: bytes | None = None, name: str = "tls") -> Iterator[TlsServer]:
    """Run a server; with `client_ca` it wants a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(save(folder, f"{name}-chain", pair[0]), save(folder, f"{name}-key", pair[1]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client_ca is not None:
        context.load_verify_locations(save(folder, f"{name}-ca", client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
    names: dict[int, str] = {}
    context.sni_callback = lambda connection, asked, _: names.update({id(connection): asked})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = TlsServer(listening.getsockname()[1])

        def answer(plain: socket.socket) -> None:
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.settimeout(600)
                    certificate: Any = secure.getpeercert() or {}
                    said = {
                        "sni": names.pop(id(secure), None),
                        "alpn": secure.selected_alpn_protocol(),
                        "version": secure.version(),
                        "client": [value for _, value in certificate.get("subjectAltName", ())],
                        "name": name,
                    }
                    body = json.dumps(said).encode()
                    while secure.recv(65536):
                        secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            except (ssl.SSLError, OSError) as error:
                server.refused.append(str(error))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)


@dataclass(kw_only=True)
class TlsClient:
    """Calls a TLS port."""

    folder: Path
    address: tuple[str, int]
    trusts: bytes
    """CA of the servers."""

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=save(self.folder, "trusted", self.trusts))
        if pair is not None:
            context.load_cert_chain(save(self.folder, "own-chain", pair[0]), save(self.folder, "own-key", pair[1]))
        return context

    @contextmanager
    def connected(
        self, host: str, pair: Pair | None = None, context: ssl.SSLContext | None = None
    ) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(self.address, 30) as plain,
            (context or self.context(pair)).wrap_socket(plain, server_hostname=host) as secure,
        ):
            yield secure

    def get(
        self, host: str, pair: Pair | None = None, *, path: str = "/", context: ssl.SSLContext | None = None
    ) -> Answer:
        """One request; an OSError when the handshake failed: with TLS 1.3 that shows when something is read."""
        with self.connected(host, pair, context) as secure:
            return ask(secure, host, path)

    def refuses(self, host: str, pair: Pair | None = None, *, context: ssl.SSLContext | None = None) -> bool:
        """Whether there is no connection to be had."""
        try:
            self.get(host, pair, context=context)
        except (OSError, http.client.HTTPException):
            return True
        return False


def ask(secure: ssl.SSLSocket, host: str, path: str = "/") -> Answer:
    """One request on a connection that stays open."""
    secure.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    response = http.client.HTTPResponse(secure)
    response.begin()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read(), 0)
