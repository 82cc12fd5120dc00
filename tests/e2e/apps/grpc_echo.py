"""A gRPC application: `/test.Echo/Say` answers with its version and what it was sent; `/test.Echo/Fail` UNAVAILABLE."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def say(request: bytes, context: Any) -> bytes:
    return os.environ.get("VERSION", "v1").encode() + b" " + request


def fail(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
    return b""


server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler(
            "test.Echo",
            {"Say": grpc.unary_unary_rpc_method_handler(say), "Fail": grpc.unary_unary_rpc_method_handler(fail)},
        ),
    )
)
server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
server.start()
server.wait_for_termination()
