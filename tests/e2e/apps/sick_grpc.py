"""An application with gRPC's health service on PORT: SERVING while the file CONTROL says `ok`."""

from __future__ import annotations

import os
from concurrent import futures
from pathlib import Path

import grpc

CONTROL = Path(os.environ["CONTROL"])


def check(request: bytes, context: grpc.ServicerContext) -> bytes:
    if request not in (b"", b"\x0a\x05stock"):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return b"\x08\x01" if CONTROL.read_text().strip() == "ok" else b"\x08\x02"


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    server.add_insecure_port(f"{os.environ.get('BIND') or '127.0.0.1'}:{os.environ['PORT']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
