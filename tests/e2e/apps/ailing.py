"""An application that is as healthy as its control file says, on PORT: HTTP, with /healthz and /metrics.

BIND is the address to listen on: loopback by default, `own` for that which connections to others come from.
The file CONTROL holds a word: `ok`, `500`, `hang` (the health page only), `refuse` (nobody listens). /metrics serves
the file METRICS, or hangs with `hang-metrics`.
"""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from pathlib import Path

CONTROL = Path(os.environ["CONTROL"])
METRICS = os.environ.get("METRICS", "")
TYPE = os.environ.get("METRICS_TYPE", "text/plain; version=0.0.4")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        word = CONTROL.read_text().strip()
        status, body, kind = 200, os.environ.get("NAME", "").encode(), "text/plain"
        if self.path == "/healthz":
            if word == "hang":
                time.sleep(60)
            status = 500 if word == "500" else 200
        elif self.path == "/metrics":
            if word == "hang-metrics":
                time.sleep(60)
            body, kind = Path(METRICS).read_bytes(), TYPE
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def bind(wanted: str) -> str:
    if wanted != "own":
        return wanted or "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect(("192.0.2.1", 9))  # nothing is sent
        return str(made.getsockname()[0])


def main() -> None:
    address = (bind(os.environ.get("BIND", "")), int(os.environ["PORT"]))
    while True:
        server = http.server.ThreadingHTTPServer(address, Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        while CONTROL.read_text().strip() != "refuse":
            time.sleep(0.02)
        server.shutdown()
        server.server_close()
        while CONTROL.read_text().strip() == "refuse":
            time.sleep(0.02)


if __name__ == "__main__":
    main()
