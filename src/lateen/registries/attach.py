"""The gRPC edge of the agents' registry: one handler for the attach protocol of `model.workloads`.

Given to the control plane's gRPC server by `app`. One stream is one workload. A message that cannot be taken is
answered with `refused` and ends the stream; it never harms another one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog

from lateen.model.workloads import ATTACH_METHOD, WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.registrations import Leave, read_message
from lateen.registries.sessions import Refusal, StreamId

log = structlog.get_logger()

LEAVE_SECONDS = 5.0
"""How long `left` waits for the proxies."""
FIRST_MESSAGE_SECONDS = 10.0
"""A stream that says nothing for so long is closed."""

OnLeft = Callable[[str], Awaitable[bool]]
"""Called with `name.namespace` after a workload has left: returns once no proxy knows it any more, False when that
cannot be said."""


def attach_handler(
    registry: AgentRegistry,
    on_left: OnLeft,
    *,
    leave_seconds: float = LEAVE_SECONDS,
    first_message_seconds: float = FIRST_MESSAGE_SECONDS,
) -> grpc.GenericRpcHandler:
    """Return the handler of ATTACH_METHOD for a `grpc.aio` server. Messages are raw bytes, no protobuf."""

    async def attach(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        conversation = _Conversation(registry, on_left, leave_seconds)
        messages = aiter(requests)
        try:
            message = await _first(messages, first_message_seconds)
            while message is not None:
                reply, last = await conversation.answer(message)
                yield reply
                message = None if last else await anext(messages, None)
        finally:
            conversation.close()

    service, _, method = ATTACH_METHOD.strip("/").rpartition("/")
    handler = grpc.stream_stream_rpc_method_handler(attach)
    return grpc.method_handlers_generic_handler(service, {method: handler})


async def _first(messages: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """Return the first message, None when the peer ends the stream or says nothing for so long."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(messages, None)
    except TimeoutError:
        return None


class _Conversation:
    """One stream's side of the protocol."""

    def __init__(self, registry: AgentRegistry, on_left: OnLeft, leave_seconds: float) -> None:
        self._registry = registry
        self._on_left = on_left
        self._leave_seconds = leave_seconds
        self._stream: StreamId = registry.open()
        self._workload = ""

    async def answer(self, data: bytes) -> tuple[bytes, bool]:
        """Return the reply to a message, and whether it ends the stream."""
        message = read_message(data)
        match message:
            case Refusal():
                return self._refuse(message), True
            case Leave():
                return await self._leave(), True
            case WorkloadRegistration():
                return self._register(message)

    def close(self) -> None:
        """Note that the stream is over, whatever the reason."""
        if self._registry.disconnect(self._stream) is not None:
            log.info("workload disconnected", workload=self._workload)

    def _register(self, registration: WorkloadRegistration) -> tuple[bytes, bool]:
        taken = self._registry.register(self._stream, registration)
        if isinstance(taken, Refusal):
            return self._refuse(taken), True
        if not self._workload:
            self._workload = f"{taken.name}.{taken.namespace}"
            log.info("workload attached", workload=self._workload, address=taken.address)
        return _encode({"registered": {"name": taken.name}}), False

    def _refuse(self, refusal: Refusal) -> bytes:
        log.warning("workload refused", workload=self._workload, reason=refusal.message)
        return _encode({"refused": {"message": refusal.message}})

    async def _leave(self) -> bytes:
        left = self._registry.leave(self._stream)
        if left is None:
            return _encode({"left": {"acknowledged": True}})
        acknowledged = False
        try:
            async with asyncio.timeout(self._leave_seconds):
                acknowledged = await self._on_left(self._workload)
        except TimeoutError:
            log.info("workload left before all proxies knew", workload=self._workload)
        log.info("workload left", workload=self._workload, acknowledged=acknowledged)
        return _encode({"left": {"acknowledged": acknowledged}})


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()
