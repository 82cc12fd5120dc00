"""The gRPC edge: Envoy's aggregated discovery service, both variants, on raw bytes.

`app` opens `serve` around its TaskGroup; other rooms may bring their own generic handlers to the same ports. Every
stream has one reader and one writer in a TaskGroup of its own: whatever ends one stream ends no other.

How a client is bounded: a request by `wire`, names and types by the session, answers by one in flight per type (so
the writer's backlog is one response per type), floods, silence and slowness by `Limits`.
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
from lateen.discovery.fetching import secrets_handler
from lateen.discovery.hub import Hub
from lateen.discovery.limits import DEFAULT_LIMITS, Bucket, Limits, SlowPeerError
from lateen.discovery.nodes import proven_proxy, proxy_from_node
from lateen.discovery.ports import Certificates, Port, bind
from lateen.discovery.protocol import Delta, Session, StateOfTheWorld
from lateen.discovery.sharing import Encode
from lateen.discovery.values import ForbiddenError, PeerError, Request
from lateen.discovery.writing import Writer, WriterShared
from lateen.model.identities import Identity

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

OPTIONS = (
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
    # A ping's own timeout (60 seconds) counts where bytes are still acknowledged: the process there is stopped.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ping as often, and are not sent away for it.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Who is at the other end was proven when the connection was made. A certificate lasts 24 hours and is renewed at
    # half of that, so at the end of this age (which gRPC varies by a tenth) whoever renews has a newer one to connect
    # with: nobody goes on for long by one that has expired, and nobody has to open a stream on such a connection.
    ("grpc.max_connection_age_ms", 9 * 3600 * 1000),
    ("grpc.max_connection_age_grace_ms", 10_000),
)
"""Of the gRPC server."""


Identify = Callable[[grpc.aio.ServicerContext], Identity | None]
"""Returns who a connection proves to be at its other end; None in plain text, where nothing is proven. Raises
ForbiddenError when that is nobody to be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Serving:
    """What all streams have in common."""

    hub: Hub
    limits: Limits
    shared: WriterShared
    identify: Identify


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    session: Callable[..., Session[Any]]
    decode: Callable[[bytes], Request]
    encode: Encode


_VARIANTS = {
    "StreamAggregatedResources": _Variant(
        session=StateOfTheWorld, decode=wire.decode_state_of_the_world, encode=wire.encode_state_of_the_world
    ),
    "DeltaAggregatedResources": _Variant(session=Delta, decode=wire.decode_delta, encode=wire.encode_delta),
}


@asynccontextmanager
async def serve(
    hub: Hub,
    ports: Sequence[Port],
    handlers: Sequence[grpc.GenericRpcHandler] = (),
    limits: Limits = DEFAULT_LIMITS,
    *,
    certificates: Certificates | None = None,
    identify: Identify = lambda _context: None,
) -> AsyncIterator[tuple[int, ...]]:
    """Listen on these ports; yield their numbers.

    `certificates` is needed by ports with TLS. OSError when an address cannot be bound. Leaving the context ends every
    stream.
    """
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        (discovery_handler(hub, limits, identify), secrets_handler(hub, identify), *handlers)
    )
    bound = tuple(bind(server, port, certificates) for port in ports)
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


def discovery_handler(
    hub: Hub, limits: Limits = DEFAULT_LIMITS, identify: Identify = lambda _context: None
) -> grpc.GenericRpcHandler:
    """Return the handler of the aggregated discovery service."""
    shared = WriterShared(limits, hub.sharing.bodies, hub.figures)
    serving = _Serving(hub=hub, limits=limits, shared=shared, identify=identify)
    methods = {
        name: grpc.stream_stream_rpc_method_handler(partial(_serve_stream, serving, variant))
        for name, variant in _VARIANTS.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def _serve_stream(
    serving: _Serving, variant: _Variant, _requests: object, context: grpc.aio.ServicerContext
) -> None:
    """Serve one stream to its end; a failure becomes its status."""
    hub = serving.hub
    status: tuple[grpc.StatusCode, str] | None = None
    try:
        # Headers at once: a client that reconnects sees that it did, even if there is nothing to tell it.
        await context.send_initial_metadata(())
        await _converse(serving, variant, context)
    except* ForbiddenError as group:
        status = grpc.StatusCode.PERMISSION_DENIED, str(_first(group))
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
        hub.figures.ended[status[0].name] += 1
        log.warning("stream ended", peer=context.peer(), status=status[0].name, reason=status[1])
        await context.abort(*status)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _converse(serving: _Serving, variant: _Variant, context: grpc.aio.ServicerContext) -> None:
    hub, limits = serving.hub, serving.limits
    try:
        async with asyncio.timeout(limits.first_request):
            content = await context.read()
    except TimeoutError:
        raise SlowPeerError(f"no request within {limits.first_request:g} s") from None
    if content is grpc.aio.EOF:
        return
    # Whoever is refused before having spoken may hear of a broken stream only.
    identity = serving.identify(context)
    request = variant.decode(content)
    if request.node is None:
        raise PeerError("the first request of a stream must say who the client is (field node)")
    proxy = proven_proxy(proxy_from_node(request.node, delta=variant.session is Delta), identity)
    session = variant.session(hub.sharing)
    loop = asyncio.get_running_loop()
    bucket = Bucket(limits.requests_per_second, limits.burst, loop.time())
    with hub.connected(proxy, request.node.user_agent, session, resumes=request.resumes) as stream:
        async with asyncio.TaskGroup() as tasks:
            writer = Writer(stream, context.write, variant.encode, limits, serving.shared)
            task = tasks.create_task(writer.run())
            while content is not grpc.aio.EOF:
                hub.figures.requests += 1
                delay = bucket.take(len(content), loop.time())
                if delay:
                    hub.figures.throttled += 1
                    stream.warn("too many requests, reading more slowly", per_second=limits.requests_per_second)
                    await asyncio.sleep(delay)
                stream.on_request(variant.decode(content))
                content = await context.read()
            task.cancel()
