"""The gRPC edge: Envoy's aggregated discovery service, both variants, on raw bytes.

`app` opens `serve` around its TaskGroup; other rooms may bring their own generic handlers to the same ports. Every
stream has one reader and one writer in a TaskGroup of its own: whatever ends one stream ends no other.

How a client is bounded: a request by `wire`, names and types by the session, answers by one in flight per type (so
the writer's backlog is one response per type), silence by the timeouts of `Limits`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog

from lateen.discovery import wire
from lateen.discovery.hub import Hub, Stream
from lateen.discovery.nodes import proxy_from_node
from lateen.discovery.protocol import Delta, Session, StateOfTheWorld
from lateen.discovery.values import PeerError, Request, Response
from lateen.envoy.resources import CLUSTER

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_OPTIONS = [
    # Two control planes on one port would share its connections without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", wire.MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # A restart brings every proxy back at once; above these, gRPC drops new streams.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # Nor may one wait only 30 seconds (gRPC's default) for its turn in such a burst: it would be cancelled.
    ("grpc.server_max_unrequested_time_in_server", 300),
    # A proxy whose host vanished without closing its connection is noticed within 40 seconds.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ping as often, and are not sent away for it.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a client may keep us waiting, in seconds."""

    first_request: float = 30.0
    answer: float = 60.0
    """For the ACK of a response, and for taking its bytes. Envoy holds the ACK of clusters back while they warm up,
    15 seconds for one whose endpoints never come."""
    warm_up: float = 2.0
    """For the ACK of clusters, until listeners and routes are sent without it."""


DEFAULT_LIMITS = Limits()


class SlowPeerError(Exception):
    """The client did not do in time what the protocol expects of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    session: Callable[..., Session[Any]]
    decode: Callable[[bytes], Request]
    encode: Callable[[Response], bytes]


_VARIANTS = {
    "StreamAggregatedResources": _Variant(
        session=StateOfTheWorld, decode=wire.decode_state_of_the_world, encode=wire.encode_state_of_the_world
    ),
    "DeltaAggregatedResources": _Variant(session=Delta, decode=wire.decode_delta, encode=wire.encode_delta),
}


@asynccontextmanager
async def serve(
    hub: Hub,
    addresses: Sequence[str],
    handlers: Sequence[grpc.GenericRpcHandler] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[tuple[int, ...]]:
    """Listen on `HOST:PORT` addresses, in plain text; yield the ports bound (0 asks for a free one).

    OSError when an address cannot be bound. Leaving the context ends every stream.
    """
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((discovery_handler(hub, limits), *handlers))
    ports = tuple(_bind(server, address) for address in addresses)
    await server.start()
    try:
        yield ports
    finally:
        await server.stop(None)


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: the port is taken, or the address is not of this host") from error
    return port


def discovery_handler(hub: Hub, limits: Limits = DEFAULT_LIMITS) -> grpc.GenericRpcHandler:
    """Return the handler of the aggregated discovery service."""
    methods = {
        name: grpc.stream_stream_rpc_method_handler(partial(_serve_stream, hub, limits, variant))
        for name, variant in _VARIANTS.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def _serve_stream(
    hub: Hub, limits: Limits, variant: _Variant, _requests: object, context: grpc.aio.ServicerContext
) -> None:
    """Serve one stream to its end; a failure becomes its status."""
    status: tuple[grpc.StatusCode, str] | None = None
    try:
        # Headers at once: a client that reconnects sees that it did, even if there is nothing to tell it.
        await context.send_initial_metadata(())
        await _converse(hub, limits, variant, context)
    except* PeerError as group:
        status = grpc.StatusCode.INVALID_ARGUMENT, str(_first(group))
    except* SlowPeerError as group:
        status = grpc.StatusCode.DEADLINE_EXCEEDED, str(_first(group))
    except* (grpc.aio.InternalError, grpc.aio.UsageError):
        # The connection broke while we read or wrote: the hub has logged that the proxy left.
        pass
    except* Exception:
        log.exception("stream failed", peer=context.peer())
        status = grpc.StatusCode.INTERNAL, "a bug in the control plane ended this stream; its log has the trace"
    if status is not None:
        log.warning("stream ended", peer=context.peer(), status=status[0].name, reason=status[1])
        await context.abort(*status)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _converse(hub: Hub, limits: Limits, variant: _Variant, context: grpc.aio.ServicerContext) -> None:
    try:
        async with asyncio.timeout(limits.first_request):
            content = await context.read()
    except TimeoutError:
        raise SlowPeerError(f"no request within {limits.first_request:g} s") from None
    if content is grpc.aio.EOF:
        return
    request = variant.decode(content)
    if request.node is None:
        raise PeerError("the first request of a stream must say who the client is (field node)")
    proxy = proxy_from_node(request.node)
    session = variant.session(hub.comparisons)
    with hub.connected(proxy, request.node.user_agent, session, resumes=request.resumes) as stream:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(_Writer(stream, limits, variant, context).run())
            stream.on_request(request)
            while (content := await context.read()) is not grpc.aio.EOF:
                stream.on_request(variant.decode(content))
            writer.cancel()


class _Writer:
    """Writes what the session wants sent, and keeps the time that the session does not know."""

    def __init__(self, stream: Stream, limits: Limits, variant: _Variant, context: grpc.aio.ServicerContext) -> None:
        self._stream = stream
        self._limits = limits
        self._variant = variant
        self._context = context
        self._now = asyncio.get_running_loop().time
        self._sent_at: dict[str, float] = {}
        self._patient = False
        """Whether clusters are in flight for which listeners and routes still wait."""

    async def run(self) -> None:
        """Write until cancelled; SlowPeerError when the client does not keep up."""
        while True:
            await self._wait()
            for response in self._stream.take():
                self._sent_at[response.kind] = self._now()
                self._patient = self._patient or response.kind == CLUSTER
                try:
                    async with asyncio.timeout(self._limits.answer):
                        await self._context.write(self._variant.encode(response))
                except TimeoutError:
                    raise SlowPeerError(f"a response was not read within {self._limits.answer:g} s") from None

    async def _wait(self) -> None:
        """Return when there may be something to write."""
        while not self._stream.wake.is_set():
            unanswered = self._stream.session.ledger.unanswered
            deadlines = [self._sent_at[kind] + self._limits.answer for kind in unanswered]
            if self._patient and CLUSTER in unanswered:
                deadlines.append(self._sent_at[CLUSTER] + self._limits.warm_up)
            try:
                async with asyncio.timeout_at(min(deadlines, default=None)):
                    await self._stream.wake.wait()
            except TimeoutError:
                self._on_timeout()

    def _on_timeout(self) -> None:
        """Act on what is due now: answers that came meanwhile have moved the deadlines."""
        unanswered = self._stream.session.ledger.unanswered
        for kind in unanswered:
            if self._now() >= self._sent_at[kind] + self._limits.answer:
                raise SlowPeerError(f"no ACK or NACK of {kind} within {self._limits.answer:g} s")
        if self._patient and CLUSTER in unanswered and self._now() >= self._sent_at[CLUSTER] + self._limits.warm_up:
            self._patient = False
            self._stream.on_timeout()
