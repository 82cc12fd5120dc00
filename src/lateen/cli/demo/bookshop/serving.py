"""What the four programs share: a small threaded JSON server and a way to call a neighbour.

Called by `productpage`, `details`, `reviews` and `ratings`. It must stay ordinary: the point of the demo is that
an application needs no library, no header logic beyond passing three of them on, and no knowledge of the mesh.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROPAGATED = ("end-user", "x-request-id", "traceparent")
"""Headers a service passes on, so that a rule can match the user and a trace stays whole."""

CALL_TIMEOUT = 10.0
"""Seconds the program itself would wait for a neighbour. The mesh can be stricter, without a change here."""

LAST_REQUESTS = 1.0
"""Seconds that requests in flight get after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as a program sees it."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Only the propagated ones, names in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a program says: an object sent as JSON, or text sent as HTML."""

    body: Any
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What a neighbour said. `error` is one line when there is no usable `body`."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def call(url: str, headers: Mapping[str, str]) -> Called:
    """GET a neighbour's JSON, honouring `HTTP_PROXY`; never raises for what the network or the neighbour does."""
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - the callers write the URLs
    try:
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT) as response:  # noqa: S310 - the same
            return Called(status=response.status, body=json.load(response))
    except urllib.error.HTTPError as problem:
        with problem:
            text = problem.read(200).decode(errors="replace").strip()
        return Called(status=problem.code, error=text or HTTPStatus(problem.code).phrase)
    except urllib.error.URLError as problem:
        return Called(status=HTTPStatus.BAD_GATEWAY, error=str(problem.reason))
    except (OSError, ValueError) as problem:
        return Called(status=HTTPStatus.BAD_GATEWAY, error=str(problem))


class _Server(ThreadingHTTPServer):
    """Serves one program and remembers whether it was told to fail."""

    daemon_threads = True
    request_queue_size = 128
    server_bind = TCPServer.server_bind  # HTTPServer's would look its own name up in DNS

    def __init__(self, port: int, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.failing_with = HTTPStatus.INTERNAL_SERVER_ERROR if os.environ.get("FAIL") == "1" else 0
        self.in_flight = 0
        self.quiet = threading.Condition()
        super().__init__(("127.0.0.1", port), _Handler)

    def wait_until_quiet(self, seconds: float) -> None:
        """Return when no request is in flight, or after `seconds`."""
        deadline = time.monotonic() + seconds
        with self.quiet:
            self.quiet.wait_for(lambda: not self.in_flight, timeout=deadline - time.monotonic())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer a request, or fail when told to."""
        with self.server.quiet:
            self.server.in_flight += 1
        try:
            self._send(self._answer())
        finally:
            with self.server.quiet:
                self.server.in_flight -= 1
                self.server.quiet.notify_all()

    def do_POST(self) -> None:
        """`POST /misbehave?status=500` makes this replica fail from now on; `status=0` heals it."""
        url = urlsplit(self.path)
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if url.path != "/misbehave":
            self._send(Answer(status=HTTPStatus.NOT_FOUND, body={"error": "only /misbehave takes a POST"}))
            return
        status = parse_qs(url.query).get("status", ["500"])[0]
        if not status.isdigit() or not (int(status) == 0 or 400 <= int(status) <= 599):
            self._send(Answer(status=HTTPStatus.BAD_REQUEST, body={"error": "status is 0 or 400 to 599"}))
            return
        self.server.failing_with = int(status)
        self._send(Answer(body={"failing_with": self.server.failing_with}))

    def _answer(self) -> Answer:
        url = urlsplit(self.path)
        if url.path == "/health":
            return Answer(body={"status": "healthy"})
        if self.server.failing_with:
            return Answer(status=self.server.failing_with, body={"error": "told to misbehave"})
        headers = {name: value for name in PROPAGATED if (value := self.headers.get(name)) is not None}
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return self.server.answer(Request(path=url.path, query=query, headers=headers))

    def _send(self, answer: Answer) -> None:
        html = isinstance(answer.body, str)
        body = (answer.body if html else json.dumps(answer.body) + "\n").encode()
        head = (
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
            f"content-type: {'text/html; charset=utf-8' if html else 'application/json'}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self.wfile.write(head.encode() + body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Stay silent: the sidecars see every request."""


def serve(answer: Callable[[Request], Answer]) -> None:
    """Serve on `PORT` of loopback (9080 when unset) until SIGTERM or SIGINT; then finish what is in flight."""
    server = _Server(int(os.environ.get("PORT", "9080")), answer)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with server:
        server.serve_forever(poll_interval=0.05)
        server.wait_until_quiet(LAST_REQUESTS)


def not_found(request: Request) -> Answer:
    """Answer a path that this program does not have."""
    return Answer(status=HTTPStatus.NOT_FOUND, body={"error": f"nothing at {request.path}"})
