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

from lateen.model.workloads import ATTACH_METHOD, CALLS, WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.registrations import Calls, Leave, read_message
from lateen.registries.sessions import Refusal, StreamId

log = structlog.get_logger()

LEAVE_SECONDS = 5.0
"""How long `left` waits for the proxies."""
FIRST_MESSAGE_SECONDS = 10.0
"""A stream that says nothing for so long is closed."""

OnLeft = Callable[[str], Awaitable[bool]]
"""Called with `name.namespace` after a workload has left: returns once no proxy knows it any more, False when that
cannot be said."""

OnCalls = Callable[[str, str, tuple[str, ...]], None]
"""Called with a workload's name and namespace, and hosts that it says it calls."""


def attach_handler(
    registry: AgentRegistry,
    on_left: OnLeft,
    on_calls: OnCalls | None = None,
    *,
    leave_seconds: float = LEAVE_SECONDS,
    first_message_seconds: float = FIRST_MESSAGE_SECONDS,
) -> grpc.GenericRpcHandler:
    """Return the handler of ATTACH_METHOD for a `grpc.aio` server. Messages are raw bytes, no protobuf."""

    async def attach(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        conversation = _Conversation(registry, on_left, on_calls, leave_seconds)
        messages = aiter(requests)
        try:
            message = await _first(messages, first_message_seconds)
            while message is not None:
                reply, last = await conversation.answer(message)
                if reply:
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

    def __init__(
        self, registry: AgentRegistry, on_left: OnLeft, on_calls: OnCalls | None, leave_seconds: float
    ) -> None:
        self._registry = registry
        self._on_left = on_left
        self._on_calls = on_calls
        self._leave_seconds = leave_seconds
        self._stream: StreamId = registry.open()
        self._workload = ""

    async def answer(self, data: bytes) -> tuple[bytes, bool]:
        """Return the reply to a message, if it has one, and whether it ends the stream."""
        message = read_message(data)
        match message:
            case Refusal():
                return self._refuse(message), True
            case Leave():
                return await self._leave(), True
            case WorkloadRegistration():
                return self._register(message)
            case Calls(hosts=hosts):
                return self._note_calls(hosts)

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
        takes = {"takes": [CALLS]} if self._on_calls is not None else {}
        return _encode({"registered": {"name": taken.name, **takes}}), False

    def _note_calls(self, hosts: tuple[str, ...]) -> tuple[bytes, bool]:
        name, _, namespace = self._workload.partition(".")
        if not name:
            return self._refuse(Refusal(message="a workload registers before it says whom it calls")), True
        if self._on_calls is not None:
            self._on_calls(name, namespace, hosts)
        return b"", False

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
