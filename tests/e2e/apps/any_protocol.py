"""A server that takes what comes on one port: HTTP/1.1, HTTP/2, TLS in front of either, and lines of bytes.

It says what it saw: `http1 XFCC`, `http2 XFCC`, `tls http1 XFCC`, `bytes LINE`. Arguments: port, certificate, key.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

PREFACE = b"PRI * HTTP/2.0"
XFCC = "x-forwarded-client-cert"
Stream = socket.socket | ssl.SSLSocket


def serve(connection: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError), connection:
        connection.settimeout(600)
        if connection.recv(1, socket.MSG_PEEK) != b"\x16":
            answer(connection, "")
            return
        with context.wrap_socket(connection, server_side=True) as wrapped:
            answer(wrapped, "tls ")


def answer(stream: Stream, said: str) -> None:
    received = b""
    while received in PREFACE[: len(received)] and len(received) < len(PREFACE) and b"\n" not in received:
        chunk = stream.recv(65536)
        if not chunk:
            return
        received += chunk
    if received.startswith(PREFACE):
        http2(stream, received, said)
    elif b" HTTP/1." in received.split(b"\r\n", 1)[0]:
        http1(stream, received, said)
    else:
        stream.sendall(said.encode() + b"bytes " + received)


def http1(stream: Stream, received: bytes, said: str) -> None:
    while True:
        while b"\r\n\r\n" not in received:
            chunk = stream.recv(65536)
            if not chunk:
                return
            received += chunk
        head, received = received.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        found = {name.lower(): value for name, value in headers.items()}.get(XFCC, "")
        body = f"{said}http1 {found}".encode()
        stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def http2(stream: Stream, received: bytes, said: str) -> None:
    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    while True:
        for event in connection.receive_data(received):
            if isinstance(event, RequestReceived):
                found = {str(name): str(value) for name, value in event.headers}.get(XFCC, "")
                body = f"{said}http2 {found}".encode()
                connection.send_headers(event.stream_id, [(":status", "200"), ("content-length", str(len(body)))])
                connection.send_data(event.stream_id, body, end_stream=True)
        stream.sendall(connection.data_to_send())
        received = stream.recv(65536)
        if not received:
            return


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection, context), daemon=True).start()


if __name__ == "__main__":
    main()
