"""Envoy's message classes, from the descriptor set that the build hook puts beside this module.

The messages live in a private descriptor pool: the default pool may hold another version of the same files
(`googleapis-common-protos`, `opentelemetry-proto`), and a process has only one. Consequence: a message of the
default pool is refused where one of ours is expected; give nested fields as plain dicts (a Duration is
`{"seconds": 3}`, an enum its name). Dicts are also the fastest way to build a message in upb.

A wrong field name or type raises ValueError or TypeError when the message is made, so a typo never reaches Envoy.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

Fields: TypeAlias = dict[str, Any]
"""Fields of a message by protobuf name, nested messages as dicts. Made in `envoy`, `generate`, `discovery` only."""

Message: TypeAlias = Any
"""A message of the private pool; protobuf publishes no usable static types for dynamic classes."""


_ONE = threading.Lock()
"""Held while the pool is asked for: `cache` alone would let two threads that are the first each make one."""


def pool() -> descriptor_pool.DescriptorPool:
    """Return the private pool with every Envoy file that Lateen uses.

    There is one: classes of two pools do not fit into each other.
    """
    with _ONE:
        return _pool()


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    made = descriptor_pool.DescriptorPool()
    content = (files("lateen.envoy") / "descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        made.Add(file)
    return made


@cache
def whole_pool() -> descriptor_pool.DescriptorPool:
    """Return the same pool with every extension of Envoy in it: for what users write in EnvoyFilters.

    Separate, because it takes 8 ms and some megabytes that only meshes with EnvoyFilters need.
    """
    made = pool()
    content = (files("lateen.envoy") / "extensions.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        made.Add(file)
    return made


@cache
def extension_names() -> tuple[str, ...]:
    """Return the full names of the messages of Envoy's extensions, to find what a mistyped one means."""
    contents = [(files("lateen.envoy") / name).read_bytes() for name in ("descriptors.binpb", "extensions.binpb")]
    return tuple(
        f"{file.package}.{message.name}"
        for content in contents
        for file in descriptor_pb2.FileDescriptorSet.FromString(content).file
        if file.package.startswith("envoy.extensions.")
        for message in file.message_type
    )


@cache
def message_class(full_name: str) -> Message:
    """Return the class of a message by full name (`envoy.config.cluster.v3.Cluster`); KeyError if unknown."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


def serialise(full_name: str, fields: Mapping[str, Any]) -> bytes:
    """Return the deterministic wire form of the message with these fields."""
    wire: bytes = message_class(full_name)(**fields).SerializeToString(deterministic=True)
    return wire


def entry(number: int, body: bytes) -> bytes:
    """Return one entry of a repeated message field as it stands in the message around it: tag, length, bytes."""
    size = len(body)
    if number < 16 and size < 128:
        return bytes((number << 3 | _LENGTH_DELIMITED, size)) + body
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size) + body


_LENGTH_DELIMITED = 2


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def prepared(full_name: str, fields: Mapping[str, Any]) -> Message:
    """Return a message to put into many others: copying it costs a fraction of reading its dict again."""
    return message_class(full_name)(**fields)


def packed(full_name: str, fields: Mapping[str, Any]) -> Fields:
    """Return the fields of a google.protobuf.Any that holds this message."""
    return {"type_url": f"type.googleapis.com/{full_name}", "value": serialise(full_name, fields)}


def typed_extension(name: str, full_name: str, fields: Mapping[str, Any] | None = None) -> Fields:
    """Return Envoy's usual pair of an extension: a name and a typed_config."""
    return {"name": name, "typed_config": packed(full_name, fields or {})}


def to_json(full_name: str, body: bytes) -> dict[str, Any]:
    """Return the protobuf JSON form (proto field names) of a serialised message, Anys expanded."""
    message = message_class(full_name).FromString(body)
    try:
        return _shown(message, pool())
    except TypeError:
        # It holds an extension that only a user can have put there.
        return _shown(message, whole_pool())


def from_json(full_name: str, shown: Mapping[str, Any]) -> Message:
    """Return the message that `to_json` shows so. Raises for anything that it cannot have shown."""
    return json_format.ParseDict(shown, message_class(full_name)(), descriptor_pool=whole_pool())


def _shown(message: Message, known: descriptor_pool.DescriptorPool) -> dict[str, Any]:
    shown: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=known)
    return shown
