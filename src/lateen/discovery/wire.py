"""Protobuf bytes <-> the protocol's values, for both variants of the discovery service.

Called by `server`. The only module of this room that knows protobuf. What comes in is bounded here, so that no
later step has to ask how large a request can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from lateen.discovery.values import DeltaRequest, Node, PeerError, Response, StateOfTheWorldRequest
from lateen.envoy.messages import Message, message_class, pool
from lateen.envoy.resources import TYPE_PREFIX, VIRTUAL_HOST, Resource
from lateen.model.services import Locality

_API = "envoy.service.discovery.v3."

_SMALL_BYTES = 200
"""Up to this size a request may be an ACK."""
_KNOWN = 1024
"""Small requests remembered: at most a few hundred kilobytes, whatever clients send."""
_NONE: Mapping[str, str] = MappingProxyType({})

MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_NAMES = 50_000
"""Names in one request. A proxy that reconnects in a mesh of 10,000 services names each of their ports at once."""
MAX_NAME_BYTES = 1024
MAX_ERROR_CHARACTERS = 4096
"""A longer reason of a NACK is cut: Envoy quotes whole configurations in some."""


def decode_state_of_the_world(content: bytes) -> StateOfTheWorldRequest:
    """Read a serialised DiscoveryRequest; PeerError when it is none or too large."""
    return _known_state_of_the_world(content) if len(content) <= _SMALL_BYTES else _decode_state_of_the_world(content)


def _decode_state_of_the_world(content: bytes) -> StateOfTheWorldRequest:
    message = _parse("DiscoveryRequest", content)
    return StateOfTheWorldRequest(
        kind=_kind(message.type_url),
        names=_names(message.resource_names),
        version=message.version_info,
        nonce=message.response_nonce,
        error=_error(message),
        node=_node(message),
    )


def decode_delta(content: bytes) -> DeltaRequest:
    """Read a serialised DeltaDiscoveryRequest; PeerError when it is none or too large."""
    return _known_delta(content) if len(content) <= _SMALL_BYTES else _decode_delta(content)


def _decode_delta(content: bytes) -> DeltaRequest:
    message = _parse("DeltaDiscoveryRequest", content)
    return DeltaRequest(
        kind=_kind(message.type_url),
        subscribe=_names(message.resource_names_subscribe),
        unsubscribe=_names(message.resource_names_unsubscribe),
        initial_versions=_versions(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=_error(message),
        node=_node(message),
    )


# Replicas send the same ACK, byte for byte: it is read once for all of them.
_known_state_of_the_world = lru_cache(_KNOWN)(_decode_state_of_the_world)
_known_delta = lru_cache(_KNOWN)(_decode_delta)


def encode_state_of_the_world(response: Response) -> bytes:
    """Return the serialised DiscoveryResponse without its nonce."""
    body: bytes = message_class(_API + "DiscoveryResponse")(
        version_info=response.version,
        type_url=TYPE_PREFIX + response.kind,
        resources=[_any(resource) for resource in response.resources],
    ).SerializeToString()
    return body


def encode_delta(response: Response) -> bytes:
    """Return the serialised DeltaDiscoveryResponse without its nonce."""
    body: bytes = message_class(_API + "DeltaDiscoveryResponse")(
        system_version_info=response.version,
        type_url=TYPE_PREFIX + response.kind,
        resources=[_entry(resource) for resource in response.resources],
        removed_resources=response.removed,
    ).SerializeToString()
    return body


def encode_nonce(nonce: str) -> bytes:
    """Return the nonce as field 5, which it is in both messages; at most 127 bytes.

    Serialised messages may be concatenated (protobuf, "Encoding"), so the body before it can be anyone's copy.
    """
    text = nonce.encode()
    assert len(text) < 128
    return b"\x2a" + bytes((len(text),)) + text


def _entry(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": resource.name, "version": resource.version}
    if resource.body or resource.kind != VIRTUAL_HOST:
        entry["resource"] = _any(resource)
    if resource.kind == VIRTUAL_HOST:
        # Envoy lets the requests go on that wait for one of these names, not for the resource's own (observed).
        entry["aliases"] = (resource.name,)
    return entry


def _any(resource: Resource) -> dict[str, Any]:
    return {"type_url": TYPE_PREFIX + resource.kind, "value": resource.body}


def _parse(name: str, content: bytes) -> Message:
    if len(content) > MAX_REQUEST_BYTES:
        raise PeerError(f"a request of {len(content)} bytes; at most {MAX_REQUEST_BYTES} are read")
    try:
        return message_class(_API + name).FromString(content)
    except DecodeError as error:
        raise PeerError(f"not a {name}: {error}") from error


def _kind(type_url: str) -> str:
    if not type_url.startswith(TYPE_PREFIX):
        raise PeerError(f"type URL {type_url[:200]!r} does not begin with {TYPE_PREFIX!r}")
    return type_url.removeprefix(TYPE_PREFIX)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    read = tuple(names)
    if not read:
        return read
    if len(read) > MAX_NAMES:
        raise PeerError(f"{len(read)} resource names in one request; at most {MAX_NAMES} are read")
    if any(len(name) > MAX_NAME_BYTES for name in read):
        raise PeerError(f"a resource name of more than {MAX_NAME_BYTES} characters")
    return read


def _versions(held: Mapping[str, str]) -> Mapping[str, str]:
    if not held:
        return _NONE
    _names(held)
    _names(held.values())
    return dict(held)


def _error(message: Message) -> str | None:
    if not message.HasField("error_detail"):
        return None
    reason: str = message.error_detail.message[:MAX_ERROR_CHARACTERS].strip()
    return reason or f"rejected without a reason (code {message.error_detail.code})"


def decode_node(content: bytes) -> Node:
    """Read a serialised Node; DecodeError when it is none."""
    return _read_node(message_class("envoy.config.core.v3.Node").FromString(content))


def _node(message: Message) -> Node | None:
    return _read_node(message.node) if message.HasField("node") else None


def _read_node(node: Message) -> Node:
    version = node.user_agent_version
    if node.HasField("user_agent_build_version"):
        semantic = node.user_agent_build_version.version
        version = f"{semantic.major_number}.{semantic.minor_number}.{semantic.patch}"
    return Node(
        id=node.id,
        cluster=node.cluster,
        metadata=json_format.MessageToDict(node.metadata, descriptor_pool=pool()),
        locality=Locality(node.locality.region, node.locality.zone, node.locality.sub_zone),
        user_agent=f"{node.user_agent_name} {version}".strip()[:200],
    )
