"""Secrets fetched once: Envoy's `SecretDiscoveryService/FetchSecrets`, for the agent beside an Envoy.

Problem: an agent keeps what its Envoy serves by, for times without a control plane; but Envoy shows private keys to
nobody, and they came over Envoy's own stream. So the agent asks for them here. It is given what the stream of that
very proxy holds at this moment and nothing else: no scope, no stream and no status of its own, and no key that its
Envoy does not have. Who asks must have proven to be who that stream was proven to be, in the same way.

Used by `server`. Must not know: what a secret is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from lateen.discovery import wire
from lateen.discovery.nodes import proven_proxy, proxy_from_node
from lateen.discovery.values import ForbiddenError, PeerError, Response
from lateen.envoy.resources import SECRET, Resource

if TYPE_CHECKING:
    from lateen.discovery.hub import Hub
    from lateen.discovery.server import Identify

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
MAX_NAMES = 100
"""Names in one call."""
MAX_ANSWER_BYTES = 128 * 1024
"""An answer ends before the secret that would make it larger; who wants the rest asks again."""


def secrets_handler(hub: Hub, identify: Identify) -> grpc.GenericRpcHandler:
    """Return the handler of the service."""

    async def fetch(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            return _answer(hub, identify, content, context)
        except ForbiddenError as error:
            refusal = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except PeerError as error:
            refusal = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except LookupError as error:
            refusal = grpc.StatusCode.NOT_FOUND, str(error)
        await context.abort(*refusal)
        raise AssertionError("abort raises")

    return grpc.method_handlers_generic_handler(SERVICE, {"FetchSecrets": grpc.unary_unary_rpc_method_handler(fetch)})


def _answer(hub: Hub, identify: Identify, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
    identity = identify(context)
    request = wire.decode_state_of_the_world(content)
    if request.node is None:
        raise PeerError("the request must say which proxy it is about (field node)")
    if request.kind != SECRET or not 0 < len(request.names) <= MAX_NAMES:
        raise PeerError(f"only secrets can be fetched, by name, at most {MAX_NAMES} at once")
    proxy = proven_proxy(proxy_from_node(request.node), identity)
    held = hub.held(proxy, SECRET)
    if held is None:
        raise LookupError("that proxy is not connected")
    found: list[Resource] = []
    size = 0
    for name in request.names:
        if name not in held:
            continue
        size += len(held[name].body)
        if size > MAX_ANSWER_BYTES and found:
            break
        found.append(held[name])
    return wire.encode_state_of_the_world(Response(kind=SECRET, nonce="", version="", resources=tuple(found)))
