"""An application that knows nothing of a mesh: HTTP and WebSocket on 80, lines of TCP on 7000, gRPC on 9000.

Answers say how the connection looks from here. Listens on every address, IPv4 and IPv6.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any


def seen(connection: socket.socket) -> dict[str, object]:
    return {
        "peer": connection.getpeername()[0].removeprefix("::ffff:"),
        "local": connection.getsockname()[0].removeprefix("::ffff:"),
        "uid": os.getuid(),
    }


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.upgrade()
            return
        body = json.dumps(
            seen(self.connection)
            | {"host": self.headers["host"], "caller": self.headers.get("x-forwarded-client-cert", "")}
            | {"headers": {name.lower(): value for name, value in self.headers.items()}}
        ).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def upgrade(self) -> None:
        """RFC 6455's handshake, then every byte comes back."""
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(1 << 16):
            self.connection.sendall(data)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Lines(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(json.dumps(seen(self.connection) | {"line": line.decode().strip()}).encode() + b"\n")


class WebServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 100


class LineServer(ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


def say(request: bytes, context: Any) -> bytes:
    return b"said " + request


def chat(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        yield b"heard " + request


def main() -> None:
    if "PORT_7000" in os.environ:
        lines = LineServer(("::", 7000), Lines)
        threading.Thread(target=lines.serve_forever, daemon=True).start()
    if "PORT_9000" in os.environ:
        import grpc

        server = grpc.server(ThreadPoolExecutor(4))
        methods = {
            "Say": grpc.unary_unary_rpc_method_handler(say),
            "Chat": grpc.stream_stream_rpc_method_handler(chat),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
        server.add_insecure_port("[::]:9000")
        server.start()
    WebServer(("::", int(os.environ["PORT"])), Web).serve_forever()


main()
